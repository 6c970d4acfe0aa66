"""Advantages: what the algorithms share. Legend: n completions, t their tokens, all on end."""

from __future__ import annotations

import numpy as np

from trainers.algorithms import Floats, Round

_TINY = 1e-4  # as TRL's, so that both give the same numbers


def group_means(data: Round, *, others_only: bool = False) -> Floats:
    """[n] mean reward of the completions of the same prompt; failed rewards are left out.

    Args:
        others_only: without the completion itself; its own reward where it has no others.
    """
    found = np.zeros_like(data.rewards)
    for group in np.unique(data.groups):
        members = np.flatnonzero((data.groups == group) & data.scored)
        if len(members) == 0:
            continue
        total = data.rewards[members].sum()
        if others_only and len(members) > 1:
            found[members] = (total - data.rewards[members]) / (len(members) - 1)
        else:
            found[members] = total / len(members)
    return found


def group_deviations(data: Round) -> Floats:
    """[n] standard deviation (of a sample, n - 1) of the rewards of the same prompt; 0 where there is but one."""
    found = np.zeros_like(data.rewards)
    for group in np.unique(data.groups):
        members = np.flatnonzero((data.groups == group) & data.scored)
        if len(members) > 1:
            found[members] = data.rewards[members].std(ddof=1)
    return found


def whitened(values: Floats, counted: np.ndarray) -> Floats:
    """Values with the counted ones at mean 0 and deviation 1; the others 0."""
    chosen = values[counted]
    if len(chosen) < 2:
        return np.zeros_like(values)
    return np.where(counted, (values - chosen.mean()) / (chosen.std(ddof=1) + _TINY), 0.0).astype(np.float32)


def to_tokens(data: Round, of_completions: Floats) -> Floats:
    """[t] each completion's number at each of its tokens; 0 where the reward failed."""
    return np.repeat(np.where(data.scored, of_completions, 0.0), data.lengths).astype(np.float32)


def scored_tokens(data: Round) -> np.ndarray:
    """[t] whether the token's completion has a reward."""
    return np.repeat(data.scored, data.lengths)


def token_rewards(data: Round) -> Floats:
    """[t]: the reward at each completion's last token, less kl · (log p - log p of the reference) at each token.

    Stiennon et al. 2020 (arXiv 2009.01325), equation 2, with the sampled token's own ratio as the estimate of the KL.
    """
    found = np.zeros(int(data.lengths.sum()), dtype=np.float32)
    if data.kl and data.old is not None and data.reference is not None:
        found -= data.kl * (data.old - data.reference)
    found[np.cumsum(data.lengths) - 1] += np.where(data.scored, data.rewards, 0.0)
    return found


def sequence_sums(data: Round, values: Floats) -> Floats:
    """[n] sums over the tokens of each completion."""
    return np.add.reduceat(values, np.cumsum([0, *data.lengths[:-1]])).astype(np.float32)


def generalized_advantages(rewards: Floats, values: Floats, lengths: np.ndarray, gamma: float, decay: float) -> Floats:
    """[t] GAE (Schulman et al. 2015, arXiv 1506.02438, equation 16): Σ (γλ)^k δ, δ = r + γ·V(next) - V; nothing follows
    a completion's last token.
    """
    found = np.zeros_like(rewards)
    start = 0
    for length in lengths.tolist():
        later, next_value = 0.0, 0.0
        for at in range(start + length - 1, start - 1, -1):
            later = rewards[at] + gamma * next_value - values[at] + gamma * decay * later
            found[at], next_value = later, values[at]
        start += length
    return found
