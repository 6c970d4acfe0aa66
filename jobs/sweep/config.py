"""The configuration of a sweep: a job file, a space of values for its keys, and how it is searched."""

from __future__ import annotations

import math
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt, field_validator, model_validator

from cluster.config import Config, FromFolder, PluginConfig
from cluster.errors import ConfigValueError

_KINDS = ("grid", "choice", "uniform", "loguniform", "integer", "loginteger", "together")
_RANGES = ("uniform", "loguniform", "integer", "loginteger")


class Dimension(Config):
    """What one key of the job may be: exactly one of these."""

    grid: list[Any] | None = None
    """All of these values; `search: grid` takes every combination."""
    choice: list[Any] | None = None
    """One of these values."""
    uniform: tuple[float, float] | None = None
    """A number between two."""
    loguniform: tuple[float, float] | None = None
    """A number between two, its logarithm spread evenly."""
    integer: tuple[int, int] | None = None
    """A whole number between two, both included."""
    loginteger: tuple[int, int] | None = None
    """A whole number between two, both included, its logarithm spread evenly."""
    together: list[dict[str, Any]] | None = None
    """A coupled group, of any name: keys that change together. Each entry maps dotted keys to values."""

    @model_validator(mode="after")
    def _one_kind(self) -> Dimension:
        given = [kind for kind in _KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            raise ConfigValueError(
                "A dimension is of exactly one kind.", got=", ".join(given) or "none", expected=", ".join(_KINDS)
            )
        values = getattr(self, given[0])
        if given[0] in _RANGES:
            low, high = values
            least = 0.0 if given[0].startswith("log") else -math.inf
            if not least < low < high:
                raise ConfigValueError(
                    "Not a range.", got=f"{given[0]}: {list(values)}",
                    expected="the lower bound first" + (", above 0" if least == 0 else ""),
                )  # fmt: skip
        elif not values or any(one in values[:index] for index, one in enumerate(values)):
            raise ConfigValueError("Not a list of different values.", got=f"{given[0]}: {values}")
        if given == ["together"] and len({tuple(sorted(one)) for one in self.together or []}) != 1:
            raise ConfigValueError(
                "The entries of a coupled group must set the same keys.",
                got=" / ".join(", ".join(sorted(one)) for one in self.together or []),
            )
        return self

    @property
    def values(self) -> list[Any] | None:
        """All values; None of a range, which has too many."""
        return self.grid or self.choice or self.together

    @property
    def bounds(self) -> tuple[float, float]:
        """Of a range."""
        found: tuple[float, float] = next(getattr(self, kind) for kind in _RANGES if getattr(self, kind) is not None)
        return found

    @property
    def is_whole(self) -> bool:
        """Whether a range is one of whole numbers."""
        return self.integer is not None or self.loginteger is not None

    @property
    def is_log(self) -> bool:
        """Whether a range is spread over logarithms."""
        return self.loguniform is not None or self.loginteger is not None


class ObjectiveConfig(Config):
    """What makes a trial a good one."""

    metric: str = "heldout_loss"
    """A key of the trials' metrics.jsonl that is measured on held-out data, such as `heldout_loss` or
    `heldout_accuracy`."""
    direction: Literal["minimize", "maximize"] = "minimize"
    """Which way is better."""

    @property
    def sign(self) -> float:
        """Factor that makes lower better."""
        return 1.0 if self.direction == "minimize" else -1.0


class BudgetConfig(Config):
    """When to stop; whichever comes first."""

    trials: PositiveInt | None = None
    """Trials in all; needed unless `search: grid` counts them."""
    tokens: PositiveInt | None = None
    """Tokens trained on, all trials together."""
    minutes: PositiveFloat | None = None
    """Wall-clock time, what was before a resume included."""


class SearcherConfig(PluginConfig):
    """Base of the `Config` of every searcher (`jobs/sweep/searchers`)."""


class SchedulerConfig(PluginConfig):
    """Base of the `Config` of every scheduler (`jobs/sweep/schedulers`)."""


class SweepConfig(Config):
    """A sweep over the values of one job's keys."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,40}$")
    """Names the sweep's directory; its trials are the runs NAME-000, NAME-001 …"""
    job: Path
    """The job's YAML file, beside this one. Of its sections, those that train are run; `raysmith run JOB --winner NAME`
    runs the whole job with the winner's values."""
    set: dict[str, Any] = Field(default_factory=dict)
    """Keys of the job that are other in all trials: a tree, as in a job file."""
    space: dict[str, Dimension] = Field(min_length=1)
    """Dotted key of the job → what it may be."""
    objective: ObjectiveConfig = ObjectiveConfig()
    """What makes a trial a good one."""
    search: Annotated[SearcherConfig, FromFolder("jobs.sweep.searchers")] = Field(
        default="random", validate_default=True
    )
    """How values are chosen: a file of jobs/sweep/searchers, with its keys."""
    scheduler: Annotated[SchedulerConfig, FromFolder("jobs.sweep.schedulers")] = Field(
        default="none", validate_default=True
    )
    """Which trials are stopped early: a file of jobs/sweep/schedulers, with its keys."""
    budget: BudgetConfig = BudgetConfig()
    """When to stop."""
    concurrency: PositiveInt | None = None
    """Trials at a time; default: as many as the cluster has room for. What one takes is the job's `cluster` section."""
    keep_checkpoints: bool = False
    """Keep the checkpoints of all trials, not only the winner's, when the sweep is over."""
    seed: int = Field(default=0, ge=0)
    """Seed of the search."""

    @field_validator("space")
    @classmethod
    def _keys_are_set_once(cls, value: dict[str, Dimension]) -> dict[str, Dimension]:
        seen: set[str] = set()
        for name, dimension in value.items():
            keys = set(dimension.together[0]) if dimension.together else {name}
            if twice := sorted(seen & keys):
                raise ConfigValueError("A key is set by two dimensions.", got=twice[0], expected="one of them")
            seen |= keys
        return value

    @model_validator(mode="after")
    def _has_an_end(self) -> SweepConfig:
        if self.budget.trials is None and self.search.kind != "grid":
            raise ConfigValueError(
                "The sweep has no number of trials.", got=f"search: {self.search.kind} without budget.trials",
                expected="budget: {trials: …}",
            )  # fmt: skip
        if self.search.kind == "grid" and (ranges := [name for name, one in self.space.items() if one.values is None]):
            raise ConfigValueError(
                "`search: grid` cannot count a range.", got=", ".join(ranges), expected="grid, choice or together",
                fix="list values, or search: random or optuna",
            )  # fmt: skip
        return self

    @model_validator(mode="after")
    def _scheduler_fits(self) -> SweepConfig:
        refuse = getattr(import_module(f"jobs.sweep.schedulers.{self.scheduler.kind}"), "refuse", None)
        if refuse is not None:
            refuse(self.scheduler, self)
        return self
