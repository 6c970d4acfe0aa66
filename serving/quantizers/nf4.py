"""NF4 by bitsandbytes: 16 quantiles of the normal distribution, a scale for 64 weights, the scales in 8 bits themselves
(Dettmers et al. 2023, arXiv 2305.14314, section 3). No calibration.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from serving.quantize import Progress, Quantized, QuantizerConfig
from serving.quantizers._bitsandbytes import quantize_linears

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BLOCK = 64


class Config(QuantizerConfig):
    """Keys of `method: nf4`."""

    kind: Literal["nf4"] = "nf4"
    """The plug-in's file name, without `.py`."""
    double: bool = True
    """Scales in 8 bits with scales of their own; 0.37 bits a weight less."""


def quantize(
    model_dir: Path,
    out: Path,
    config: Config,
    text: NDArray[np.int64] | None = None,  # noqa: ARG001 - one signature for all
    progress: Progress | None = None,
) -> Quantized:
    """As `serving.quantize.Quantizer`."""
    section = {
        "quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4",
        "bnb_4bit_use_double_quant": config.double, "bnb_4bit_compute_dtype": "bfloat16",
    }  # fmt: skip

    def encode(weight: Any) -> tuple[dict[str, Any], Any]:
        from bitsandbytes.functional import dequantize_4bit, quantize_4bit

        codes, state = quantize_4bit(weight, blocksize=BLOCK, compress_statistics=config.double, quant_type="nf4")
        tensors = {"weight": codes} | {f"weight.{key}": value for key, value in state.as_dict(packed=True).items()}
        return tensors, dequantize_4bit(codes, state)

    return quantize_linears(model_dir, out, encode, section, "nf4", progress)
