"""k-quants: a Hugging Face folder becomes one GGUF file, quantized by llama.cpp's own kernels.

No calibration text is needed. Rows that are no multiple of 256 columns fall back to blocks of 32, as in llama.cpp
(SmolLM2-135M, 576 wide, gets Q5_0 and Q8_0 for most of Q4_K_M).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cluster.config import PluginConfig
from cluster.errors import ModelError, ResourceError
from cluster.storage import require_free_space
from serving.quantize import Quantized

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

METADATA_BYTES_PER_TOKEN = 64
"""Upper estimate of what a token, its merge and its type take in the file."""


class Config(PluginConfig):
    """How to write the GGUF file."""

    kind: Literal["kquants"] = "kquants"
    """The plug-in's file name, without `.py`."""
    recipe: Literal[
        "F16",
        "BF16",
        "Q8_0",
        "Q6_K",
        "Q5_K_M",
        "Q5_K_S",
        "Q4_K_M",
        "Q4_K_S",
        "Q4_0",
        "Q3_K_L",
        "Q3_K_M",
        "Q3_K_S",
        "Q2_K",
    ] = "Q4_K_M"
    """llama.cpp's name for the mix of tensor types. The digit is the bits of most weights; M and L spend more than S on
    the tensors that need it."""


def quantize(
    model_dir: Path,
    out_file: Path,
    config: Config,
    progress: Callable[[int, int], None] | None = None,
    *,
    importance: Mapping[str, NDArray[np.float32]] | None = None,
) -> Quantized:
    """Write the model of `model_dir` to `out_file`, which appears only when it is whole. One tensor is held at a time.

    Args:
        progress: called with (tensors written, tensors in all) after each tensor.
        importance: parameter name → [n_cols] mean square of the parameter's inputs. Columns that see large inputs are
            then kept more exactly.

    Raises:
        ModelError: the model or its tokenizer cannot be written as GGUF, or its weights are not finite.
        ResourceError: the disk lacks room.
    """
    from serving.quantizers._checkpoint import open_checkpoint
    from serving.quantizers._gguf import plan_tensors, write_gguf

    checkpoint = open_checkpoint(model_dir)
    plan = plan_tensors(checkpoint, config.recipe)
    if unknown := sorted((importance or {}).keys() - checkpoint.shapes.keys()):
        raise ModelError("Importance is given for parameters that the model lacks.", field="importance", got=unknown)
    tensor_bytes = sum(tensor.num_bytes for tensor in plan)

    out_file.parent.mkdir(parents=True, exist_ok=True)
    need_bytes = tensor_bytes + METADATA_BYTES_PER_TOKEN * checkpoint.config.vocab_size
    require_free_space(out_file.parent, need_bytes, "for the quantized model")
    with _whole_or_nothing(out_file) as partial:
        write_gguf(partial, checkpoint, config.recipe, plan, importance or {}, progress)
    return Quantized(
        path=out_file,
        size_bytes=out_file.stat().st_size,
        bits_per_weight=8 * tensor_bytes / sum(tensor.num_weights for tensor in plan),
        tensor_types=dict(Counter(tensor.type.name for tensor in plan)),
    )


@contextmanager
def _whole_or_nothing(path: Path) -> Iterator[Path]:
    """A temporary name beside `path`, renamed to it on success and removed otherwise."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        partial.replace(path)
    except OSError as error:
        raise ResourceError("The quantized model could not be written.", field=str(path), got=error) from error
    finally:
        partial.unlink(missing_ok=True)
