"""A learned reward: what a published reward model (objective `reward`) says of prompt and completion."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import PositiveInt

from trainers.adapter_config import ArtifactName
from trainers.rewards import Sample
from trainers.rl.config import RewardConfig


class Config(RewardConfig):
    """Keys of `{kind: model}`."""

    kind: Literal["model"] = "model"
    artifact: ArtifactName
    """The published reward model; an adapter's ends in `-merged`."""
    batch: PositiveInt = 16
    """Completions scored at once."""
    bound: float | None = None
    """Scores are cut off at this distance from zero; default: not at all."""


class Scorer:
    """The model, held in memory."""

    def __init__(self, config: Config, artifacts: Mapping[str, Path]) -> None:
        import torch

        from trainers.models import compute_device, load_model, load_tokenizer
        from trainers.objectives.reward import Config as RewardObjectiveConfig
        from trainers.objectives.reward import Objective

        folder = artifacts[config.artifact]
        self._config = config
        model: Any = load_model(folder, torch.bfloat16, "reward")
        self._model = model.to(compute_device())
        self._objective = Objective(RewardObjectiveConfig(), load_tokenizer(folder))

    def __call__(self, samples: list[Sample]) -> list[float]:
        """One number a completion."""
        found: list[float] = []
        for start in range(0, len(samples), self._config.batch):
            part = samples[start : start + self._config.batch]
            found += self._objective.scores(self._model, [sample.ids for sample in part])
        bound = self._config.bound
        return found if bound is None else [min(max(value, -bound), bound) for value in found]
