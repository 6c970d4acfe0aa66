"""A series of jobs for workers that stay, and the gate at which a trial waits."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from tests.workers import training_job
from trainers.adapter_config import AdapterConfig, LoraConfig
from trainers.config import CheckpointConfig, ScheduleConfig, TrainConfig
from trainers.gate import Gate
from trainers.outcome import failed_before, read_failure
from trainers.worker import Series, decode, encode

CONFIG = TrainConfig(
    steps=4, learning_rate=1e-3, objective="causal_lm", adapter=AdapterConfig(lora=LoraConfig(rank=4), base="nf4"),
    evaluation=ScheduleConfig(every_steps=2), checkpoint=CheckpointConfig(max_failures=1), trackers=[],
)  # fmt: skip


def test_a_job_is_the_same_when_it_is_read_back(tmp_path: Path) -> None:
    job = training_job(tmp_path, CONFIG, tmp_path / "model", tmp_path / "tokens")
    for one in (job, job._replace(start=tmp_path / "adapter", gate=Gate(tmp_path / "gate.json"))):
        again = decode(encode(one))
        assert again._replace(progress=one.progress, gate=one.gate) == one
        assert again.progress.path == one.progress.path
        assert (again.gate and again.gate.path) == (one.gate and one.gate.path)


def test_a_series_is_taken_up_where_it_was_and_ends_when_it_is_closed(tmp_path: Path) -> None:
    job = training_job(tmp_path / "run", CONFIG, tmp_path, tmp_path)
    series = Series(tmp_path / "series")
    assert [series.add(job._replace(name=name)) for name in ("a", "b")] == [0, 1]
    assert series.first_open() == 0
    series.mark_done(0)
    again = Series(tmp_path / "series")  # what new workers see
    assert (again.first_open(), again.is_done(0), again.is_done(1)) == (1, True, False)
    found = again.wait_for(1)
    assert found is not None
    assert found.name == "b"
    threading.Timer(0.2, series.close).start()
    assert again.wait_for(2) is None
    assert again.wait_for(1) is not None, "what was added before it was closed is still done"


def test_a_job_whose_workers_die_again_and_again_fails(tmp_path: Path) -> None:
    job = training_job(tmp_path / "run", CONFIG, tmp_path, tmp_path)
    series = Series(tmp_path / "series")
    for _ in range(2):
        series.count_start(0, job)
        assert not failed_before(job.folder, job.attempt)
    series.count_start(0, job)
    error = read_failure(job.folder, job.attempt)
    assert error is not None
    assert error.got == "2 times"


def test_a_trial_waits_at_its_gate_until_it_may_go_on_or_must_end(tmp_path: Path) -> None:
    gate = Gate(tmp_path / "gate.json")
    assert gate.told_to_stop() is None
    gate.allow(4)
    assert gate.wait(4) is None
    began = time.monotonic()
    threading.Timer(0.2, gate.allow, (6,)).start()
    assert gate.wait(6) is None
    assert time.monotonic() - began >= 0.2
    threading.Timer(0.2, gate.stop, ("it was worse",)).start()
    assert gate.wait(8) == "it was worse"
    assert gate.told_to_stop() == "it was worse"
