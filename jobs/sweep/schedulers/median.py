"""Median stopping rule (Golovin et al. 2017): a trial ends when its best is below the median of the others' means."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import PositiveInt

from jobs.sweep.config import SchedulerConfig, SweepConfig
from jobs.sweep.schedulers import SCORE, STEP

if TYPE_CHECKING:
    from ray.tune.schedulers import TrialScheduler


_NEVER = 10**12
"""Steps after which a trial would make room for waiting ones."""


class Config(SchedulerConfig):
    """Keys of `scheduler: median`."""

    kind: Literal["median"] = "median"
    grace_steps: PositiveInt
    """Steps of a trial before it may be stopped."""
    min_trials: PositiveInt = 3
    """Trials to take the median of."""


def build(config: Config, sweep: SweepConfig, steps: int) -> TrialScheduler:  # noqa: ARG001
    """Tune's MedianStoppingRule."""
    from ray.tune.schedulers import MedianStoppingRule

    return MedianStoppingRule(
        time_attr=STEP, metric=SCORE, mode="min", grace_period=config.grace_steps,
        min_samples_required=config.min_trials, min_time_slice=_NEVER,
    )  # fmt: skip
