"""The critic of actor-critic algorithms: a second model with a scalar head, which says what reward to expect.

It is a whole model, not a head on the policy's states: the two losses do not pull at the same weights, and a critic can
begin as the reward model that it has to predict (Ouyang et al. 2022, arXiv 2203.02155, appendix C.4). With an adapter,
both are adapters on frozen bases.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from trainers.adapters import add_lora
from trainers.models import load_model, restore_buffers
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


def make_critic(job: Job, start: str | None) -> Critic:
    """A critic that begins as a published reward model, or as the base model with a head of zeros.

    Args:
        start: the reward model's name among `job.artifacts`.
    """
    config = job.config
    dtype: torch.dtype = getattr(torch, config.dtype)
    folder = job.base if start is None else job.artifacts[start]
    adapter = config.adapter
    model = load_model(folder, dtype, "reward", adapter.base if adapter is not None else "full").train()
    if start is None:  # transformers draws the weights of a head that the folder lacks
        torch.nn.init.zeros_(model.get_submodule("score").weight)
    if config.activation_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    if adapter is not None:
        add_lora(model, adapter.lora, dtype, "reward")
    restore_buffers(model)
    return Critic(model)
