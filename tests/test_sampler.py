"""The sampler: a pure function of seed and step, each sample once an epoch, whatever the number of workers."""

from __future__ import annotations

from itertools import chain

import numpy as np
import pytest

from trainers.data.sampler import global_batch, micro_batches


def stream(seed: int, batch: int, num_samples: int, steps: int) -> list[int]:
    return list(chain.from_iterable(global_batch(seed, step, batch, num_samples).tolist() for step in range(steps)))


def test_a_batch_depends_on_nothing_but_its_arguments() -> None:
    first = [global_batch(3, step, 8, 50).tolist() for step in range(20)]
    np.random.seed(1)
    assert [global_batch(3, step, 8, 50).tolist() for step in reversed(range(20))] == first[::-1]
    assert global_batch(4, 0, 8, 50).tolist() != first[0]
    assert global_batch(3, 10**9, 8, 50).shape == (8,)


@pytest.mark.parametrize(("batch", "num_samples"), [(8, 50), (1, 1), (7, 7), (3, 10), (10, 3), (64, 5), (50, 8)])
def test_each_epoch_has_every_sample_once_and_epochs_follow_without_a_gap(batch: int, num_samples: int) -> None:
    epochs = 6
    samples = stream(0, batch, num_samples, -(-epochs * num_samples // batch))
    for epoch in range(epochs):
        part = samples[epoch * num_samples : (epoch + 1) * num_samples]
        assert sorted(part) == list(range(num_samples))


def test_epochs_have_different_orders() -> None:
    samples = stream(0, 20, 20, 4)
    orders = {tuple(samples[start : start + 20]) for start in range(0, 80, 20)}
    assert len(orders) == 4


def test_the_order_is_the_recorded_one() -> None:
    # A run resumed by another release must go on with the same samples: a change here is a change of every run.
    assert global_batch(0, 0, 6, 10).tolist() == [4, 6, 2, 7, 3, 5]


@pytest.mark.parametrize(
    ("workers", "sequences", "accumulation"), [(1, 8, 1), (2, 4, 1), (2, 2, 2), (4, 1, 2), (8, 1, 1)]
)
def test_micro_batches_partition_the_batch_whatever_the_number_of_workers(
    workers: int, sequences: int, accumulation: int
) -> None:
    lengths = np.random.default_rng(0).integers(1, 500, size=30)
    for step in range(12):
        batch = global_batch(1, step, 8, 30)
        parts = [micro_batches(batch, lengths, rank, workers, accumulation) for rank in range(workers)]
        assert {len(micros) for micros in parts} == {accumulation}
        assert {len(micro) for micros in parts for micro in micros} == {sequences}
        assert sorted(np.concatenate([micro for micros in parts for micro in micros])) == sorted(batch)


def test_workers_of_one_micro_batch_get_neighbours_in_length() -> None:
    lengths = np.array([10, 400, 12, 390, 380, 11, 370, 13])
    batch = np.arange(8)
    first, second = (micro_batches(batch, lengths, rank, 2, 2) for rank in range(2))
    assert [lengths[micro].tolist() for micro in first] == [[400, 390], [13, 12]]
    assert [lengths[micro].tolist() for micro in second] == [[380, 370], [11, 10]]


def test_a_sample_that_stands_twice_in_a_batch_is_kept_twice() -> None:
    batch = global_batch(0, 0, 8, 3)
    parts = [micro_batches(batch, np.array([5, 6, 7]), rank, 2, 1)[0] for rank in range(2)]
    assert sorted(np.concatenate(parts)) == sorted(batch)
