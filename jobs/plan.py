"""What a job would do, in words, before anything is allocated."""

from __future__ import annotations

import json
from collections import Counter
from functools import partial
from typing import Any, NamedTuple

from rich.table import Table

from cluster.artifacts import ArtifactStore
from cluster.connect import Capacity, ClusterConfig, connected, embedded_capacity, require_fits
from cluster.errors import ArtifactError, ClusterError, DataError, ModelError, ResourceError
from cluster.growth import cluster_now
from cluster.packing import amounts
from cluster.queue import require_place
from cluster.storage import require_free_space
from jobs.admission import wanted_by
from jobs.config import JobConfig
from jobs.console import console, fact, title
from jobs.stages.model import published_model
from jobs.words import batch_words, duration, size, trained_words
from serving.preflight import free_port
from trainers import architectures
from trainers.config import TrainConfig
from trainers.formats import DataEstimate, format_of
from trainers.memory import WorkerMemory, host_memory, worker_memory
from trainers.models import locate, read_shape
from trainers.shape import Shape

# Dense bfloat16 operations a second, from the makers' data sheets; what trainings reach of it, roughly.
_PEAK_FLOPS = {"H100": 989e12, "A100": 312e12}
_UTILIZATION = 0.4
_GPU_MEMORY = {
    "24 GB (L4)": 24,
    "48 GB (L40S)": 48,
    "80 GB (A100, H100)": 80,
    "141 GB (H200)": 141,
    "192 GB (B200)": 192,
}
_USABLE = 0.92
"""The rest is lost to fragments and to the communication library's buffers."""
# Float32 weights and AdamW's two moments.
_CHECKPOINT_BYTES = 12
# Of the same model in 16 bits, with 8 bits a weight, scales, and a small model's embeddings as they are.
_QUANTIZED_SHARE = 0.75
# The text and its tokens.
_DATA_BYTES_PER_TOKEN = 8


class Plan(NamedTuple):
    """What a job needs, from its files alone."""

    shape: Shape
    data: DataEstimate | None
    """None without a `data` section, and when the data cannot be reached from here."""
    unread: DataError | None
    """Why the data could not be reached."""
    memory: WorkerMemory | None
    """Peak of one training worker, on its GPU where it has one; None when nothing is trained."""
    beside: dict[str, int]
    """Kind of process beside the workers → bytes of all such processes, where they have no GPU."""
    flops: float | None
    """Floating-point operations of all training steps."""
    disk_bytes: int
    """What a run may take at most: data, base, merged and quantized models, and the checkpoints."""

    def report(self) -> dict[str, Any]:
        """The plan as it goes into report.json; bytes."""
        return {
            "worker_memory": None if self.memory is None else {**self.memory._asdict(), "total": self.memory.total},
            "memory_beside": self.beside,
            "data": None if self.data is None else self.data._asdict(),
            "train_flops": self.flops,
            "disk_bytes": self.disk_bytes,
        }


def make_plan(job: JobConfig, *, without_data: bool = False) -> Plan:
    """Read the model's dimensions and the training data.

    Args:
        without_data: go on when the data or model of a job for a running cluster cannot be reached from here, with the
            longest examples there may be, and with `model.dimensions`.

    Raises:
        ModelError, DataError, ArtifactError: something that the job names is missing or malformed.
    """
    shape = _model_shape(job, without_model=without_data and job.cluster.address != "local")
    if job.quantize is not None and shape.known_family:
        if "layers" not in shape.layer_name.split("."):
            raise ModelError(
                "The layers of this architecture cannot be quantized here.", field="quantize", got=shape.family,
                expected="llama, mistral, qwen2, qwen3, or another with layers like theirs",
            )  # fmt: skip
        for method in job.quantize.quantizers:
            method.require_fits({name: linear.inputs for name, linear in shape.linear_layers()})
    data, unread = read_data(job)
    if unread is not None and (not without_data or job.cluster.address == "local"):
        raise unread
    memory, flops, beside = None, None, dict[str, int]()
    if job.train is not None and job.data is not None:
        assumed = data or DataEstimate(0, 0, job.data.max_length, 1.0)
        mean_tokens = _mean_tokens(job.data.max_length, data)
        if (completed := getattr(job.train.objective, "completed", None)) is not None:
            assumed, mean_tokens = completed(assumed, mean_tokens)
        workers, gpu = job.cluster.min_workers, bool(job.cluster.gpus_per_worker)
        memory = worker_memory(shape, job.train, workers, assumed.longest, assumed.trained_share, gpu=gpu)
        if (with_companions := getattr(job.train.objective, "with_companions", None)) is not None:
            memory = with_companions(memory, shape, job.train)
        if (memory_beside := getattr(job.train.objective, "memory_beside", None)) is not None:
            beside = memory_beside(shape, job.train, assumed.longest, partial(_artifact_bytes, job, shape))
        flops = _flops(shape, job.train, mean_tokens, assumed.trained_share)
    return Plan(shape, data, unread, memory, beside, flops, _disk_bytes(job, shape, data))


def _artifact_bytes(job: JobConfig, shape: Shape, name: str) -> int:
    """Of a published model; one that an earlier link of a chain is to publish is taken to be as large as this one."""
    store = ArtifactStore(job.storage.location())
    try:
        return store.get(name).size_bytes
    except ArtifactError:
        return 2 * shape.num_parameters


def _model_shape(job: JobConfig, *, without_model: bool) -> Shape:
    if job.model.scratch is not None and job.tokenizer is not None:
        return architectures.shape_of(job.model.scratch, job.tokenizer.vocabulary)
    if job.model.artifact is not None:
        store = ArtifactStore(job.storage.location())
        return Shape.from_config(read_shape(store.files(published_model(store, job.model.artifact))))
    try:
        return Shape.from_config(read_shape(locate(job.model)))
    except ModelError:
        if job.model.dimensions is None or not without_model:
            raise
    return Shape.from_config(job.model.dimensions)


def read_data(job: JobConfig) -> tuple[DataEstimate | None, DataError | None]:
    """The data's estimated size, or why it cannot be reached from here.

    Raises:
        DataError: it is malformed.
    """
    if job.data is None:
        return None, None
    try:
        format_of(job.data).identity(job.data)
    except DataError as error:
        return None, error
    return format_of(job.data).estimate(job.data), None


def _mean_tokens(max_length: int, data: DataEstimate | None) -> float:
    return max_length if data is None else data.tokens / data.samples


def _flops(shape: Shape, config: TrainConfig, tokens: float, trained_share: float) -> float:
    """Of all steps (and ranks, if they escalate), for sequences of so many tokens.

    A frozen weight needs no gradient of its own, a third of its operations.
    """
    per_token = shape.flops_per_token(round(tokens), trained_share) * (2 / 3 if config.adapter else 1)
    rungs = len(config.adapter.lora.ranks) - 1 if config.adapter and config.adapter.lora.escalates else 0
    steps = config.steps * (1 + rungs * config.adapter.lora.later_share if config.adapter and rungs else 1)
    return per_token * tokens * config.batch.sequences * steps


def _disk_bytes(job: JobConfig, shape: Shape, data: DataEstimate | None) -> int:
    weights = (4 if job.train is not None and job.train.dtype == "float32" else 2) * shape.num_parameters
    needed = weights
    if (wanted := job.quantize) is not None:
        results = len(wanted.methods) * (1 + (wanted.rescue.rounds if wanted.rescue is not None else 0))
        needed += round(_QUANTIZED_SHARE * 2 * shape.num_parameters) * results
    needed += _DATA_BYTES_PER_TOKEN * data.tokens if data is not None else 0
    if job.train is None:
        return needed
    needed += weights
    return needed + checkpoint_bytes(job.train, shape)


def checkpoint_bytes(config: TrainConfig, shape: Shape) -> int:
    """What a training's checkpoints may take of the run directory."""
    if config.checkpoint.folder is not None:
        return 0
    return one_checkpoint_bytes(config, shape) * (config.checkpoint.keep + 1)


def one_checkpoint_bytes(config: TrainConfig, shape: Shape) -> int:
    """What one checkpoint takes, wherever it lies."""
    trained = shape.num_adapter_parameters(config.adapter.lora) if config.adapter else shape.num_parameters
    return _CHECKPOINT_BYTES * trained


def assumed_step_s(plan: Plan, job: JobConfig) -> float | None:
    """Seconds of a step on the fastest GPU that times are planned for; None for jobs whose speed is not planned."""
    gpus = job.cluster.max_workers * job.cluster.gpus_per_worker
    if not gpus or job.train is None or plan.flops is None or job.train.dtype == "float32":
        return None
    return plan.flops / job.train.steps / (gpus * max(_PEAK_FLOPS.values()) * _UTILIZATION)


def require_job_fits(job: JobConfig, capacity: Capacity) -> None:
    """Refuse a job whose workers, and what runs beside them, an embedded cluster can never hold.

    A running cluster has several nodes, and may start more: `jobs.admission` looks for a place for each process.

    Raises:
        ResourceError: with the figures.
    """
    if job.cluster.address != "local":
        return
    beside = getattr(job.train.objective, "beside", (0.0, 0.0)) if job.train is not None else (0.0, 0.0)
    require_fits(job.cluster, capacity, *beside)


def require_room(job: JobConfig, plan: Plan, copies: int = 1) -> None:
    """Refuse a job that this machine's disk or (for an embedded cluster) memory cannot hold.

    Args:
        copies: how many such jobs run at a time.

    Raises:
        ResourceError: with the figures.
    """
    require_free_space(job.storage.location(), plan.disk_bytes, "for this job")
    if job.cluster.address == "local":
        require_job_fits(job, embedded_capacity(job.cluster))
    if plan.memory is None or job.cluster.address != "local" or job.cluster.gpus_per_worker:
        return
    workers = job.cluster.min_workers
    needed = (plan.memory.total * workers + sum(plan.beside.values())) * copies
    available = embedded_capacity(job.cluster).memory_bytes
    if needed > available:
        raise ResourceError(
            "Too little memory for the training workers.", field="cluster.workers × memory of a worker",
            got=f"{size(available)} free", expected=_needed_words(plan, workers, copies),
            fix="lower train.batch.micro, data.max_length or cluster.workers",
        )  # fmt: skip


def _needed_words(plan: Plan, workers: int, copies: int) -> str:
    each = 0 if plan.memory is None else plan.memory.total
    beside = "".join(f" + {size(value)} ({kind})" for kind, value in plan.beside.items())
    of_one = f"{workers} × {size(each)}{beside}"
    return of_one if copies == 1 else f"{copies} jobs at a time, each {of_one}"


def show_plan(job: JobConfig) -> None:
    """Print the plan. Data and cluster that cannot be reached from here are said to be unchecked.

    Raises:
        RaysmithError: the job cannot run; the reason is the one that `run` would give.
    """
    plan = make_plan(job, without_data=True)
    title(f"Plan of {job.name}: {' → '.join(stages(job))}")
    fact("model", _model_words(job, plan.shape))
    if plan.data is not None and job.data is not None:
        fact(
            "data",
            f"{plan.data.samples:,} sequences ({job.data.kind}), about {plan.data.tokens:,} tokens, "
            f"longest about {plan.data.longest:,}",
        )
    if plan.unread is not None and job.data is not None:
        fact("data", f"not read: {plan.unread.message} {plan.unread.got or ''}")
        fact("", f"sequences of {job.data.max_length:,} tokens, the most there may be, are counted with")
    if job.train is not None and job.data is not None:
        _show_training(job, job.train, plan, _mean_tokens(job.data.max_length, plan.data))
    fact("disk", f"up to {size(plan.disk_bytes)} under {job.storage.location()}")
    reached = _show_fit(job)
    unchecked = ["the data"] * (plan.unread is not None) + ["the cluster"] * (not reached)
    if job.cluster.address == "local":
        require_room(job, plan)
    else:
        unchecked.append("the cluster's disk")
    if unchecked:
        console.print(f"\n  Not checked from here: {', '.join(unchecked)}.", markup=False)
    console.print("\n  Nothing was allocated. Run it with `raysmith run` and the same arguments.", markup=False)


def _model_words(job: JobConfig, shape: Shape) -> str:
    if job.model.scratch is not None and job.tokenizer is not None:
        return architectures.describe(job.model.scratch, job.tokenizer.vocabulary)
    return f"{shape.num_parameters / 1e6:,.1f}M parameters, {shape.layers} layers of width {shape.hidden}"


def stages(job: JobConfig) -> list[str]:
    """Names of the stages that the job's sections ask for, in order."""
    names = ["data", "tokenizer", "model", "tokens"] if job.model.scratch is not None else ["model"]
    if job.data is not None and job.model.scratch is None:
        names.append("data")
    if job.train is not None:
        measure = job.evaluate is not None and not job.measures_itself
        names += ["evaluate before"] * measure + ["train"] + ["merge"] * (job.train.adapter is not None)
        names += ["evaluate after"] * measure
    return names + ["quantize"] * (job.quantize is not None) + ["serve"] * (job.serve is not None)


def _show_training(job: JobConfig, config: TrainConfig, plan: Plan, mean_tokens: float) -> None:
    fact("batch", batch_words(config, job.cluster, mean_tokens, plan.data.samples if plan.data else None))
    if (facts := getattr(config.objective, "facts", None)) is not None:
        for label, words in facts(config):
            fact(label, words)
    if config.adapter is not None:
        trained = plan.shape.num_adapter_parameters(config.adapter.lora)
        fact("trained", trained_words(trained, plan.shape.num_parameters))
    if plan.flops is not None:
        fact("work", f"{plan.flops:.3g} floating-point operations in {config.steps:,} steps")
        _show_time(job.cluster, config, plan.flops)
    if plan.memory is not None:
        gpu = bool(job.cluster.gpus_per_worker)
        where = "the GPU of a worker" if gpu else "a worker"
        table = Table(f"memory of {where}, ZeRO-{config.deepspeed.stage}", "", box=None, header_style="bold")
        for part, value in {**plan.memory._asdict(), "total": plan.memory.total}.items():
            table.add_row(part, size(value))
        console.print(table)
        for kind, value in plan.beside.items():
            fact(kind, f"{size(value)} of the node's memory")
        if gpu:
            fact("GPU", f"the smallest that holds it: {_smallest_gpu(plan.memory.total)}")
            workers = job.cluster.min_workers
            fact("node", f"{size(host_memory(plan.shape, config, workers))} of its memory for each worker")


def _smallest_gpu(needed: int) -> str:
    fitting = [name for name, gigabytes in _GPU_MEMORY.items() if needed <= _USABLE * gigabytes * 1e9]
    return fitting[0] if fitting else "none; use more workers, a higher ZeRO stage, offloading or a smaller micro batch"


def _show_time(cluster: ClusterConfig, config: TrainConfig, flops: float) -> None:
    gpus = cluster.max_workers * cluster.gpus_per_worker
    if not gpus or config.dtype == "float32":
        return
    times = (f"{duration(flops / (gpus * peak * _UTILIZATION))} on {gpus} × {gpu}" for gpu, peak in _PEAK_FLOPS.items())
    fact("time", f"about {', '.join(times)} (assumed: {_UTILIZATION:.0%} of the bfloat16 peak)")


def _show_fit(job: JobConfig) -> bool:
    """What the cluster has; whether it could be reached."""
    cluster = job.cluster
    if cluster.address == "local":
        capacity = embedded_capacity(cluster)
        fact("cluster", f"embedded: {capacity.cpus:g} CPUs, {size(capacity.memory_bytes)} of memory free")
        return True
    try:
        with connected(cluster) as capacity:
            fact("cluster", f"{cluster.address}: {json.dumps(capacity._asdict())}")
            now = cluster_now()
            if now.to_come:
                kinds = Counter(amounts(node) for node in now.to_come)
                words = ", ".join(f"{number} × {kind}" for kind, number in kinds.items())
                fact("", f"may start more nodes: {words}")
            require_place(wanted_by(job).need, now)
    except ClusterError as error:
        fact("cluster", f"not reached: {error.message} {error.got}")
        return False
    return True


def require_free_port(job: JobConfig) -> None:
    """Refuse a job whose endpoint could not listen, before hours of training rather than after.

    Raises:
        ResourceError: the port is in use.
    """
    if job.serve is not None and job.cluster.address == "local":
        free_port(job.serve)
