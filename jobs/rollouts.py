"""Look at the rollouts that a run has kept: filtered, sorted and cut while they are read, one file at a time."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.text import Text

from cluster.errors import ConfigError, DataError
from jobs.console import console
from jobs.rollouts_filter import Parser, require_column
from trainers.rl.rollouts import META, REWARD

_BEFORE = ("version", "example", "epoch", "group", "seed", "prompt", "completion")
_AFTER = ("reward", "trained", "advantage")
_SHOWN = 10
_KEPT = 4096
"""Rows that are held beside those wanted, at most, when rollouts are sorted."""
_CUT, _LINES = 800, 16
# What a terminal would obey: control characters, and those that turn the direction of writing.
_HIDDEN: dict[int, str] = {code: chr(0x2400 + code) for code in range(32) if chr(code) not in "\n\t"}
_HIDDEN |= dict.fromkeys([*range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)], "\ufffd")


class Query(NamedTuple):
    """Which rollouts, in which order."""

    where: str | None = None
    """A filter."""
    step: int | None = None
    sort: str | None = None
    """A column; with `-` before it, the greatest first. Rewards that failed are always the last to be taken."""
    limit: int | None = None
    """So many at most, from the beginning …"""
    last: int | None = None
    """… or from the end."""


class RolloutFile:
    """One file of rollouts.

    Raises:
        DataError: it is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with _readable(path), pq.ParquetFile(path) as file:
            self._schema, self._count = file.schema_arrow, int(file.metadata.num_rows)
            self.meta: dict[str, Any] = json.loads(self._schema.metadata[META])

    @property
    def columns(self) -> dict[str, Any]:
        """Column → its Arrow type: of the file as a whole, as they are written, and each component of the reward."""
        whole = {name: pa.int64() for name in ("step", "round") if name in self.meta}
        rewards = [name for name in self._schema.names if name.startswith(REWARD)]
        written = {
            name: self._schema.field(name).type for name in (*_BEFORE, *rewards, *_AFTER) if name in self._schema.names
        }
        return {**whole, **written, "length": pa.int32(), "ended": pa.bool_()}

    def read(self, where: str | None = None) -> Any:
        """Its rollouts for which the filter holds, as an Arrow table of the columns."""
        matching = None if where is None else Parser(where, self.columns).parse()
        table = self._table(self.columns)
        return table if matching is None else table.filter(matching)

    def count(self, where: str | None = None) -> int:
        """How many those are."""
        if where is None:
            return self._count
        parser = Parser(where, self.columns)
        matching = parser.parse()
        return len(self._table(parser.named).filter(matching))

    def _table(self, names: Iterable[str]) -> Any:
        # Rows are filtered here, not by the reader: it would leave out groups of them by their least and greatest
        # values, which know nothing of those that are not a number.
        given = {"length": "completion_ids"} | dict.fromkeys(("step", "round"), "ended")
        with _readable(self.path), pq.ParquetFile(self.path) as file:
            read = file.read(sorted({given.get(name, name) for name in names}), use_threads=False)
        found = {}
        for name in names:
            column = read[given.get(name, name)]
            if name in ("step", "round"):
                column = pa.repeat(pa.scalar(self.meta[name], pa.int64()), len(read))
            found[name] = pc.list_value_length(column) if name == "length" else column
        return pa.table(found)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError) as error:
        raise DataError(
            "A file of rollouts cannot be read.", field=str(path), got=(str(error) or repr(error)).splitlines()[0],
            fix="restore it: a training that needs it does not go on without it (or begins again with --fresh)",
        ) from None  # fmt: skip


def trainings(run_folder: Path) -> list[Path]:
    """The folders of the trainings whose rollouts are there, the newest last."""
    folders = [folder for folder in run_folder.glob("rollouts/*") if any(folder.glob("*.parquet"))]
    return sorted(folders, key=lambda folder: (folder.stat().st_mtime, folder))


def files_of(folder: Path, *, heldout: bool = False) -> list[Path]:
    """The files of a training's rounds, or of its held-out measurements, in their order."""
    return sorted(folder.glob("heldout-*.parquet" if heldout else "round-*.parquet"))


def find(root: Path, run: str, training: str | None = None, *, heldout: bool = False) -> list[Path]:
    """The files of a run's training; without a name, of the newest.

    Raises:
        ConfigError: there is no such run or training, or it kept none.
    """
    run_folder = root / "runs" / run
    folders = trainings(run_folder)
    if not folders:
        known = sorted({folder.parents[1].name for folder in (root / "runs").glob("*/rollouts/*")})
        there = "The run has kept no rollouts." if run_folder.is_dir() else "There is no run of that name."
        raise ConfigError(
            there, field="RUN", got=run, expected=f"one with rollouts: {', '.join(known)}" if known else None,
            fix="--storage tells where to look; rollouts come from `train.objective: {kind: rl}`",
        )  # fmt: skip
    names = [folder.name for folder in folders]
    if training is not None and training not in names:
        raise ConfigError("The run has no such training.", field="--training", got=training, expected=", ".join(names))
    folder = folders[-1] if training is None else folders[names.index(training)]
    if not (files := files_of(folder, heldout=heldout)):
        raise ConfigError(
            "The training has kept none of these.", field="--heldout" if heldout else "RUN", got=folder.name,
            expected="a training with `train.evaluation`" if heldout else "a training whose first round is written",
        )  # fmt: skip
    return files


def rows(paths: Sequence[Path], query: Query) -> Iterator[dict[str, Any]]:
    """Rollouts as plain data, by column; None for a reward that failed.

    Raises:
        ConfigError: the filter is not understood, or there is no such column or step.
    """
    if query.limit is not None and query.last is not None:
        raise ConfigError("From the beginning, or from the end?", field="--limit, --last", expected="one of them")
    tables: Iterable[Any] = _in_order(paths, query)
    if query.sort is not None:
        tables = _sorted(paths, query, query.sort)
    elif query.last is not None:
        tables = _last(paths, query, query.last)
    for table in tables:
        names = table.column_names
        for values in zip(*(_plain(table[name]) for name in names), strict=True):
            yield dict(zip(names, values, strict=True))


def count(paths: Sequence[Path], query: Query) -> int:
    """How many rollouts a query is about, before its limit."""
    return sum(file.count(query.where) for file in _of_step(paths, query.step))


def json_lines(paths: Sequence[Path], query: Query) -> Iterator[str]:
    """Rollouts as JSON, one a line; without a limit, all."""
    return (json.dumps(row) for row in rows(paths, query))


def panels(paths: Sequence[Path], query: Query, *, full: bool) -> Iterator[RenderableType]:
    """Rollouts for a terminal, and how many there are; without a limit, the last ten, or the first ten if sorted.

    Args:
        full: long text is not cut.
    """
    if query.limit is None and query.last is None:
        query = query._replace(last=_SHOWN) if query.sort is None else query._replace(limit=_SHOWN)
    shown = 0
    for row in rows(paths, query):
        yield _panel(row, full=full)
        shown += 1
    of = f"{shown:,} of {count(paths, query):,} rollouts" + (" for which the filter holds" if query.where else "")
    yield Text(f"{of}, training {paths[0].parent.name}", style="dim")


def clean(text: str, most: int | None = None) -> str:
    """Text that a terminal does not obey and a page can show; of a long one, the beginning and the end.

    Args:
        most: characters; with a limit, lines are limited too.
    """
    lines = text.split("\n")
    if most is not None and len(lines) > _LINES:
        ends = _LINES // 2
        text = "\n".join([*lines[:ends], f"… {len(lines) - 2 * ends:,} lines …", *lines[-ends:]])
    if most is not None and len(text) > most:
        left_out, ends = len(text) - most, most // 2
        text = f"{text[:ends]} … {left_out:,} characters … {text[-ends:]}"
    return text.translate(_HIDDEN)


def reward_words(row: dict[str, Any]) -> str:
    """The reward and its components."""
    parts = [f"{name.removeprefix(REWARD)} {_figure(row[name])}" for name in row if name.startswith(REWARD)]
    return f"{_figure(row['reward'])} ({', '.join(parts)})"


def length_words(row: dict[str, Any]) -> str:
    """How long it is, and why it is not longer."""
    return f"{row['length']} tokens, {'ended' if row['ended'] else 'cut off'}"


def _panel(row: dict[str, Any], *, full: bool) -> Panel:
    most = None if full else _CUT
    places = [f"{name} {row[name]}" for name in ("step", "round", "version", "example", "group") if name in row]
    facts = f"reward {reward_words(row)} · advantage {_figure(row['advantage'])} · {length_words(row)}"
    colour = "dim" if not row["advantage"] else "green" if row["advantage"] > 0 else "red"
    prompt, completion = Text(clean(row["prompt"].strip("\n"), most), style="dim"), Text(clean(row["completion"], most))
    lines = Group(prompt, Text(), completion, Text(), Text(clean(facts), style="bold"))
    return Panel(lines, title=" · ".join(places), title_align="left", border_style=colour, expand=console.is_terminal)


def _figure(value: float | None) -> str:
    return "failed" if value is None else f"{value + 0.0:.4g}"  # not -0


def _plain(column: Any) -> list[Any]:
    if not pa.types.is_float32(column.type):
        found: list[Any] = column.to_pylist()
        return found
    # The shortest figures that mean the same number: 0.1, not 0.10000000149011612.
    return [float(str(value)) if math.isfinite(value) else None for value in np.asarray(column)]


def _of_step(paths: Sequence[Path], step: int | None) -> Iterator[RolloutFile]:
    files = (RolloutFile(path) for path in paths)
    if step is None:
        yield from files
        return
    steps = []
    for file in files:
        steps.append(file.meta["step"])
        if steps[-1] == step:
            yield file
    if step not in steps:
        raise ConfigError(
            "There are no rollouts of that step.", field="--step", got=step,
            expected=f"one of {clean(', '.join(map(str, sorted(steps))), 400)}",
        )  # fmt: skip


def _in_order(paths: Sequence[Path], query: Query) -> Iterator[Any]:
    left = query.limit
    for file in _of_step(paths, query.step):
        table = file.read(query.where)[:left]
        yield table
        if left is not None:
            left -= len(table)
        if left == 0:
            break


def _last(paths: Sequence[Path], query: Query, wanted: int) -> list[Any]:
    found: list[Any] = []
    for file in _of_step(paths[::-1], query.step):
        table = file.read(query.where)
        found.insert(0, table[max(0, len(table) - wanted) :])
        wanted -= len(found[0])
        if not wanted:
            break
    return found


def _sorted(paths: Sequence[Path], query: Query, sort: str) -> Iterator[Any]:
    name = sort.removeprefix("-")
    # Arrow puts what is not a number beside nulls: where it stands farthest from the rows that are wanted.
    key = (name, "ascending" if name == sort else "descending", "at_end" if query.last is None else "at_start")
    wanted = query.last or query.limit

    def best(tables: list[Any]) -> Any:
        table = pa.concat_tables(tables, promote_options="default")
        order = pc.sort_indices(table, sort_keys=[key])
        if wanted is not None:
            order = order[:wanted] if query.last is None else order[max(0, len(order) - wanted) :]
        return table.take(order)

    kept: list[Any] = []
    for file in _of_step(paths, query.step):
        require_column(file.columns, name, "--sort")
        kept.append(file.read(query.where))
        if wanted is not None and sum(map(len, kept)) > wanted + _KEPT:
            kept = [best(kept)]
    if kept:
        yield best(kept)
