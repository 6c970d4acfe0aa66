"""Configuration of adapters: LoRA and its variants, quantized bases, escalating ranks. Imports no torch."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, field_validator, model_validator

from cluster.config import Config
from cluster.errors import ConfigValueError

ArtifactName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,79}$")]
ESCALATE = "escalate"
_STOP = re.compile(r"gain\s*<\s*(\d+(?:\.\d+)?)\s*(%|nats)")


class LoraConfig(Config):
    """Low-rank adapter (Hu et al. 2021, arXiv 2106.09685), through peft: W + scale · B·A."""

    rank: PositiveInt | Literal["escalate"] = 16
    """Rank r of the update B·A; `escalate` trains `ranks` one after another, each from the one before."""
    alpha: PositiveFloat = 32
    """The update is scaled by alpha / rank. With `escalate` it is that of the first rank, and the scale stays."""
    variant: Literal["lora", "rslora", "dora"] = "lora"
    """`rslora` scales by alpha / √rank (Kalajdzievski 2023, arXiv 2312.03732), so that high ranks learn as fast as low
    ones; `dora` trains the length of each output's weights apart from their direction (Liu et al. 2024, arXiv
    2402.09353), slower and often better at low ranks."""
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Dropout on the adapter's input."""
    targets: str | list[str] = "all-linear"
    """Which layers: names, or a regular expression that a layer's whole name matches; `all-linear` is every linear
    layer but the output head."""
    rank_pattern: dict[str, PositiveInt] = Field(default_factory=dict)
    """Other ranks for some layers: regular expression of the end of a layer's name → rank."""
    alpha_pattern: dict[str, PositiveFloat] = Field(default_factory=dict)
    """Other alphas for some layers, in the same way."""
    ranks: list[PositiveInt] = Field(default=[4, 8, 16, 32], min_length=1)
    """The ranks that `escalate` goes through."""
    stop_when: str = "gain < 1%"
    """When `escalate` stops: a rank's held-out loss is lower than that of the rank before by less than this, in percent
    of it or in `nats`."""
    later_share: float = Field(default=0.5, gt=0, le=1)
    """Share of `train.steps` that each rank after the first takes: it begins with what the ones before have learnt."""
    later_rate: float = Field(default=0.5, gt=0, le=1)
    """Factor on `train.learning_rate` for these ranks: the full rate would first undo what they begin with."""

    @field_validator("targets", "rank_pattern", "alpha_pattern")
    @classmethod
    def _are_patterns(cls, value: str | list[str] | dict[str, float]) -> str | list[str] | dict[str, float]:
        for pattern in [value] if isinstance(value, str) else value:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ConfigValueError("Not a regular expression.", got=pattern, expected=str(error)) from None
        if not value and isinstance(value, str | list):
            raise ConfigValueError("An adapter needs layers.", got=value, expected="all-linear, names or a pattern")
        return value

    @field_validator("stop_when")
    @classmethod
    def _is_a_gain(cls, value: str) -> str:
        if not _STOP.fullmatch(value.strip()):
            raise ConfigValueError("Not a gain to stop at.", got=value, expected="`gain < 1%`, or `gain < 0.01 nats`")
        return value

    @model_validator(mode="after")
    def _ranks_rise(self) -> LoraConfig:
        if any(low >= high for low, high in pairwise(self.ranks)):
            raise ConfigValueError("The ranks must rise.", got=self.ranks, expected="for example [4, 8, 16, 32]")
        if self.escalates and (self.rank_pattern or self.alpha_pattern):
            raise ConfigValueError(
                "`rank: escalate` gives all layers the same rank.", got="rank_pattern or alpha_pattern",
                expected="neither of them",
            )  # fmt: skip
        return self

    @property
    def escalates(self) -> bool:
        """Whether several ranks are trained one after another."""
        return self.rank == ESCALATE

    @property
    def top_rank(self) -> int:
        """The rank, or the highest that `escalate` may come to."""
        return self.ranks[-1] if isinstance(self.rank, str) else self.rank

    def scale(self, rank: int, alpha: float) -> float:
        """What B·A is multiplied by."""
        return alpha / (rank**0.5 if self.variant == "rslora" else rank)

    def at(self, rank: int) -> LoraConfig:
        """Of `escalate`, one of its ranks, scaled as the first is."""
        alpha = self.alpha * rank / self.ranks[0]
        if self.variant == "rslora":
            alpha = self.alpha * (rank / self.ranks[0]) ** 0.5
        return self.model_copy(update={"rank": rank, "alpha": alpha})

    def too_small_a_gain(self, before: float, after: float) -> bool:
        """Whether `stop_when` holds for a fall of the held-out loss, in nats."""
        found = _STOP.fullmatch(self.stop_when.strip())
        if found is None:  # the validator has let it pass
            raise ValueError(self.stop_when)
        bar = float(found[1]) * (before / 100 if found[2] == "%" else 1.0)
        return before - after < bar

    def rank_of(self, layer: str) -> int:
        """The rank that a layer gets."""
        return next((rank for pattern, rank in self.rank_pattern.items() if ends_with(layer, pattern)), self.top_rank)

    def covers(self, layer: str) -> bool:
        """Whether a linear layer gets an adapter, by peft's rules."""
        if self.targets == "all-linear":
            return True
        if isinstance(self.targets, str):
            return re.fullmatch(self.targets, layer) is not None
        return any(layer == name or layer.endswith(f".{name}") for name in self.targets)


def ends_with(layer: str, pattern: str) -> bool:
    """Whether a pattern of `rank_pattern` is meant for a layer, by peft's rules."""
    return re.match(rf"(.*\.)?({pattern})$", layer) is not None


class AdapterConfig(Config):
    """What is trained instead of the model's own weights."""

    lora: LoraConfig = LoraConfig()
    """The adapter."""
    base: Literal["full", "nf4", "int8"] = "full"
    """How the frozen base model is held while the adapter is trained: in `train.dtype`, in 4 bits (NF4 with doubly
    quantized scales; QLoRA, Dettmers et al. 2023, arXiv 2305.14314) or in 8 (LLM.int8, Dettmers et al. 2022, arXiv
    2208.07339), by bitsandbytes. The adapter is merged into the full-precision base in any case."""
    start: ArtifactName | None = None
    """A published adapter of the same base to go on from; one of a lower rank is padded, which changes no output."""

    @model_validator(mode="after")
    def _variant_and_base_fit(self) -> AdapterConfig:
        if self.lora.variant == "dora" and self.base == "int8":
            raise ConfigValueError(
                "DoRA cannot be trained on a base in 8 bits: the backward pass loses the scales.",
                got="lora.variant: dora, base: int8", expected="base: nf4 or full, or another variant",
            )  # fmt: skip
        return self
