"""Round to nearest: each weight to the closest number of its group's grid, from the least to the greatest weight. The
baseline of the other methods; no calibration.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from serving.quantize import Progress, Quantized
from serving.quantizers._grid import GridConfig, Levels, encode, fit

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray


class Config(GridConfig):
    """Keys of `method: rtn`."""

    kind: Literal["rtn"] = "rtn"
    """The plug-in's file name, without `.py`."""


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
    levels = fit(weight, config)
    return encode(weight, levels, config), levels
