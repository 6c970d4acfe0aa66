"""The proof at a hand-off: KL by hand, as a lower bound, and the messages of a broken hand-off."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cluster.errors import HandoffError
from cluster.handoff import Agreement, Bar, TokenScores, compare, describe, require_different, require_same

GOOD = Agreement(num_tokens=100, mean_abs_logprob_diff=0.01, max_abs_logprob_diff=0.2, kl=0.004, top1_agreement=0.99)


def scores(*tokens: tuple[float, dict[int, float]]) -> TokenScores:
    """One holder's scores from (probability of the token, {token id: probability} of the top k) a place."""
    return TokenScores(
        chosen=np.log(np.array([chosen for chosen, _ in tokens], np.float32)),
        top_ids=np.array([list(top) for _, top in tokens], np.int64),
        top_logprobs=np.log(np.array([list(top.values()) for _, top in tokens], np.float32)),
    )


def of_distributions(rows: np.ndarray, chosen: np.ndarray, k: int) -> TokenScores:
    """What a holder with these probabilities [n, vocabulary] reports."""
    order = np.argsort(-rows, axis=1)[:, :k]
    return TokenScores(
        chosen=np.log(np.take_along_axis(rows, chosen[:, None], 1)[:, 0]).astype(np.float32),
        top_ids=order.astype(np.int64),
        top_logprobs=np.log(np.take_along_axis(rows, order, 1)).astype(np.float32),
    )


def test_kl_is_what_a_hand_computation_gives() -> None:
    # Place 1: both name tokens 7 and 3, the rest is 0.25 and 0.2. Place 2: only token 5 is named by both.
    reference = scores((0.5, {7: 0.5, 3: 0.25}), (0.6, {5: 0.6, 1: 0.3}))
    other = scores((0.6, {7: 0.6, 3: 0.2}), (0.2, {2: 0.7, 5: 0.2}))
    first = 0.5 * math.log(0.5 / 0.6) + 0.25 * math.log(0.25 / 0.2) + 0.25 * math.log(0.25 / 0.2)
    second = 0.6 * math.log(0.6 / 0.2) + 0.4 * math.log(0.4 / 0.8)
    agreement = compare(reference, other)
    assert agreement.kl == pytest.approx((first + second) / 2, rel=1e-5)
    assert agreement.num_tokens == 2
    assert agreement.mean_abs_logprob_diff == pytest.approx((math.log(0.6 / 0.5) + math.log(0.6 / 0.2)) / 2, rel=1e-5)
    assert agreement.max_abs_logprob_diff == pytest.approx(math.log(3), rel=1e-5)
    assert agreement.top1_agreement == 0.5


def test_kl_of_lists_without_a_common_token_is_zero_as_nothing_is_known() -> None:
    assert compare(scores((0.5, {1: 0.5})), scores((0.5, {2: 0.5}))).kl == 0.0


@pytest.mark.parametrize("seed", range(5))
def test_the_bound_lies_between_zero_and_the_true_kl_and_is_tight_for_the_whole_vocabulary(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for sharpness in (0.1, 1.0, 4.0):
        logits = rng.normal(size=(50, 40)) * sharpness
        p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        noisy = np.exp(logits + rng.normal(size=logits.shape) * rng.uniform(0.01, 2))
        q = noisy / noisy.sum(1, keepdims=True)
        chosen = rng.integers(0, 40, size=50)
        true = float((p * np.log(p / q)).sum(1).mean())
        bounds = [compare(of_distributions(p, chosen, k), of_distributions(q, chosen, k)).kl for k in (1, 2, 5, 20, 40)]
        assert all(0.0 <= bound <= true + 1e-5 for bound in bounds)
        assert bounds[-1] == pytest.approx(true, abs=1e-4)
        assert bounds[0] < true


def test_identical_holders_differ_by_nothing() -> None:
    rows = np.random.default_rng(0).dirichlet(np.ones(30), size=20)
    one = of_distributions(rows, np.zeros(20, np.int64), 5)
    assert compare(one, one) == Agreement(20, 0.0, 0.0, 0.0, 1.0)


def test_a_certain_model_has_a_finite_kl() -> None:
    certain, doubtful = scores((1.0, {1: 1.0})), scores((0.5, {1: 0.5}))
    assert compare(certain, doubtful).kl == pytest.approx(math.log(2), rel=1e-4)
    assert math.isfinite(compare(doubtful, certain).kl)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("side", ["reference", "other"])
def test_a_score_that_is_no_number_is_refused(value: float, side: str) -> None:
    good, bad = scores((0.5, {1: 0.5})), scores((0.5, {1: 0.5}))
    bad.chosen[0] = value
    with pytest.raises(HandoffError, match="not a finite number"):
        compare(*((bad, good) if side == "reference" else (good, bad)))


def test_a_top_token_that_is_no_number_is_refused_and_one_that_is_ruled_out_is_not() -> None:
    good, bad = scores((0.5, {1: 0.5, 2: 0.5})), scores((0.5, {1: 0.5, 2: 0.5}))
    for value in (math.nan, math.inf):
        bad.top_logprobs[0, 1] = value
        with pytest.raises(HandoffError, match="not a finite number"):
            compare(good, bad)
    bad.top_logprobs[0, 1] = -math.inf
    assert math.isfinite(compare(good, bad).kl)


def test_scores_of_other_tokens_are_refused() -> None:
    one, two = scores((0.5, {1: 0.5})), scores((0.5, {1: 0.5}), (0.5, {1: 0.5}))
    with pytest.raises(HandoffError, match="did not score the same tokens") as caught:
        compare(one, two)
    assert caught.value.got == "1 and 2"
    nothing = TokenScores(np.empty(0, np.float32), np.empty((0, 1), np.int64), np.empty((0, 1), np.float32))
    with pytest.raises(HandoffError, match="did not score the same tokens"):
        compare(nothing, nothing)


def test_the_same_model_passes_and_its_bar_is_inclusive() -> None:
    require_same("merge", GOOD, Bar(max_kl=0.004, min_top1_agreement=0.99))


@pytest.mark.parametrize("bar", [Bar(0.003, 0.9), Bar(0.1, 0.995)])
def test_a_model_that_changed_is_refused_with_figures_and_bar(bar: Bar) -> None:
    with pytest.raises(HandoffError, match="Hand-off merge: the model changed on the way") as caught:
        require_same("merge", GOOD, bar)
    error = caught.value
    assert error.field == "handoff.merge"
    assert error.got == describe(GOOD)
    assert f"KL ≤ {bar.max_kl:g} nats and top-1 agreement ≥ {bar.min_top1_agreement:.1%}" == error.expected


def test_an_adapter_that_changes_nothing_is_refused() -> None:
    require_different("adapter", GOOD, 0.01)
    unchanged = Agreement(num_tokens=100, mean_abs_logprob_diff=0.0, max_abs_logprob_diff=0.0, kl=0.0, top1_agreement=1)
    for agreement, bar in ((GOOD, 0.02), (unchanged, 1e-9)):
        with pytest.raises(HandoffError, match="adapter changes nothing") as caught:
            require_different("adapter", agreement, bar)
        assert caught.value.got == describe(agreement)
        assert f"mean |Δ log p| ≥ {bar:g} nats" in str(caught.value)
        assert "learning rate" in str(caught.value.fix)


def test_nan_agreement_passes_neither_bar() -> None:
    with pytest.raises(HandoffError):
        require_same("merge", GOOD._replace(kl=math.nan), Bar(1.0, 0.0))
    with pytest.raises(HandoffError):
        require_different("adapter", GOOD._replace(mean_abs_logprob_diff=math.nan), 0.0)
