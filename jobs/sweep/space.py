"""From a search space to jobs: which values a point sets, and whether every job of the space is one that can run."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType
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
        tree = apply_values(self.job, values, f"space of {self.config.name}")
        own = {**_LEFT_OUT, "name": f"{self.config.name}-{number:03d}"}
        return _saved_where_measured(validate(JobConfig, apply_values(tree, own, self.config.name)))

    @property
    def sample(self) -> JobConfig:
        """A job of the space, for what all trials have in common."""
        return self.trial(0, self.values(next(_edges(self.config.space))))

    @property
    def scheduler(self) -> ModuleType:
        """The file of `scheduler`."""
        return import_module(f"jobs.sweep.schedulers.{self.config.scheduler.kind}")


def _saved_where_measured(job: JobConfig) -> JobConfig:
    """What is scored must be what is saved, moved and published."""
    if job.train is None or job.train.evaluation is None or job.trains_itself:
        return job
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
        _require_comparable(sweep, sweep.trial(0, sweep.values(point)))
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


def _require_comparable(sweep: Sweep, job: JobConfig) -> None:
    config = sweep.config
    if job.train is None or job.data is None:
        raise ConfigError(
            "A sweep needs a job that trains.", field="job", got=str(config.job), expected="data and train"
        )
    evaluation = job.train.evaluation
    if evaluation is None:
        raise ConfigError(
            "A sweep compares held-out measurements, and the job makes none.", field="job", got="no train.evaluation",
            expected="train.evaluation: {every_steps: …}", fix="set it in the job or in `set`",
        )  # fmt: skip
    if job.train.checkpoint.folder is not None:
        raise ConfigError(
            "The trials' checkpoints lie in their run directories.", field="train.checkpoint.folder",
            got=job.train.checkpoint.folder, expected="null", fix="set: {train: {checkpoint: {folder: null}}}",
        )  # fmt: skip
    moves = getattr(sweep.scheduler, "MOVES_WEIGHTS", False)
    if moves and job.trains_itself:
        raise ConfigError(
            "Weights are moved as our own checkpoints.", field="scheduler", got=job.train.objective.kind,
            expected="an objective without a training loop of its own", fix="another scheduler, such as asha",
        )  # fmt: skip
    if evaluation.publish == "best" and (moves or config.objective.metric != "heldout_loss"):
        why = "a trial's best may have been replaced" if moves else "it keeps those of the lowest heldout_loss"
        raise ConfigError(
            f"`publish: best` would publish other weights than are scored: {why}.", field="train.evaluation.publish",
            got=f"best, with {config.scheduler.kind} and {config.objective.metric}", expected="last",
            fix="set: {train: {evaluation: {publish: last}}}",
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
