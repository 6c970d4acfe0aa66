"""HQQ: the zero points that leave the fewest large errors, by half-quadratic splitting; no calibration (Badri and Shaji
2023, mobiusml.github.io/hqq_blog).

Minimizes the sum of |w - ŵ|^p with p < 1, which lets outliers be. In turn: the error's large part by a shrinkage
operator, and the zero point that fits the rest. Zeros are whole numbers here, as the file format wants them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from serving.quantizers._grid import GridConfig, Levels, decode, encode, fit

if TYPE_CHECKING:
    import torch


class Config(GridConfig):
    """Keys of `method: hqq`."""

    kind: Literal["hqq"] = "hqq"
    """The plug-in's file name, without `.py`."""
    symmetric: Literal[False] = False
    """The zero point is what is searched for."""
    norm: float = Field(default=0.7, gt=0, lt=1)
    """p."""
    penalty: PositiveFloat = 10.0
    """β at the beginning: how closely the split follows the error."""
    growth: float = Field(default=1.01, ge=1)
    """Of the penalty, each iteration."""
    iterations: PositiveInt = 20
    """At most; it ends when the error grows."""


def solve(config: Config, weight: torch.Tensor) -> tuple[torch.Tensor, Levels]:
    """Codes [r, c] and levels of a weight [r, c], float32."""
    levels = fit(weight, config)
    parts = weight.unflatten(1, (-1, config.group))
    best, least, penalty = levels, float("inf"), config.penalty
    for _ in range(config.iterations):
        codes = encode(weight, levels, config)
        error = parts - decode(codes, levels, config).view_as(parts)
        size = float(error.abs().mean())
        if size >= least:
            break
        best, least = levels, size
        size_of_each = error.abs()
        kept = (size_of_each - size_of_each.pow(config.norm - 1) / penalty).clamp(min=0) * error.sign()
        wanted = codes.view_as(parts) - (parts - kept) / levels.scale[..., None]
        zero = wanted.mean(-1).round().clamp(0, 2**config.bits - 1)
        levels = Levels(levels.scale, zero)
        penalty *= config.growth
    return encode(weight, best, config), best
