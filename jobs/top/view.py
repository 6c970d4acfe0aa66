"""A snapshot as a terminal shows it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from jobs.top.snapshot import RunRow, Snapshot, SweepRow
from jobs.words import duration, size

_BARS = "▁▂▃▄▅▆▇█"
_CURVE = 16
_WIDE, _NARROW = 120, 90
_NAME = 14
_HEAD, _TITLE = 3, 3
"""Lines that the top, and the titles of each part, take at most."""
_COLOURS = {
    "running": "cyan", "done": "green", "failed": "red", "interrupted": "yellow", "lost": "bold red",
    "serving": "green", "starting": "yellow", "changing": "yellow", "does not answer": "bold red",
}  # fmt: skip
_NONE = "—"


def view(snapshot: Snapshot, height: int | None = None, width: int = _WIDE) -> RenderableType:
    """Everything, the busiest parts first.

    Args:
        height: lines that there are; the longest lists are cut to fit. Unset: nothing is cut.
        width: columns that there are; of runs less is told where they are few.
    """
    lists = (snapshot.runs, snapshot.sweeps, snapshot.endpoints, snapshot.jobs, snapshot.gpus)
    used = sum(map(bool, lists))
    rows = None if height is None else max(3, (height - _HEAD - _TITLE * used - len(snapshot.notes)) // max(1, used))
    parts: list[RenderableType] = [_head(snapshot)]
    parts += _part("Runs", _runs(snapshot.runs, rows, width), len(snapshot.runs), rows)
    parts += _part("Sweeps", _sweeps(snapshot.sweeps, rows, width), len(snapshot.sweeps), rows)
    parts += _part("Endpoints", _endpoints(snapshot, rows), len(snapshot.endpoints), rows)
    if snapshot.cluster is not None:
        parts += _part(f"Jobs of {snapshot.cluster}", _jobs(snapshot, rows), len(snapshot.jobs), rows)
    parts += _part("GPUs", _gpus(snapshot, rows), len(snapshot.gpus), rows)
    parts += [Text(f"  {note}", style="yellow") for note in snapshot.notes]
    if not (snapshot.runs or snapshot.endpoints or snapshot.jobs):
        parts.append(Text("\n  Nothing runs here, and nothing ended within the hour.", style="dim"))
    return Group(*parts)


def sparkline(values: list[float], width: int = _CURVE) -> str:
    """A curve in so many characters: means of neighbours, from the lowest to the highest."""
    if not values:
        return ""
    width = min(width, len(values))
    edges = [round(index * len(values) / width) for index in range(width + 1)]
    means = [math.fsum(values[a:b]) / (b - a) for a, b in itertools.pairwise(edges)]
    low, high = min(means), max(means)
    scale = (len(_BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(_BARS[round((one - low) * scale)] for one in means)


def _head(snapshot: Snapshot) -> RenderableType:
    machine = snapshot.machine
    text = (
        f"[bold]{escape(machine.host)}[/]  CPU {machine.cpu_percent:.0f}% of {machine.cores} cores, load "
        f"{machine.load:.1f}  memory {size(machine.memory_used)} of {size(machine.memory_total)}  disk "
        f"{size(machine.disk_free)} free of {size(machine.disk_total)}  [dim]{escape(snapshot.root)}[/]"
    )
    return Text.from_markup(text)


def _part(title: str, table: Table, count: int, rows: int | None) -> Iterable[RenderableType]:
    if not count:
        return
    hidden = 0 if rows is None else max(0, count - rows)
    yield Text.from_markup(f"\n[bold cyan]{escape(title)}[/]" + (f" [dim]({hidden} more)[/]" if hidden else ""))
    yield table


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    for column in columns:
        first = not table.columns  # the name
        table.add_column(
            column, justify="right" if column in _RIGHT else "left", overflow="ellipsis",
            # Where there is little room, columns that may wrap become narrower, and no others; no cell does wrap.
            no_wrap=not first and column not in _TEXTS, min_width=_NAME if first else None,
        )  # fmt: skip
    return table


def _add(table: Table, *cells: str) -> None:
    texts = [Text.from_markup(cell, overflow="ellipsis") for cell in cells]
    for text in texts:
        text.no_wrap = True
    table.add_row(*texts)


_TEXTS = {"doing", "trials", "of", "metric", "url", "name", "id"}
_RIGHT = {
    "step", "left", "tokens/s", "MFU", "goodput", "replicas", "running", "waiting", "requests/s", "first token p95",
    "5xx", "took", "use", "temperature", "power", "best", "tokens",
}  # fmt: skip


def _runs(runs: list[RunRow], rows: int | None, width: int) -> Table:
    columns = ("run", "status", "doing", "step", "left", "", "tokens/s", "curve", "MFU", "goodput")
    shown = len(columns) - (0 if width >= _WIDE else 3 if width >= _NARROW else 4)
    table = _table(*columns[:shown])
    for run in runs[:rows]:
        doing = run.doing if not run.error else run.error.splitlines()[0]
        step = _NONE if run.done is None else f"{run.done:,}" + (f"/{run.total:,}" if run.total else "")
        value = "" if run.value is None else f"{run.figure} {run.value:.3f}"
        cells = (
            escape(run.name), _status(run.status), escape(doing), step, _words(run.eta_s), value,
            _number(run.tokens_per_s, ",.0f"), sparkline(run.curve), _number(run.mfu, ".1%"),
            _number(run.goodput, ".1%"),
        )  # fmt: skip
        _add(table, *cells[:shown])
    return table


def _sweeps(sweeps: list[SweepRow], rows: int | None, width: int) -> Table:
    columns = ("sweep", "status", "trials", "best", "of", "metric", "tokens", "took")
    shown = len(columns) - (0 if width >= _WIDE else 3)
    table = _table(*columns[:shown])
    for sweep in sweeps[:rows]:
        counts = ", ".join(f"{count} {status}" for status, count in sweep.counts.items() if count)
        values = ", ".join(f"{key.rpartition('.')[2]} {value}" for key, value in sweep.best_values.items())
        cells = (
            escape(sweep.name), _status(sweep.status), counts, _number(sweep.best, ".4f"), escape(values),
            escape(sweep.metric), f"{sweep.tokens:,}", duration(sweep.seconds),
        )  # fmt: skip
        _add(table, *cells[:shown])
        for trial in sweep.trials:
            score = _number(trial["score"], ".4f")
            _add(table, f"  [dim]{escape(str(trial['run']))}[/]", "", f"[dim]step {trial['step']:,}[/]", score)
    return table


def _endpoints(snapshot: Snapshot, rows: int | None) -> Table:
    table = _table(
        "endpoint", "status", "replicas", "running", "waiting", "requests/s", "tokens/s", "first token p95", "5xx",
        "url",
    )  # fmt: skip
    for one in snapshot.endpoints[:rows]:
        first = _NONE if one.ttft_p95_s is None else f"{1000 * one.ttft_p95_s:,.0f} ms"
        _add(
            table, escape(one.name), _status(one.status), _number(one.replicas, ".0f"), _number(one.running, ".0f"),
            _number(one.waiting, ".0f"), _number(one.requests_per_s, ".1f"), _number(one.tokens_per_s, ",.0f"), first,
            _number(one.failed, ".0f"), escape(one.url),
        )  # fmt: skip
    return table


def _jobs(snapshot: Snapshot, rows: int | None) -> Table:
    table = _table("job", "state", "took", "id")
    for job in snapshot.jobs[:rows]:
        _add(table, escape(job.name), _status(job.status), duration(job.seconds), escape(job.id))
    return table


def _gpus(snapshot: Snapshot, rows: int | None) -> Table:
    table = _table("GPU", "name", "use", "memory", "temperature", "power")
    for gpu in snapshot.gpus[:rows]:
        known = gpu.memory_used is not None and gpu.memory_total is not None
        memory = f"{size(gpu.memory_used or 0)} of {size(gpu.memory_total or 0)}" if known else _NONE
        _add(
            table, str(gpu.number), escape(gpu.name), _number(gpu.percent, ".0f", "%"), memory,
            _number(gpu.celsius, ".0f", " °C"), _number(gpu.watts, ".0f", " W"),
        )  # fmt: skip
    return table


def _status(status: str) -> str:
    colour = _COLOURS.get(status)
    return f"[{colour}]{escape(status)}[/]" if colour else escape(status)


def _words(seconds: float | None) -> str:
    return _NONE if seconds is None else duration(seconds)


def _number(value: float | None, form: str, unit: str = "") -> str:
    return _NONE if value is None else f"{value:{form}}{unit}"
