"""Rows of several sequences without leakage: position ids restart at each, and attention does not cross them.

transformers sees from the restarting positions where a sequence begins, and builds what its attention kernel needs: a
block mask for SDPA, lengths for the varlen kernels. So packing changes what is padded, never what is computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

# Every new shape makes oneDNN compile and keep another kernel: few shapes cost less time and memory.
MULTIPLE = 32


class Packed(NamedTuple):
    """Sequences laid into rows; what is left of a row is padding."""

    input_ids: NDArray[np.int64]
    """[rows, length]"""
    position_ids: NDArray[np.int64]
    """[rows, length]; zero where a document begins."""
    segments: NDArray[np.int64]
    """[rows, length]; the number of the document within the row, from 1; 0 in padding."""
    starts: list[int]
    """For each sequence, where it begins in the flattened rows."""


def pack(sequences: Sequence[NDArray[Any]], pad_id: int, documents: Sequence[NDArray[Any]] | None = None) -> Packed:
    """Lay sequences into as few rows as best-fit finds; a row is as long as the longest of them.

    Args:
        sequences: token ids of each.
        documents: the lengths of the documents that each sequence consists of; default: it is one.
    """
    length = rounded(max(len(sequence) for sequence in sequences))
    rows = best_fit([len(sequence) for sequence in sequences], length)
    input_ids = np.full((len(rows), length), pad_id, dtype=np.int64)
    position_ids, segments = np.zeros_like(input_ids), np.zeros_like(input_ids)
    starts = [0] * len(sequences)
    for row, members in enumerate(rows):
        at, segment = 0, 0
        for member in members:
            starts[member] = row * length + at
            input_ids[row, at : at + len(sequences[member])] = sequences[member]
            for size in documents[member] if documents is not None else [len(sequences[member])]:
                segment += 1
                position_ids[row, at : at + size] = np.arange(size)
                segments[row, at : at + size] = segment
                at += int(size)
        position_ids[row, at:] = np.arange(length - at)
    return Packed(input_ids, position_ids, segments, starts)


def best_fit(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Rows of members: the longest first, each into the fullest row that still takes it."""
    rows: list[list[int]] = []
    room: list[int] = []
    for member in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        fitting = [row for row, left in enumerate(room) if left >= lengths[member]]
        if fitting:
            row = min(fitting, key=lambda index: room[index])
            rows[row].append(member)
            room[row] -= lengths[member]
        else:
            rows.append([member])
            room.append(capacity - lengths[member])
    return rows


def rounded(length: int) -> int:
    """The next multiple of `MULTIPLE`."""
    return -(-length // MULTIPLE) * MULTIPLE
