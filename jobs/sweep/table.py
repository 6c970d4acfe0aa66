"""The table of a sweep's trials in the terminal: live while it runs, plain lines where another program reads."""

from __future__ import annotations

from typing import Any

from rich import live
from rich.markup import escape
from rich.table import Table

from jobs.console import console
from jobs.sweep.record import SweepRecord, Trial
from jobs.sweep.space import Sweep
from jobs.words import duration

_COLOURS = {"running": "cyan", "finished": "green", "stopped": "yellow", "failed": "red", "waiting": "dim"}
_SHOWN = 30


def describe(sweep: Sweep) -> str:
    """The sweep in one line."""
    config = sweep.config
    trials = f"{config.budget.trials} trials" if config.budget.trials else "every combination"
    scheduler = "" if config.scheduler.kind == "none" else f", {config.scheduler.kind}"
    return f"{trials} of {', '.join(config.space)} by {config.search.kind}{scheduler}"


def trial_table(sweep: Sweep, record: SweepRecord) -> Table:
    """Every trial, the best first, then those that run; the longest tables are cut."""
    table = Table(box=None, header_style="bold", title_justify="left")
    names = sorted({key for trial in record.trials for key in trial.values})
    for column in ("trial", *(_short(name) for name in names), sweep.config.objective.metric, "step", "state"):
        table.add_column(column, overflow="fold")
    ranked = record.ranked()
    best = {one.number for one in ranked[:1]}
    order = ranked + [one for one in record.trials if one.score is None or one.status == "failed"]
    for trial in order[:_SHOWN]:
        style = "bold" if trial.number in best else None
        table.add_row(*_cells(trial, names), style=style)
    if len(order) > _SHOWN:
        table.add_row(f"… {len(order) - _SHOWN} more")
    table.caption = f"{len(record.trials)} trials, {record.tokens:,} tokens, {duration(record.seconds)}"
    return table


def _short(key: str) -> str:
    return key.removeprefix("train.").removeprefix("adapter.")


def _cells(trial: Trial, names: list[str]) -> list[str]:
    values = [shown(trial.values.get(name)) for name in names]
    score = "—" if trial.score is None else f"{trial.score:.4f}"
    step = str(trial.curve[-1][0]) if trial.curve else "0"
    state = f"[{_COLOURS[trial.status]}]{trial.status}[/]"
    if trial.reason and trial.status == "failed":
        state += f": {escape(trial.reason.splitlines()[0])}"
    if trial.moves:
        state += f", {len(trial.moves)} moves"
    return [f"{trial.number:03d}", *map(escape, values), score, step, state]


def shown(value: Any) -> str:
    """A value in few characters."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


class Live:
    """Shows the table as long as a `with` block lasts."""

    def __init__(self, sweep: Sweep, record: SweepRecord) -> None:
        self._sweep, self._record = sweep, record
        self._live = live.Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None

    def __enter__(self) -> Live:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()
        console.print(trial_table(self._sweep, self._record))

    def show(self, trial: Trial) -> None:
        """A trial has something new."""
        if self._live is not None:
            self._live.update(trial_table(self._sweep, self._record), refresh=True)
            return
        names = sorted(trial.values)
        values = ", ".join(f"{_short(name)}={shown(trial.values[name])}" for name in names)
        at = f"step {trial.curve[-1][0]}: {trial.curve[-1][1]:.4f}" if trial.curve else ""
        reason = f" ({trial.reason.splitlines()[0]})" if trial.reason else ""
        console.print(f"  trial {trial.number:03d} {trial.status:<9}{at}  {values}{reason}", markup=False)
