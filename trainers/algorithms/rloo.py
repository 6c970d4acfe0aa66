"""RLOO: REINFORCE with the mean reward of the *other* answers to a prompt as the baseline, which leaves it unbiased.

Ahmadian et al. 2024 (arXiv 2402.14740), equation 5. A completion is one action: its ratio is that of the whole
sequence's probabilities, and its KL divergence a part of its reward.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from trainers.algorithms import AlgorithmConfig, Credit, Round, TokenLoss, Tokens
from trainers.rl.credit import group_means, sequence_sums, to_tokens, whitened
from trainers.rl.surrogate import clipped

if TYPE_CHECKING:
    import torch


class Config(AlgorithmConfig):
    """Keys of `algorithm: rloo`."""

    KL_IN_REWARD: ClassVar[bool] = True

    kind: Literal["rloo"] = "rloo"
    normalize: Literal["tokens", "sequences", "length"] = "sequences"
    """What a step's loss is a mean over; a completion is one action, so each counts once."""
    whiten: bool = False
    """Bring the round's advantages to mean 0 and deviation 1."""

    @property
    def least_group(self) -> int:
        """As `AlgorithmConfig.least_group`."""
        return 2


def credit(config: Config, data: Round) -> Credit:
    """(reward - kl · Σ log ratio to the reference) less the mean of the other completions'."""
    rewards = data.rewards
    if data.kl and data.old is not None and data.reference is not None:
        rewards = rewards - data.kl * sequence_sums(data, data.old - data.reference)
        data = data._replace(rewards=rewards)
    advantages = rewards - group_means(data, others_only=True)
    if config.whiten:
        advantages = whitened(advantages, data.scored)
    return Credit(to_tokens(data, advantages.astype(np.float32)))


def loss(config: Config, tokens: Tokens) -> TokenLoss:
    """The clipped surrogate of the sequence's ratio; a mean over its tokens (`normalize: sequences`) gives it once."""
    difference = tokens.new - tokens.old
    lengths = _lengths(tokens)
    total, figures = clipped(config, tokens, (tokens.mean_of_sequence(difference) * lengths)[tokens.sequence])
    return TokenLoss(total, figures)


def _lengths(tokens: Tokens) -> torch.Tensor:
    return tokens.new.new_zeros(tokens.num_sequences).index_add(
        0, tokens.sequence, tokens.new.new_ones(len(tokens.new))
    )
