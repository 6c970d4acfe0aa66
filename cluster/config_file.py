"""Read a job's YAML: `defaults:` inheritance, dotted overrides, and errors that name the file and line.

    defaults: [base.yaml]        # paths beside this file; later ones win, and this file's keys win over all
    train:
      learning_rate: 3e-4

`defaults` are deltas: mappings are merged key by key, everything else is replaced. A mapping with another `kind`
(another plug-in) replaces the inherited one whole, since its keys belong to the other plug-in.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import yaml
from pydantic import ValidationError

from cluster.config import Config, leaf_items
from cluster.errors import ConfigError, RaysmithError

C = TypeVar("C", bound=Config)
Tree = dict[str, Any]

_MAX_BYTES = 1_000_000
_SECRET = re.compile(r"key$|token$|secret|passw|credential", re.IGNORECASE)


class _Loader(yaml.SafeLoader):
    """PyYAML, with numbers as in YAML 1.2: version 1.1 takes 3e-4 for text."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


class Loaded(NamedTuple):
    """A YAML tree, and where each dotted key was written."""

    tree: Tree
    places: dict[str, str]


def load_config(config_class: type[C], path: Path, overrides: list[str] | None = None) -> C:
    """Read, merge, override and validate.

    Args:
        overrides: `key.sub=value`; the value is read as YAML.

    Raises:
        ConfigError: naming the key, where it stands, what was got, what is expected, and the nearest valid name.
    """
    loaded = apply_overrides(read_tree(path), overrides or [])
    return validate(config_class, loaded)


def validate(config_class: type[C], loaded: Loaded) -> C:
    """Validate a tree; see `load_config`."""
    try:
        return config_class.model_validate(loaded.tree)
    except ValidationError as error:
        errors = [_explain(problem, loaded.places) for problem in error.errors(include_url=False)]
        if len(errors) == 1:
            raise errors[0] from None
        raise ConfigError("\n".join([f"{len(errors)} problems in the configuration.", *map(str, errors)])) from None


def read_tree(path: Path, _chain: tuple[Path, ...] = ()) -> Loaded:
    """Read a YAML file and what it inherits.

    Raises:
        ConfigError: the file is missing, not YAML, or inherits from itself.
    """
    path = path.resolve()
    if path in _chain:
        raise ConfigError("A configuration inherits from itself.", field="defaults", got=path, fix="break the circle")
    own = _parse(path, "defaults" if _chain else "CONFIG")
    parents = own.tree.pop("defaults", [])
    parents = [parents] if isinstance(parents, str) else parents
    if not isinstance(parents, list) or not all(isinstance(name, str) for name in parents):
        raise ConfigError("`defaults` must be a file name or a list of them.", field="defaults", got=parents)
    tree: Tree = {}
    places: dict[str, str] = {}
    for name in parents:
        parent = read_tree(path.parent / name, (*_chain, path))
        tree = _merge(tree, parent.tree)
        places |= parent.places
    return Loaded(_merge(tree, own.tree), places | own.places)


def apply_overrides(loaded: Loaded, overrides: list[str]) -> Loaded:
    """Lay `key.sub=value` assignments over a tree.

    Raises:
        ConfigError: an assignment has no `=`, or its value is not YAML.
    """
    tree, places = loaded.tree, dict(loaded.places)
    for assignment in overrides:
        key, equals, text = assignment.partition("=")
        if not equals or not key or "" in key.split("."):
            raise ConfigError(
                "An override must look like key.sub=value.", field="command line", got=assignment,
                expected="for example train.learning_rate=3e-4",
            )  # fmt: skip
        try:
            delta, places_inside = _read_yaml(text, f"{key}.", lambda _: "command line")
        except yaml.YAMLError as error:
            raise ConfigError("An override's value is not YAML.", field=key, got=text, fix=str(error)) from None
        for part in reversed(key.split(".")):
            delta = {part: delta}
        tree = _merge(tree, delta)
        places |= {key: "command line", **places_inside}
    return Loaded(tree, places)


def apply_values(loaded: Loaded, values: Mapping[str, Any], place: str) -> Loaded:
    """Lay values of dotted keys over a tree.

    Args:
        place: what an error about one of them says of where it stands.
    """
    tree, places = loaded.tree, dict(loaded.places)
    for key, value in values.items():
        delta = value
        for part in reversed(key.split(".")):
            delta = {part: delta}
        tree = _merge(tree, delta)
        places |= dict.fromkeys((key, *(dotted for dotted, _ in leaf_items({key: value}))), place)
    return Loaded(tree, places)


def _parse(path: Path, field: str) -> Loaded:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ConfigError("A configuration file is far too large.", field=str(path), expected="under 1 MB")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            "The configuration file cannot be read.", field=field, got=f"{path} ({error})",
            expected="a readable YAML file", fix="check the path; the shipped ones are under configs/",
        ) from None  # fmt: skip
    try:
        tree, places = _read_yaml(text, "", lambda line: f"{_short(path)}:{line}")
    except yaml.YAMLError as error:
        raise ConfigError("The configuration file is not valid YAML.", field=str(path), got=str(error)) from None
    tree = {} if tree is None else tree
    if not isinstance(tree, dict):
        raise ConfigError("A configuration must be a mapping of keys.", field=str(path), got=type(tree).__name__)
    return Loaded(tree, places)


def _read_yaml(text: str, prefix: str, place_of: Callable[[int], str]) -> tuple[Any, dict[str, str]]:
    """The value that YAML text describes, and the place of each key in it."""
    places: dict[str, str] = {}
    loader = _Loader(text)

    def construct(node: yaml.Node | None, prefix: str) -> Any:
        if isinstance(node, yaml.MappingNode):
            tree: Tree = {}
            for key_node, value_node in node.value:
                key, place = str(key_node.value), place_of(key_node.start_mark.line + 1)
                if key in tree:
                    earlier = places[prefix + key]
                    raise ConfigError("A key is written twice.", field=f"{prefix}{key} ({place})", got=earlier)
                places[prefix + key] = place
                tree[key] = construct(value_node, f"{prefix}{key}.")
            return tree
        if isinstance(node, yaml.SequenceNode):
            return [construct(item, f"{prefix}{index}.") for index, item in enumerate(node.value)]
        return None if node is None else loader.construct_object(node)

    try:
        return construct(loader.get_single_node(), prefix), places
    except (ValueError, RecursionError) as error:  # such as 2026-99-99, or an anchor inside itself
        raise yaml.YAMLError(str(error)) from None


def _short(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _merge(base: Tree, delta: Tree) -> Tree:
    return base | {key: _merge_value(base.get(key), value) for key, value in delta.items()}


def _merge_value(old: Any, new: Any) -> Any:
    if isinstance(old, str):
        old = {"kind": old}  # `objective: sft` refined by `objective.loss_on=completion`
    if not isinstance(old, dict) or not isinstance(new, dict):
        return new
    same_plugin = new.get("kind", old.get("kind")) == old.get("kind")
    return _merge(old, new) if same_plugin else new


def _explain(problem: Mapping[str, Any], places: dict[str, str]) -> ConfigError:
    context = problem.get("ctx", {})
    loc = [str(part) for part in problem["loc"]]
    if problem["type"] == "unknown_key":
        return _unknown(loc, problem["input"], loc[-1], context["valid"], "key", places)
    if problem["type"] == "unknown_kind":
        loc += ["kind"] * isinstance(problem["input"], dict)
        if context["kind"] is None:
            kinds = "one of " + ", ".join(context["valid"])
            return ConfigError("A plug-in's kind is missing.", field=_field(loc, places), expected=kinds)
        return _unknown(loc, context["kind"], str(context["kind"]), context["valid"], "kind", places)
    raised = context.get("error")
    if isinstance(raised, RaysmithError):
        field = _field(loc, places) or None  # it concerns several sections, which its words name
        return ConfigError(raised.message, field=field, got=raised.got, expected=raised.expected, fix=raised.fix)
    missing = problem["type"] == "missing"
    return ConfigError(
        "A key is missing." if missing else "A value is not valid.",
        field=_field(loc, places),
        got=None if missing else repr(problem["input"]),
        expected=problem["msg"].removeprefix("Value error, "),
    )


def _unknown(loc: list[str], value: Any, name: str, valid: list[str], what: str, places: dict[str, str]) -> ConfigError:
    nearest = difflib.get_close_matches(name, valid, n=1, cutoff=0.5)
    dotted = ".".join(loc)
    meant = ".".join([*loc[:-1], nearest[0]]) if nearest and what == "key" else (nearest[0] if nearest else "")
    return ConfigError(
        f"Unknown {what} `{dotted if what == 'key' else name}`.",
        field=_field(loc, places),
        got="a value that is not shown" if _SECRET.search(name) else repr(value),  # terminals and CI logs are kept
        expected="one of " + ", ".join(valid),
        fix=f"did you mean `{meant}`?" if meant else None,
    )


def _field(loc: list[str], places: dict[str, str]) -> str:
    dotted = ".".join(loc)
    for end in range(len(loc), 0, -1):  # a missing key has no place of its own: name its parent's
        place = places.get(".".join(loc[:end]))
        if place:
            return f"{dotted} ({place})"
    return dotted
