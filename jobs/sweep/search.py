"""The sweep's side of Ray Tune: proposes trials, follows them, ends them when the budget is spent."""

from __future__ import annotations

from importlib import import_module
from types import SimpleNamespace
from typing import Any

from ray import tune
from ray.tune.search import Searcher
from ray.tune.stopper import Stopper

from jobs.sweep.config import BudgetConfig
from jobs.sweep.record import Move, SweepRecord, Trial, spent
from jobs.sweep.schedulers import OVER, SCORE, STEP
from jobs.sweep.space import Sweep


class Proposals(Searcher):
    """Gives Tune the trials that were cut off, then new ones."""

    def __init__(self, sweep: Sweep, record: SweepRecord, scheduler: Any, numbers: dict[str, int]) -> None:
        super().__init__(metric=SCORE, mode="min")
        self._sweep, self._record, self._scheduler, self._numbers = sweep, record, scheduler, numbers
        self._cut_off = [one.number for one in record.trials if one.status == "waiting"]
        owner = sweep.scheduler
        if not getattr(owner, "MOVES_WEIGHTS", False):
            for one in record.trials:
                if one.status in ("finished", "stopped"):
                    self._replay(f"{one.run}-before", one)
        self._replays_resumed = getattr(owner, "KNOWS_TRIALS_BY_ID", False)

    def suggest(self, trial_id: str) -> dict[str, Any] | str:  # type: ignore[override]
        """The next trial, or that there is none."""
        trial = self._resumed(trial_id) or self._new()
        if trial is None:
            return str(Searcher.FINISHED)
        self._numbers[trial_id] = trial.number
        reported = trial.curve[-1][0] if trial.curve else 0
        return {"number": trial.number, "point": trial.point, "reported": reported}

    def _resumed(self, trial_id: str) -> Trial | None:
        if not self._cut_off:
            return None
        trial = self._record.trials[self._cut_off.pop(0)]
        if self._replays_resumed:
            self._replay(trial_id, trial)
        return trial

    def _new(self) -> Trial | None:
        config, number = self._sweep.config, len(self._record.trials)
        if config.budget.trials is not None and number >= config.budget.trials:
            return None
        searcher = import_module(f"jobs.sweep.searchers.{config.search.kind}")
        point = searcher.propose(config.search, config.space, config.seed, number, self._record.history())
        if point is None:
            return None
        values = self._sweep.values(point)
        name = self._sweep.trial(number, values).name
        self._record.add(Trial(number=number, point=point, values=values, run=name))
        return self._record.trials[number]

    def _replay(self, trial_id: str, trial: Trial) -> None:
        """Tell a new scheduler what an earlier attempt's was told: Tune does not keep a scheduler's memory."""
        before = _Replayed(trial_id, {"point": trial.point})
        nobody = SimpleNamespace(get_live_trials=list, get_trials=list)
        self._scheduler.on_trial_add(nobody, before)
        for step, value in trial.curve:
            result = {STEP: step, SCORE: self._sweep.config.objective.sign * value}
            self._scheduler.on_trial_result(nobody, before, result)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Nothing: what a trial came to is in the record."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the record is kept elsewhere, and after every event."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: see `save`."""


class _Replayed:
    """Stands for one of Tune's trials that an earlier attempt ran."""

    def __init__(self, trial_id: str, config: dict[str, Any]) -> None:
        self.trial_id, self.config = trial_id, config


class Follow(tune.Callback):
    """Keeps the record true to what the trials report.

    Args:
        numbers: Tune's trial id → the trial's number; `Proposals` fills it.
        show: told after each event.
    """

    def __init__(self, record: SweepRecord, numbers: dict[str, int], show: Any) -> None:
        self._record, self._numbers, self._show = record, numbers, show

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:  # noqa: ARG002
        """A trial begins, or goes on after a pause."""
        self._record.update(self._numbers[trial.trial_id], status="running")

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any) -> None:  # noqa: ARG002
        """A measurement, or a trial's end."""
        number = self._numbers[trial.trial_id]
        before = self._record.trials[number]
        changes: dict[str, Any] = {
            "steps": before.steps + result["new_steps"], "tokens": before.tokens + result["new_tokens"],
            "seconds": before.seconds + result["new_seconds"], "values": result["values"],
        }  # fmt: skip
        if (origin := result.get("origin")) and origin["source"] != before.run:  # else it only was paused
            move = Move(step=origin["step"], source=origin["source"], sha256=origin["sha256"], values=result["values"])
            changes |= {"moves": [*before.moves, move], "point": trial.config["point"]}
        self._record.update(number, **changes)
        if "value" in result:
            self._record.measured(number, result[STEP], result["value"])
        if "failed" in result:
            self._record.update(number, status="failed", reason=result["failed"])
        elif result[OVER]:
            self._record.update(number, status="finished", reason=None)
        self._show(self._record.trials[number])

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:  # noqa: ARG002
        """A trial ended: by itself, or because scheduler or budget ended it."""
        number = self._numbers[trial.trial_id]
        if self._record.trials[number].status in ("running", "waiting"):
            at = self._record.trials[number].curve[-1:]
            where = f"at step {at[0][0]}" if at else "before its first measurement"
            self._record.update(number, status="stopped", reason=f"by the scheduler or the budget {where}")
            self._show(self._record.trials[number])

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:  # noqa: ARG002
        """A trial's process died; the sweep goes on."""
        number = self._numbers[trial.trial_id]
        self._record.update(number, status="failed", reason="its process died; the logs are in the sweep's attempt")
        self._show(self._record.trials[number])


class Spent(Stopper):
    """Ends all trials when the budget is spent."""

    def __init__(self, budget: BudgetConfig, record: SweepRecord) -> None:
        self._budget, self._record = budget, record

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:  # noqa: ARG002
        """No single trial is stopped."""
        return False

    def stop_all(self) -> bool:
        """Whether tokens or time are spent."""
        return spent(self._budget, self._record) is not None
