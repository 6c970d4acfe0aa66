"""Proof at each hand-off: do two holders of a model give the same log-probabilities to the same tokens?

A holder is whatever carries the model at one point of its life: transformers with an adapter, the merged model, a
quantized file in its own engine, a replica. Engines rarely give the whole distribution, so a holder reports for each
token its own log-probability and the `k` most probable tokens. That is enough for a lower bound of the KL divergence:
the vocabulary is partitioned into the tokens that both top-k lists name and one bucket for all others, and KL never
grows under a partition (data-processing inequality; Cover & Thomas 2006, section 2.8).
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from cluster.errors import HandoffError

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]


class TokenScores(NamedTuple):
    """What one holder gives to `n` scored tokens (the first token of each sequence has no score).

    chosen: float32 [n], log p(token | tokens before it), natural logarithm.
    top_ids: int64 [n, k], the k most probable token ids at that place, most probable first.
    top_logprobs: float32 [n, k], their log-probabilities.
    """

    chosen: FloatArray
    top_ids: IntArray
    top_logprobs: FloatArray


class Holder(Protocol):
    """Anything that can score token ids."""

    def score(self, sequences: list[list[int]], top_k: int) -> TokenScores:
        """Score every token but the first of each sequence."""
        ...


class Agreement(NamedTuple):
    """How two holders compare over `num_tokens` tokens; log-probabilities in nats."""

    num_tokens: int
    mean_abs_logprob_diff: float
    max_abs_logprob_diff: float
    kl: float
    """Mean KL(reference ‖ other) a token, a lower bound (see the module's text)."""
    top1_agreement: float
    """Share of places at which both name the same most probable token."""


class Bar(NamedTuple):
    """What a hand-off must reach; the figures are means over all tokens."""

    max_kl: float
    min_top1_agreement: float


def compare(reference: TokenScores, other: TokenScores) -> Agreement:
    """Compare two holders' scores of the same tokens.

    Raises:
        HandoffError: the scores are not of the same number of tokens, or one is not a number.
    """
    n = len(reference.chosen)
    if n == 0 or len(other.chosen) != n:
        raise HandoffError(
            "The two holders did not score the same tokens.",
            field="num_tokens",
            got=f"{n} and {len(other.chosen)}",
            expected="the same number, at least 1",
            fix="give both holders the same token ids, at least two tokens in a sequence",
        )
    holders = (reference, other)
    # Among the most probable tokens -inf may stand (one that is ruled out); `<` is false for NaN and for infinity.
    if not all(np.isfinite(one.chosen).all() and (one.top_logprobs < np.inf).all() for one in holders):
        raise HandoffError(
            "A holder gave a log-probability that is not a finite number.",
            field="log-probabilities",
            got="NaN or infinity",
            expected="finite numbers",
            fix="look at the training loss for a divergence; the weights are probably damaged",
        )
    difference = np.abs(reference.chosen.astype(np.float64) - other.chosen.astype(np.float64))
    kl = [
        _partition_kl(reference.top_ids[i], reference.top_logprobs[i], other.top_ids[i], other.top_logprobs[i])
        for i in range(n)
    ]
    return Agreement(
        num_tokens=n,
        mean_abs_logprob_diff=float(difference.mean()),
        max_abs_logprob_diff=float(difference.max()),
        kl=float(np.mean(kl)),
        top1_agreement=float((reference.top_ids[:, 0] == other.top_ids[:, 0]).mean()),
    )


def _partition_kl(p_ids: IntArray, p_logprobs: FloatArray, q_ids: IntArray, q_logprobs: FloatArray) -> float:
    _, in_p, in_q = np.intersect1d(p_ids, q_ids, assume_unique=True, return_indices=True)
    p = np.exp(p_logprobs[in_p].astype(np.float64))
    q = np.exp(q_logprobs[in_q].astype(np.float64))
    tiny = 1e-9  # the rest bucket of a confident model can be zero, or below it by rounding
    p = np.append(p, max(1.0 - p.sum(), tiny))
    q = np.append(q, max(1.0 - q.sum(), tiny))
    return max(0.0, float(np.sum(p * (np.log(np.maximum(p, tiny)) - np.log(np.maximum(q, tiny))))))


def require_same(name: str, agreement: Agreement, bar: Bar) -> None:
    """Stop unless two holders agree within the bar.

    Raises:
        HandoffError: with the figures of both.
    """
    if agreement.kl <= bar.max_kl and agreement.top1_agreement >= bar.min_top1_agreement:
        return
    raise HandoffError(
        f"Hand-off {name}: the model changed on the way.",
        field=f"handoff.{name}",
        got=describe(agreement),
        expected=f"KL ≤ {bar.max_kl:g} nats and top-1 agreement ≥ {bar.min_top1_agreement:.1%}",
        fix="the receiving side does not hold the weights it was given (or was quantized too far): see report.json",
    )


def require_different(name: str, agreement: Agreement, min_change: float) -> None:
    """Stop if an adapter does not change the model: it would be served, and be the base model.

    The measure is the mean |Δ log p| of the tokens: unlike the bound of the KL divergence it is sharp for flat
    distributions too, and an adapter that is not there gives exactly zero.

    Raises:
        HandoffError: with the figures.
    """
    if agreement.mean_abs_logprob_diff >= min_change:
        return
    raise HandoffError(
        f"Hand-off {name}: the adapter changes nothing; the tuned model is the base model.",
        field=f"handoff.{name}",
        got=describe(agreement),
        expected=f"mean |Δ log p| ≥ {min_change:g} nats between the base model and the adapter",
        fix="look for adapter weights whose names do not match the model's (a wrong prefix), a learning rate near "
        "zero, or data whose loss mask is empty",
    )


def describe(agreement: Agreement) -> str:
    """One line with the figures."""
    return (
        f"KL {agreement.kl:.4f} nats, mean |Δ log p| {agreement.mean_abs_logprob_diff:.4f}, "
        f"max {agreement.max_abs_logprob_diff:.3f}, top-1 agreement {agreement.top1_agreement:.1%} "
        f"over {agreement.num_tokens} tokens"
    )
