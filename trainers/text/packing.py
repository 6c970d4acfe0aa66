"""Lay documents into rows of equal length, whole arrays at a time.

Legend: "part" is what a row holds of a document: all of it, or what lies between two row ends.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from trainers.text.encoding import Ids, Wrapping

Counts = NDArray[np.int64]


class Rows(NamedTuple):
    """Rows of tokens on end."""

    ids: Ids
    """[tokens]"""
    row_offsets: Counts
    """[rows + 1] into `ids`."""
    parts: Counts
    """[parts] tokens of each part."""
    part_offsets: Counts
    """[rows + 1] into `parts`."""


def pack_rows(documents: list[Ids], wrapping: Wrapping, length: int) -> Rows:
    """Rows of `length` tokens; the last one has fewer.

    Where the special tokens stand around each part, a row ends up to that many tokens early, rather than holding a part
    without text.

    Args:
        documents: the ids of each, without special tokens.
        length: more than the special tokens of a part.
    """
    ids = np.concatenate([np.zeros(0, np.uint32), *documents])
    sizes = np.array([len(one) for one in documents], dtype=np.int64)
    if wrapping.each_part:
        sizes, part_offsets = _cut_for_wrapping(sizes, length, len(wrapping.before) + len(wrapping.after))
    ids, sizes = _wrap(ids, sizes, wrapping)
    ends = np.cumsum(sizes)
    if wrapping.each_part:
        return Rows(ids, np.concatenate([[0], ends])[part_offsets], sizes, part_offsets)
    total = len(ids)
    begins = np.unique(np.concatenate([ends - sizes, np.arange(0, total, length)]))
    row_offsets = np.append(np.arange(0, total, length), total)
    return Rows(ids, row_offsets, np.diff(begins, append=total), np.searchsorted(begins, row_offsets))


def _wrap(ids: Ids, sizes: Counts, wrapping: Wrapping) -> tuple[Ids, Counts]:
    """Put the special tokens around each of the parts that have `sizes` tokens."""
    before, after = len(wrapping.before), len(wrapping.after)
    wrapped_sizes = sizes + before + after
    ends = np.cumsum(wrapped_sizes)
    wrapped = np.empty(len(ids) + len(sizes) * (before + after), dtype=np.uint32)
    is_text = np.ones(len(wrapped), dtype=np.bool_)
    for place, token in enumerate(wrapping.before):
        wrapped[ends - wrapped_sizes + place] = token
        is_text[ends - wrapped_sizes + place] = False
    for place, token in enumerate(wrapping.after):
        wrapped[ends - after + place] = token
        is_text[ends - after + place] = False
    wrapped[is_text] = ids
    return wrapped, wrapped_sizes


def _cut_for_wrapping(sizes: Counts, length: int, special: int) -> tuple[Counts, Counts]:
    """(tokens of text of each part, where each row begins among the parts) when each part has `special` tokens more."""
    parts, rows, room = list[int](), list[int](), 0
    for size in sizes.tolist():
        left = size
        while left:
            if room <= special:
                rows.append(len(parts))
                room = length
            parts.append(min(left, room - special))
            left -= parts[-1]
            room -= parts[-1] + special
    return np.array(parts, dtype=np.int64), np.array([*rows, len(parts)], dtype=np.int64)
