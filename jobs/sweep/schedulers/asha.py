"""Asynchronous successive halving (Li et al. 2018, arXiv 1810.05934).

At each rung (`grace_steps`, times `reduction`, …) a trial goes on if it is among the best 1 / `reduction` of those that
came there before it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, PositiveInt

from jobs.sweep.config import SchedulerConfig, SweepConfig
from jobs.sweep.schedulers import SCORE, STEP

if TYPE_CHECKING:
    from ray.tune.schedulers import TrialScheduler


KNOWS_TRIALS_BY_ID = True


class Config(SchedulerConfig):
    """Keys of `scheduler: asha`."""

    kind: Literal["asha"] = "asha"
    grace_steps: PositiveInt
    """Steps of a trial before it may be stopped: the first rung."""
    reduction: float = Field(default=3.0, gt=1)
    """One in so many goes on at a rung."""


def build(config: Config, sweep: SweepConfig, steps: int) -> TrialScheduler:  # noqa: ARG001
    """Tune's AsyncHyperBandScheduler with one bracket, which is ASHA."""
    from ray.tune.schedulers import AsyncHyperBandScheduler

    return AsyncHyperBandScheduler(
        time_attr=STEP, metric=SCORE, mode="min", max_t=steps, grace_period=min(config.grace_steps, steps),
        reduction_factor=config.reduction, stop_last_trials=False,
    )  # fmt: skip
