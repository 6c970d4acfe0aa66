"""Which samples a step trains on: a pure function of (seed, step). There is no state to save or lose.

Epoch e is a permutation of the data drawn from the seed and e; the epochs follow one another without a gap, and step
s takes the s-th run of `batch` places, however many workers share them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def global_batch(seed: int, step: int, batch: int, num_samples: int) -> NDArray[np.int64]:
    """Sample indices [batch] of optimizer step `step` (from 0)."""
    first = step * batch
    epochs = range(first // num_samples, (first + batch - 1) // num_samples + 1)
    order = np.concatenate([np.random.default_rng((seed, epoch)).permutation(num_samples) for epoch in epochs])
    start = first - epochs[0] * num_samples
    return order[start : start + batch].astype(np.int64)


def micro_batches(
    indices: NDArray[np.int64], lengths: NDArray[np.int64], rank: int, workers: int, accumulation: int
) -> list[NDArray[np.int64]]:
    """This worker's micro-batches of a global batch: `accumulation` arrays of equal size.

    The batch is sorted by length first, and neighbours go to the workers of one micro-batch: little padding within a
    micro-batch, and workers that meet at its gradient reduction have had equal work.
    """
    by_length = indices[np.argsort(lengths[indices], kind="stable")[::-1]]
    groups = by_length.reshape(accumulation, workers, -1)
    return [groups[micro, rank] for micro in range(accumulation)]
