"""A learned reward: what a published reward model (objective `reward`) says of prompt and completion."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import PositiveInt

from trainers.adapter_config import ArtifactName
from trainers.rewards import Sample
from trainers.rl.config import RewardConfig

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Config(RewardConfig):
    """Keys of `{kind: model}`."""

    kind: Literal["model"] = "model"
    artifact: ArtifactName
    """The published reward model; an adapter's ends in `-merged`."""
    batch: PositiveInt = 16
    """Completions scored at once."""
    bound: float | None = None
    """Scores are cut off at this distance from zero; default: not at all."""

    def require_fits(self, base: Path, artifacts: Mapping[str, Path]) -> None:
        """As `RewardConfig.require_fits`: it reads the policy's token ids."""
        from trainers.rl.critic import require_reward_model

        require_reward_model(self.artifact, artifacts[self.artifact], base, "train.objective.rewards")


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
        tokenizer = load_tokenizer(folder)
        self._objective = Objective(RewardObjectiveConfig(), tokenizer)
        self._end_id, self._closing = int(tokenizer.eos_token_id), closing_of(tokenizer)

    def __call__(self, samples: list[Sample]) -> list[float]:
        """One number a completion."""
        found: list[float] = []
        for start in range(0, len(samples), self._config.batch):
            part = samples[start : start + self._config.batch]
            found += self._objective.scores(self._model, [self._closed(sample) for sample in part])
        bound = self._config.bound
        return found if bound is None else [min(max(value, -bound), bound) for value in found]

    def _closed(self, sample: Sample) -> list[int]:
        ids = sample.ids[:-1] if sample.ended and sample.ids[-1] == self._end_id else sample.ids
        return [*ids, *self._closing]


def closing_of(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """What the chat template puts after an answer, from its end-of-turn token on.

    A reward model reads its reward there: a completion that stops at the end-of-turn token, as samplers' do, would be
    read at another place than the conversations that the model was trained on.
    """
    from trainers.data.chat import render

    ids = render(tokenizer, [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]).input_ids
    ends = [place for place, token in enumerate(ids) if token == tokenizer.eos_token_id]
    return ids[ends[-1] :] if ends else []
