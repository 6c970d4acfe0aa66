"""The critic of actor-critic algorithms: a second model with a scalar head, which says what reward to expect.

It is a whole model, not a head on the policy's states: the two losses do not pull at the same weights, and a critic can
begin as the reward model that it has to predict (Ouyang et al. 2022, arXiv 2203.02155, appendix C.4). With an adapter,
both are adapters on frozen bases.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from cluster.errors import ModelError
from trainers.adapters import add_lora
from trainers.data.store import tokenizer_digest
from trainers.models import head_of, load_model, restore_buffers
from trainers.objectives._next_token import decoder_states

if TYPE_CHECKING:
    from trainers.loop import Job


class Critic(torch.nn.Module):
    """Expected reward before each token of a completion."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, tensors: dict[str, torch.Tensor]) -> torch.Tensor:
        """[t] float32, at the `places` of a batch (`trainers.objectives.rl`)."""
        hidden = decoder_states(self.model, tensors).flatten(0, 1)[tensors["places"]]
        values: torch.Tensor = self.model.score(hidden).float().squeeze(-1)
        return values


def require_reward_model(name: str, folder: Path, base: Path, field: str) -> None:
    """Refuse what is no reward model, or reads other token ids than a policy writes.

    Args:
        name: of the artifact in `folder`.
        base: the folder of the model that is trained.
        field: what named it.

    Raises:
        ModelError: a model without a reward head, or one of another tokenizer.
    """
    if not (folder / "config.json").is_file() or head_of(folder) != "reward":
        raise ModelError(
            "What rewards or values are read from is no reward model.", field=field, got=name,
            expected="what a job with `train.objective: reward` published; of an adapter, NAME-merged",
        )  # fmt: skip
    if tokenizer_digest(folder) != tokenizer_digest(base):
        raise ModelError(
            "The reward model has another tokenizer than the model that is trained: each token id means another word "
            "to it.", field=field, got=name, expected="a reward model of the same family of models",
            fix="train one from this model's base (configs/reward)",
        )  # fmt: skip


def make_critic(job: Job, start: str | None) -> Critic:
    """A critic that begins as a published reward model, or as the base model with a head of zeros.

    Args:
        start: the reward model's name among `job.artifacts`.
    """
    import deepspeed

    config = job.config
    dtype: torch.dtype = getattr(torch, config.dtype)
    if start is not None:
        require_reward_model(start, job.artifacts[start], job.base, "train.objective.algorithm.critic")
    folder = job.base if start is None else job.artifacts[start]
    adapter = config.adapter
    model = load_model(folder, dtype, "reward", adapter.base if adapter is not None else "full").train()
    if start is None:  # transformers draws the weights of a head that the folder lacks
        head = model.get_submodule("score").weight
        # ZeRO-3 has loaded it as a part of itself on each worker.
        with deepspeed.zero.GatheredParameters([head], modifier_rank=0, enabled=hasattr(head, "ds_id")):
            torch.nn.init.zeros_(head)
    if config.activation_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    if adapter is not None:
        add_lora(model, adapter.lora, dtype, "reward")
    restore_buffers(model)
    return Critic(model)
