"""What a job would do, in words, before anything is allocated."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from pydantic import BaseModel
from rich.table import Table

from cluster.artifacts import ArtifactStore
from cluster.connect import ClusterConfig, connected, embedded_capacity, require_fits
from cluster.errors import DataError, ResourceError
from cluster.storage import require_free_space
from jobs.config import JobConfig
from jobs.console import console, fact, title
from jobs.words import batch_words, size
from serving.deploy import free_port
from trainers.data.chat import Messages, read_conversations
from trainers.memory import Shape, WorkerMemory, worker_memory
from trainers.models import locate, read_shape

# English text under a vocabulary of 32k to 130k; the turn markers of a chat template.
_CHARS_PER_TOKEN = 4.0
_TOKENS_PER_TURN = 6
_TOKENS_PER_CONVERSATION = 24  # a default system prompt, which many templates add


class DataEstimate(BaseModel):
    """Size of the training data, guessed from its characters: the tokenizer is not loaded for a plan."""

    samples: int
    tokens: int
    longest: int
    trained_share: float


def estimate_data(job: JobConfig) -> DataEstimate | None:
    """Read the training file and guess its tokens.

    Raises:
        DataError: the file is missing or malformed, with the line.
    """
    if job.data is None:
        return None
    if not job.data.heldout.is_file():
        raise DataError("A data file is missing.", field="data.heldout", got=job.data.heldout, expected="a JSONL file")
    lengths, trained = [], 0
    for _, messages in read_conversations(job.data.train):
        lengths.append(_tokens(messages) + _TOKENS_PER_CONVERSATION)
        trained += _tokens([turn for turn in messages if turn["role"] == "assistant"])
    kept = [length for length in lengths if length <= job.data.max_length] or [job.data.max_length]
    return DataEstimate(
        samples=len(kept), tokens=sum(kept), longest=max(kept), trained_share=min(1.0, trained / sum(lengths))
    )


def _tokens(messages: Messages) -> int:
    return int(sum(len(turn["content"]) / _CHARS_PER_TOKEN + _TOKENS_PER_TURN for turn in messages))


class Plan(NamedTuple):
    """What a job needs, from its files alone."""

    shape: Shape
    data: DataEstimate | None
    memory: WorkerMemory | None
    """Peak of one training worker; None when nothing is trained."""
    disk_bytes: int
    """What a run may take at most: base, merged and quantized model, and the checkpoints."""

    def report(self) -> dict[str, Any]:
        """The plan as it goes into report.json; bytes."""
        return {
            "worker_memory": None if self.memory is None else {**self.memory._asdict(), "total": self.memory.total},
            "data": None if self.data is None else self.data.model_dump(),
            "disk_bytes": self.disk_bytes,
        }


def make_plan(job: JobConfig) -> Plan:
    """Read the model's dimensions and the training file.

    Raises:
        ModelError, DataError, ArtifactError: something that the job names is missing or malformed.
    """
    data = estimate_data(job)
    shape = _model_shape(job)
    memory = None
    weights = (4 if job.train is not None and job.train.dtype == "float32" else 2) * shape.num_parameters
    disk_bytes = weights + (weights if job.quantize is not None else 0)
    if job.train is not None:
        trained = shape.num_adapter_parameters(job.train.adapter) if job.train.adapter else shape.num_parameters
        disk_bytes += weights + 14 * trained * (job.train.checkpoint.keep + 1)
    if job.train is not None and data is not None:
        memory = worker_memory(shape, job.train, job.cluster.workers, data.longest, data.trained_share)
    return Plan(shape, data, memory, disk_bytes)


def _model_shape(job: JobConfig) -> Shape:
    if job.model.artifact is not None:
        store = ArtifactStore(job.storage.path())
        return Shape.from_config(read_shape(store.files(store.get(job.model.artifact))))
    return Shape.from_config(read_shape(locate(job.model)))


def require_room(job: JobConfig, plan: Plan) -> None:
    """Refuse a job that this machine's disk or (for an embedded cluster) memory cannot hold.

    Raises:
        ResourceError: with the figures.
    """
    require_free_space(job.storage.path(), plan.disk_bytes, "for this job")
    if job.cluster.address == "local":
        require_fits(job.cluster, embedded_capacity(job.cluster))
    if plan.memory is None or job.cluster.address != "local" or job.cluster.gpus_per_worker:
        return
    needed = plan.memory.total * job.cluster.workers
    available = embedded_capacity(job.cluster).memory_bytes
    if needed > available:
        raise ResourceError(
            "Too little memory for the training workers.", field="cluster.workers × memory of a worker",
            got=f"{size(available)} free", expected=f"{job.cluster.workers} × {size(plan.memory.total)}",
            fix="lower train.batch.sequences (and raise train.batch.accumulation), data.max_length or cluster.workers",
        )  # fmt: skip


def show_plan(job: JobConfig) -> None:
    """Print the plan.

    Raises:
        RaysmithError: the job cannot run; the reason is the one that `run` would give.
    """
    plan = make_plan(job)
    shape, data = plan.shape, plan.data
    title(f"Plan of {job.name}: {' → '.join(stages(job))}")
    fact("model", f"{shape.num_parameters / 1e6:,.1f}M parameters, {shape.layers} layers of width {shape.hidden}")
    if data is not None:
        fact("data", f"{data.samples} conversations, about {data.tokens:,} tokens, longest about {data.longest}")
    if job.train is not None and data is not None:
        fact("batch", batch_words(job.train, job.cluster.workers, data.tokens, data.samples))
        if job.train.adapter is not None:
            trained = shape.num_adapter_parameters(job.train.adapter)
            fact("trained", f"{trained / shape.num_parameters:.2%} of {shape.num_parameters / 1e6:.1f}M parameters")
        _show_memory(job, plan.memory)
    fact("disk", f"up to {size(plan.disk_bytes)} under {job.storage.path()}")
    _show_fit(job.cluster)
    require_room(job, plan)
    console.print("\n  Nothing was allocated. Run it with `raysmith run` and the same arguments.", markup=False)


def stages(job: JobConfig) -> list[str]:
    """Names of the stages that the job's sections ask for, in order."""
    names = ["model"]
    if job.data is not None:
        names.append("data")
    if job.train is not None:
        measure = job.evaluate is not None
        names += ["evaluate before"] * measure + ["train"] + ["merge"] * (job.train.adapter is not None)
        names += ["evaluate after"] * measure
    return names + ["quantize"] * (job.quantize is not None) + ["serve"] * (job.serve is not None)


def _show_memory(job: JobConfig, memory: WorkerMemory | None) -> None:
    if memory is None or job.train is None:
        return
    stage = job.train.deepspeed.stage
    table = Table(f"memory of a worker, ZeRO-{stage}", "", box=None, header_style="bold")
    for part, value in {**memory._asdict(), "total": memory.total}.items():
        table.add_row(part, size(value))
    console.print(table)


def _show_fit(cluster: ClusterConfig) -> None:
    if cluster.address == "local":
        capacity = embedded_capacity(cluster)
        fact("cluster", f"embedded: {capacity.cpus:g} CPUs, {size(capacity.memory_bytes)} of memory free")
        return
    with connected(cluster) as capacity:
        fact("cluster", f"{cluster.address}: {json.dumps(capacity._asdict())}")
        require_fits(cluster, capacity)


def require_free_port(job: JobConfig) -> None:
    """Refuse a job whose endpoint could not listen, before hours of training rather than after.

    Raises:
        ResourceError: the port is in use.
    """
    if job.serve is not None and job.cluster.address == "local":
        free_port(job.serve)
