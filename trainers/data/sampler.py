"""Which examples a step trains on: a pure function of (seed, step). There is no state to save or lose.

The examples are visited in an endless sequence of epochs, each another permutation of the data; step s takes the s-th
run of `batch` places, however many workers share them. A permutation is computed, not stored: a Feistel network
(Luby & Rackoff 1988) over the smallest even number of bits that holds all indices, walked until it falls inside them,
so that a billion examples cost no memory.

In a mixture the places are dealt out in blocks of 1,000, each source getting its share of every block, in an order
that is again drawn from (seed, block).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]
BLOCK = 1000
_ROUNDS = 4
_MASK = np.uint64(0xFFFFFFFF)


class Draw(NamedTuple):
    """What one step trains on."""

    indices: Indices
    """[batch], into the data."""
    epochs: Indices
    """[batch], how often the example was seen before; random draws of an objective depend on it."""


def global_batch(seed: int, step: int, batch: int, counts: Sequence[int], weights: Sequence[float]) -> Draw:
    """The examples of optimizer step `step` (from 0), all workers together.

    Args:
        counts: examples of each source; they are numbered through.
        weights: share of each source; they sum to one.
    """
    places = np.arange(step * batch, (step + 1) * batch, dtype=np.int64)
    sources, ordinals = _deal(seed, places, tuple(weights)) if len(counts) > 1 else (np.zeros_like(places), places)
    starts = np.cumsum([0, *counts[:-1]])
    indices, epochs = np.empty_like(places), np.empty_like(places)
    for source, count in enumerate(counts):
        mine = sources == source
        epochs[mine], within = np.divmod(ordinals[mine], count)
        for epoch in np.unique(epochs[mine]):
            now = mine.copy()
            now[mine] = epochs[mine] == epoch
            indices[now] = starts[source] + permute(within[epochs[mine] == epoch], count, (seed, source, int(epoch)))
    return Draw(indices, epochs)


def permute(places: Indices, count: int, key: tuple[int, ...]) -> Indices:
    """Where a permutation of `count` things, drawn from `key`, sends each of `places`."""
    half = max(1, (max(count - 1, 1).bit_length() + 1) // 2)
    keys = np.random.default_rng(key).integers(1 << 32, size=_ROUNDS, dtype=np.uint64)
    walked = places.astype(np.uint64)
    outside = np.ones(len(walked), dtype=bool)
    while outside.any():
        walked[outside] = _feistel(walked[outside], half, keys)
        outside = walked >= count
    return walked.astype(np.int64)


def _feistel(values: NDArray[np.uint64], half: int, keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    shift, mask = np.uint64(half), np.uint64((1 << half) - 1)
    left, right = values >> shift, values & mask
    for key in keys:
        left, right = right, left ^ (_mix(right ^ key) & mask)
    return (left << shift) | right


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    # The finalizer of MurmurHash3 for 32 bits: every input bit moves every output bit.
    for multiplier, shift in ((0x85EBCA6B, 16), (0xC2B2AE35, 13)):
        values = ((values ^ (values >> np.uint64(shift))) * np.uint64(multiplier)) & _MASK
    return values ^ (values >> np.uint64(16))


def _deal(seed: int, places: Indices, weights: tuple[float, ...]) -> tuple[Indices, Indices]:
    """For each place, which source it goes to, and how many places before it went there."""
    sources, ordinals = np.empty_like(places), np.empty_like(places)
    for block in np.unique(places // BLOCK):
        pattern, before = _block(seed, int(block), weights)
        shares = np.bincount(pattern, minlength=len(weights))
        here = places // BLOCK == block
        within = places[here] % BLOCK
        sources[here] = pattern[within]
        ordinals[here] = block * shares[pattern[within]] + before[within]
    return sources, ordinals


@lru_cache(maxsize=8)
def _block(seed: int, block: int, weights: tuple[float, ...]) -> tuple[Indices, Indices]:
    """The sources of a block's places, and the place's rank among those of its source."""
    bounds = np.round(np.cumsum([0.0, *weights]) * BLOCK).astype(np.int64)
    pattern = np.repeat(np.arange(len(weights)), np.diff(bounds))
    pattern = pattern[permute(np.arange(BLOCK), BLOCK, (seed, 0xB10C, block))]
    before = np.zeros(BLOCK, dtype=np.int64)
    for source in range(len(weights)):
        mine = pattern == source
        before[mine] = np.arange(int(mine.sum()))
    return pattern, before


def micro_batches(places: Indices, lengths: Indices, rank: int, workers: int, accumulation: int) -> list[Indices]:
    """This worker's micro-batches of a global batch: `accumulation` arrays of places in the batch.

    The batch is sorted by length first, and neighbours go to the workers of one micro-batch: little padding within a
    micro-batch, and workers that meet at its gradient reduction have had equal work. The sizes differ by one at most.

    Args:
        places: [batch] places in the batch, 0 to batch - 1, at least workers × accumulation of them.
        lengths: [batch] tokens of each.
    """
    by_length = places[np.argsort(lengths[places], kind="stable")[::-1]]
    groups = np.array_split(by_length, accumulation * workers)
    return groups[rank::workers]
