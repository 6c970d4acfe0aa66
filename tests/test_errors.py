"""The tree of errors: documented, whole after pickling, and a message with field, got, expected and fix."""

from __future__ import annotations

import inspect
import pickle
import re
from pathlib import Path

import pytest

from cluster import errors
from cluster.errors import ConfigError, ConfigValueError, RaysmithError
from tests.conftest import REPOSITORY

DOCUMENT = (REPOSITORY / "docs" / "errors.md").read_text()
TREE = [
    one
    for _, one in inspect.getmembers(errors, inspect.isclass)
    if issubclass(one, RaysmithError) and one is not ConfigValueError  # a ConfigError to whoever sees it
]
BELOW = [one for one in TREE if one is not RaysmithError]


def test_the_document_has_the_tree_of_the_code() -> None:
    assert len(TREE) == 10
    drawn = re.findall(r"^[├└]── (\w+)$", DOCUMENT, re.MULTILINE)
    assert sorted(drawn) == sorted(one.__name__ for one in BELOW)
    assert all(one.__bases__ == (RaysmithError,) for one in BELOW)
    rows = dict(re.findall(r"^\| `(\w+)` \|.*\| (\d+) \|$", DOCUMENT, re.MULTILINE))
    assert rows == {one.__name__: str(one.exit_code) for one in TREE}
    docstring = errors.__doc__ or ""
    assert sorted(re.findall(r"[├└]── (\w+)", docstring)) == sorted(drawn)


def test_every_error_class_of_the_code_is_named_in_the_document() -> None:
    source = [path.read_text() for package in ("cluster", "trainers", "serving", "jobs") for path in files(package)]
    known = {one.__name__ for one in TREE}
    bases = "|".join(known)
    defined = {
        name for text in source for name in re.findall(rf"^class (\w+)\([^)]*\b(?:{bases})\b", text, re.MULTILINE)
    }
    assert "ConfigValueError" in defined
    assert [name for name in sorted(defined) if f"`{name}`" not in DOCUMENT] == []


def files(package: str) -> list[Path]:
    return sorted((REPOSITORY / package).rglob("*.py"))


@pytest.mark.parametrize("kind", BELOW)
def test_each_error_has_an_example_with_all_four_parts(kind: type[RaysmithError]) -> None:
    examples = re.findall(r"^```\n\$ raysmith .*\n((?:.*\n)+?)```", DOCUMENT, re.MULTILINE)
    mine = [example for example in examples if example.startswith(f"{kind.__name__}: ")]
    assert len(mine) == 1
    assert re.findall(r"^  (\w+): ", mine[0], re.MULTILINE) == ["field", "got", "expected", "fix"]


@pytest.mark.parametrize("kind", [*TREE, ConfigValueError])
def test_an_error_is_whole_after_pickling(kind: type[RaysmithError]) -> None:
    error = kind("It broke.", field="a.b (job.yaml:3)", got={"x": [1, None]}, expected=("y", 2.5), fix="mend it")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert vars(again) == vars(error)
    assert (str(again), again.args, again.exit_code) == (str(error), ("It broke.",), kind.exit_code)
    assert vars(pickle.loads(pickle.dumps(kind("bare")))) == vars(kind("bare"))


def test_the_message_shows_what_is_known_in_a_fixed_order() -> None:
    error = RaysmithError("It broke.", fix="mend it", expected=2, got=0, field="a.b")
    assert str(error) == "It broke.\n  field:    a.b\n  got:      0\n  expected: 2\n  fix:      mend it"
    assert str(RaysmithError("It broke.", got="")) == "It broke.\n  got:      "
    assert str(RaysmithError("It broke.")) == "It broke."


def test_only_a_wrong_configuration_ends_with_2() -> None:
    assert {one.exit_code for one in BELOW if one is not ConfigError} == {1}
    assert ConfigError.exit_code == 2
