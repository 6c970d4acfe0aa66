"""Quantization of a model folder: which method, and the bar that the result must reach."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NamedTuple, Protocol, cast

from pydantic import Field, PositiveFloat, PositiveInt

from cluster.config import Config, FromFolder, PluginConfig


class QuantizeConfig(Config):
    """One quantization."""

    method: Annotated[PluginConfig, FromFolder("serving.quantizers")] = Field(default="kquants", validate_default=True)
    """A file of serving/quantizers, with its keys."""
    sequences: PositiveInt = 4
    """Held-out conversations that the quantized and the unquantized model both score."""
    max_kl: PositiveFloat = 0.15
    """Nats a token that quantization may cost: above it nothing is published."""
    min_agreement: float = Field(default=0.8, gt=0, le=1)
    """Share of tokens at which both must name the same most probable token."""


class Quantized(NamedTuple):
    """A quantized file that was written."""

    path: Path
    size_bytes: int
    bits_per_weight: float
    """Of the tensors alone, scales included."""
    tensor_types: dict[str, int]
    """Number of tensors of each type."""


class Quantizer(Protocol):
    """What a file of serving/quantizers offers."""

    def quantize(
        self, model_dir: Path, out_file: Path, config: PluginConfig, progress: Callable[[int, int], None] | None = None
    ) -> Quantized:
        """Quantize the model in a safetensors folder into one file."""
        ...


def quantizer_of(config: PluginConfig) -> Quantizer:
    """The module of the quantizer that a config names."""
    return cast(Quantizer, importlib.import_module(f"serving.quantizers.{config.kind}"))
