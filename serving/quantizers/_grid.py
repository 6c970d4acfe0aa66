"""Weights as small integers: w ≈ (code - zero) · scale, a scale and a zero for each group of columns in each row.

Legend: r rows (outputs of a layer), c columns (its inputs), g groups, `group` columns of one scale.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Literal, NamedTuple

from pydantic import Field, field_validator

from cluster.errors import ConfigValueError, ModelError
from serving.quantize import QuantizerConfig, siblings

if TYPE_CHECKING:
    import torch


class GridConfig(QuantizerConfig):
    """Which numbers a weight can be; base of the `Config` of the methods that differ in how they choose."""

    bits: Literal[4, 8] = 4
    """Of each weight."""
    group: int = Field(default=32, ge=8)
    """Columns that share a scale; it must divide the width of every layer that is quantized."""
    symmetric: bool = False
    """No zero point: the middle code is 0. A little smaller, and less exact."""
    keep: list[str] = Field(default_factory=list)
    """Patterns of layer names, such as `layers.0.mlp.down_proj`, that stay as they are stored."""
    widen: list[str] = Field(default_factory=list)
    """Patterns of layer names that get 8 bits, without zero points. vLLM runs such layers on GPUs only."""

    @field_validator("keep", "widen")
    @classmethod
    def _patterns(cls, value: list[str]) -> list[str]:
        for pattern in value:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ConfigValueError(
                    "A pattern is no regular expression.", got=f"{pattern!r}: {error}", expected="such as layers.0.mlp"
                ) from None
        return value

    def engines(self, *, gpu: bool) -> tuple[str, ...]:
        """Packed folders; vLLM knows 4 bits on CPUs, on GPUs also 8 without zero points, in groups of some sizes."""
        on_gpu = (self.bits == 4 or self.symmetric) and self.group in _GPU_GROUPS
        runs = on_gpu if gpu else self.bits == 4 and not self.widen
        return ("transformers", "vllm") if runs else ("transformers",)

    def require_fits(self, widths: Mapping[str, int]) -> None:
        """As `QuantizerConfig.require_fits`: groups divide widths, and patterns name whole sets of layers."""
        for key in ("keep", "widen"):
            _require_whole(key, getattr(self, key), widths)
        kept = _named(self.keep, widths)
        for name, width in widths.items():
            if name not in kept:
                require_divides(self.group, width, name)

    def grids(self, names: Iterable[str]) -> dict[str, GridConfig]:
        """Linear layer → its grid; those that keep 16 bits have none."""
        names = list(names)
        kept, wide = _named(self.keep, names), _named(self.widen, names)
        eight = self.model_copy(update={"bits": 8, "symmetric": True})
        return {name: eight if name in wide else self for name in names if name not in kept}

    @property
    def default_label(self) -> str:
        """Such as `gptq-4g32`, with an `s` for symmetric grids."""
        return f"{self.kind}-{self.bits}g{self.group}{'s' if self.symmetric else ''}"


def _require_whole(key: str, patterns: list[str], names: Collection[str]) -> None:
    """Refuse patterns that name no layer, or a part of layers that vLLM computes as one."""
    if missing := [one for one in patterns if not _named([one], names)]:
        raise ModelError(
            "A pattern names no layer.", field=key, got=missing[0], expected=f"such as {next(iter(names), 'none')}"
        )  # fmt: skip
    named = _named(patterns, names)
    for name in named:
        together = [one for one in siblings(name) if one in names]
        if split := [one for one in together if one not in named]:
            raise ModelError(
                "vLLM computes these layers as one: all of them have the same bits.", field=key,
                got=f"{name} without {split[0]}", expected=", ".join(together),
            )  # fmt: skip


def _named(patterns: list[str], names: Iterable[str]) -> set[str]:
    return {name for name in names if any(re.search(pattern, name) for pattern in patterns)}


_GPU_GROUPS = (32, 64, 128)
"""That vLLM's Marlin kernels take."""
_STEP = 0.04
"""Share of a range by which narrower ones are tried."""


class Levels(NamedTuple):
    """The grid of one weight matrix; float32, zeros are whole numbers."""

    scale: torch.Tensor
    """[r, g]"""
    zero: torch.Tensor
    """[r, g]"""


def require_divides(group: int, width: int, name: str) -> None:
    """Refuse a group that does not divide a layer's width.

    Raises:
        ModelError: with groups that would.
    """
    if width % group:
        fitting = [str(size) for size in (128, 64, 32, 16, 8) if width % size == 0]
        raise ModelError(
            "The group does not divide the layer's width.", field="group", got=f"{group}, {name} is {width} wide",
            expected=" or ".join(fitting) or "a divisor of the width", fix=f"group: {(fitting or ['the width'])[0]}",
        )  # fmt: skip


def fit(
    weight: torch.Tensor, grid: GridConfig, importance: torch.Tensor | None = None, least_range: float = 1.0
) -> Levels:
    """The grid from the least to the greatest weight of each group, or a narrower one if that costs less.

    A range is tried in steps of 4% down to `least_range` of the whole. It costs the squared error of the weights, each
    times its column's importance.

    Args:
        weight: [r, c] float32.
        importance: [c], of the columns; default: all alike.
    """
    import torch

    parts = weight.unflatten(1, (-1, grid.group))  # [r, g, group]
    low, high = parts.amin(-1).clamp(max=0), parts.amax(-1).clamp(min=0)
    best = _between(low, high, grid)
    steps = round((1.0 - least_range) / _STEP)
    if steps == 0:
        return best
    weights = torch.ones_like(weight[0]) if importance is None else importance

    def cost(levels: Levels) -> torch.Tensor:
        error = (decode(encode(weight, levels, grid), levels, grid) - weight).square_().mul_(weights)
        return error.view_as(parts).sum(-1)

    least = cost(best)
    for step in range(1, steps + 1):
        levels = _between(low * (1 - _STEP * step), high * (1 - _STEP * step), grid)
        found = cost(levels)
        better = found < least
        best = Levels(*(torch.where(better, new, old) for new, old in zip(levels, best, strict=True)))
        least = torch.where(better, found, least)
    return best


def _between(low: torch.Tensor, high: torch.Tensor, grid: GridConfig) -> Levels:
    import torch

    top = 2**grid.bits - 1
    if grid.symmetric:
        scale = _rounded_up(torch.maximum(high, -low) * 2 / top)
        return Levels(scale, torch.full_like(scale, float(2 ** (grid.bits - 1))))
    scale = _rounded_up((high - low) / top)
    return Levels(scale, (-low / scale).round().clamp(0, top))


def _rounded_up(scale: torch.Tensor) -> torch.Tensor:
    """The next greater bfloat16: engines hold scales so, and what is rounded here need not be rounded by them. Never
    smaller, which would cut the ends of the range off.
    """
    import torch

    bits = scale.clamp(min=1e-8).contiguous().view(torch.int32)
    return ((bits + 0xFFFF) & ~0xFFFF).view(torch.float32)


def encode(weight: torch.Tensor, levels: Levels, grid: GridConfig) -> torch.Tensor:
    """Codes [r, c], whole numbers from 0 to 2^bits - 1, as floats."""
    parts = weight.unflatten(1, (-1, grid.group))
    codes: torch.Tensor = (parts / levels.scale[..., None]).round_().add_(levels.zero[..., None])
    return codes.clamp_(0, 2**grid.bits - 1).flatten(1)


def decode(codes: torch.Tensor, levels: Levels, grid: GridConfig) -> torch.Tensor:
    """Weights [r, c] of codes."""
    parts: torch.Tensor = codes.unflatten(1, (-1, grid.group))
    return ((parts - levels.zero[..., None]) * levels.scale[..., None]).flatten(1)
