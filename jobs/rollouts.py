"""Look at the rollouts that a run has kept: filtered, sorted and cut while they are read, one file at a time.

The filter is a small language of its own, which Arrow evaluates; nothing of it is ever Python:

    any     all ("or" all)*
    all     one ("and" one)*
    one     "not" one | "(" any ")" | COLUMN | COLUMN ("==" "!=" "<" "<=" ">" ">=" "~") VALUE

A COLUMN alone is true or false. A VALUE is a number, `nan` (a reward that failed), true, false, or text in quotes,
within which a doubled quote stands for one. `~` searches text for a regular expression (RE2's). A column whose name is
no plain word stands in backticks.
"""

from __future__ import annotations

import json
import math
import operator
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.text import Text

from cluster.errors import ConfigError, DataError
from jobs.console import console

REWARD = "reward_"
_META = b"raysmith"  # both as trainers/rl/rollouts.py writes them
_BEFORE = ("version", "example", "epoch", "group", "seed", "prompt", "completion")
_AFTER = ("reward", "advantage")
_SHOWN = 10
_KEPT = 4096
"""Rows that are held beside those wanted, at most, when rollouts are sorted."""
_CUT, _LINES = 800, 16
_TOKEN = re.compile(
    r"""\s*(?:(?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![\w.]))|(?P<text>'(?:[^']|'')*'|"(?:[^"]|"")*")"""
    r"""|(?P<name>[^\W\d][\w.-]*|`[^`]+`)|(?P<sign>==|!=|<=|>=|<|>|~|\(|\))|(?P<wrong>\S))"""
)
_MOST_TOKENS = 200
_COMPARE = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
_SIGNS: dict[str, tuple[str, ...]] = {"number": tuple(_COMPARE), "text": ("==", "!=", "~"), "truth": ("==", "!=")}
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
            self.meta: dict[str, Any] = json.loads(self._schema.metadata[_META])

    @property
    def columns(self) -> dict[str, Any]:
        """Column → its Arrow type: of the file as a whole, as they are written, and each component of the reward."""
        whole = {name: pa.int64() for name in ("step", "round") if name in self.meta}
        rewards = [name for name in self._schema.names if name.startswith(REWARD)]
        written = {name: self._schema.field(name).type for name in (*_BEFORE, *rewards, *_AFTER)}
        return {**whole, **written, "length": pa.int32(), "ended": pa.bool_()}

    def read(self, where: str | None = None) -> Any:
        """Its rollouts for which the filter holds, as an Arrow table of the columns."""
        matching = None if where is None else _Parser(where, self.columns).parse()
        table = self._table(self.columns)
        return table if matching is None else table.filter(matching)

    def count(self, where: str | None = None) -> int:
        """How many those are."""
        if where is None:
            return self._count
        parser = _Parser(where, self.columns)
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
            fix="a training that needs it goes on from an earlier checkpoint once it is removed",
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
        _require_column(file.columns, name, "--sort")
        kept.append(file.read(query.where))
        if wanted is not None and sum(map(len, kept)) > wanted + _KEPT:
            kept = [best(kept)]
    if kept:
        yield best(kept)


def _require_column(columns: dict[str, Any], name: str, field: str) -> None:
    if name not in columns:
        raise ConfigError("There is no such column.", field=field, got=name, expected=f"one of {', '.join(columns)}")


class _Parser:
    """A filter, by recursive descent.

    Raises:
        ConfigError: with what was read so far and what should have come.
    """

    def __init__(self, text: str, columns: dict[str, Any]) -> None:
        self._text, self._columns = text, columns
        self.named: dict[str, None] = {}
        """Columns that the filter names, once it is parsed."""
        self._tokens = [(str(one.lastgroup), one[str(one.lastgroup)], one.end()) for one in _TOKEN.finditer(text)]
        self._at = 0
        if len(self._tokens) > _MOST_TOKENS:
            raise ConfigError("The filter is too long.", field="--where", expected=f"at most {_MOST_TOKENS} words")

    def parse(self) -> Any:
        """The whole of it, as an Arrow expression."""
        found = self._any()
        if self._at < len(self._tokens):
            raise self._error("`and`, `or` or the end")
        return found

    def _any(self) -> Any:
        found = self._all()
        while self._takes("or"):
            found = found | self._all()
        return found

    def _all(self) -> Any:
        found = self._one()
        while self._takes("and"):
            found = found & self._one()
        return found

    def _one(self) -> Any:
        if self._takes("not"):
            return ~self._one()
        if self._takes("("):
            found = self._any()
            if not self._takes(")"):
                raise self._error("`)`, `and` or `or`")
            return found
        return self._comparison()

    def _comparison(self) -> Any:
        group, word = self._next()
        if group != "name" or word in ("and", "or"):
            raise self._error("a column, `not` or `(`")
        name = word.strip("`")
        _require_column(self._columns, name, "--where")
        self._at += 1
        self.named[name] = None
        kind, column = self._kind(name), pc.field(name)
        sign = next((sign for sign in _SIGNS[kind] if self._takes(sign)), None)
        if sign is None and kind == "truth" and self._next()[1] in ("and", "or", ")", ""):
            return column
        if sign is None:
            raise self._error(f"one of {' '.join(_SIGNS[kind])} after `{word}`")
        value = self._value(name, sign)
        if sign == "~":
            return pc.match_substring_regex(column, value)
        if isinstance(value, float) and math.isnan(value):
            return pc.is_nan(column) if sign == "==" else ~pc.is_nan(column)
        if pa.types.is_floating(self._columns[name]):
            value = pa.scalar(value, self._columns[name])  # 0.1 is that of 32 bits
        return _COMPARE[sign](column, value)

    def _kind(self, name: str) -> str:
        return {pa.string(): "text", pa.bool_(): "truth"}.get(self._columns[name], "number")

    def _value(self, name: str, sign: str) -> Any:
        group, word = self._next()
        kind, value = self._kind(name), cast(Any, None)
        if kind == "number" and group == "number":
            value = int(word) if re.fullmatch(r"[+-]?\d{1,18}", word) else float(word)
        elif pa.types.is_floating(self._columns[name]) and word == "nan" and sign in ("==", "!="):
            value = math.nan
        elif kind == "text" and group == "text":
            value = word[1:-1].replace(word[0] * 2, word[0])
            if sign == "~":
                self._require_pattern(value)
        elif kind == "truth" and word in ("true", "false"):
            value = word == "true"
        if value is None:
            raise self._error({"number": "a number", "text": "text in quotes", "truth": "true or false"}[kind])
        self._at += 1
        return value

    def _require_pattern(self, pattern: str) -> None:
        try:
            pc.match_substring_regex(pa.array([""]), pattern)
        except pa.ArrowInvalid as error:
            raise ConfigError(
                "That is no regular expression.", field="--where", got=pattern, expected="RE2's syntax", fix=str(error)
            ) from None

    def _next(self) -> tuple[str, str]:
        return self._tokens[self._at][:2] if self._at < len(self._tokens) else ("end", "")

    def _takes(self, word: str) -> bool:
        group, there = self._next()
        taken = there == word and group in ("name", "sign")
        self._at += taken
        return taken

    def _error(self, expected: str) -> ConfigError:
        at_end = self._at >= len(self._tokens)
        read = f"{self._text} (the end)" if at_end else self._text[: self._tokens[self._at][2]]
        return ConfigError("The filter is not understood.", field="--where", got=read, expected=expected)
