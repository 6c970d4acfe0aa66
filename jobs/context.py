"""What every stage needs: the job, its directories, the artifact store, remote work with a bar, and finished stages.

A stage is not repeated when nothing it depends on changed: its key is the hash of its name, its version (raised when
its code would give another result), its configuration and the ids of its input artifacts.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, TypeVarTuple

from cluster.artifacts import ArtifactStore, Manifest
from cluster.config import digest
from cluster.connect import NOTHING, Capacity, result_of
from cluster.errors import ArtifactError
from cluster.progress import ProgressFile
from cluster.rundir import RunDirectory
from cluster.storage import read_json, write_json
from jobs.config import JobConfig
from jobs.console import bar, fact

R = TypeVar("R")
Arguments = TypeVarTuple("Arguments")


@dataclass(frozen=True)
class Made:
    """What the work of a publishing stage gives beside files."""

    report: dict[str, Any]
    """The stage's part of report.json."""
    metrics: dict[str, float] = field(default_factory=dict)
    source: dict[str, str] = field(default_factory=dict)


class Outcome(NamedTuple):
    """A finished publishing stage."""

    artifact: Manifest
    report: dict[str, Any]


@dataclass
class Context:
    """One attempt at a job."""

    job: JobConfig
    root: Path
    run: RunDirectory
    attempt: Path
    capacity: Capacity = NOTHING
    """What the cluster has; nothing until the run is connected to it."""
    fresh: bool = False
    """Do every stage again, whatever is there."""
    report: dict[str, Any] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)
    """When the attempt began, on the monotonic clock, seconds."""

    def __post_init__(self) -> None:
        self.store = ArtifactStore(self.root)
        self.report.setdefault("stages", {})

    def make(
        self,
        name: str,
        version: int,
        config: Any,
        inputs: dict[str, Manifest],
        work: Callable[[Path], Made],
        *,
        publish_as: str,
        kind: str,
        outside: Any = None,
        pointed: bool = True,
    ) -> Outcome:
        """Do a stage that publishes an artifact, or reuse what it published before.

        Args:
            version: raised when the stage's code changes what it gives.
            config: the part of the configuration it depends on, as plain data.
            inputs: role → artifact it is made from; they become its parents.
            work: fills the folder it is given with the artifact's files.
            outside: what else the result depends on, such as the hash of a file that is no artifact.
            pointed: let the name mean the artifact; otherwise it is there by its id alone.
        """
        parents = {role: manifest.id for role, manifest in inputs.items()}
        record_file = self._record_file(name, [version, config, parents, outside])
        outcome = self._recall(record_file, publish_as if pointed else None)
        reused = outcome is not None
        if outcome is None:
            began = time.monotonic()
            with self.store.draft() as folder:
                made = work(folder)
                artifact = self.store.publish(
                    folder, name=publish_as, kind=kind, parents=parents, source=made.source,
                    config_hash=digest(config), metrics=made.metrics, pointed=pointed,
                )  # fmt: skip
            outcome = Outcome(artifact, made.report)
            self._remember(record_file, artifact.id, made.report, began)
        what = "reused" if reused else "published" if pointed else "made"
        fact(what, f"{outcome.artifact.name}  ({outcome.artifact.id})")
        self._report(name, record_file, reused=reused)
        return outcome

    def measure(
        self, name: str, version: int, config: Any, inputs: dict[str, Manifest], work: Callable[[], dict[str, Any]]
    ) -> dict[str, Any]:
        """Do a stage that only measures, or reuse its figures; arguments as for `make`."""
        parents = {role: manifest.id for role, manifest in inputs.items()}
        record_file = self._record_file(name, [version, config, parents])
        record = None if self.fresh else read_json(record_file)
        if record is None:
            began = time.monotonic()
            self._remember(record_file, None, work(), began)
        self._report(name, record_file, reused=record is not None)
        report: dict[str, Any] = read_json(record_file)["report"]
        return report

    def remember(
        self,
        name: str,
        version: int,
        config: Any,
        inputs: dict[str, Manifest],
        artifact: Manifest,
        report: dict[str, Any],
        seconds: float,
    ) -> None:
        """Let `make`, with the same arguments, reuse an artifact that was made elsewhere."""
        parents = {role: manifest.id for role, manifest in inputs.items()}
        record_file = self._record_file(name, [version, config, parents, None])
        write_json(record_file, {"artifact": artifact.id, "report": report, "seconds": round(seconds, 2)})

    def _record_file(self, name: str, key: list[Any]) -> Path:
        return self.root / "stages" / f"{name}-{digest([name, *key])[:16]}.json"

    def _remember(self, record_file: Path, artifact: str | None, report: dict[str, Any], began: float) -> None:
        seconds = round(time.monotonic() - began, 2)
        write_json(record_file, {"artifact": artifact, "report": report, "seconds": seconds})

    def _recall(self, record_file: Path, name: str | None) -> Outcome | None:
        record = None if self.fresh else read_json(record_file)
        if record is None:
            return None
        try:
            artifact = self.store.get(record["artifact"])
            self.store.verify(artifact)
        except ArtifactError:
            return None  # removed or altered since: make it again
        if name is not None:
            self.store.point(name, artifact.id)
        return Outcome(artifact, record["report"])

    def _report(self, name: str, record_file: Path, *, reused: bool) -> None:
        record = read_json(record_file)
        entry = {"reused": reused, "seconds": record["seconds"], **record["report"]}
        if record["artifact"]:
            entry["artifact"] = record["artifact"]
        self.report["stages"][name] = entry
        self.save_report()

    def save_report(self) -> None:
        """Write report.json as it stands."""
        write_json(self.run.report_file, self.report)

    def files(self, manifest: Manifest) -> Path:
        """The folder with an artifact's files."""
        return self.store.files(manifest)

    def progress(self, name: str) -> ProgressFile:
        """The progress file of one piece of work."""
        return ProgressFile(self.run.path / "progress" / f"{name}.json")

    def remote(
        self,
        label: str,
        function: Callable[[ProgressFile, *Arguments], R],
        *arguments: *Arguments,
        cpus: float | None = None,
        alone: bool = False,
    ) -> R:
        """Run a function in a Ray worker process, showing its progress. The driver itself never loads a model.

        Args:
            function: its first argument is the progress file.
            cpus: cores that it holds, without a GPU; 0 for work that starts Ray tasks of its own. Default: all cores of
                a training job, and a GPU if its workers have one.
            alone: in a process that ends with it, so that it leaves nothing behind, and finds nothing.
        """
        import ray

        cluster, gpus = self.job.cluster, 0
        if cpus is None:
            cpus = min(self.capacity.largest_node_cpus, max(1.0, cluster.max_workers * cluster.cpus_per_worker))
            gpus = min(1, cluster.gpus_per_worker)
        progress = self.progress(label.replace(" ", "-"))
        # Ray's own types know no variadic arguments.
        made: Any = ray.remote(max_calls=1)(function) if alone else ray.remote(function)
        task = made.options(num_cpus=cpus, num_gpus=gpus, max_retries=0)
        with bar(label, progress):
            result: R = result_of(task.remote(progress, *arguments))
            return result
