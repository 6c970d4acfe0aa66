"""The language of `raysmith rollouts --where`.

The filter is a small language of its own, which Arrow evaluates; nothing of it is ever Python:

    any     all ("or" all)*
    all     one ("and" one)*
    one     "not" one | "(" any ")" | COLUMN | COLUMN ("==" "!=" "<" "<=" ">" ">=" "~") VALUE

A COLUMN alone is true or false. A VALUE is a number, `nan` (a reward that failed), true, false, or text in quotes,
within which a doubled quote stands for one. `~` searches text for a regular expression (RE2's). A column whose name is
no plain word stands in backticks.
"""

from __future__ import annotations

import math
import operator
import re
from typing import Any, cast

import pyarrow as pa
import pyarrow.compute as pc

from cluster.errors import ConfigError

_TOKEN = re.compile(
    r"""\s*(?:(?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![\w.]))|(?P<text>'(?:[^']|'')*'|"(?:[^"]|"")*")"""
    r"""|(?P<name>[^\W\d][\w.-]*|`[^`]+`)|(?P<sign>==|!=|<=|>=|<|>|~|\(|\))|(?P<wrong>\S))"""
)
_MOST_TOKENS = 200
_COMPARE = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
_SIGNS: dict[str, tuple[str, ...]] = {"number": tuple(_COMPARE), "text": ("==", "!=", "~"), "truth": ("==", "!=")}


def require_column(columns: dict[str, Any], name: str, field: str) -> None:
    """Refuse a column that is not there.

    Raises:
        ConfigError: with those that are.
    """
    if name not in columns:
        raise ConfigError("There is no such column.", field=field, got=name, expected=f"one of {', '.join(columns)}")


class Parser:
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
        require_column(self._columns, name, "--where")
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
