"""AWQ: channels with large activations are scaled up before rounding, which makes their relative error smaller, and the
inverse goes into what comes before (Lin et al. 2023, arXiv 2306.00978).

The scales are mean |x| to a power, divided by the weights' own size to one minus it if `duo`; the power is searched for
the least error of the outputs. Then ranges are clipped where that lowers it further. The file is an ordinary one: the
norm or the projection before carries the inverse scales.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, PositiveInt

from cluster.errors import ModelError
from serving.quantize import Progress, Quantized
from serving.quantizers._grid import GridConfig, Levels, decode, encode, fit
from serving.quantizers._walk import Inputs, Layer

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

BEFORE = {
    "self_attn.q_proj": "input_layernorm", "mlp.gate_proj": "post_attention_layernorm",
    "self_attn.o_proj": "self_attn.v_proj", "mlp.down_proj": "mlp.up_proj",
}  # fmt: skip
"""First of the layers that share an input → what makes the input, in Llama, Mistral, Qwen2 and Qwen3."""
_SAME = 1e-3
"""Share by which the outputs of a layer may change when scales are folded in: rounding alone."""


class Config(GridConfig):
    """Keys of `method: awq`."""

    CALIBRATED: ClassVar[bool] = True

    kind: Literal["awq"] = "awq"
    """The plug-in's file name, without `.py`."""
    powers: PositiveInt = 20
    """Powers between 0 and 1 that are tried."""
    duo: bool = True
    """Divide by the size of a channel's weights as well."""
    least_range: float = Field(default=0.6, gt=0, le=1)
    """How far a group's range may be clipped; 1: not at all."""


def quantize(
    model_dir: Path,
    out: Path,
    config: Config,
    text: NDArray[np.int64] | None = None,
    progress: Progress | None = None,
) -> Quantized:
    """As `serving.quantize.Quantizer`."""
    from serving.quantizers._on_grid import quantize_on_grid

    return quantize_on_grid(model_dir, out, config, text, progress, solve, prepare)


def prepare(config: Config, layer: Layer, inputs: list[Inputs]) -> list[Inputs]:
    """Scale the columns of a layer's weights, and what makes their inputs by the inverse.

    Raises:
        ModelError: the layer is none whose parts are known, or gives something else afterwards.
    """
    if any(one.hessian is None for one in inputs):
        raise ValueError("AWQ needs calibration text")
    modules, plain = dict(layer.module.named_modules()), layer.first()
    scaled = []
    for one in inputs:
        before = modules.get(BEFORE.get(one.names[0], ""))
        if before is None:
            raise ModelError(
                "AWQ does not know what comes before a layer.", field=f"{layer.name}.{one.names[0]}", got="unknown",
                expected=", ".join(BEFORE), fix="another method, such as gptq",
            )  # fmt: skip
        scaled.append(_scaled(config, layer, one, BEFORE[one.names[0]], before))
    now = layer.first()
    if plain is not None and now is not None:
        change = float((now - plain).norm() / plain.norm())
        if not change < _SAME:
            raise ModelError(
                "AWQ's scales change what a layer computes: its norm or activation is not Llama's.", field=layer.name,
                got=f"a change of {change:.2%}", expected="none", fix="another method, such as gptq",
            )  # fmt: skip
    return scaled


def _scaled(config: Config, layer: Layer, one: Inputs, name_before: str, before: Any) -> Inputs:
    import torch

    weight = torch.cat([layer.linears[name].weight.detach() for name in one.names])
    kept = any(
        re.search(pattern, f"{layer.name}.{name}") for name in (*one.names, name_before) for pattern in config.keep
    )
    # Values that several query heads share are made once and used often: no scale of a column of its own.
    if kept or one.hessian is None or one.mean_size is None or before.weight.shape[0] != weight.shape[1]:
        return one
    factors = scales(config, weight, one.hessian, one.mean_size)
    if before.weight.dim() == 1:
        # A norm is written in the folder's type: the columns make up for what is left of its weights then.
        written = (before.weight / factors).to(layer.dtypes[f"{name_before}.weight"]).float()
        factors = torch.where((written == 0) | ~written.isfinite(), 1.0, before.weight / written)
    for name in one.names:
        layer.linears[name].weight.data = layer.linears[name].weight.detach() * factors
    before.weight.data = before.weight.detach() / factors.view(-1, *[1] * (before.weight.dim() - 1))
    if getattr(before, "bias", None) is not None:
        before.bias.data = before.bias.detach() / factors
    return Inputs(one.names, one.hessian / factors / factors[:, None], one.mean_size / factors)


def scales(config: Config, weight: torch.Tensor, hessian: torch.Tensor, mean_size: torch.Tensor) -> torch.Tensor:
    """What the columns of a weight are multiplied by, and its inputs divided; [c].

    Args:
        weight: [r, c] float32, of all layers that see the input.
        hessian: [c, c], the mean of x xᵀ.
        mean_size: [c], the mean of |x|.
    """
    import torch

    size = weight.abs().unflatten(1, (-1, config.group))
    size = (size / size.amax(-1, keepdim=True).clamp(min=1e-8)).flatten(1).mean(0).clamp(min=1e-4)
    best, least = torch.ones_like(mean_size), float("inf")
    for step in range(config.powers + 1):
        power = step / config.powers
        found = mean_size.clamp(min=1e-4).pow(power)
        if config.duo:
            found = found / size.pow(1 - power)
        found = (found / (found.max() * found.min()).sqrt()).clamp(1e-3, 1e3)
        error = _error(config, weight * found) / found
        cost = float(((error @ hessian) * error).sum())
        if cost < least:
            best, least = found, cost
    error = _error(config, weight)
    return best if least < float(((error @ hessian) * error).sum()) else torch.ones_like(best)


def _error(config: Config, weight: torch.Tensor) -> torch.Tensor:
    levels = fit(weight, config)
    return decode(encode(weight, levels, config), levels, config) - weight


def solve(config: Config, weight: torch.Tensor, hessian: torch.Tensor | None) -> tuple[torch.Tensor, Levels]:
    """Codes [r, c] and levels of a weight whose columns have been scaled; ranges are clipped by the inputs' squares."""
    levels = fit(weight, config, None if hessian is None else hessian.diagonal(), config.least_range)
    return encode(weight, levels, config), levels
