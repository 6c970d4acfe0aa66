"""Every combination of the listed values, each once, in an order drawn from the seed.

In the order of the list the first trials would be alike, and what they are compared with (ASHA) one-sided.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from jobs.sweep.config import Dimension, SearcherConfig
from jobs.sweep.searchers import Tried


class Config(SearcherConfig):
    """Keys of `search: grid`."""

    kind: Literal["grid"] = "grid"
    shuffle: bool = True
    """Whether to draw the order; otherwise the last dimension changes fastest."""


def propose(
    config: Config,
    space: Mapping[str, Dimension],
    seed: int,
    number: int,
    history: Sequence[Tried],  # noqa: ARG001
) -> dict[str, Any] | None:
    """The combination of that number."""
    listed = [range(len(one.together)) if one.together is not None else one.values or () for one in space.values()]
    points = [dict(zip(space, values, strict=True)) for values in itertools.product(*listed)]
    if config.shuffle:
        random.Random(seed).shuffle(points)  # noqa: S311
    return points[number] if number < len(points) else None
