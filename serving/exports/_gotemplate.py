"""The part of Go's text/template that `_template` writes, read and run in Python, to prove what Ollama will render.

    text                                   as it is: no trim markers are written
    {{ .Field }} {{ $.Field }} {{ $var }}  a field of the present item, of the data, a variable
    {{ "text" }}                           a quoted string
    {{ $var := … }}
    {{ if … }} {{ else if … }} {{ else }} {{ end }}
    {{ range $i, $item := … }} {{ end }}
    eq, and, not, len, slice, ( … )

Anything else is refused. A slow test compares it with Go itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

_SPLIT = re.compile(r'\{\{((?:[^"}]|"(?:\\.|[^"\\\n])*"|\}(?!\}))*)\}\}', re.DOTALL)
_TOKEN = re.compile(r'\s*("(?:\\.|[^"\\\n])*"|:=|[(),]|\$\w*(?:\.\w+)?|\.\w+|\w+)')
_ESCAPE = re.compile(r'\\(?:U([0-9A-F]{8})|(["\\nrt]))')
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "eq": lambda a, b: a == b,
    "and": lambda a, b: b if a else a,
    "not": lambda a: not a,
    "len": len,
    "slice": lambda items, start: items[start:],
}


class Scope(NamedTuple):
    """What an expression can see."""

    root: dict[str, Any]
    dot: Any
    variables: dict[str, Any]


Expression = Callable[[Scope], Any]


@dataclass
class _Action:
    value: Expression


@dataclass
class _Assignment:
    name: str
    value: Expression


@dataclass
class _If:
    branches: list[tuple[Expression, list[Any]]]
    otherwise: list[Any] = field(default_factory=list)


@dataclass
class _Range:
    names: tuple[str, str]
    items: Expression
    body: list[Any]


def render(template: str, data: dict[str, Any]) -> str:
    """The text that Go makes of the template and the data.

    Raises:
        ValueError: the template uses more than what this knows.
    """
    parts = _parts(template)
    body, end = _parse(parts)
    if end is not None:
        raise ValueError(f"{{{{ {end} }}}} without a beginning")
    return "".join(_run(body, Scope(data, data, {})))


def text(literal: str) -> str:
    r"""Template source that renders as `literal`: itself, but for what Go or a Modelfile would read otherwise.

    A Modelfile's text ends at three quotes, and Ollama drops characters there that Go does not print.
    """
    plain = all(char.isprintable() or char in "\n\t" for char in literal)
    if plain and "{{" not in literal and '"""' not in literal and not literal.endswith(("{", '"')):
        return literal
    return f"{{{{ {_quote(literal)} }}}}"


def _quote(literal: str) -> str:
    short = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
    chars = (short.get(char) or (char if char.isprintable() else f"\\U{ord(char):08X}") for char in literal)
    return f'"{"".join(chars)}"'


def _unquote(token: str) -> str:
    short = {"n": "\n", "r": "\r", "t": "\t"}
    return _ESCAPE.sub(lambda m: chr(int(m[1], 16)) if m[1] else short.get(m[2], m[2]), token[1:-1])


def _parts(template: str) -> Iterator[tuple[bool, str]]:
    """(is an action, its source or the text) in order."""
    position = 0
    for match in _SPLIT.finditer(template):
        yield False, template[position : match.start()]
        yield True, match[1]
        position = match.end()
    yield False, template[position:]


def _parse(parts: Iterator[tuple[bool, str]]) -> tuple[list[Any], str | None]:
    """Nodes up to the `else` or `end` that closes them, and that."""
    body: list[Any] = []
    for is_action, source in parts:
        if not is_action:
            if "{{" in source:
                raise ValueError(f"an action is not closed: {source[:60]!r}")
            body.append(source)
            continue
        tokens = _tokens(source)
        match tokens:
            case ["end"] | ["else", *_]:
                return body, " ".join(tokens)
            case ["if", *condition]:
                body.append(_parse_if(condition, parts))
            case ["range", index, ",", item, ":=", *items]:
                inner, end = _parse(parts)
                if end != "end":
                    raise ValueError("a range without its end")
                body.append(_Range((index, item), _expression(items), inner))
            case [name, ":=", *value] if name.startswith("$"):
                body.append(_Assignment(name, _expression(value)))
            case _:
                body.append(_Action(_expression(tokens)))
    return body, None


def _parse_if(condition: list[str], parts: Iterator[tuple[bool, str]]) -> _If:
    body, end = _parse(parts)
    node = _If([(_expression(condition), body)])
    while end is not None and end.startswith("else if "):
        body, following = _parse(parts)
        node.branches.append((_expression(_tokens(end.removeprefix("else if "))), body))
        end = following
    if end == "else":
        node.otherwise, end = _parse(parts)
    if end != "end":
        raise ValueError("an if without its end")
    return node


def _tokens(source: str) -> list[str]:
    if source.startswith("-") or source.endswith("-"):
        raise ValueError("trim markers are not known here")
    found, position, source = [], 0, source.rstrip()
    while position < len(source):
        match = _TOKEN.match(source, position)
        if match is None:
            raise ValueError(f"not known here: {source[position:]!r}")
        found.append(match[1])
        position = match.end()
    return found


def _expression(tokens: list[str]) -> Expression:
    value, rest = _command(tokens)
    if rest:
        raise ValueError(f"not known here: {rest}")
    return value


def _command(tokens: list[str]) -> tuple[Expression, list[str]]:
    """A function and its operands up to a closing parenthesis, or one operand."""
    if tokens and tokens[0] in _FUNCTIONS:
        function, rest, operands = _FUNCTIONS[tokens[0]], tokens[1:], []
        while rest and rest[0] != ")":
            operand, rest = _operand(rest)
            operands.append(operand)
        return (lambda scope: function(*(operand(scope) for operand in operands))), rest
    return _operand(tokens)


def _operand(tokens: list[str]) -> tuple[Expression, list[str]]:
    match tokens:
        case ["(", *inside]:
            value, rest = _command(inside)
            if rest[:1] != [")"]:
                raise ValueError("a parenthesis is not closed")
            return value, rest[1:]
        case [token, *rest] if token.startswith('"'):
            literal = _unquote(token)
            return (lambda _: literal), rest
        case [token, *rest] if token.isdecimal():
            number = json.loads(token)
            return (lambda _: number), rest
        case [token, *rest] if token.startswith("$."):
            return (lambda scope: scope.root[token[2:]]), rest
        case [token, *rest] if token.startswith("$") and "." not in token:
            return (lambda scope: scope.variables[token]), rest
        case [token, *rest] if token.startswith("."):
            return (lambda scope: scope.dot[token[1:]]), rest
    raise ValueError(f"not known here: {tokens}")


def _run(body: list[Any], scope: Scope) -> Iterator[str]:
    for node in body:
        match node:
            case str():
                yield node
            case _Action():
                yield str(node.value(scope))
            case _Assignment():
                scope.variables[node.name] = node.value(scope)
            case _If():
                chosen = next((inner for condition, inner in node.branches if condition(scope)), node.otherwise)
                yield from _run(chosen, scope)
            case _Range():
                for index, item in enumerate(node.items(scope)):
                    names = {node.names[0]: index, node.names[1]: item}
                    yield from _run(node.body, Scope(scope.root, item, {**scope.variables, **names}))
