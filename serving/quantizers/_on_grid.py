"""Quantization to a grid of integers, layer by layer: what RTN, GPTQ, AWQ and HQQ share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from serving.quantize import Progress, Quantized
from serving.quantizers._folder import FolderWriter
from serving.quantizers._grid import GridConfig, Levels, decode
from serving.quantizers._memory import give_back
from serving.quantizers._packed import packed, section
from serving.quantizers._source import Source, decoder_layers, open_source, relative_error
from serving.quantizers._walk import Inputs, Layer, walk

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray


class Solve(Protocol):
    """What a method does with a weight."""

    def __call__(self, config: Any, weight: torch.Tensor, hessian: torch.Tensor | None) -> tuple[torch.Tensor, Levels]:
        """Codes [r, c] and levels of a weight [r, c], float32.

        Args:
            hessian: [c, c], the mean of x xᵀ over the calibration text; None without one.
        """
        ...


Prepare = Callable[[Any, Layer, list[Inputs]], list[Inputs]]
"""Changes a layer's weights before they are quantized, and gives its inputs as they are then."""


class _Plan:
    """Which linear layers get which grid."""

    def __init__(self, source: Source, config: GridConfig) -> None:
        import torch

        skeleton = source.skeleton()
        found = {name: module for name, module in skeleton.named_modules() if isinstance(module, torch.nn.Linear)}
        stack, layers = decoder_layers(skeleton)
        self.num_layers = len(layers)
        self.prefix = f"{stack}."
        linears = {name: one.in_features for name, one in found.items() if name.startswith(self.prefix)}
        config.require_fits(linears)
        self.linears = list(linears)
        """Linear layers of the decoder."""
        self.grids = config.grids(linears)
        """Linear layer → its grid."""
        self.wide = [name for name, grid in self.grids.items() if grid.bits != config.bits]
        self.kept = [name for name in found if name not in self.grids]
        """Names of the linear layers that stay as they are; the output head is one."""


def quantize_on_grid(
    model_dir: Path,
    out_dir: Path,
    config: GridConfig,
    text: NDArray[np.int64] | None,
    progress: Progress | None,
    solve: Solve,
    prepare: Prepare | None = None,
) -> Quantized:
    """Write the model of `model_dir` to `out_dir`, which is whole in the end or not there.

    Args:
        text: calibration token ids [n, t], for methods that look at what layers see.

    Raises:
        ModelError: the model cannot be quantized so.
        ResourceError: the disk is full.
    """
    import torch

    source = open_source(model_dir)
    plan = _Plan(source, config)
    calibration = torch.from_numpy(text) if text is not None else None
    losses: dict[str, float] = {}
    with FolderWriter(out_dir, source) as writer:
        writer.add({name: source.read(name) for name in source.shapes if not name.startswith(plan.prefix)})
        for at, layer in enumerate(walk(source, calibration)):
            losses |= _quantize_layer(layer, plan, config, writer, solve, prepare)
            if progress is not None:
                progress(at + 1, plan.num_layers)
        writer.finish(section(config, plan.kept, plan.wide))
    return Quantized(
        path=out_dir, size_bytes=writer.num_bytes, bits_per_weight=8 * writer.num_bytes / source.num_parameters,
        layer_bits=writer.bits_a_weight(plan.linears),
        tensor_types=dict(Counter(f"int{grid.bits}" for grid in plan.grids.values())), losses=losses,
    )  # fmt: skip


def _quantize_layer(
    layer: Layer, plan: _Plan, config: GridConfig, writer: FolderWriter, solve: Solve, prepare: Prepare | None
) -> dict[str, float]:
    """Quantize and write a decoder layer; gives the loss of each of its linear layers."""
    import torch

    losses = dict[str, float]()
    inputs = layer.inputs()
    if prepare is not None:
        inputs = prepare(config, layer, inputs)
    for one in inputs:
        by_grid: dict[int, list[str]] = {}
        for name in one.names:
            if (grid := plan.grids.get(f"{layer.name}.{name}")) is not None:
                by_grid.setdefault(grid.bits, []).append(name)
        for names in by_grid.values():
            grid = plan.grids[f"{layer.name}.{names[0]}"]
            weight = torch.cat([layer.linears[name].weight.detach() for name in names])
            codes, levels = solve(grid, weight, one.hessian)
            # float16 has no scale below 6e-8: what the file will hold is what counts from here.
            levels = levels._replace(scale=levels.scale.to(layer.dtypes[f"{names[0]}.weight"]).float())
            start = 0
            for name in names:
                linear = layer.linears[name]
                rows = slice(start, start + linear.out_features)
                start = rows.stop
                part = Levels(levels.scale[rows], levels.zero[rows])
                tensors = packed(codes[rows], part, grid, layer.dtypes[f"{name}.weight"])
                writer.add({f"{layer.name}.{name}.{key}": tensor for key, tensor in tensors.items()})
                found = decode(codes[rows], part, grid)
                losses[f"{layer.name}.{name}"] = _loss(linear.weight.detach(), found, one.hessian)
                linear.weight.data = found
            del weight, codes, levels, part, tensors, found
            give_back()
    quantized = {f"{name}.weight" for name in losses}
    writer.add({
        name: parameter.detach().to(layer.dtypes[key])
        for key, parameter in layer.module.named_parameters()
        if (name := f"{layer.name}.{key}") not in quantized
    })  # fmt: skip
    return losses


def _loss(weight: torch.Tensor, found: torch.Tensor, hessian: torch.Tensor | None) -> float:
    """Mean square of the outputs' error against that of the outputs; of the weights themselves without a Hessian."""
    error = found - weight
    if hessian is None:
        return relative_error(weight, found)
    return float(((error @ hessian) * error).sum() / ((weight @ hessian) * weight).sum().clamp(min=1e-30))
