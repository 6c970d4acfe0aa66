"""Points drawn at random (Bergstra & Bengio 2012): the baseline that is hard to beat with many at a time."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from jobs.sweep.config import Dimension, SearcherConfig
from jobs.sweep.searchers import Tried


class Config(SearcherConfig):
    """Keys of `search: random`."""

    kind: Literal["random"] = "random"


def propose(
    config: Config,  # noqa: ARG001
    space: Mapping[str, Dimension],
    seed: int,
    number: int,
    history: Sequence[Tried],  # noqa: ARG001
) -> dict[str, Any]:
    """A point that depends on the seed and the number alone."""
    source = random.Random(f"{seed}/{number}")  # noqa: S311
    return {name: draw(dimension, source) for name, dimension in space.items()}


def draw(dimension: Dimension, source: random.Random) -> Any:
    """A value of one dimension; of a coupled group, an entry's index."""
    if dimension.values is not None:
        return source.randrange(len(dimension.values)) if dimension.together else source.choice(dimension.values)
    low, high = dimension.bounds
    if dimension.is_whole:
        # Each whole number has its share of the line, the ends' as large as the others'.
        low, high = low - 0.5, high + 0.5
    value = math.exp(source.uniform(math.log(low), math.log(high))) if dimension.is_log else source.uniform(low, high)
    if not dimension.is_whole:
        return value
    return min(max(round(value), int(dimension.bounds[0])), int(dimension.bounds[1]))
