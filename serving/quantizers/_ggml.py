"""llama.cpp's own quantization kernels, called through ctypes in the shared library of the xllamacpp wheel.

The kernels abort the process on a wrong argument, so everything they assert is checked here first.
"""

from __future__ import annotations

import ctypes
import importlib
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from gguf import GGMLQuantizationType
    from numpy.typing import NDArray

MIN_ROWS_PER_TASK = 64
"""Smaller pieces cost more in Python calls than a second thread gains."""


def row_size(type_: GGMLQuantizationType, n_cols: int) -> int:
    """Bytes of one row of `n_cols` weights.

    Raises:
        ValueError: `n_cols` is not a whole number of blocks of this type.
        RuntimeError: gguf and xllamacpp disagree on this type.
    """
    from gguf import GGML_QUANT_SIZES

    block, block_bytes = GGML_QUANT_SIZES[type_]
    if n_cols % block:
        raise ValueError(f"a row of {n_cols} weights is not a whole number of {type_.name} blocks of {block}")
    # The library carries no version of its C interface: a renumbered type would write nonsense without a word.
    size, known = n_cols // block * block_bytes, int(_library().ggml_row_size(type_.value, n_cols))
    if size != known:
        raise RuntimeError(f"a row of {n_cols} {type_.name} weights is {size} bytes in gguf, {known} in xllamacpp")
    return size


def quantize_rows(
    weights: NDArray[np.float32],
    type_: GGMLQuantizationType,
    *,
    importance: NDArray[np.float32] | None = None,
    num_threads: int = 1,
) -> NDArray[np.uint8]:
    """Encode a matrix as blocks of `type_`.

    Args:
        weights: [n_rows, n_cols], finite.
        importance: [n_cols] weight of each column's squared error, such as the mean square of what it multiplies.
        num_threads: threads that share the rows; the result does not depend on it.

    Returns:
        [n_rows, bytes per row].

    Raises:
        ValueError: a wrong shape, columns that are no whole number of blocks, or a type that needs `importance`.
        OverflowError: weights too large for the type, so that a block holds NaN or infinity.
    """
    import numpy as np

    if weights.ndim != 2:
        raise ValueError(f"expected [n_rows, n_cols], got shape {weights.shape}")
    n_rows, n_cols = weights.shape
    encoded = np.empty((n_rows, row_size(type_, n_cols)), dtype=np.uint8)
    if importance is None:
        if _library().ggml_quantize_requires_imatrix(type_.value):
            raise ValueError(f"{type_.name} needs an importance per column")
    elif importance.shape != (n_cols,):
        raise ValueError(f"expected importance of shape ({n_cols},), got {importance.shape}")
    else:
        importance = np.ascontiguousarray(importance, dtype=np.float32)

    # Each task gets its own view, so that every call starts at element 0 and no offset can be wrong.
    weights = np.ascontiguousarray(weights, dtype=np.float32)
    step = max(MIN_ROWS_PER_TASK, -(-n_rows // max(1, num_threads)))
    starts = range(0, n_rows, step)

    def encode(start: int) -> None:
        source, target = weights[start : start + step], encoded[start : start + step]
        written = _library().ggml_quantize_chunk(
            type_.value, _floats(source), target.ctypes.data, 0, source.shape[0], n_cols, _floats(importance)
        )
        if written != target.nbytes:
            raise ValueError(f"{type_.name}: the kernel wrote {written} bytes, expected {target.nbytes}")
        if not _library().ggml_validate_row_data(type_.value, target.ctypes.data, target.nbytes):
            raise OverflowError(f"{type_.name} cannot hold weights as large as {np.abs(source).max():.4g}")

    # ctypes releases the interpreter's lock during the call.
    with ThreadPoolExecutor(max_workers=max(1, num_threads)) as pool:
        list(pool.map(encode, starts))
    return encoded


def _floats(array: NDArray[np.float32] | None) -> ctypes.c_void_p:
    return ctypes.c_void_p(None if array is None else array.ctypes.data)


@cache
def _library() -> ctypes.CDLL:
    """The library, with its prototypes. `ggml_quantize_chunk` sets up its own tables, under a lock."""
    library = ctypes.CDLL(importlib.import_module("xllamacpp.xllamacpp").__file__)
    library.ggml_quantize_chunk.restype = ctypes.c_size_t
    library.ggml_quantize_chunk.argtypes = [
        ctypes.c_int,  # ggml_type
        ctypes.c_void_p,  # const float * source
        ctypes.c_void_p,  # void * target
        ctypes.c_int64,  # first element
        ctypes.c_int64,  # rows
        ctypes.c_int64,  # columns
        ctypes.c_void_p,  # const float * importance, or null
    ]
    library.ggml_validate_row_data.restype = ctypes.c_bool
    library.ggml_validate_row_data.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t]
    library.ggml_row_size.restype = ctypes.c_size_t
    library.ggml_row_size.argtypes = [ctypes.c_int, ctypes.c_int64]
    library.ggml_quantize_requires_imatrix.restype = ctypes.c_bool
    library.ggml_quantize_requires_imatrix.argtypes = [ctypes.c_int]
    return library
