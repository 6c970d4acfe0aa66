"""HQQ: the grids that leave the fewest large errors, by half-quadratic splitting; no calibration (Badri and Shaji
2023, mobiusml.github.io/hqq_blog).

Minimizes the sum of |w - ŵ|^p with p < 1, which lets outliers be. In turn: the error's large part by a shrinkage
operator, and the grid that fits the rest. The authors move the zero point alone, a real number; the file format wants
whole ones, so the scale is fitted, too, by least squares.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from serving.quantize import Progress, Quantized
from serving.quantizers._grid import GridConfig, Levels, encode, fit

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray


class Config(GridConfig):
    """Keys of `method: hqq`."""

    kind: Literal["hqq"] = "hqq"
    """The plug-in's file name, without `.py`."""
    symmetric: Literal[False] = False
    """The zero point is what is searched for."""
    norm: float = Field(default=0.7, gt=0, lt=1)
    """p."""
    penalty: PositiveFloat = 4.0
    """β at the beginning, for errors in steps of the grid: how closely the split follows them."""
    growth: float = Field(default=1.01, ge=1)
    """Of the penalty, each iteration."""
    iterations: PositiveInt = 20
    """Of which the best of each group is kept."""


def quantize(
    model_dir: Path,
    out: Path,
    config: Config,
    text: NDArray[np.int64] | None = None,
    progress: Progress | None = None,
) -> Quantized:
    """As `serving.quantize.Quantizer`."""
    from serving.quantizers._on_grid import quantize_on_grid

    return quantize_on_grid(model_dir, out, config, text, progress, solve)


def solve(
    config: Config,
    weight: torch.Tensor,
    hessian: torch.Tensor | None = None,  # noqa: ARG001 - no text has a say
) -> tuple[torch.Tensor, Levels]:
    """Codes [r, c] and levels of a weight [r, c], float32."""
    import torch

    levels = fit(weight, config)
    if config.symmetric:  # of a layer that is widened; there is no zero point to search for
        return encode(weight, levels, config), levels
    parts = weight.unflatten(1, (-1, config.group))
    best, penalty = levels, config.penalty
    least = torch.full_like(levels.scale, torch.inf)
    for iteration in range(config.iterations + 1):
        codes = encode(weight, levels, config).view_as(parts)
        steps = levels.scale[..., None]
        error = (parts / steps).sub_(codes).add_(levels.zero[..., None])
        size = error.abs().clamp_(min=1e-12)
        slope = size.pow(config.norm - 1)
        cost = (size * slope).sum(-1) * levels.scale.pow(config.norm)  # sum of |w - ŵ|^p
        better = cost < least
        best = Levels(*(torch.where(better, new, old) for new, old in zip(levels, best, strict=True)))
        least = torch.where(better, cost, least)
        if iteration == config.iterations:
            break
        # The proximal operator of |x|^p: what is large is left to the error.
        large = size.sub_(slope.mul_(config.norm / penalty)).clamp_(min=0).mul_(error.sign_())
        wanted = parts - large.mul_(steps)
        zero = (codes - wanted / levels.scale[..., None]).mean(-1).round().clamp(0, 2**config.bits - 1)
        counts = codes - zero[..., None]
        scale = (counts * wanted).sum(-1) / counts.square().sum(-1).clamp(min=1e-12)
        scale = scale.clamp(min=1e-8).bfloat16().float()
        levels = Levels(scale, zero)
        penalty *= config.growth
    return encode(weight, best, config), best
