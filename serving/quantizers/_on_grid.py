"""Quantization to a grid of integers, layer by layer: what RTN, GPTQ, AWQ and HQQ share."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from cluster.errors import ModelError
from serving.quantize import Quantized
from serving.quantizers._folder import FolderWriter
from serving.quantizers._grid import GridConfig, Levels, decode, require_divides
from serving.quantizers._packed import packed, section
from serving.quantizers._source import Source
from serving.quantizers._walk import Inputs, Layer, walk

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

Progress = Callable[[int, int], None]


class Solve(Protocol):
    """A method: codes [r, c] and levels of a weight [r, c], float32."""

    def __call__(self, config: Any, weight: torch.Tensor, hessian: torch.Tensor | None) -> tuple[torch.Tensor, Levels]:
        """`hessian` [c, c] is the mean of x xᵀ over the calibration text; None without one."""
        ...


Prepare = Callable[[Any, Layer, list[Inputs]], list[Inputs]]
"""Changes a layer's weights before they are quantized, and gives its inputs as they are then."""


def quantize_on_grid(
    model_dir: Path,
    out_dir: Path,
    config: GridConfig,
    text: NDArray[np.int64] | None,
    solve: Solve,
    prepare: Prepare | None = None,
    progress: Progress | None = None,
) -> Quantized:
    """Write the model of `model_dir` to `out_dir`, which is whole or not there.

    Args:
        text: calibration token ids [n, t], for methods that look at what layers see.
        progress: called with (layers done, layers in all).

    Raises:
        ModelError: the model cannot be quantized so.
        ResourceError: the disk is full.
    """
    import torch

    source = Source(model_dir)
    skeleton = source.skeleton()
    names = {id(module): name for name, module in skeleton.named_modules()}
    layers = [names[id(layer)] for layer in skeleton.get_decoder().layers]
    linears = [
        name for name, module in skeleton.named_modules()
        if isinstance(module, torch.nn.Linear) and name.startswith(tuple(f"{layer}." for layer in layers))
    ]  # fmt: skip
    dtype = source.dtype
    kept = [name for name in linears if any(re.search(pattern, name) for pattern in config.keep)]
    wider = [name for name in linears if any(re.search(pattern, name) for pattern in config.wider)]
    for name in linears:
        if name not in kept:
            require_divides(config.group, skeleton.get_submodule(name).in_features, name)
    calibration = None if text is None else torch.from_numpy(text)
    losses: dict[str, float] = {}
    quantized_bytes = quantized_weights = 0
    with FolderWriter(out_dir, source) as writer:
        for name in source.files:
            if not name.startswith(tuple(f"{layer}." for layer in layers)):
                writer.add({name: source.checked(name)})
        for at, layer in enumerate(walk(source, calibration)):
            inputs = layer.observe() if calibration is not None else [
                Inputs([name], None, None) for name in layer.linears
            ]  # fmt: skip
            if prepare is not None:
                inputs = prepare(config, layer, inputs)
            for group in inputs:
                for names_alike, grid in _by_grid(layer, group.names, kept, wider, config):
                    weight = torch.cat([layer.linears[one].weight for one in names_alike])
                    codes, levels = solve(grid, weight, group.hessian)
                    found = decode(codes, levels, grid)
                    start = 0
                    for one in names_alike:
                        linear = layer.linears[one]
                        rows = slice(start, start := start + linear.out_features)
                        part = Levels(levels.scale[rows], levels.zero[rows])
                        tensors = packed(codes[rows], part, grid, dtype)
                        writer.add({f"{layer.name}.{one}.{key}": tensor for key, tensor in tensors.items()})
                        losses[f"{layer.name}.{one}"] = _loss(linear.weight, found[rows], group.hessian)
                        linear.weight.data = found[rows]
                        quantized_bytes += sum(one.numel() * one.element_size() for one in tensors.values())
                        quantized_weights += linear.weight.numel()
            rest = {
                f"{layer.name}.{name}": parameter.to(dtype) for name, parameter in layer.module.named_parameters()
                if f"{layer.name}.{name}".removesuffix(".weight") not in losses
            }  # fmt: skip
            writer.add(rest)
            if progress is not None:
                progress(at + 1, len(layers))
        untouched = kept + ([] if source.tied else []) 
        writer.finish(section(config, ["lm_head", *untouched], {8: wider} if wider else {}))
    return Quantized()
