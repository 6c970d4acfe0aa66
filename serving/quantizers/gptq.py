"""GPTQ: columns are rounded one after another, and those to come make up for the error (Frantar et al. 2022, arXiv
2210.17323).

Layers that see the same input (queries, keys and values; gate and up) are one matrix here: the inverse of their Hessian
is found once. The grids are fixed before the first column is rounded, at the least error weighted by the Hessian's
diagonal: so columns can be taken in any order, without an index of groups in the file.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from cluster.errors import ModelError
from serving.quantize import Progress, Quantized
from serving.quantizers._grid import GridConfig, Levels, decode, encode, fit

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

BLOCK = 128
"""Columns whose errors are passed on together; the result does not depend on it."""


class Config(GridConfig):
    """Keys of `method: gptq`."""

    CALIBRATED: ClassVar[bool] = True

    kind: Literal["gptq"] = "gptq"
    """The plug-in's file name, without `.py`."""
    order: Literal["activation", "none"] = "activation"
    """Columns with large inputs first (`act_order`), or as they stand."""
    damping: float = Field(default=0.01, gt=0, le=1)
    """Added to the Hessian's diagonal, as a share of its mean."""
    least_range: float = Field(default=0.6, gt=0, le=1)
    """How far a group's range may be narrowed where that costs less; 1: from least to greatest weight."""


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


def solve(config: Config, weight: torch.Tensor, hessian: torch.Tensor | None) -> tuple[torch.Tensor, Levels]:
    """Codes [r, c] and levels of a weight.

    Args:
        weight: [r, c] float32.
        hessian: [c, c] float32, the mean of x xᵀ over the layer's inputs x.

    Raises:
        ModelError: the Hessian cannot be inverted.
        ValueError: there is none.
    """
    import torch

    if hessian is None:
        raise ValueError("GPTQ needs calibration text")
    diagonal = hessian.diagonal()
    levels = fit(weight, config, diagonal, config.least_range)
    order = torch.arange(len(diagonal), device=weight.device)
    if config.order == "activation":
        order = diagonal.argsort(descending=True, stable=True)
    upper = _inverse_factor(hessian[order][:, order], config.damping)
    group = order // config.group
    rest = weight.t()[order].contiguous()  # [c, r]: a column of the weight is a row here
    scale, zero = levels.scale.t()[group].contiguous(), levels.zero.t()[group].contiguous()
    top, codes = 2**config.bits - 1, torch.empty_like(rest)
    for start in range(0, len(rest), BLOCK):
        end = min(start + BLOCK, len(rest))
        part, factors = rest[start:end], upper[start:end, start:end]
        errors = torch.empty_like(part)
        pivots = factors.diagonal().tolist()
        columns = (one[start:end].unbind() for one in (rest, scale, zero, codes))
        for at, (column, step, offset, code) in enumerate(zip(*columns, strict=True)):
            torch.div(column, step, out=code).round_().add_(offset).clamp_(0, top)
            torch.sub(code, offset, out=errors[at]).mul_(step).sub_(column).mul_(1.0 / pivots[at])
            part[at + 1 :].addr_(factors[at, at + 1 :], errors[at])
        rest[end:].addmm_(upper[start:end, end:].t(), errors)
    found = torch.empty_like(codes)
    found[order] = codes
    return _at_least_as_rounded(config, weight, hessian, found.t().contiguous(), levels)


def _at_least_as_rounded(
    config: Config, weight: torch.Tensor, hessian: torch.Tensor, codes: torch.Tensor, levels: Levels
) -> tuple[torch.Tensor, Levels]:
    """The rows as they are found, or rounded to nearest where that is closer: rows do not depend on each other."""
    import torch

    def error(codes: torch.Tensor, levels: Levels) -> torch.Tensor:
        difference = decode(codes, levels, config) - weight
        return ((difference @ hessian) * difference).sum(1, keepdim=True)

    plain = fit(weight, config)
    rounded = encode(weight, plain, config)
    worse = error(codes, levels) > error(rounded, plain)
    levels = Levels(*(torch.where(worse, one, other) for one, other in zip(plain, levels, strict=True)))
    return torch.where(worse, rounded, codes), levels


def _inverse_factor(hessian: torch.Tensor, damping: float) -> torch.Tensor:
    """Upper Cholesky factor of the inverse of the damped Hessian; more damping where it is too close to singular."""
    import torch

    mean = hessian.diagonal().mean()
    for factor in (1, 10, 100):
        damped = hessian.flip(0, 1)
        damped.diagonal().add_(damping * factor * mean + 1e-12)
        lower, failed = torch.linalg.cholesky_ex(damped)
        if not failed:
            # With the order reversed, H = L Lᵀ gives H⁻¹ = Uᵀ U for U = L⁻¹ in the order as it was.
            eye = torch.eye(len(lower), device=lower.device)
            found: torch.Tensor = torch.linalg.solve_triangular(lower, eye, upper=False).flip(0, 1)
            return found
    raise ModelError(
        "The Hessian of a layer's inputs cannot be inverted.", field="calibration", got=f"damping {damping:g}",
        expected="finite activations from enough text", fix="more calibration text, or a larger damping",
    )  # fmt: skip
