"""Every trial trains to its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from jobs.sweep.config import SchedulerConfig, SweepConfig

if TYPE_CHECKING:
    from ray.tune.schedulers import TrialScheduler


class Config(SchedulerConfig):
    """Keys of `scheduler: none`."""

    kind: Literal["none"] = "none"


def build(config: Config, sweep: SweepConfig, steps: int) -> TrialScheduler:  # noqa: ARG001
    """Tune's first-in-first-out scheduler."""
    from ray.tune.schedulers import FIFOScheduler

    return FIFOScheduler()
