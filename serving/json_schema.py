"""JSON schemas of clients: small enough for what compiles them to grammars, and without a reference to the outside."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import islice
from math import prod
from typing import Any, Final

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

MAX_CHARS: Final = 64 * 1024
MAX_VALUES: Final = 4096
MAX_DEPTH: Final = 32
MAX_PATTERN_CHARS: Final = 512
MAX_CHOICES: Final = 1000
MAX_CHOICE_CHARS: Final = 16 * 1024
"""For each `enum`: engines compare every one with what was written so far, at every token."""
MAX_COUNT: Final = 10_000
"""For `minItems` and its like, and for the product of a pattern's repetitions: each is written out in the grammar."""

_COUNTS: Final = frozenset({
    "minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties", "minContains", "maxContains",
})  # fmt: skip
_FOREIGN: Final = frozenset({"$dynamicRef", "$recursiveRef", "$id"})
_REPETITIONS: Final = re.compile(r"\{([0-9]*)(?:,([0-9]*))?\}")


def check_schemas(schemas: Sequence[dict[str, Any]]) -> None:
    """Refuse what is no JSON schema, or what an engine had better not see; the sizes are of all together.

    Raises:
        ValueError: what is wrong with one.
    """
    try:
        texts = [json.dumps(schema, allow_nan=False) for schema in schemas]
    except ValueError as error:
        raise ValueError("numbers must be finite") from error
    if sum(map(len, texts)) > MAX_CHARS:
        raise ValueError(f"JSON schemas must have at most {MAX_CHARS} characters, all together")
    if sum(_num_values(schema) for schema in schemas) > MAX_VALUES:
        raise ValueError(f"JSON schemas must have at most {MAX_VALUES} values, all together")
    for text in texts:
        if problem := _problem(text):
            raise ValueError(problem)


@lru_cache(maxsize=256)
def _problem(text: str) -> str | None:
    # Remembered, because the check takes a tenth of a second for a large schema and clients send the same again.
    schema = json.loads(text)
    try:
        for value in _values(schema):
            if isinstance(value, dict):
                _check_node(value, schema)
            elif isinstance(value, int | float) and abs(value) >= 2**53:
                return "numbers must be below 2**53"
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        return f"no JSON schema: {error.message[:200]}"
    except RecursionError:
        return "a pattern is nested too deep"
    except ValueError as error:
        return str(error)
    return None


def _num_values(schema: dict[str, Any]) -> int:
    return sum(1 for _ in islice(_values(schema), MAX_VALUES + 1))


def _values(schema: dict[str, Any]) -> Iterator[Any]:
    """The schema and all that is in it, objects, arrays and scalars."""
    left: list[tuple[Any, int]] = [(schema, 1)]
    while left:
        value, depth = left.pop()
        yield value
        if isinstance(value, dict | list):
            if depth > MAX_DEPTH:
                raise ValueError(f"a JSON schema must be at most {MAX_DEPTH} levels deep")
            left += [(child, depth + 1) for child in (value.values() if isinstance(value, dict) else value)]


def _check_node(node: dict[str, Any], schema: dict[str, Any]) -> None:
    for name in _FOREIGN & node.keys():
        if not isinstance(node[name], dict):  # a property may have such a name
            raise ValueError(f"{name} is not supported")  # noqa: TRY004 pydantic takes no TypeError
    for name in _COUNTS & node.keys():
        if isinstance(node[name], int | float) and node[name] > MAX_COUNT:
            raise ValueError(f"{name} must be at most {MAX_COUNT}")
    patterns = node.get("patternProperties")
    for pattern in [node.get("pattern"), *(patterns if isinstance(patterns, dict) else [])]:
        if isinstance(pattern, str):
            _check_pattern(pattern)
    choices = node.get("enum")
    if isinstance(choices, list) and (len(choices) > MAX_CHOICES or len(json.dumps(choices)) > MAX_CHOICE_CHARS):
        raise ValueError(f"enum must have at most {MAX_CHOICES} values, {MAX_CHOICE_CHARS} characters together")
    if "$ref" in node:
        _check_reference(node, schema)


def _check_pattern(pattern: str) -> None:
    if len(pattern) > MAX_PATTERN_CHARS:
        raise ValueError(f"a pattern must have at most {MAX_PATTERN_CHARS} characters")
    if prod(max(int(low or 0), int(high or 0), 1) for low, high in _REPETITIONS.findall(pattern)) > MAX_COUNT:
        raise ValueError(f"a pattern's repetitions must be at most {MAX_COUNT}, multiplied")


def _check_reference(node: dict[str, Any], schema: dict[str, Any]) -> None:
    """Follow references until they lead to something: one that leads to itself ends llama.cpp's process."""
    followed = set()
    while "$ref" in node:
        reference = node["$ref"]
        # Engines differ in how they read ~ and %; what they follow must be what is followed here.
        if not isinstance(reference, str) or not reference.startswith("#/") or {"~", "%"} & set(reference):
            raise ValueError("$ref must lead to a place of the schema itself (#/…), without ~ and %")
        if reference in followed:
            raise ValueError(f"$ref {reference[:100]} leads to itself")
        followed.add(reference)
        target: Any = schema
        for key in reference[2:].split("/"):
            target = target.get(key) if isinstance(target, dict) else None
        node = target if isinstance(target, dict) else {"$ref": None}
