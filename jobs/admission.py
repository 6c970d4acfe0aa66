"""What a job needs of a running cluster, and how it comes to it: looked at first, then admitted by the queue."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from cluster.connect import Capacity, ClusterConfig
from cluster.growth import cluster_now
from cluster.line import Cluster
from cluster.packing import Bundle, largest_share
from cluster.preflight import require_ready
from cluster.queue import Need, admitted, driver_bundle
from jobs.console import fact
from jobs.paths import named_paths
from serving.config import ServeConfig

if TYPE_CHECKING:
    from jobs.config import JobConfig


class Wanted(NamedTuple):
    """What is asked for."""

    name: str
    cluster: ClusterConfig
    need: Need
    root: Path
    paths: dict[str, Path]
    num_bytes: int = 0
    """That may be written under `root`."""


class Given(NamedTuple):
    """What a job was admitted with."""

    copies: int
    """Of its need: trials of a sweep at a time."""
    capacity: Capacity
    """The cluster's, but for the cores of a node that one task may take: no more than the job was admitted with."""


@contextmanager
def place_for(wanted: Wanted, capacity: Capacity) -> Iterator[Given]:
    """Look at the cluster that is connected, wait for admission, and keep it for the length of the block.

    An embedded cluster is the job's own: there is nothing to wait for.

    Raises:
        ResourceError, ClusterError: see `cluster.preflight.require_ready`.
    """
    if wanted.cluster.address == "local":
        yield Given(wanted.need.copies[1], capacity)
        return
    need = wanted.need._replace(driver=driver_bundle())
    for warning in require_ready(need, wanted.root, wanted.paths, wanted.num_bytes):
        fact("warning", warning)
    with admitted(wanted.name, need, wanted.cluster.priority, lambda text: fact("queue", text)) as admission:
        cluster, held = cluster_now(), need.bundles * admission.copies
        if cluster.to_come and not Cluster(cluster.nodes).holds(need.least()):
            fact("nodes", f"too few for it yet; up to {len(cluster.to_come)} more start on demand")
        cores = min(capacity.largest_node_cpus, largest_share(cluster.most, held))
        yield Given(admission.copies, capacity._replace(largest_node_cpus=max(1.0, cores)))


def wanted_by(job: JobConfig, num_bytes: int = 0) -> Wanted:
    """What `raysmith run` asks for: its training with all that runs beside it, or its endpoint, whichever is more."""
    need = Need(_either(training_bundles(job), serving_bundles([job.serve] if job.serve is not None else [])))
    return Wanted(job.name, job.cluster, need, job.storage.location(), named_paths(job), num_bytes)


def training_bundles(job: JobConfig, workers: int | None = None) -> list[Bundle]:
    """The training workers, at the least number, and the samplers beside them.

    Workers that an elastic job may add later (`cluster.workers.max`) are not counted. Ray Train adds them as it finds
    room, also room that the queue has just given to another job: that one then waits in Ray until the elastic training
    ends. Where several share a cluster, a fixed number of workers is the honest ask.
    """
    cluster = job.cluster
    worker = {"CPU": cluster.cpus_per_worker, "GPU": float(cluster.gpus_per_worker)}
    bundles = [worker] * (workers or cluster.min_workers)
    objective = job.train.objective if job.train is not None else None
    if (sampling := getattr(objective, "sampling", None)) is not None:
        return bundles + [{"CPU": float(sampling.cpus), "GPU": float(sampling.gpus)}] * sampling.number
    cpus, gpus = getattr(objective, "beside", (0.0, 0.0))
    return bundles + [{"CPU": cpus, "GPU": gpus}] * bool(cpus or gpus)


def serving_bundles(served: Sequence[ServeConfig]) -> list[Bundle]:
    """The least number of replicas; the front takes no core. More replicas, under load, start where there is room."""
    return [
        {"CPU": float(one.replicas.num_cpus), "GPU": one.replicas.num_gpus}
        for one in served for _ in range(max(1, one.replicas.min))
    ]  # fmt: skip


def _either(first: list[Bundle], second: list[Bundle]) -> list[Bundle]:
    """Bundles in which either of two sets has room, one after the other."""

    def by_size(bundles: list[Bundle]) -> list[Bundle]:
        return sorted(bundles, key=lambda one: (one.get("GPU", 0.0), one.get("CPU", 0.0)), reverse=True)

    nothing: Bundle = {}
    return [
        {name: max(one.get(name, 0.0), other.get(name, 0.0)) for name in ("CPU", "GPU")}
        for one, other in zip_longest(by_size(first), by_size(second), fillvalue=nothing)
    ]
