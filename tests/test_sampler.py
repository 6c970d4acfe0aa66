"""The sampler: a pure function of seed and step, each sample once an epoch, whatever the number of workers."""

from __future__ import annotations

from itertools import chain

import numpy as np
import pytest

from trainers.config import BatchConfig, TrainConfig
from trainers.data.sampler import global_batch, micro_batches, permute

ONE = [1.0]
RECORDED = [4, 2, 6, 7, 9, 3]
RECORDED_MIXTURE = [2, 9, 11, 0, 1, 7]


def batch_of(seed: int, step: int, batch: int, count: int) -> list[int]:
    return global_batch(seed, step, batch, [count], ONE).indices.tolist()


def stream(seed: int, batch: int, num_samples: int, steps: int) -> list[int]:
    return list(chain.from_iterable(batch_of(seed, step, batch, num_samples) for step in range(steps)))


def test_a_batch_depends_on_nothing_but_its_arguments() -> None:
    first = [batch_of(3, step, 8, 50) for step in range(20)]
    np.random.seed(1)
    assert [batch_of(3, step, 8, 50) for step in reversed(range(20))] == first[::-1]
    assert batch_of(4, 0, 8, 50) != first[0]
    assert len(batch_of(3, 10**9, 8, 50)) == 8


@pytest.mark.parametrize(("batch", "num_samples"), [(8, 50), (1, 1), (7, 7), (3, 10), (10, 3), (64, 5), (50, 8)])
def test_each_epoch_has_every_sample_once_and_epochs_follow_without_a_gap(batch: int, num_samples: int) -> None:
    epochs = 6
    samples = stream(0, batch, num_samples, -(-epochs * num_samples // batch))
    for epoch in range(epochs):
        part = samples[epoch * num_samples : (epoch + 1) * num_samples]
        assert sorted(part) == list(range(num_samples))


def test_epochs_have_different_orders_and_are_numbered() -> None:
    samples = stream(0, 20, 20, 4)
    orders = {tuple(samples[start : start + 20]) for start in range(0, 80, 20)}
    assert len(orders) == 4
    assert global_batch(0, 1, 15, [20], ONE).epochs.tolist() == [0] * 5 + [1] * 10


def test_the_order_is_the_recorded_one() -> None:
    # A run resumed by another release must go on with the same samples: a change here is a change of every run.
    assert batch_of(0, 0, 6, 10) == RECORDED
    assert global_batch(0, 3, 6, [4, 9], [0.7, 0.3]).indices.tolist() == RECORDED_MIXTURE


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 100, 1000, 4097])
def test_a_permutation_is_one(count: int) -> None:
    places = permute(np.arange(count), count, (7, count))
    assert sorted(places.tolist()) == list(range(count))


def test_a_permutation_mixes_well_and_costs_no_memory() -> None:
    places = permute(np.arange(50_000), 50_000, (1,))
    assert abs(np.corrcoef(np.arange(50_000), places)[0, 1]) < 0.02
    assert np.abs(np.diff(places)).mean() == pytest.approx(50_000 / 3, rel=0.02)  # as of independent draws
    assert permute(np.arange(100), 10**12, (1,)).max() < 10**12


def test_a_mixture_has_its_shares_and_each_source_its_own_epochs() -> None:
    counts, weights = [20, 30, 50], [0.5, 0.3, 0.2]
    draws = [global_batch(3, step, 8, counts, weights) for step in range(500)]
    indices, epochs = (np.concatenate([getattr(draw, key) for draw in draws]) for key in ("indices", "epochs"))
    parts = [indices < 20, (indices >= 20) & (indices < 50), indices >= 50]
    assert [part.mean() for part in parts] == pytest.approx(weights)
    for part, count in zip(parts, counts, strict=True):
        seen = np.bincount(indices[part])[np.unique(indices[part])]
        assert len(seen) == count
        assert seen.max() - seen.min() <= 1
        assert epochs[part].max() == (part.sum() - 1) // count
    # The shares hold in every stretch, not only in the end.
    assert [part[:1000].mean() for part in parts] == pytest.approx(weights)
    assert [part[:200].mean() for part in parts] == pytest.approx(weights, abs=0.12)


@pytest.mark.parametrize(
    ("workers", "micro", "accumulation"), [(1, 8, 1), (2, 4, 1), (2, 2, 2), (4, 1, 2), (8, 1, 1), (3, 2, 2), (1, 3, 3)]
)
def test_micro_batches_partition_the_batch_whatever_the_number_of_workers(
    workers: int, micro: int, accumulation: int
) -> None:
    config = TrainConfig(steps=1, learning_rate=1, batch=BatchConfig(sequences=8, micro=micro))
    assert config.accumulation(workers) == accumulation
    lengths = np.random.default_rng(0).integers(1, 500, size=8)
    parts = [micro_batches(np.arange(8), lengths, rank, workers, accumulation) for rank in range(workers)]
    assert {len(micros) for micros in parts} == {accumulation}
    assert {len(one) for micros in parts for one in micros} <= {micro, micro - 1}
    assert sorted(np.concatenate([one for micros in parts for one in micros])) == list(range(8))


def test_workers_of_one_micro_batch_get_neighbours_in_length() -> None:
    lengths = np.array([10, 400, 12, 390, 380, 11, 370, 13])
    batch = np.arange(8)
    first, second = (micro_batches(batch, lengths, rank, 2, 2) for rank in range(2))
    assert [lengths[micro].tolist() for micro in first] == [[400, 390], [13, 12]]
    assert [lengths[micro].tolist() for micro in second] == [[380, 370], [11, 10]]
