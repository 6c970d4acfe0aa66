"""When a run counts as training, for how long it may be silent, and how its events are counted."""

from __future__ import annotations

import json
import math
import os
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.progress import ProgressFile
from jobs.goodput import Timeline
from jobs.monitor.events import EventCounts
from jobs.monitor.runs import Run, Runs
from tests.conftest import REPOSITORY
from tests.test_top import add_steps, age, begin_training, look, make_run, told
from trainers.config import WatchdogConfig
from trainers.heartbeat import MEASURE, START, STEP, Heartbeat, register

LONG_AGO_S = 7200.0


def killed(root: Path) -> Path:
    """A run whose driver and workers were killed two hours ago, in the midst of fast steps."""
    path = make_run(root)
    begin_training(path)
    ProgressFile(path / "progress" / "train.json").write(50, 100, "loss")
    add_steps(path, *[2.0] * 50, began=time.time() - LONG_AGO_S - 100)
    lines = [json.loads(line) | {"time": time.time() - LONG_AGO_S} for line in (path / "timeline.jsonl").open()]
    (path / "timeline.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    age(path, LONG_AGO_S)
    return path


def started_again(path: Path) -> Timeline:
    """What the next driver does first."""
    (path / ".lock").write_text("0")
    timeline = Timeline(path, "002")
    timeline.begin()
    return timeline


def is_silent(run: Run) -> bool:
    """Whether an alert would say so."""
    return run.training and run.now is not None and time.time() - run.now.last_sign > run.now.allowed_s


def test_what_a_killed_attempt_left_is_no_sign_of_the_next(tmp_path: Path) -> None:
    path = killed(tmp_path)
    assert is_silent(look(tmp_path)), "as if it were still the one that trains"
    timeline = started_again(path)
    waits = look(tmp_path)  # in the queue, or while it prepares its data
    assert (waits.training, waits.now, waits.work, waits.eta_s) == (False, None, None, None)
    timeline.write("training", "begin", training="train-1")
    assert look(tmp_path).now is None, "its workers are waited for"
    register(path / "train" / "train-1", 0, 1)
    loads = look(tmp_path)
    assert loads.now is not None
    assert (loads.training, loads.now.phase, loads.now.allowed_s) == (True, START, WatchdogConfig().other_s)
    assert not is_silent(loads)
    Heartbeat(path / "train" / "train-1", 0).beat(STEP)
    steps = look(tmp_path).now
    assert steps is not None and (steps.phase, steps.allowed_s) == (STEP, WatchdogConfig().least_s)


def test_workers_that_are_gone_are_waited_for(tmp_path: Path) -> None:
    path = make_run(tmp_path, steps=3)
    rank = path / "train" / "train-1" / "workers" / "rank-0.json"
    source = (REPOSITORY / "trainers/watchdog.py").read_text()
    assert "were killed and are" in source and "all workers are gone" in source
    for text in ("hang 001: no sign of life for 300 s in step 4; 1 worker was killed and is started again",
                 "hang: no sign of life for 300 s in step 4; 2 workers were killed and are started again; their "
                 "stacks: could not be written: disk full",
                 "all workers are gone; others are started when there is room for them"):  # fmt: skip
        with (path / "events.jsonl").open("a") as stream:
            stream.write(json.dumps({"time": rank.stat().st_mtime + 1, "event": text}) + "\n")
        assert look(tmp_path).now is None
        later = rank.stat().st_mtime + 2
        register(path / "train" / "train-1", 0, 1)
        os.utime(rank, (later, later))
        assert look(tmp_path).training


def test_the_watchdog_s_allowance_is_told(tmp_path: Path) -> None:
    path = make_run(tmp_path, steps=5)
    rule: dict[str, Any] = {"factor": 20.0, "least_s": 2.0, "other_s": 77.0}
    (path / "config.yaml").write_text(yaml.safe_dump({"train": {"steps": 5, "learning_rate": 1e-3, "watchdog": rule}}))
    assert 'raysmith_run_allowed_silence_seconds{run="tuned"} 30.0' in told(tmp_path), "20 times 1.5 s"
    assert 'raysmith_run_phase{phase="step",run="tuned"} 1.0' in told(tmp_path)
    heart = Heartbeat(path / "train" / "train-1", 0)
    heart.beat(MEASURE)
    assert 'raysmith_run_allowed_silence_seconds{run="tuned"} 77.0' in told(tmp_path)
    heart.beat("wait")
    now = look(tmp_path).now
    assert now is not None and math.isinf(now.allowed_s)
    assert "raysmith_run_allowed_silence_seconds{" not in told(tmp_path)
    assert 'raysmith_run_phase{phase="wait",run="tuned"} 1.0' in told(tmp_path)
    objective = {"kind": "rl", "rewards": [{"kind": "pattern", "pattern": "cat"}]}
    settings = {"steps": 5, "learning_rate": 1e-3, "watchdog": rule, "objective": objective}
    (path / "config.yaml").write_text(yaml.safe_dump({"train": settings}))
    os.utime(path / "config.yaml", (1.0, 1.0))
    heart.beat("round")
    now = look(tmp_path).now
    assert now is not None and now.allowed_s > 77.0, "one worker alone asks samplers and rewards"


@pytest.mark.parametrize("text", ["", "[]", "train: 3", "train: {steps: -1}", "\x00", "train: {unknown: 1}"])
def test_a_damaged_configuration_means_the_usual_allowance(tmp_path: Path, text: str) -> None:
    path = make_run(tmp_path, steps=5)
    (path / "config.yaml").write_text(text)
    now = look(tmp_path).now
    assert now is not None and now.allowed_s == WatchdogConfig().least_s


def event(text: str) -> str:
    return json.dumps({"time": 1.0, "attempt": "001", "training": "train-1", "event": text}) + "\n"


def test_counts_never_fall(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    counts = EventCounts(file)
    counts.look()
    assert set(counts.counts.values()) == {0}
    file.write_text(event("resumed at step 3") * 2 + event("x" * 1000) * 1500 + event("drift at step 9")[:-1])
    counts.look()
    assert (counts.counts["resumed"], counts.counts["drift"]) == (2, 0), "a line that is being written is left"
    with file.open("a") as stream:
        stream.write("\n" + "no json\n[1]\n" + event("y" * 1000) * 1500 + event("resumed at step 7"))
    assert file.stat().st_size > 3_000_000
    counts.look()
    assert (counts.counts["resumed"], counts.counts["drift"]) == (3, 1)
    file.unlink()
    counts.look()
    assert counts.counts["resumed"] == 3
    file.write_text(event("resumed at step 8"))
    counts.look()
    assert counts.counts["resumed"] == 4, "what was counted stays counted"


def test_the_monitor_counts_on_from_look_to_look(tmp_path: Path) -> None:
    path = make_run(tmp_path)
    runs = Runs(tmp_path)
    (path / "events.jsonl").write_text(event("resumed at step 1"))
    assert runs.look()[0].events["resumed"] == 1
    (path / "events.jsonl").write_text("")
    assert runs.look()[0].events["resumed"] == 1


@pytest.mark.parametrize(
    ("text", "counted"),
    [
        ("diverged at step 3: loss nan, gradient norm 2.0", 1),
        ("diverged at step 3: loss 2.0, gradient norm inf", 1),
        ("diverged at step 3: loss -inf, grad_norm nan", 1),
        ("diverged at step 3: loss 9.100 for 20 steps, 2.300 before", 0),  # a number, if a high one
    ],
)
def test_a_loss_that_is_no_number_is_an_event(tmp_path: Path, text: str, counted: int) -> None:
    (tmp_path / "events.jsonl").write_text(event(text))
    counts = EventCounts(tmp_path / "events.jsonl")
    counts.look()
    assert counts.counts["not_finite"] == counted
