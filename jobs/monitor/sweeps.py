"""What sweep.json tells of a sweep that goes on, or ended lately."""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

from jobs.monitor.files import dict_of, finite, number, read_object
from jobs.monitor.runs import Run

STATUSES = ("waiting", "running", "finished", "stopped", "failed")
FILE = "sweep.json"


class SweepView(NamedTuple):
    """A sweep, as its record tells it."""

    run: Run
    """The sweep's own directory."""
    metric: str
    counts: dict[str, int]
    """Status → trials."""
    trials: list[dict[str, Any]]
    """The best first, then those without a score."""
    tokens: int
    seconds: float

    @property
    def best(self) -> dict[str, Any] | None:
        """The best trial so far; None before the first measurement."""
        return next((one for one in self.trials if _score(one) is not None and one.get("status") != "failed"), None)

    @property
    def best_score(self) -> float | None:
        """Its objective."""
        return None if self.best is None else _score(self.best)


def sweep_of(run: Run) -> SweepView | None:
    """The sweep whose directory this is; None if it is none, or not recorded yet."""
    record = read_object(run.path / FILE) if run.is_sweep else {}
    if not record:
        return None
    listed = record.get("trials")
    trials = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
    objective = dict_of(dict_of(record, "configuration"), "objective")
    sign = -1.0 if objective.get("direction") == "maximize" else 1.0

    def place(trial: dict[str, Any]) -> tuple[bool, float]:
        score = _score(trial)
        return (score is None or trial.get("status") == "failed", 0.0 if score is None else sign * score)

    found = Counter(str(one.get("status")) for one in trials)
    return SweepView(
        run, str(objective.get("metric", "objective")), {status: found[status] for status in STATUSES},
        sorted(trials, key=place), sum(int(finite(number(one.get("tokens"))) or 0) for one in trials),
        finite(number(record.get("seconds"))) or 0.0,
    )  # fmt: skip


def _score(trial: dict[str, Any]) -> float | None:
    return finite(number(trial.get("score")))
