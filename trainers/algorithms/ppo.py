"""PPO with a critic: advantages by GAE, the surrogate and the value loss clipped, the KL divergence in the reward.

Schulman et al. 2017 (arXiv 1707.06347) as Ouyang et al. 2022 (arXiv 2203.02155) use it for language models: a token is
an action, the reward comes at the last one, and each token pays for its distance from the reference model. What differs
from the textbook: a completion that `max_new_tokens` cut off counts as ended, since the reward has judged it so.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from cluster.config import Config as Section
from cluster.errors import ConfigValueError
from trainers.algorithms import AlgorithmConfig, Credit, Round, TokenLoss, Tokens
from trainers.rl.credit import generalized_advantages, scored_tokens, token_rewards, whitened
from trainers.rl.surrogate import clipped


class AdaptiveKl(Section):
    """A controller of the KL coefficient (Ziegler et al. 2019, arXiv 1909.08593, section 2.2)."""

    target: PositiveFloat
    """Nats a completion that the policy may move from the reference."""
    horizon: PositiveInt = 10_000
    """Completions in which an error of one half of the target would multiply the coefficient by e^0.2 or so."""


class Config(AlgorithmConfig):
    """Keys of `algorithm: ppo`."""

    CRITIC: ClassVar[bool] = True
    KL_IN_REWARD: ClassVar[bool] = True

    kind: Literal["ppo"] = "ppo"
    epochs: PositiveInt = 2
    """How often a round's completions are trained on."""
    kl: NonNegativeFloat = 0.05
    """Coefficient of the distance from the reference model in the reward; where it adapts, the first one."""
    adaptive_kl: AdaptiveKl | None = None
    """Move the coefficient so that the distance stays near a target; null: it is fixed."""
    gamma: float = Field(default=1.0, gt=0, le=1)
    """Discount of later rewards, a token."""
    decay: float = Field(default=0.95, ge=0, le=1)
    """λ of GAE."""
    clip_value: PositiveFloat | None = 0.2
    """How far the critic's value may move from the old one before its loss stops falling; null: no bound."""
    value_weight: PositiveFloat = 0.5
    """Weight of the value loss beside the policy's."""
    critic_rate: PositiveFloat = 1.0
    """Factor on the learning rate for the critic."""
    critic: str | None = None
    """A published reward model that the critic begins as; default: the base model with a head of zeros."""

    @model_validator(mode="after")
    def _can_adapt(self) -> Config:
        if self.adaptive_kl is not None and self.kl == 0:
            raise ConfigValueError(
                "A coefficient of zero cannot adapt: it is multiplied.", got="algorithm.kl: 0 with adaptive_kl",
                expected="a first coefficient above 0, such as 0.05",
            )  # fmt: skip
        return self


def credit(config: Config, data: Round) -> Credit:
    """GAE over the penalized rewards; advantages are whitened, returns are not."""
    if data.values is None:
        raise ValueError("PPO's advantages need the critic's values")
    rewards = token_rewards(data)
    advantages = generalized_advantages(rewards, data.values, data.lengths, config.gamma, config.decay)
    return Credit(whitened(advantages, scored_tokens(data)), advantages + data.values)


def loss(config: Config, tokens: Tokens) -> TokenLoss:
    """Clipped surrogate, and half the squared error of the critic, the larger of clipped and not."""
    import torch

    total, figures = clipped(config, tokens)
    error = (tokens.values - tokens.returns).square()
    if config.clip_value is not None:
        bounded = tokens.old_values + (tokens.values - tokens.old_values).clamp(-config.clip_value, config.clip_value)
        error = torch.maximum(error, (bounded - tokens.returns).square())
    figures |= {"value_loss": 0.5 * error.detach()}
    return TokenLoss(total + config.value_weight * 0.5 * error, figures)


def next_kl(config: Config, kl: float, distance: float, completions: int) -> float:
    """The coefficient after a round.

    Args:
        distance: mean nats a completion from the reference in that round.
        completions: how many there were.
    """
    if config.adaptive_kl is None:
        return kl
    error = min(max(distance / config.adaptive_kl.target - 1.0, -0.2), 0.2)
    return kl * (1.0 + error * completions / config.adaptive_kl.horizon)
