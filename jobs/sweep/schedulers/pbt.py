"""Population-based training (Jaderberg et al. 2017, arXiv 1711.09846).

Every `every_steps` steps the worst trials go on with the weights, optimizer states and step of one of the best, and
with its values, each changed a little or drawn anew.
"""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal, cast

from pydantic import Field, PositiveInt

from cluster.errors import ConfigValueError
from jobs.sweep.config import Dimension, SchedulerConfig, SweepConfig
from jobs.sweep.schedulers import SCORE, STEP
from jobs.sweep.searchers.random import draw

if TYPE_CHECKING:
    from ray.tune.schedulers import TrialScheduler

MOVES_WEIGHTS = True
# What may change while the same weights are trained on: not their shapes, nor the data and its order, nor when they are
# measured.
_MAY_CHANGE = (
    "train.learning_rate", "train.weight_decay", "train.betas", "train.epsilon", "train.clip", "train.final_rate",
    "train.parameter_groups", "train.objective.",
)  # fmt: skip
# Of reinforcement learning: which round a step is of.
_FIXED = ("train.objective.kind", "train.objective.rollouts.", "train.objective.algorithm.epochs")


class Config(SchedulerConfig):
    """Keys of `scheduler: pbt`."""

    kind: Literal["pbt"] = "pbt"
    every_steps: PositiveInt
    """Steps between two looks at the population."""
    quantile: float = Field(default=0.25, gt=0, le=0.5)
    """Share of the population that is replaced, and share it is replaced from."""
    resample: float = Field(default=0.25, ge=0, le=1)
    """Probability that a value is drawn anew from the space, instead of changed."""
    factors: tuple[float, float] = (1.2, 0.8)
    """A changed number is multiplied by one of these; a listed value moves by one place."""


def refuse(config: Config, sweep: SweepConfig) -> None:  # noqa: ARG001
    """Refuse keys that cannot change within a training.

    Raises:
        ConfigValueError: naming them.
    """
    keys = [key for name, one in sweep.space.items() for key in (one.together[0] if one.together else (name,))]
    fixed = [key for key in keys if not key.startswith(_MAY_CHANGE) or key.startswith(_FIXED)]
    if fixed:
        raise ConfigValueError(
            "PBT moves weights between trials, and cannot change that key on the way.", got=", ".join(fixed),
            expected="keys such as train.learning_rate or train.weight_decay", fix="another scheduler, such as asha",
        )  # fmt: skip
    if (sweep.budget.trials or 0) < 2:
        raise ConfigValueError("A population needs trials.", got=f"budget.trials: {sweep.budget.trials}", expected="2")


def build(config: Config, sweep: SweepConfig, steps: int) -> TrialScheduler:  # noqa: ARG001
    """Tune's PopulationBasedTraining; its changes are made here, so that they stay within the space."""
    source = random.Random(sweep.seed)  # noqa: S311

    def explore(values: dict[str, Any]) -> dict[str, Any]:
        point = values["point"]
        return values | {
            "point": {name: _changed(config, one, point[name], source) for name, one in sweep.space.items()}
        }

    made: TrialScheduler = population_class()(
        time_attr=STEP, metric=SCORE, mode="min", perturbation_interval=config.every_steps,
        quantile_fraction=config.quantile, custom_explore_fn=explore, log_config=False,
        synch=True,  # else trials would be compared at other steps
    )  # fmt: skip
    return made


def population_class() -> Any:
    """Tune's scheduler, which takes its trials from a searcher and leaves each its own run directory."""
    from ray.tune.schedulers import PopulationBasedTraining

    class Population(PopulationBasedTraining):
        def on_trial_add(self, tune_controller: Any, trial: Any) -> None:  # noqa: ARG002
            # It refuses searchers, which would learn wrong things from its results; ours only draw the population.
            super().on_trial_add(cast("Any", SimpleNamespace(search_alg=None)), trial)

        def _get_new_config(self, trial: Any, trial_to_clone: Any) -> Any:
            config, operations = super()._get_new_config(trial, trial_to_clone)
            return {**config, **{key: trial.config[key] for key in ("number", "reported")}}, operations

        def choose_trial_to_run(self, tune_controller: Any) -> Any:
            if (chosen := super().choose_trial_to_run(tune_controller)) is not None:
                return chosen
            # All wait for one that has failed, and so will never come: they go on without a look at the population.
            left = [trial for trial in tune_controller.get_trials() if not trial.is_finished()]
            if not left or any(trial.status != "PAUSED" for trial in left):
                return None
            self._next_perturbation_sync += self._perturbation_interval
            return super().choose_trial_to_run(tune_controller)

    return Population


def _changed(config: Config, dimension: Dimension, value: Any, source: random.Random) -> Any:
    if source.random() < config.resample:
        return draw(dimension, source)
    if dimension.values is not None:
        places = len(dimension.values)
        place = value if dimension.together is not None else dimension.values.index(value)
        place = min(max(place + source.choice((-1, 1)), 0), places - 1)
        return place if dimension.together is not None else dimension.values[place]
    low, high = dimension.bounds
    changed = min(max(value * source.choice(config.factors), low), high)
    return round(changed) if dimension.is_whole else changed
