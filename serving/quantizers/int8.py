"""INT8 by bitsandbytes: a scale a row, and activations in 8 bits too but for outlying columns (LLM.int8; Dettmers et
al. 2022, arXiv 2208.07339). No calibration.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from serving.quantize import Progress, Quantized, QuantizerConfig
from serving.quantizers._bitsandbytes import quantize_linears

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Config(QuantizerConfig):
    """Keys of `method: int8`."""

    kind: Literal["int8"] = "int8"
    """The plug-in's file name, without `.py`."""


def quantize(
    model_dir: Path,
    out: Path,
    config: Config,  # noqa: ARG001 - one signature for all
    text: NDArray[np.int64] | None = None,  # noqa: ARG001
    progress: Progress | None = None,
) -> Quantized:
    """As `serving.quantize.Quantizer`."""
    section = {"quant_method": "bitsandbytes", "load_in_8bit": True}
    return quantize_linears(model_dir, out, _encode, section, "int8", progress)


def _encode(weight: Any) -> tuple[dict[str, Any], Any]:
    import torch
    from bitsandbytes.functional import int8_vectorwise_quant

    codes, scale, _ = int8_vectorwise_quant(weight.to(torch.float16))  # the type bitsandbytes itself casts to first
    tensors = {"weight": codes, "SCB": scale, "weight_format": torch.tensor(0, dtype=torch.uint8)}
    return tensors, codes.float() * scale[:, None] / 127
