"""The `quantize` section of a job."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, field_validator, model_validator

from cluster.config import Config, FromFolder, PluginConfig
from cluster.errors import ConfigValueError
from serving.quantize import QuantizerConfig

_LABEL = re.compile(r"[a-z0-9][a-z0-9._-]{0,39}")


class CalibrationConfig(Config):
    """Text of the training data, from which methods learn what layers see."""

    artifact: str | None = None
    """Published tokens to take it from, such as those that the model was trained on; default: the job's own."""
    sequences: PositiveInt = 32
    """Blocks of text."""
    length: PositiveInt = 512
    """Tokens of a block."""
    seed: int = Field(default=0, ge=0)
    """Which of the training examples are taken."""


class TaskConfig(Config):
    """A task with exact answers: a model that quantization has broken can have a fine perplexity and none of them."""

    prompts: Path
    """JSONL of prompts with answers, as for `data.kind: prompts`."""
    reward: Annotated[PluginConfig, FromFolder("trainers.rewards")]
    """What an answer is worth: a file of trainers/rewards, with its keys."""
    shots: Path | None = None
    """JSONL of conversations, as for `data.kind: chat`, of which the first stand before each prompt."""
    num_shots: PositiveInt = 4
    """How many."""
    count: PositiveInt = 50
    """Prompts that are asked."""
    max_new_tokens: PositiveInt = 32
    """Length limit of an answer."""

    @field_validator("reward")
    @classmethod
    def _by_a_rule(cls, value: PluginConfig) -> PluginConfig:
        if hasattr(value, "artifact"):
            raise ConfigValueError(
                "A task is scored by a rule.", got=f"reward: {value.kind}, which is a model's",
                expected="a reward that needs no model, such as number or pattern",
            )  # fmt: skip
        return value

    @property
    def files(self) -> list[Path]:
        """What it reads."""
        return [self.prompts, *([self.shots] if self.shots is not None else [])]


class MeasureConfig(Config):
    """What is measured of each result, in an engine that can run it, on held-out data."""

    sequences: PositiveInt = 4
    """Held-out sequences that the quantized and the unquantized model both score."""
    task: TaskConfig | None = None
    """Exact answers, beside perplexity."""
    engines: Literal["first", "all"] = "first"
    """In the method's first engine, or in all that can run its result: the gate must then be reached in each."""
    speed_tokens: int = Field(default=0, ge=0)
    """New tokens of each of eight requests at a time, by which every engine's speed is measured; 0: it is not."""


class GateConfig(Config):
    """What a quantized model must reach; below it nothing is published."""

    max_kl: PositiveFloat | None = 0.15
    """Nats a token between the distributions of the unquantized and the quantized model."""
    max_perplexity_increase: PositiveFloat | None = None
    """Share by which the perplexity may grow: 0.05 is 5%."""
    min_agreement: float = Field(default=0.8, gt=0, le=1)
    """Share of tokens at which both must name the same most probable token."""
    min_task_ratio: float | None = Field(default=None, gt=0)
    """Score of the task, as a share of the unquantized model's."""


class RescueConfig(Config):
    """What is tried with a result that misses the gate: its worst layers get more bits."""

    layers: PositiveInt = 4
    """Linear layers that are spared, those that lose most, each with what is computed as one with it (queries, keys
    and values; gate and up); each round so many more."""
    rounds: PositiveInt = 3
    """Rounds, at most."""
    bits: Literal[8, 16] = 8
    """What they get. vLLM runs layers of 8 bits on GPUs only."""


class QuantizeConfig(Config):
    """Quantization of the result: methods, how they are measured, and which one is published."""

    methods: list[Annotated[PluginConfig, FromFolder("serving.quantizers")]] = Field(
        default_factory=lambda: ["kquants"],
        validate_default=True,
        min_length=1,
    )
    """Files of serving/quantizers, with their keys."""
    calibration: CalibrationConfig = CalibrationConfig()
    """Text for methods that look at what layers see."""
    measure: MeasureConfig = MeasureConfig()
    """What is measured."""
    gate: GateConfig = GateConfig()
    """What a result must reach."""
    rescue: RescueConfig | None = None
    """More bits for the worst layers of results that miss it."""
    choose: Literal["smallest", "closest"] = "smallest"
    """Of those that reach it: the smallest, or the one with the least KL divergence."""

    @field_validator("methods", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: object) -> object:
        return value if isinstance(value, list) else [value]

    @model_validator(mode="after")
    def _names_differ(self) -> QuantizeConfig:
        labels = [one.label for one in self.quantizers]
        if wrong := [label for label in labels if not _LABEL.fullmatch(label)]:
            raise ConfigValueError(
                "A method's name is not valid: it becomes part of an artifact's.", got=f"quantize.methods: {wrong[0]}",
                expected="lower-case letters, digits, '.', '_' and '-', at most 40",
            )  # fmt: skip
        if doubled := sorted({label for label in labels if labels.count(label) > 1}):
            raise ConfigValueError(
                "Two methods have the same name.", got=f"quantize.methods: {', '.join(doubled)}",
                expected="a `name:` for each",
            )  # fmt: skip
        if self.gate.min_task_ratio is not None and self.measure.task is None:
            raise ConfigValueError(
                "The gate asks for a task that is not measured.", got="quantize.gate.min_task_ratio without a task",
                expected="quantize.measure.task",
            )  # fmt: skip
        return self

    @property
    def quantizers(self) -> list[QuantizerConfig]:
        """The methods."""
        found = []
        for one in self.methods:
            if not isinstance(one, QuantizerConfig):
                raise TypeError(f"serving.quantizers.{one.kind}.Config is no QuantizerConfig")
            found.append(one)
        return found
