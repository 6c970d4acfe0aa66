"""A hundred SIGKILLs at any moment, with one, two or three workers in turn: the training is the uninterrupted one."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections import Counter
from multiprocessing import get_context
from pathlib import Path

import pytest

from cluster.rundir import read_metrics
from tests.tiny import make_tiny_model
from tests.tiny_tokens import make_tokens
from tests.workers import run_workers, train_all, training_job, worker_process
from trainers.config import BatchConfig, CheckpointConfig, DeepSpeedConfig, TrainConfig
from trainers.loop import Job

KILLS = int(os.environ.get("RAYSMITH_SOAK_KILLS", "100"))
STEPS, EXAMPLES = 6 * KILLS, 240


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_a_hundred_kills_change_nothing(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    make_tiny_model(model, hidden=64)
    make_tokens(tmp_path / "tokens", model, train=EXAMPLES)
    config = TrainConfig(
        steps=STEPS, batch=BatchConfig(sequences=6, micro=3), learning_rate=3e-4, dtype="float32",
        deepspeed=DeepSpeedConfig(stage=2), trackers=[], checkpoint=CheckpointConfig(every_steps=2, keep=2),
    )  # fmt: skip
    whole = training_job(tmp_path / "whole", config, model, tmp_path / "tokens")
    run_workers(2, tmp_path / "whole-rendezvous", train_all, [whole])
    job = training_job(tmp_path / "killed", config, model, tmp_path / "tokens")
    rng = random.Random(0)
    for kill in range(KILLS):
        sharding = DeepSpeedConfig(stage=rng.choice((0, 1, 2, 3)))
        workers = (2, 1, 3)[kill % 3]
        run_and_kill(job._replace(config=config.model_copy(update={"deepspeed": sharding})), workers, rng)
    run_workers(2, tmp_path / "last-rendezvous", train_all, [job])
    records, expected = read_metrics(job.metrics_file), read_metrics(whole.metrics_file)
    events = [json.loads(line)["event"] for line in job.metrics_file.with_name("events.jsonl").read_text().splitlines()]
    resumed = sum("resumed at step" in event for event in events)
    print(f"{KILLS} kills, {resumed} resumes from a checkpoint, {STEPS} steps")  # noqa: T201
    assert resumed > KILLS / 2
    assert [record["step"] for record in records] == list(range(1, STEPS + 1))
    assert [record["samples"] for record in records] == [record["samples"] for record in expected]
    seen = Counter(sample for record in records for sample in record["samples"])
    assert len(seen) == min(EXAMPLES, STEPS * 6)
    assert max(seen.values()) - min(seen.values()) <= 1
    largest = max(abs(r["loss"] / e["loss"] - 1) for r, e in zip(records, expected, strict=True))
    print(f"largest difference of a step's loss: {largest:.1e}, relative")  # noqa: T201
    # Hundreds of steps on sums in other orders: rounding grows, errors would be orders of magnitude larger.
    assert [r["loss"] for r in records] == pytest.approx([r["loss"] for r in expected], rel=1e-3)


def run_and_kill(job: Job, workers: int, rng: random.Random) -> None:
    """Train, and kill all workers at a moment drawn from the time that a few steps take; mostly while saving."""
    context = get_context("forkserver")
    rendezvous = job.folder / f"rendezvous-{rng.getrandbits(48):x}"
    processes = [worker_process(context, rank, workers, rendezvous, train_all, ([job],))[0] for rank in range(workers)]
    done = len(read_metrics(job.metrics_file))
    deadline = time.monotonic() + 120
    while len(read_metrics(job.metrics_file)) < done + 2 and time.monotonic() < deadline:
        if not any(process.is_alive() for process in processes):
            break
        time.sleep(0.01)
    time.sleep(rng.uniform(0.0, 0.5))
    for process in processes:
        if process.is_alive():
            os.kill(process.pid or 0, signal.SIGKILL)
    for process in processes:
        process.join()
