"""GRPO: the reward against the mean of other answers to the same prompt; no critic.

Shao et al. 2024 (arXiv 2402.03300). Its variants are keys: DAPO (arXiv 2503.14476) is `clip_high: 0.28`, `normalize:
tokens`, `train_cut_off: false` and `rollouts.only_mixed_groups: true`; Dr. GRPO (arXiv 2503.20783) is `scale: none` and
`normalize: length`; GSPO (arXiv 2507.18071) is `ratio: sequence`, `normalize: sequences`, with clips near 3e-4.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from trainers.algorithms import AlgorithmConfig, Credit, Round, TokenLoss, Tokens
from trainers.rl.credit import group_deviations, group_means, to_tokens
from trainers.rl.surrogate import clipped, kl_to_reference


class Config(AlgorithmConfig):
    """Keys of `algorithm: grpo`."""

    kind: Literal["grpo"] = "grpo"
    scale: Literal["group", "batch", "none"] = "group"
    """What advantages are divided by: the deviation of the prompt's rewards, of the round's, or nothing."""
    ratio: Literal["token", "sequence"] = "token"
    """What the clip looks at: each token's ratio of probabilities, or the geometric mean over the completion (GSPO,
    equation 7)."""
    unbiased_kl: bool = True
    """Weigh the KL term by the ratio of probabilities, which makes its gradient that of the KL divergence itself
    (DeepSeek-V3.2, arXiv 2512.02556); false: as in GRPO's paper."""

    @property
    def least_group(self) -> int:
        """As `AlgorithmConfig.least_group`."""
        return 2


def credit(config: Config, data: Round) -> Credit:
    """(reward - the group's mean) / deviation, the same at all tokens of a completion."""
    advantages = data.rewards - group_means(data)
    if config.scale == "group":
        advantages = advantages / (group_deviations(data) + 1e-4)
    elif config.scale == "batch" and data.scored.sum() > 1:
        advantages = advantages / (data.rewards[data.scored].std(ddof=1) + 1e-4)
    return Credit(to_tokens(data, advantages.astype(np.float32)))


def loss(config: Config, tokens: Tokens) -> TokenLoss:
    """The clipped surrogate, and the KL divergence from the reference in the loss."""
    log_ratio = None
    if config.ratio == "sequence":
        mean = tokens.mean_of_sequence(tokens.new - tokens.old)[tokens.sequence]
        # The value of the sequence's ratio, and a gradient at each token (GSPO-token, equation 14).
        log_ratio = tokens.new - tokens.new.detach() + mean.detach()
    total, figures = clipped(config, tokens, log_ratio)
    if config.needs_reference:
        distance = kl_to_reference(tokens)
        if config.unbiased_kl:
            distance = distance * (tokens.new - tokens.old).exp()
        total, figures = total + config.kl * distance, figures | {"kl": distance.detach()}
    return TokenLoss(total, figures)
