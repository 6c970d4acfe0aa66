"""Verifiable: is the completion JSON of a given form, exactly?"""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import field_validator

from cluster.errors import ConfigValueError
from trainers.rewards import Sample
from trainers.rl.config import RewardConfig


class Config(RewardConfig):
    """Keys of `{kind: json_schema}`."""

    kind: Literal["json_schema"] = "json_schema"
    schema_of_answer: dict[str, Any]
    """A JSON schema (draft 2020-12); nothing outside of it is read, `$ref` only within it."""

    @field_validator("schema_of_answer")
    @classmethod
    def _is_a_schema(cls, value: dict[str, Any]) -> dict[str, Any]:
        from jsonschema import Draft202012Validator
        from jsonschema.exceptions import SchemaError

        try:
            Draft202012Validator.check_schema(value)
        except SchemaError as error:
            raise ConfigValueError("Not a JSON schema.", got=error.message, expected="draft 2020-12") from None
        return value


def score(config: Config, sample: Sample) -> float:
    """1 if the whole completion is JSON and valid, else 0."""
    from jsonschema import Draft202012Validator
    from referencing import Registry

    try:
        value = json.loads(sample.completion)
    except (ValueError, RecursionError):
        return 0.0
    # An empty registry: a reference to elsewhere is an error, never a download.
    validator = Draft202012Validator(config.schema_of_answer, registry=Registry())
    try:
        return float(validator.is_valid(value))
    except RecursionError:  # a schema that names itself, and a completion of nothing but brackets
        return 0.0
