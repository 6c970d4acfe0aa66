"""From a search space to jobs: which values a point sets, and whether every job of the space is one that can run."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from cluster.config_file import Loaded, apply_values, load_config, read_tree, validate
from cluster.errors import ConfigError
from jobs.config import JobConfig
from jobs.sweep.config import Dimension, SweepConfig

Point = dict[str, Any]
"""Dimension → its value; of a coupled group, the index of its entry."""

# What a trial leaves to the winner.
_LEFT_OUT = {"evaluate": None, "quantize": None, "serve": None}


class Sweep(NamedTuple):
    """A sweep as it was configured, and the job it is about."""

    config: SweepConfig
    job: Loaded
    """The job's tree, with `set` laid over it."""

    def values(self, point: Point) -> dict[str, Any]:
        """Dotted key → value, the coupled groups taken apart."""
        found: dict[str, Any] = {}
        for name, value in point.items():
            together = self.config.space[name].together
            found |= together[value] if together is not None else {name: value}
        return found

    def trial(self, number: int, values: Mapping[str, Any]) -> JobConfig:
        """The job of a trial.

        Raises:
            ConfigError: a key is unknown or a value not valid, naming the place in the sweep's file.
        """
        name = {"name": f"{self.config.name}-{number:03d}"}
        keys = dict.fromkeys(values, f"space of {self.config.name}")
        tree = apply_values(self.job, values, next(iter(keys.values()), ""))
        return validate(JobConfig, apply_values(tree, {**_LEFT_OUT, **name}, self.config.name))


def _with_checkpoint_at_measurements(job: JobConfig) -> JobConfig:
    """Weights are moved where they are measured, and through the nodes' shared storage."""
    if job.train is None or job.train.evaluation is None or job.trains_itself or job.train.checkpoint.folder:
        raise ConfigError(
            "Moving weights between trials needs our own checkpoints in the run directories.", field="scheduler",
            got="an objective with its own training loop, or train.checkpoint.folder", expected="neither",
            fix="another scheduler, such as asha",
        )  # fmt: skip
    checkpoint = job.train.checkpoint.model_copy(update={"every_steps": job.train.evaluation.every_steps})
    return job.model_copy(update={"train": job.train.model_copy(update={"checkpoint": checkpoint})})


def load_sweep(path: Path, overrides: list[str]) -> Sweep:
    """Read a sweep's file and the job's, and try the space.

    Raises:
        ConfigError: a key of the space is none of the job's, a value at the edge of the space is not valid, or the job
            cannot be compared with others.
    """
    config = load_config(SweepConfig, path, overrides)
    job = apply_values(read_tree(path.resolve().parent / config.job), config.set, "`set` of the sweep")
    sweep = Sweep(config, job)
    for point in _edges(config.space):
        _require_comparable(config, sweep.trial(0, sweep.values(point)))
    return sweep


def _edges(space: Mapping[str, Dimension]) -> Iterator[Point]:
    """Points that together hold every listed value and both ends of every range."""
    ends = {
        name: list(one.bounds) if one.values is None else list(range(len(one.values))) if one.together else one.values
        for name, one in space.items()
    }
    for index in range(max(map(len, ends.values()))):
        yield {name: _as_kind(space[name], values[min(index, len(values) - 1)]) for name, values in ends.items()}


def _as_kind(dimension: Dimension, value: Any) -> Any:
    return int(value) if dimension.is_whole else value


def _require_comparable(config: SweepConfig, job: JobConfig) -> None:
    if job.train is None or job.data is None:
        raise ConfigError(
            "A sweep needs a job that trains.", field="job", got=str(config.job), expected="data and train"
        )
    if job.train.evaluation is None:
        raise ConfigError(
            "A sweep compares held-out measurements, and the job makes none.", field="job", got="no train.evaluation",
            expected="train.evaluation: {every_steps: …}", fix="set it in the job or in `set`",
        )  # fmt: skip
    if job.train.adapter is not None and job.train.adapter.lora.escalates:
        raise ConfigError(
            "A sweep and `rank: escalate` both search.", field="train.adapter.lora.rank", got="escalate",
            expected="a rank", fix="put the ranks into the space: train.adapter.lora.rank: {grid: [4, 8, 16]}",
        )  # fmt: skip


def grid_size(space: Mapping[str, Dimension]) -> int | None:
    """Points of the full grid; None if there is a range among the dimensions."""
    counts = [len(one.values) if one.values is not None else 0 for one in space.values()]
    return math.prod(counts) or None
