"""Rollouts, and the files in which every one of them is kept: a parquet file a round, one a held-out measurement.

A round's file is also what a training resumes from that was cut off between two updates of the same round.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cluster.errors import DataError

META = b"raysmith"


@dataclass
class Rollout:
    """One completion and all that is known of it."""

    prompt: str
    completion: str
    prompt_ids: list[int]
    completion_ids: list[int]
    logprobs: list[float]
    """The sampler's, nats, one a token of the completion."""
    version: int
    """Optimizer steps that the weights had that wrote it."""
    example: int
    """Which prompt of the data."""
    epoch: int
    """How often that prompt had been drawn before."""
    group: int
    """Which prompt of the round; completions of a group belong together."""
    seed: int
    ended: bool
    """False where the length limit cut it off."""
    rewards: dict[str, float] = field(default_factory=dict)
    """Component → value; not a number where the function failed."""
    reward: float = float("nan")
    """Weighted sum of the components."""
    trained: bool = True
    """False where its prompt was left out of the round (`only_mixed_groups`)."""
    advantage: float = 0.0
    """Mean over its tokens."""
    old: list[float] | None = None
    """The learner's log-probabilities before the round was trained on, where it had to know them."""
    reference: list[float] | None = None
    """The reference model's."""
    values: list[float] | None = None
    """The critic's."""

    @property
    def ids(self) -> list[int]:
        """Prompt and completion."""
        return self.prompt_ids + self.completion_ids


_COLUMNS: dict[str, pa.DataType] = {
    "prompt": pa.string(), "completion": pa.string(), "prompt_ids": pa.list_(pa.int32()),
    "completion_ids": pa.list_(pa.int32()), "logprobs": pa.list_(pa.float32()), "version": pa.int64(),
    "example": pa.int64(), "epoch": pa.int64(), "group": pa.int32(), "seed": pa.int64(), "ended": pa.bool_(),
    "reward": pa.float32(), "trained": pa.bool_(), "advantage": pa.float32(), "old": pa.list_(pa.float32()),
    "reference": pa.list_(pa.float32()), "values": pa.list_(pa.float32()),
}  # fmt: skip
REWARD = "reward_"


def write_rollouts(path: Path, rollouts: list[Rollout], meta: dict[str, Any]) -> None:
    """Write a file, or nothing of it.

    Args:
        meta: plain data that belongs to all of them: `step`, `round` …
    """
    columns = {name: pa.array([getattr(one, name) for one in rollouts], kind) for name, kind in _COLUMNS.items()}
    for label in rollouts[0].rewards if rollouts else ():
        columns[REWARD + label] = pa.array([one.rewards[label] for one in rollouts], pa.float32())
    table = pa.table(columns).replace_schema_metadata({META: json.dumps(meta)})
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    pq.write_table(table, temporary)
    temporary.replace(path)


def read_rollouts(path: Path) -> tuple[list[Rollout], dict[str, Any]]:
    """What `write_rollouts` wrote.

    Raises:
        DataError: the file is damaged.
    """
    with _told(path):
        table = pq.read_table(path)
        meta: dict[str, Any] = json.loads(table.schema.metadata[META])
    labels = [name.removeprefix(REWARD) for name in table.column_names if name.startswith(REWARD)]
    rollouts = []
    for row in table.to_pylist():
        rewards = {label: float(row.pop(REWARD + label)) for label in labels}
        rollouts.append(Rollout(**row, rewards=rewards))
    return rollouts, meta


def read_meta(path: Path) -> dict[str, Any]:
    """What belongs to all rollouts of a file, without reading them.

    Raises:
        DataError: the file is damaged.
    """
    with _told(path):
        meta: dict[str, Any] = json.loads(pq.read_schema(path).metadata[META])
    return meta


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException, KeyError, TypeError) as error:
        raise DataError(
            "A file of rollouts cannot be read.", field=str(path), got=str(error).splitlines()[0],
            fix="restore it, or begin again with --fresh: a training goes on with the prompts that its rounds have not "
            "used, and with the round that it was cut off in",
        ) from None  # fmt: skip


def round_file(folder: Path, number: int) -> Path:
    """The file of a round."""
    return folder / f"round-{number:06d}.parquet"


def heldout_file(folder: Path, step: int) -> Path:
    """The file of a held-out measurement after so many steps."""
    return folder / f"heldout-{step:06d}.parquet"


def forget_later(folder: Path, first_round: int, first_step: int) -> None:
    """Remove the files of rounds from `first_round` on and of measurements after `first_step`: they come again."""
    for path in folder.glob("*.parquet"):
        kind, _, number = path.stem.partition("-")
        if (kind == "round" and int(number) >= first_round) or (kind == "heldout" and int(number) > first_step):
            path.unlink()


def flat(rollouts: list[Rollout], name: str) -> NDArray[np.float32] | None:
    """[t] a per-token column of all rollouts on end; None where they have none."""
    values = [getattr(one, name) for one in rollouts]
    if any(value is None for value in values):
        return None
    return np.concatenate([np.asarray(value, np.float32) for value in values])
