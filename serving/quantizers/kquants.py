"""k-quants: a Hugging Face folder becomes one GGUF file, quantized by llama.cpp's own kernels.

The file is byte for byte what `llama-quantize` makes of the same model's BF16 file; with importance, its tensors are.
No calibration text is needed. Rows that are no multiple of 256 columns fall back to blocks of 32, as in llama.cpp
(SmolLM2-135M, 576 wide, gets Q5_0 and Q8_0 for most of Q4_K_M).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from cluster.errors import ModelError, ResourceError
from cluster.storage import require_free_space
from serving.quantize import Progress, Quantized, QuantizerConfig

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from serving.quantizers._gguf import PlannedTensor

FILE_NAME = "model.gguf"
METADATA_BYTES_PER_TOKEN = 64
"""Upper estimate of what a token, its merge and its type take in the file."""


class Config(QuantizerConfig):
    """How to write the GGUF file."""

    MAKES: ClassVar[str] = "gguf"

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
    importance: bool = False
    """Weigh the error of each column by the squares that calibration text sends through it (llama.cpp's importance
    matrix)."""

    @property
    def default_label(self) -> str:
        """The recipe, with `-imatrix` where the text has a say."""
        return self.recipe.lower() + ("-imatrix" if self.importance else "")

    def engines(self, *, gpu: bool) -> tuple[str, ...]:  # noqa: ARG002 - either way
        """GGUF is llama.cpp's."""
        return ("llama_cpp",)

    @property
    def calibrated(self) -> bool:
        """With importance."""
        return self.importance


def quantize(
    model_dir: Path,
    out: Path,
    config: Config,
    text: NDArray[np.int64] | None = None,
    progress: Progress | None = None,
) -> Quantized:
    """As `serving.quantize.Quantizer`; `out` is a folder, in which `model.gguf` is written."""
    if config.importance and text is None:
        raise ValueError("an importance matrix needs calibration text")
    importance = column_importance(model_dir, text) if config.importance and text is not None else None
    return write_file(model_dir, out / FILE_NAME, config, progress, importance=importance)


def column_importance(model_dir: Path, text: NDArray[np.int64]) -> dict[str, NDArray[np.float32]]:
    """Parameter name → [n_cols] mean square of the inputs of each linear layer of the decoder.

    Args:
        text: token ids [n, t].
    """
    import torch

    from serving.quantizers._source import open_source
    from serving.quantizers._walk import walk

    found: dict[str, NDArray[np.float32]] = {}
    for layer in walk(open_source(model_dir), torch.from_numpy(text), changes=False):
        for inputs in layer.inputs():
            if inputs.squares is not None:
                squares = inputs.squares.cpu().numpy()
                found |= {f"{layer.name}.{name}.weight": squares for name in inputs.names}
    return found


def write_file(
    model_dir: Path,
    out_file: Path,
    config: Config,
    progress: Progress | None = None,
    *,
    importance: Mapping[str, NDArray[np.float32]] | None = None,
) -> Quantized:
    """Write the model of `model_dir` to `out_file`, which appears only when it is whole. One tensor is held at a time.

    Args:
        progress: called with (tensors written, tensors in all) after each tensor.
        importance: parameter name → [n_cols] mean square of the parameter's inputs, which is what llama.cpp calls an
            importance matrix. Columns that see large inputs are then kept more exactly; parameters without an entry
            are quantized as without.

    Raises:
        ModelError: the model or its tokenizer cannot be written as GGUF, its weights are not finite or too large, or
            `importance` does not fit its parameters.
        ResourceError: the disk lacks room.
    """
    from serving.quantizers._checkpoint import open_checkpoint
    from serving.quantizers._gguf import plan_tensors, write_gguf

    checkpoint = open_checkpoint(model_dir)
    plan = plan_tensors(checkpoint, config.recipe, has_importance=bool(importance))
    _check_importance(importance or {}, checkpoint.shapes)
    tensor_bytes = sum(tensor.num_bytes for tensor in plan)

    out_file.parent.mkdir(parents=True, exist_ok=True)
    need_bytes = tensor_bytes + METADATA_BYTES_PER_TOKEN * checkpoint.config.vocab_size
    require_free_space(out_file.parent, need_bytes, "for the quantized model")
    with _whole_or_nothing(out_file) as partial:
        write_gguf(partial, checkpoint, config.recipe, plan, importance or {}, progress)
    return Quantized(
        path=out_file,
        size_bytes=out_file.stat().st_size,
        bits_per_weight=_bits_a_weight(plan),
        layer_bits=_bits_a_weight([one for one in plan if one.name.startswith("blk.") and len(one.shape) == 2]),
        tensor_types=dict(Counter(tensor.type.name for tensor in plan)),
        losses={},
    )


def _bits_a_weight(tensors: list[PlannedTensor]) -> float:
    return 8 * sum(one.num_bytes for one in tensors) / sum(one.num_weights for one in tensors)


def _check_importance(importance: Mapping[str, NDArray[np.float32]], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse what llama.cpp's quantizer refuses too, and squares below zero."""
    import numpy as np

    if unknown := sorted(importance.keys() - shapes.keys()):
        raise ModelError(
            "Importance is given for parameters that the model lacks.",
            field="importance",
            got=", ".join(unknown[:3]),
            expected=f"parameter names such as {next(iter(shapes))}",
        )
    for name, columns in importance.items():
        if columns.shape != shapes[name][-1:]:
            raise ModelError(
                "Importance has another width than its parameter.",
                field=f"importance[{name}]",
                got=columns.shape,
                expected=shapes[name][-1:],
                fix="collect it from this model",
            )
        # llama.cpp would write such a parameter as zeros, without a word.
        if not columns.any():
            raise ModelError(
                "Importance is zero throughout: no calibration data came to this parameter.",
                field=f"importance[{name}]",
                fix="leave the entry out, or calibrate with more text",
            )
        if not (np.isfinite(columns).all() and (columns >= 0).all()):
            raise ModelError(
                "Importance is not a mean of squares: it holds NaN, infinity or numbers below zero.",
                field=f"importance[{name}]",
                got=f"{int((~(np.isfinite(columns) & (columns >= 0))).sum())} of {columns.size} values",
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
