"""Ray Train: a killed worker, fewer workers and an error that no restart cures."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pytest

from cluster.connect import Capacity, ClusterConfig, WorkerRange
from cluster.errors import DataError, TrainingError
from cluster.rundir import read_metrics
from tests.tiny import make_tiny_model
from tests.workers import training_job
from trainers.config import BatchConfig, CheckpointConfig, DeepSpeedConfig, TrainConfig
from trainers.launch import train
from trainers.loop import Job
from trainers.models import load_model

STEPS = 40


def config(**changes: Any) -> TrainConfig:
    settings: dict[str, Any] = {
        "steps": STEPS, "batch": BatchConfig(sequences=4, micro=2), "learning_rate": 1e-2, "schedule": "constant",
        "dtype": "float32", "deepspeed": DeepSpeedConfig(stage=2), "trackers": [],
        "checkpoint": CheckpointConfig(every_steps=5),
    }  # fmt: skip
    return TrainConfig(**(settings | changes))


@pytest.fixture(scope="module")
def uninterrupted(
    ray_cluster: Capacity, tmp_path_factory: pytest.TempPathFactory, model: Path, tokens: Path
) -> list[float]:
    job = training_job(tmp_path_factory.mktemp("whole") / "run", config(), model, tokens)
    result = train(job, ClusterConfig(workers=2))
    assert result["workers"] == 2
    assert len(result["memory"]) == 2
    load_model(job.output, __import__("torch").float32)
    return [record["loss"] for record in read_metrics(job.metrics_file)]


def worker_processes() -> list[psutil.Process]:
    """The Ray Train workers below this process's cluster."""
    return [
        process
        for process in psutil.Process().children(recursive=True)
        if process.is_running() and any("RayTrainWorker" in part for part in process.cmdline())
    ]


def kill_a_worker_after(job: Job, steps: int) -> None:
    while len(read_metrics(job.metrics_file)) < steps:
        time.sleep(0.05)
    os.kill(worker_processes()[-1].pid, signal.SIGKILL)


def test_a_killed_worker_comes_back_without_the_user(
    uninterrupted: list[float], tmp_path: Path, model: Path, tokens: Path
) -> None:
    job = training_job(tmp_path / "run", config(), model, tokens)
    killer = threading.Thread(target=kill_a_worker_after, args=(job, 12))
    killer.start()
    train(job, ClusterConfig(workers=2))
    killer.join()
    records = read_metrics(job.metrics_file)
    events = job.metrics_file.with_name("events.jsonl").read_text()
    assert "resumed at step" in events
    assert [record["loss"] for record in records] == pytest.approx(uninterrupted, rel=1e-5)
    seen = Counter(sample for record in records for sample in record["samples"])
    # 40 steps of 4 are 6 whole epochs of 24 examples, and 16 examples more.
    assert sorted(Counter(seen.values()).items()) == [(6, 8), (7, 16)]


@pytest.mark.slow
def test_an_elastic_training_goes_on_with_the_workers_there_are(
    uninterrupted: list[float], tmp_path: Path, model: Path, tokens: Path
) -> None:
    job = training_job(tmp_path / "run", config(), model, tokens)
    first = job._replace(config=config(steps=20))
    assert train(first, ClusterConfig(workers=1))["workers"] == 1
    (tmp_path / "run" / "out" / "config.json").unlink()
    for file in (tmp_path / "run" / "out").iterdir():
        file.unlink()
    result = train(job, ClusterConfig(workers=WorkerRange(min=1, max=4)))
    assert result["workers"] == 2  # all that two cores hold
    assert [r["loss"] for r in read_metrics(job.metrics_file)] == pytest.approx(uninterrupted, rel=1e-5)


def test_what_no_restart_cures_is_told_at_once(
    ray_cluster: Capacity, tmp_path: Path, model: Path, tokens: Path
) -> None:
    other = tmp_path / "other-model"
    other.mkdir()
    make_tiny_model(other, hidden=64)
    text = (other / "tokenizer.json").read_text()
    (other / "tokenizer.json").write_text(text.replace('"cat"', '"dog2"', 1) + " ")
    job = training_job(tmp_path / "run", config(), other, tokens)
    with pytest.raises(DataError, match="another tokenizer"):
        train(job, ClusterConfig(workers=1))
    assert not job.metrics_file.exists()


def test_a_divergence_stops_with_step_and_batch(
    ray_cluster: Capacity, tmp_path: Path, model: Path, tokens: Path
) -> None:
    job = training_job(tmp_path / "run", config(learning_rate=1e20, clip=1e20), model, tokens)
    with pytest.raises(TrainingError, match=r"diverged at step \d") as caught:
        train(job, ClusterConfig(workers=1))
    assert "diverged.json" in str(caught.value)
    record = __import__("json").loads((job.folder / "diverged.json").read_text())
    assert len(record["samples"]) == 4
    assert all("<|im_start|>user" in texts["input_ids"] for texts in record["texts"].values())
