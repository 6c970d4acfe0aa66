"""How a training ended, in small files that the driver reads: failure, outcome, memory, the batch it diverged on."""

from __future__ import annotations

import json
import resource
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cluster.errors
from cluster.errors import RaysmithError
from cluster.storage import read_json, write_atomically, write_json

if TYPE_CHECKING:
    from trainers.loop import Job

_FAILURE, _OUTCOME, _BAD_BATCH = "failure.json", "outcome.json", "diverged.json"
_SHOWN_EXAMPLES = 20


def write_failure(folder: Path, attempt: str, error: RaysmithError) -> None:
    """Record an error that a restart does not cure."""
    fields = {key: getattr(error, key) for key in ("message", "field", "got", "expected", "fix")}
    with suppress(OSError):  # the disk is full: the error still reaches the driver through Ray
        write_json(folder / _FAILURE, {"attempt": attempt, "kind": type(error).__name__, **fields})


def failed_before(folder: Path, attempt: str) -> bool:
    """Whether a worker of this attempt has recorded such an error."""
    record = read_json(folder / _FAILURE)
    return record is not None and record["attempt"] == attempt


def read_failure(folder: Path, attempt: str) -> RaysmithError | None:
    """The error that this attempt recorded."""
    record = read_json(folder / _FAILURE)
    if record is None or record.pop("attempt") != attempt:
        return None
    kind = getattr(cluster.errors, record.pop("kind"), RaysmithError)
    error: RaysmithError = kind(record.pop("message"), **record)
    return error


def write_outcome(
    job: Job,
    workers: int,
    best: dict[str, float] | None,
    stopped: str | None,
    parameters: dict[str, int],
) -> None:
    """Record that training has come to its end."""
    record = {"workers": workers, "best": best, "stopped": stopped, "parameters": parameters}
    write_json(job.folder / _OUTCOME, record)


def read_outcome(folder: Path) -> dict[str, Any]:
    """`workers`, `best` (step and heldout_loss), `stopped` (why it ended early) and `parameters` (how many are
    `trained`, of how many the model has); empty without a record.
    """
    return read_json(folder / _OUTCOME) or {}


def write_memory(job: Job, rank: int, bytes_before: int) -> None:
    """Record this worker's peak memory, of its GPU where it has one."""
    import torch

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if torch.cuda.is_available():
        peak, bytes_before = torch.cuda.max_memory_reserved(), 0
    record = {"rank": rank, "peak_bytes": peak, "before_model_bytes": bytes_before}
    write_atomically(_memory_file(job.folder, rank), json.dumps(record))


def read_memory(folder: Path, workers: int) -> list[dict[str, int]]:
    """What `write_memory` recorded, by rank."""
    return [read_json(_memory_file(folder, rank)) for rank in range(workers)]


def _memory_file(folder: Path, rank: int) -> Path:
    return folder / f"memory-{rank}.json"


def write_bad_batch(job: Job, rank: int, step: int, got: str, indices: list[int]) -> Path:
    """Describe the batch that training diverged on, with the text of its first examples; gives the file."""
    from trainers.data.store import TokenData
    from trainers.formats import TRAIN
    from trainers.models import load_tokenizer

    path = job.folder / _BAD_BATCH
    if rank == 0:
        data, tokenizer = TokenData(job.tokens / TRAIN), load_tokenizer(job.base)
        shown = {
            str(index): {
                name: tokenizer.decode(values.tolist()) for name, values in data[index].items() if name.endswith("_ids")
            }
            for index in indices[:_SHOWN_EXAMPLES]
        }
        write_json(path, {"step": step + 1, "got": got, "samples": indices, "texts": shown})
    return path
