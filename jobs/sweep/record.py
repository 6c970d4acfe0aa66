"""sweep.json: what is known of every trial, written after each event, so that a killed sweep can be resumed from it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from cluster.config import Config, digest
from cluster.storage import read_json, write_json
from jobs.sweep.config import BudgetConfig, ObjectiveConfig
from jobs.sweep.searchers import Tried

Status = Literal["waiting", "running", "finished", "stopped", "failed"]


class Move(Config):
    """A trial went on with another's weights (PBT)."""

    step: int
    """Of the weights."""
    source: str
    """The run whose checkpoint it was."""
    sha256: str
    """Of the checkpoint's files; what the trial then loaded has the same."""
    values: dict[str, Any]
    """What the trial went on with."""


class Trial(Config):
    """One trial, as the sweep knows it."""

    number: int
    point: dict[str, Any]
    values: dict[str, Any]
    """Dotted key → value."""
    run: str
    """Name of its run directory."""
    status: Status = "waiting"
    reason: str | None = None
    """Why it was stopped or failed."""
    curve: list[tuple[int, float]] = Field(default_factory=list)
    """(step, objective) of each measurement."""
    score: float | None = None
    """The objective of the weights that it would publish."""
    score_step: int | None = None
    steps: int = 0
    """Trained, those that were trained twice counted twice."""
    tokens: int = 0
    seconds: float = 0.0
    """Spent in steps."""
    moves: list[Move] = Field(default_factory=list)


class SweepRecord:
    """The trials of a sweep, and what they are compared by.

    Args:
        identity: what must be the same for a resume to be one: space, job, objective, search, scheduler, seed.
        best_counts: whether a trial publishes its best weights, not its last.
    """

    def __init__(self, path: Path, identity: dict[str, Any], objective: ObjectiveConfig, *, best_counts: bool) -> None:
        self._path, self._identity, self._objective, self._best_counts = path, identity, objective, best_counts
        self.trials: list[Trial] = []
        self.winner: dict[str, Any] | None = None
        """`number`, `values`, `score` and, when it is published, `artifact`."""
        self.seconds_before = 0.0
        """Of earlier attempts."""
        self._began = time.monotonic()

    @classmethod
    def identity_of(cls, path: Path) -> str | None:
        """Hash of the identity of the sweep that is recorded there; None when there is none."""
        found = read_json(path)
        return None if found is None else str(found["identity"])

    @property
    def identity(self) -> str:
        """Hash of what makes two sweeps the same."""
        return digest(self._identity)

    def load(self) -> None:
        """Take up what an earlier attempt recorded; trials that were cut off wait to be resumed."""
        found = read_json(self._path) or {}
        self.trials = [Trial.model_validate(one) for one in found.get("trials", [])]
        self.trials = [
            one.model_copy(update={"status": "waiting"}) if one.status == "running" else one for one in self.trials
        ]
        self.winner, self.seconds_before = found.get("winner"), found.get("seconds", 0.0)

    def save(self) -> None:
        """Write sweep.json."""
        write_json(self._path, {
            "identity": self.identity, "configuration": self._identity, "seconds": round(self.seconds, 1),
            "winner": self.winner, "trials": [one.model_dump(mode="json") for one in self.trials],
        })  # fmt: skip

    @property
    def seconds(self) -> float:
        """Wall-clock time of all attempts."""
        return self.seconds_before + time.monotonic() - self._began

    @property
    def tokens(self) -> int:
        """Trained on by all trials together."""
        return sum(one.tokens for one in self.trials)

    def update(self, number: int, **changes: Any) -> Trial:
        """Change a trial and write."""
        self.trials[number] = self.trials[number].model_copy(update=changes)
        self.save()
        return self.trials[number]

    def add(self, trial: Trial) -> None:
        """Append a trial and write."""
        self.trials.append(trial)
        self.save()

    def measured(self, number: int, step: int, value: float) -> None:
        """A trial reports its objective. After a restart, or with another's weights, later steps are measured anew."""
        trial = self.trials[number]
        curve = [point for point in trial.curve if point[0] < step] + [(step, value)]
        chosen = (
            min(curve, key=lambda point: (self._objective.sign * point[1], point[0]))
            if self._best_counts
            else curve[-1]
        )
        self.update(number, curve=curve, score=chosen[1], score_step=chosen[0])

    def ranked(self) -> list[Trial]:
        """The trials that have a score, the best first."""
        scored = [one for one in self.trials if one.score is not None and one.status != "failed"]
        return sorted(scored, key=lambda one: (self._objective.sign * (one.score or 0.0), one.number))

    def history(self) -> list[Tried]:
        """The trials as searchers see them."""
        sign = self._objective.sign
        return [
            Tried(
                one.point,
                None if one.score is None or one.status in ("running", "waiting", "failed") else sign * one.score,
                one.status in ("running", "waiting"),
            )
            for one in self.trials
        ]


def spent(budget: BudgetConfig, record: SweepRecord) -> str | None:
    """Which part of the budget is spent, in words."""
    if budget.tokens is not None and record.tokens >= budget.tokens:
        return f"{record.tokens:,} of {budget.tokens:,} tokens"
    if budget.minutes is not None and record.seconds >= 60 * budget.minutes:
        return f"{record.seconds / 60:.1f} of {budget.minutes:g} minutes"
    return None
