"""A GGUF file's header, walked with bounds before any library reads it.

The `gguf` package believes the counts that a file tells: a hundred bytes can make it take all memory, or end in an
IndexError. Here every count must fit into the file.

    magic "GGUF", version u32, tensors u64, keys u64
    key:    string, type u32, value             (array: type u32, count u64, values)
    tensor: string, dimensions u32, u64 each, type u32, offset u64
    string: length u64, bytes
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

from cluster.errors import ModelError

_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""Type of a value → bytes."""
_STRING, _ARRAY = 8, 9
_VERSIONS = (2, 3)
_MOST_DIMENSIONS = 4
_LEAST_KEY, _LEAST_TENSOR = 13, 24
"""Bytes of the shortest key and the shortest tensor that there can be."""


def require_sound(path: Path) -> None:
    """Refuse a file whose header does not fit into it.

    Raises:
        ModelError: with what does not fit.
    """
    try:
        with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            _Walk(content).header()
    except (ValueError, struct.error, OSError) as error:
        raise ModelError(
            "The GGUF file is damaged.", field="model", got=f"{path.name}: {error}",
            expected="a header whose counts fit into the file", fix="fetch it again, and compare its SHA-256",
        ) from None  # fmt: skip


class _Walk:
    """A place in the header, which only moves on."""

    def __init__(self, content: mmap.mmap) -> None:
        self._content = content
        self._at = 0

    def header(self) -> None:
        if self._content[:4] != b"GGUF":
            raise ValueError("it does not begin with GGUF")
        self._skip(4)
        version, tensors, keys = self._number("<I"), self._number("<Q"), self._number("<Q")
        if version not in _VERSIONS:
            raise ValueError(f"version {version} is not known")
        self._require(keys * _LEAST_KEY + tensors * _LEAST_TENSOR, f"{keys} keys and {tensors} tensors")
        for _ in range(keys):
            self._string()
            self._value(self._number("<I"))
        for _ in range(tensors):
            self._string()
            dimensions = self._number("<I")
            if dimensions > _MOST_DIMENSIONS:
                raise ValueError(f"a tensor of {dimensions} dimensions")
            self._skip(8 * dimensions + 4 + 8)

    def _value(self, kind: int) -> None:
        if kind == _STRING:
            self._string()
        elif kind == _ARRAY:
            inner, count = self._number("<I"), self._number("<Q")
            if inner == _STRING:
                self._require(8 * count, f"an array of {count} strings")
                for _ in range(count):
                    self._string()
            else:  # arrays in arrays are none of the format
                self._skip(count * self._size(inner))
        else:
            self._skip(self._size(kind))

    def _size(self, kind: int) -> int:
        if kind not in _SIZES:
            raise ValueError(f"a value of the unknown type {kind}")
        return _SIZES[kind]

    def _string(self) -> None:
        self._skip(self._number("<Q"))

    def _number(self, form: str) -> int:
        self._require(struct.calcsize(form), "a number")
        (number,) = struct.unpack_from(form, self._content, self._at)
        self._at += struct.calcsize(form)
        return int(number)

    def _skip(self, num_bytes: int) -> None:
        self._require(num_bytes, f"{num_bytes} bytes")
        self._at += num_bytes

    def _require(self, num_bytes: int, what: str) -> None:
        if num_bytes > len(self._content) - self._at:
            raise ValueError(f"{what} at byte {self._at} would end after the last of its {len(self._content)} bytes")
