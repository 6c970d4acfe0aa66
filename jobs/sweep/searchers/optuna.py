"""Optuna's tree-structured Parzen estimator (Bergstra et al. 2011): proposes points near those that were good.

The study is made anew from the trials so far for each proposal, running ones included, so that there is no state to
lose and two trials at a time are not sent to the same place.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import PositiveInt

from jobs.sweep.config import Dimension, SearcherConfig
from jobs.sweep.searchers import Tried

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution


class Config(SearcherConfig):
    """Keys of `search: optuna`."""

    kind: Literal["optuna"] = "optuna"
    random_trials: PositiveInt = 8
    """Trials at random before the estimator has something to go by."""


def propose(
    config: Config, space: Mapping[str, Dimension], seed: int, number: int, history: Sequence[Tried]
) -> dict[str, Any]:
    """The next point."""
    import optuna

    sampler = optuna.samplers.TPESampler(
        n_startup_trials=config.random_trials, multivariate=len(space) > 1, constant_liar=True, seed=seed + number,
    )  # fmt: skip
    study = study_of(space, history, sampler)
    asked = study.ask({name: distribution(dimension) for name, dimension in space.items()})
    return {name: value_of(space[name], asked.params[name]) for name in space}


def study_of(space: Mapping[str, Dimension], history: Sequence[Tried], sampler: Any = None) -> Study:
    """The trials as an Optuna study that minimizes; listed values are known by their places."""
    import optuna
    from optuna.trial import TrialState, create_trial

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=sampler, direction="minimize")
    for tried in history:
        if tried.score is None and not tried.running:
            continue
        score = None if tried.score is None or not math.isfinite(tried.score) else tried.score
        study.add_trial(
            create_trial(
                state=TrialState.COMPLETE if score is not None else TrialState.RUNNING,
                value=score,
                params={name: place_of(space[name], tried.point[name]) for name in space},
                distributions={name: distribution(dimension) for name, dimension in space.items()},
            )
        )
    return study


def distribution(dimension: Dimension) -> BaseDistribution:
    """The dimension in Optuna's words."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if dimension.values is not None:
        return CategoricalDistribution(tuple(range(len(dimension.values))))
    low, high = dimension.bounds
    if dimension.is_whole:
        return IntDistribution(int(low), int(high), log=dimension.is_log)
    return FloatDistribution(low, high, log=dimension.is_log)


def place_of(dimension: Dimension, value: Any) -> Any:
    """A point's value as Optuna knows it."""
    if dimension.values is None or dimension.together is not None:
        return value
    return dimension.values.index(value)


def value_of(dimension: Dimension, place: Any) -> Any:
    """The reverse of `place_of`."""
    return dimension.values[place] if dimension.values is not None and dimension.together is None else place
