"""Round to nearest: each weight to the closest number of its group's grid, from the least to the greatest weight. The
baseline of the other methods; no calibration.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from serving.quantizers._grid import GridConfig, Levels, encode, fit

if TYPE_CHECKING:
    import torch


class Config(GridConfig):
    """Keys of `method: rtn`."""

    kind: Literal["rtn"] = "rtn"
    """The plug-in's file name, without `.py`."""


def solve(config: Config, weight: torch.Tensor) -> tuple[torch.Tensor, Levels]:
    """Codes [r, c] and levels of a weight [r, c], float32."""
    levels = fit(weight, config)
    return encode(weight, levels, config), levels
