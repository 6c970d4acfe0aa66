"""The arguments of TRL's configs, read from its source: importing them would load torch, which a plan does without."""

from __future__ import annotations

import ast
import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

from cluster.errors import ConfigError

_ROOT = "_BaseConfig"  # what comes from there is transformers' TrainingArguments
_TYPES: dict[str, tuple[type, ...]] = {
    "bool": (bool,), "dict": (dict,), "float": (float, int), "int": (int,), "list": (list,), "str": (str,),
}  # fmt: skip


@cache
def argument_types(method: str) -> dict[str, ast.expr]:
    """The fields that a method's config class adds to TrainingArguments, with their annotations.

    Raises:
        ConfigError: TRL is not installed, or has no such method.
    """
    spec = importlib.util.find_spec("trl")
    folder = Path(spec.submodule_search_locations[0]) if spec and spec.submodule_search_locations else Path()
    places = (folder / "trainer" / f"{method}_config.py", folder / "experimental" / method / f"{method}_config.py")
    path = next((place for place in places if place.is_file()), None)
    if spec is None or path is None:
        raise ConfigError(
            "TRL has no such method.", field="train.objective.method", got=method,
            expected=f"trl with a {method}_config.py", fix="install the version of trl that the lock names",
        )  # fmt: skip
    classes = [node for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.ClassDef)]
    (config,) = (node for node in classes if node.name.endswith("Config"))
    fields: dict[str, ast.expr] = {}
    for base in (ast.unparse(node) for node in config.bases):
        if base != _ROOT:
            fields |= argument_types(base.removesuffix("Config").lower())
    return fields | {
        node.target.id: node.annotation
        for node in config.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }


def fits(value: Any, annotation: ast.expr) -> bool:
    """Whether a value is of an annotated type; a whole number is a float, a truth value is no number."""
    if isinstance(annotation, ast.BinOp):
        return fits(value, annotation.left) or fits(value, annotation.right)
    if isinstance(annotation, ast.Constant):
        return value is None and annotation.value is None
    if isinstance(annotation, ast.Subscript):
        kind = ast.unparse(annotation.value)
        if kind == "Literal":
            return value in ast.literal_eval(ast.Tuple([annotation.slice], ast.Load()))[0]
        return fits(value, annotation.value) and (
            not isinstance(value, list) or all(fits(item, annotation.slice) for item in value)
        )
    name = ast.unparse(annotation)
    if name == "Any":
        return True
    return isinstance(value, _TYPES.get(name, ())) and (name == "bool" or not isinstance(value, bool))
