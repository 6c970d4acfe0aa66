"""REINFORCE++: rewards to go, brought to mean 0 and deviation 1 over the whole round; neither critic nor group needed.

Hu et al. 2025 (arXiv 2501.03262). `baseline: group` is its variant for verifiable rewards: the group's mean is taken
off first, and the deviation is still the round's, so that a prompt that is nearly solved weighs no more than others.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from trainers.algorithms import AlgorithmConfig, Credit, Floats, Round, TokenLoss, Tokens
from trainers.rl.credit import generalized_advantages, group_means, scored_tokens, token_rewards, whitened
from trainers.rl.surrogate import clipped


class Config(AlgorithmConfig):
    """Keys of `algorithm: reinforce_pp`."""

    KL_IN_REWARD: ClassVar[bool] = True

    kind: Literal["reinforce_pp"] = "reinforce_pp"
    baseline: Literal["none", "group"] = "none"
    """What is taken off a reward before it is normalized."""
    gamma: float = 1.0
    """Discount of later rewards, a token."""

    @property
    def least_group(self) -> int:
        """As `AlgorithmConfig.least_group`."""
        return 2 if self.baseline == "group" else 1


def credit(config: Config, data: Round) -> Credit:
    """Whitened sums of what comes after each token: the KL penalties, and the reward at the end."""
    if config.baseline == "group":
        data = data._replace(rewards=(data.rewards - group_means(data)).astype(np.float32))
    rewards = token_rewards(data)
    nothing: Floats = np.zeros_like(rewards)
    return Credit(
        whitened(generalized_advantages(rewards, nothing, data.lengths, config.gamma, 1.0), scored_tokens(data))
    )


def loss(config: Config, tokens: Tokens) -> TokenLoss:
    """PPO's clipped surrogate."""
    return TokenLoss(*clipped(config, tokens))
