"""Losses: what the algorithms share. Tensors [t] of tokens, log-probabilities in nats."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainers.algorithms import AlgorithmConfig, Tokens

if TYPE_CHECKING:
    import torch


def clipped(
    config: AlgorithmConfig, tokens: Tokens, log_ratio: torch.Tensor | None = None
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """-min(ratio · A, clip(ratio) · A), times the correction (Schulman et al. 2017, arXiv 1707.06347, equation 7).

    Args:
        log_ratio: if it is not the tokens' own log p(new) - log p(old).

    Returns:
        the loss, and `clip_share`: where the bound cut the gradient off.
    """
    import torch

    ratio = (tokens.new - tokens.old if log_ratio is None else log_ratio).exp()
    bounded = ratio.clamp(1 - config.clip_low, 1 + config.clip_high)
    gain = torch.minimum(ratio * tokens.advantages, bounded * tokens.advantages)
    cut = ((ratio > 1 + config.clip_high) & (tokens.advantages > 0)) | (
        (ratio < 1 - config.clip_low) & (tokens.advantages < 0)
    )
    return -gain * tokens.correction, {"clip_share": cut.float()}


def kl_to_reference(tokens: Tokens) -> torch.Tensor:
    """exp(x) - x - 1 with x = log p(reference) - log p: Schulman's third estimator, unbiased and never negative
    (joschu.net/blog/kl-approx.html); its gradient is what GRPO (arXiv 2402.03300, equation 4) adds to the loss.
    """
    difference = tokens.reference - tokens.new
    return difference.exp() - difference - 1
