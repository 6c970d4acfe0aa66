"""AWQ: channels with large activations are scaled up before rounding, which makes their relative error smaller, and the
inverse goes into the layer before (Lin et al. 2023, arXiv 2306.00978).

Scales are mean |x| to a power (and the weights' own size to one minus it, if `duo`), the power searched on a grid for the
least error of the outputs; then ranges are clipped where that lowers it further. The file is an ordinary one: the norm or
the projection before carries the inverse scales.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, PositiveInt

from serving.quantizers._grid import GridConfig, Levels, decode, encode, fit

if TYPE_CHECKING:
    import torch


class Config(GridConfig):
    """Keys of `method: awq`."""

    kind: Literal["awq"] = "awq"
    """The plug-in's file name, without `.py`."""
    powers: PositiveInt = 20
    """Powers from 0 to 1 that are tried."""
    duo: bool = True
    """Divide by the size of the weights of a channel as well."""
    least_range: float = Field(default=0.6, gt=0, le=1)
    """How far a group's range may be clipped; 1: not at all."""


def scales(config: Config, weight: torch.Tensor, hessian: torch.Tensor, mean_input: torch.Tensor) -> torch.Tensor:
    """What the columns of a weight are multiplied by, and its inputs divided; [c].

    Args:
        weight: [r, c] float32, of all layers that see the input.
        hessian: [c, c], the mean of x xᵀ.
        mean_input: [c], the mean of |x|.
    """
    import torch

    size = weight.abs().unflatten(1, (-1, config.group))
    size = (size / size.amax(-1, keepdim=True).clamp(min=1e-8)).flatten(1).mean(0).clamp(min=1e-4)
    best, least = torch.ones_like(mean_input), float("inf")
    for step in range(config.powers + 1):
        power = step / config.powers
        found = mean_input.clamp(min=1e-4).pow(power)
        if config.duo:
            found = found / size.pow(1 - power)
        found = (found / (found.max() * found.min()).sqrt()).clamp(1e-3, 1e3)
        if step == 0 and not config.duo:
            found = torch.ones_like(found)
        scaled = weight * found
        levels = fit(scaled, config)
        error = decode(encode(scaled, levels, config), levels, config) / found - weight
        cost = float(((error @ hessian) * error).sum())
        if cost < least:
            best, least = found, cost
    return best


def solve(config: Config, weight: torch.Tensor, hessian: torch.Tensor) -> tuple[torch.Tensor, Levels]:
    """Codes [r, c] and levels of a weight whose columns have been scaled, ranges clipped by importance."""
    levels = fit(weight, config, hessian.diagonal(), config.least_range)
    return encode(weight, levels, config), levels
