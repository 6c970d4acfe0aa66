"""Who judges answers, and by what: configuration and verdicts of `trainers.rl.judge`."""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

from pydantic import Field, PositiveFloat, PositiveInt, field_validator, model_validator

from cluster.config import Config
from cluster.errors import ConfigValueError
from trainers.adapter_config import ArtifactName
from trainers.config import without_secret


class EndpointConfig(Config):
    """An OpenAI-compatible endpoint that gives log-probabilities."""

    url: str
    """Such as http://127.0.0.1:8000/v1; without a password: the key has its own place."""
    model: str
    """The model's name there."""
    key_variable: str = "RAYSMITH_JUDGE_KEY"
    """Environment variable with the API key; the key itself is never written into a configuration."""
    timeout_s: PositiveFloat = 60.0
    """Seconds for an answer."""

    @field_validator("url")
    @classmethod
    def _has_no_secret(cls, value: str) -> str:
        return without_secret(value) or value


class ContrastConfig(Config):
    """Two instructions, opposites of each other, under which a local judge reads the same answer."""

    like: str = Field(min_length=1)
    """System message under which good answers are likely: "You are a kind, friendly and helpful colleague." …"""
    unlike: str = Field(min_length=1)
    """… and under which bad ones are."""


class JudgeConfig(Config):
    """Who judges, and by what."""

    rubric: str | None = None
    """The rule, in the judge's own language: what makes an answer good. Small models cannot follow one."""
    contrast: ContrastConfig | None = None
    """For smaller judges, in place of a rubric: which of two instructions makes the answer likelier."""
    artifact: ArtifactName | None = None
    """A published model that judges on this machine …"""
    endpoint: EndpointConfig | None = None
    """… or one behind an endpoint."""
    batch: PositiveInt = 8
    """Questions that a local judge reads at once."""

    @model_validator(mode="after")
    def _one_judge_by_one_rule(self) -> JudgeConfig:
        if (self.artifact is None) == (self.endpoint is None):
            raise ConfigValueError(
                "Exactly one judge is needed.", got="both" if self.artifact else "none",
                expected="artifact or endpoint",
            )  # fmt: skip
        if (self.rubric is None) == (self.contrast is None):
            raise ConfigValueError(
                "A judge needs exactly one rule to judge by.", got="both" if self.rubric else "none",
                expected="rubric or contrast",
            )  # fmt: skip
        if self.contrast is not None and self.artifact is None:
            raise ConfigValueError(
                "Endpoints tell no probabilities of a given answer.", got="contrast with endpoint",
                expected="rubric with endpoint, or contrast with artifact",
            )  # fmt: skip
        return self


class Verdict(NamedTuple):
    """What a judge says of two answers."""

    preference: float
    """Probability that the first is better, a mean over both orders."""
    biased: bool
    """Whether swapping them turned the verdict round."""


class Judge(Protocol):
    """A judge with its rule. Prompts and answers are text; a prompt is what the answer replies to."""

    def compare(self, prompts: list[str], firsts: list[str], seconds: list[str]) -> list[Verdict]:
        """Verdicts about pairs of answers."""
        ...

    def grade(self, prompts: list[str], answers: list[str]) -> list[float]:
        """Probability that each answer is a good one by the rule."""
        ...


def probability(odds: float) -> float:
    """Of an event, from its log-odds."""
    return 1.0 / (1.0 + math.exp(-max(min(odds, 500.0), -500.0)))
