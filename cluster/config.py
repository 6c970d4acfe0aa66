"""Strict configuration: the base class of every config, and files with a choice of plug-in by file name.

A config is a frozen pydantic model that lives beside the code it configures. Unknown keys are refused.
Each field has a docstring, which `raysmith config schema` prints.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, ValidationError, model_validator
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

if TYPE_CHECKING:
    from pydantic import GetJsonSchemaHandler


class Config(BaseModel):
    """Base of all configs: frozen, unknown keys refused, field docstrings kept as descriptions."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True, protected_namespaces=(),
        allow_inf_nan=False,  # JSON has neither: a resolved configuration would not load again
    )  # fmt: skip

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, values: Any) -> Any:
        # Pydantic refuses them too, but only this class knows the valid names that a typo was meant to be.
        unknown = [key for key in values if key not in cls.model_fields] if isinstance(values, dict) else []
        if unknown:
            problem = PydanticCustomError("unknown_key", "unknown key", {"valid": sorted(cls.model_fields)})
            raise ValidationError.from_exception_data(
                cls.__name__, [{"type": problem, "loc": (str(key),), "input": values[key]} for key in unknown]
            )
        return values


class PluginConfig(Config):
    """Base of the `Config` class of a plug-in file; `kind` is the file's name."""

    kind: str
    """The plug-in's file name, without `.py`."""


class FromFolder:
    """Annotation for a field whose value names a plug-in file in a package.

    `objective: sft` and `objective: {kind: sft, loss_on: completion}` both load `Config` from
    `trainers/objectives/sft.py`. Adding a plug-in is adding a file: there is no registry to edit, and none that
    would have to be filled again in each of Ray's processes.

        objective: Annotated[PluginConfig, FromFolder("trainers.objectives")]
    """

    def __init__(self, package: str, default: str | None = None) -> None:
        self.package = package
        self.default = default
        """The plug-in that is meant when a mapping has no `kind`."""

    def names(self) -> list[str]:
        """The names of the plug-ins that exist."""
        folders = importlib.import_module(self.package).__path__
        return sorted(info.name for info in pkgutil.iter_modules(folders) if not info.name.startswith("_"))

    def config_class(self, name: str) -> type[PluginConfig]:
        """The `Config` class of plug-in `name`."""
        config_class: type[PluginConfig] = importlib.import_module(f"{self.package}.{name}").Config
        return config_class

    def _validate(self, value: Any) -> PluginConfig:
        if isinstance(value, PluginConfig):
            return value
        fields = {"kind": value} if isinstance(value, str) else value
        if self.default is not None and isinstance(fields, dict):
            fields = {"kind": self.default, **fields}
        kind = fields.get("kind") if isinstance(fields, dict) else value
        if kind not in self.names():
            raise PydanticCustomError("unknown_kind", "unknown kind", {"kind": kind, "valid": self.names()})
        return self.config_class(kind).model_validate(fields)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self._validate,
            serialization=core_schema.plain_serializer_function_ser_schema(lambda value: value.model_dump(mode="json")),
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        options = [_inlined(self.config_class(name).model_json_schema()) for name in self.names()]
        for option in options:  # a plug-in writes `kind: Literal[…]` anew, mostly without the text
            option["properties"]["kind"].setdefault("description", PluginConfig.model_fields["kind"].description)
        return {"anyOf": [{"type": "string", "enum": self.names()}, *options]}


def _inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with its definitions put where they are named: a part of a larger schema has no `$defs` of its own."""
    definitions = schema.pop("$defs", {})

    def resolve(node: Any) -> Any:
        if isinstance(node, list):
            return [resolve(one) for one in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            rest = {key: value for key, value in node.items() if key != "$ref"}
            return {**resolve(definitions[node["$ref"].rsplit("/", 1)[-1]]), **resolve(rest)}
        return {key: resolve(value) for key, value in node.items()}

    found: dict[str, Any] = resolve(schema)
    return found


def digest(value: object) -> str:
    """SHA-256 (hex) of a JSON-serializable value, whatever the order of its keys."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def leaf_items(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted key, value) for each leaf of a nested dict."""
    for key, value in tree.items():
        dotted = f"{prefix}{key}"
        if isinstance(value, dict) and value:
            yield from leaf_items(value, f"{dotted}.")
        else:
            yield dotted, value
