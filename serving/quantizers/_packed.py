"""Folders in the format compressed-tensors `pack-quantized`, which stock transformers and vLLM load.

Of a layer [r, c] with groups: `weight_packed` int32 [r, c · bits / 32], `weight_scale` [r, g], `weight_zero_point`
int32 [r · bits / 32, g] unless symmetric, `weight_shape`. There is no index of groups (`weight_g_idx`): vLLM refuses
it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from serving.quantizers._grid import GridConfig, Levels

if TYPE_CHECKING:
    import torch


def packed(codes: torch.Tensor, levels: Levels, grid: GridConfig, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """A layer's tensors, by the names that follow the layer's.

    Args:
        codes: [r, c], whole numbers from 0.
        dtype: of the scales, the model's.
    """
    import torch
    from compressed_tensors.compressors.pack_quantized import pack_to_int32

    middle = 2 ** (grid.bits - 1)  # they want signed numbers, and store them shifted
    tensors = {
        "weight_packed": pack_to_int32((codes - middle).to(torch.int8), grid.bits),
        "weight_scale": levels.scale.to(dtype).contiguous(),
        "weight_shape": torch.tensor(codes.shape),
    }
    if not grid.symmetric:
        zeros = pack_to_int32((levels.zero - middle).to(torch.int8), grid.bits, packed_dim=0)
        tensors["weight_zero_point"] = zeros.contiguous()
    return tensors


def section(grid: GridConfig, kept: list[str], wide: list[str]) -> dict[str, Any]:
    """`quantization_config` of config.json.

    Args:
        kept: layers that are not quantized.
        wide: layers that have 8 bits in place of the grid's.
    """

    def group(targets: list[str], bits: int, *, symmetric: bool) -> dict[str, Any]:
        return {
            "targets": targets,
            "weights": {
                "num_bits": bits, "type": "int", "symmetric": symmetric, "strategy": "group",
                "group_size": grid.group, "dynamic": False,
            },
        }  # fmt: skip

    groups = {"group_0": group(["Linear"], grid.bits, symmetric=grid.symmetric)}
    if wide:
        # The first group that fits a layer is the one that counts.
        groups = {"group_0": group(wide, 8, symmetric=True), "group_1": groups["group_0"]}
    return {
        "quant_method": "compressed-tensors", "format": "pack-quantized", "quantization_status": "compressed",
        "config_groups": groups, "ignore": kept,
    }  # fmt: skip
