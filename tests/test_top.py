"""`raysmith top`, and what it and the monitor read: run directories as they are written, left behind, or damaged."""

from __future__ import annotations

import fcntl
import json
import math
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import termios
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from rich.console import Console

from cluster.monitoring.metrics import RUNS, SERVING, make
from cluster.monitoring.targets import FILE, Driver, driver_of
from cluster.progress import ProgressFile
from cluster.rundir import RunDirectory
from cluster.storage import write_json
from jobs.goodput import Timeline
from jobs.monitor import runs as runs_module
from jobs.monitor.events import EVENTS
from jobs.monitor.exporter import registry_of
from jobs.monitor.runs import Run, Runs
from jobs.monitor.sweeps import sweep_of
from jobs.sweep.config import ObjectiveConfig
from jobs.sweep.record import SweepRecord, Trial
from jobs.top.endpoints import EndpointView, _figures, _sample, quantile
from jobs.top.machine import gpus_of
from jobs.top.snapshot import Gatherer, run_row
from jobs.top.view import sparkline, view
from tests.conftest import REPOSITORY
from tests.prometheus_server import until
from trainers.heartbeat import STEP, Heartbeat, register

DAY_S = 86_400.0


def this_process(**changes: Any) -> Driver:
    process = psutil.Process()
    known = {"pid": process.pid, "started": process.create_time(), "host": os.uname().nodename}
    return Driver.model_validate(known | {"nodes": ["127.0.0.1:1"]} | changes)


def make_run(root: Path, name: str = "tuned", status: str = "running", steps: int = 0, **driver: Any) -> Path:
    """A run directory, by the classes that write one."""
    directory = RunDirectory(root, name)
    with directory.attempt({"name": name}):
        write_json(directory.report_file, {"name": name, "status": status, "stages": {"tokens": {}}})
        write_json(directory.path / FILE, this_process(**driver).model_dump(mode="json"))
    (directory.path / ".lock").write_text("0")
    if steps:
        begin_training(directory.path)
        ProgressFile(directory.path / "progress" / "train.json").write(steps, 100, "loss")
        add_steps(directory.path, *(3.0 - 0.1 * step for step in range(steps)))
    return directory.path


def begin_training(path: Path, attempt: str = "001", phase: str = STEP) -> None:
    """What driver and worker write when a training begins, and what the worker says then."""
    timeline = Timeline(path, attempt)
    timeline.begin()
    timeline.write("training", "begin", training="train-1")
    register(path / "train" / "train-1", 0, 1)
    Heartbeat(path / "train" / "train-1", 0).beat(phase)


def add_steps(path: Path, *losses: float, began: float | None = None, apart_s: float = 2.0) -> None:
    began = time.time() - apart_s * len(losses) if began is None else began
    lines = [
        {"training": "train-1", "attempt": "001", "step": index + 1, "loss": loss, "tokens_per_s": 1000.0, "mfu": 0.25,
         "seconds": 1.5, "time": began + apart_s * index}
        for index, loss in enumerate(losses)
    ]  # fmt: skip
    (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def age(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    for one in [*path.rglob("*"), path]:
        os.utime(one, (then, then))


def look(root: Path) -> Run:
    (run,) = Runs(root).look()
    return run


def told(root: Path) -> str:
    return generate_latest(registry_of(root, Runs(root).look())).decode()


def test_a_live_run_is_told_with_its_pace(tmp_path: Path) -> None:
    make_run(tmp_path, steps=10)
    run = look(tmp_path)
    assert (run.status, run.live, run.training, run.step, run.num_steps) == ("running", True, True, 10, 100)
    assert run.longest_s == pytest.approx(2.0)
    assert run.outside == pytest.approx(0.25)
    assert run.eta_s == pytest.approx(180.0)
    row = run_row(run)
    assert (row.doing, row.figure, row.value) == ("train", "loss", pytest.approx(2.1))
    assert row.curve == [pytest.approx(3.0 - 0.1 * step) for step in range(10)]


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, "running"),
        ({"started": 1.0}, "lost"),  # the number was given to another process
        ({"pid": 2**22 + 1}, "lost"),
        ({"host": "elsewhere"}, "running"),  # nobody can see it from here
    ],
)
def test_a_run_is_lost_when_its_process_is_gone(tmp_path: Path, changes: dict[str, Any], status: str) -> None:
    make_run(tmp_path, **changes)
    assert look(tmp_path).status == status
    assert f'raysmith_run_status{{run="tuned",status="{status}"}} 1.0' in told(tmp_path)


def test_a_process_of_another_machine_counts_as_dead_after_a_silent_day(tmp_path: Path) -> None:
    path = make_run(tmp_path, host="elsewhere")
    age(path, DAY_S - 60)
    assert look(tmp_path).live
    age(path, DAY_S + 60)
    assert Runs(tmp_path).look() == []


def test_before_it_is_connected_a_run_is_known_by_its_lock(tmp_path: Path) -> None:
    path = make_run(tmp_path, pid=2**22 + 1)
    (path / ".lock").write_text(str(os.getpid()))
    assert look(tmp_path).live
    (path / ".lock").write_text("1")  # which is there, and was started before
    os.utime(path / ".lock", (1.0, 1.0))
    assert not look(tmp_path).live


def test_runs_that_ended_are_shown_for_an_hour(tmp_path: Path) -> None:
    path = make_run(tmp_path, status="done")
    assert (look(tmp_path).status, look(tmp_path).training) == ("done", False)
    age(path, 3700)
    assert Runs(tmp_path).look() == []


def test_a_run_is_not_in_training_when_no_step_is_to_be_expected(tmp_path: Path) -> None:
    path = make_run(tmp_path, steps=3)
    beat = path / "train" / "train-1" / "heartbeat.json"
    for phase, training in (("step", True), ("measure", True), ("wait", False), ("over", False)):
        write_json(beat, {"phase": phase, "count": 1})
        assert look(tmp_path).training is training, phase
    Timeline(path, "001").write("training", "end", training="train-1", complete=True)
    assert not look(tmp_path).training
    assert 'raysmith_run_training{run="tuned"} 0.0' in told(tmp_path)


def test_resuming_is_a_sign_of_life(tmp_path: Path) -> None:
    path = make_run(tmp_path, steps=3)
    add_steps(path, 3.0, 2.9, began=time.time() - DAY_S)
    now = look(tmp_path).now
    assert now is not None and time.time() - now.last_sign < 60, "yesterday's steps are no stall"


def test_a_loss_that_is_no_number_is_told(tmp_path: Path) -> None:
    path = make_run(tmp_path, steps=3)
    add_steps(path, 3.0, math.nan)
    assert 'raysmith_run_loss{run="tuned"} NaN' in told(tmp_path)
    row = run_row(look(tmp_path))
    assert row.curve == [3.0]
    assert row.value is not None and math.isnan(row.value)


TEXTS = {
    "checkpoint_failed": ("trainers/saver.py", "checkpoint at step {marker.step}", "checkpoint at step 7 failed"),
    "drift": ("trainers/rl/feed.py", "drift at step {step + 1}: sampler", "drift at step 3: sampler and learner"),
    "reward_hacking": ("trainers/rl/feed.py", "suspected reward hacking at step", "suspected reward hacking at step 3"),
    "hang": ("trainers/watchdog.py", "{name}: no sign of life for", "hang 001: no sign of life for 90 s"),
    "not_finite": ("trainers/loop.py", "diverged at step {step + 1}", "diverged at step 9: loss nan, norm 1.0"),
    "preemption": ("trainers/notices.py", "notice: {'; '.join(said)}", "notice: worker 0, aws: terminate"),
    "resumed": ("trainers/loop.py", "resumed at step {self.first}", "resumed at step 40 with 2 workers"),
}  # fmt: skip


def test_events_are_counted_by_what_their_writers_say(tmp_path: Path) -> None:
    assert set(TEXTS) == set(EVENTS)
    path = make_run(tmp_path)
    for file, words, _ in TEXTS.values():
        assert words in (REPOSITORY / file).read_text(), f"{file} has other words now"
    lines = [json.dumps({"event": text}) for _, _, text in TEXTS.values()]
    (path / "events.jsonl").write_text("\n".join([*lines, lines[0], json.dumps({"event": "old ones"}), '{"eve']))
    assert look(tmp_path).events == {kind: 1 + (kind == "checkpoint_failed") for kind in EVENTS}
    assert 'raysmith_run_events_total{kind="checkpoint_failed",run="tuned"} 2.0' in told(tmp_path)


def test_what_is_damaged_is_left_out(tmp_path: Path) -> None:
    good = make_run(tmp_path, "good", steps=4)
    with (good / "metrics.jsonl").open("a") as stream:
        stream.write('[1, 2]\n"text"\n{"step": 5}\nnull\n{"training": "train-1", "attem')
    (good / "progress" / "other.json").write_text('{"done": 3')
    for name, files in {
        "empty": {},
        "cut": {"report.json": '{"name": "cut", "sta'},
        "list": {"report.json": "[]"},
        "binary": {"report.json": b"\xff\xfe\x00"},
        "driver": {"report.json": '{"status": "running"}', "driver.json": '{"pid": "x"}', ".lock": "none"},
        "sweep": {"report.json": '{"status": "done", "sweep": 3}', "sweep.json": '{"trials": [3, {"score": "x"}]}'},
        "steps": {"report.json": '{"status": "done", "stages": null}', "metrics.jsonl": "{}\n" * 9},
        "stages": {"report.json": '{"status": "failed", "stages": ["x"], "error": [3], "goodput": []}'},
        "values": {
            "report.json": '{"status": "running", "stages": {"train": 3}}',
            ".lock": str(os.getpid()),
            "timeline.jsonl": '{"what": "training", "edge": "begin", "training": "../t", "time": "x"}\n[]\n',
            "events.jsonl": '{"event": 3, "time": "x"}\n{"event": "all workers are gone", "time": {}}\n',
            "metrics.jsonl": "".join(
                json.dumps({"training": "t", "attempt": 1, "step": step, "time": when, "seconds": None}) + "\n"
                for step, when in ((1, "x"), (math.nan, 2), (2, 3), (3, 4), ("4", 5))
            ),
        },
    }.items():
        folder = tmp_path / "runs" / name
        (folder / "progress").mkdir(parents=True)
        (folder / "progress" / "train.json").write_text('{"done": NaN, "total": 1e999}')
        for file, content in files.items():
            (folder / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    (tmp_path / "runs" / "file").write_text("")
    (tmp_path / "endpoints" / "half").mkdir(parents=True)
    (tmp_path / "endpoints" / "half" / "state.json").write_text('{"name": "ha')
    snapshot = Gatherer(tmp_path, None).gather()
    assert {one.name: one.status for one in snapshot.runs} == {
        "good": "running", "driver": "lost", "sweep": "done", "steps": "done", "stages": "failed", "values": "running",
    }  # fmt: skip
    assert next(one for one in snapshot.runs if one.name == "good").done == 4
    json.dumps(snapshot.as_json(), allow_nan=False)
    told(tmp_path)
    assert driver_of(tmp_path / "runs" / "driver") is None


def test_a_missing_root_is_told_and_a_new_one_found(tmp_path: Path) -> None:
    gatherer = Gatherer(tmp_path / "store", None)
    assert "no storage root" in gatherer.gather().notes[0]
    make_run(tmp_path / "store")
    assert [run.name for run in gatherer.gather().runs] == ["tuned"]


def test_of_thousands_of_runs_only_those_that_changed_are_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run(tmp_path, "live")
    for number in range(2000):
        folder = tmp_path / "runs" / f"old-{number}"
        folder.mkdir()
        (folder / "report.json").write_text('{"status": "done"}')
        os.utime(folder, (1.0, 1.0))
    read: list[str] = []
    asked: list[str] = []
    real_run, real_driver = runs_module.read_run, runs_module.driver_of
    monkeypatch.setattr(runs_module, "read_run", lambda path, *more: (read.append(path.name), real_run(path, *more))[1])
    monkeypatch.setattr(runs_module, "driver_of", lambda path: (asked.append(path.name), real_driver(path))[1])
    runs = Runs(tmp_path)
    assert [run.name for run in runs.look()] == ["live"]
    assert read == ["live"]
    asked.clear()
    assert [run.name for run in runs.look()] == ["live"]
    assert set(asked) == {"live"}
    write_json(tmp_path / "runs/old-7/report.json", {"status": "done", "again": True})
    assert {run.name for run in runs.look()} == {"live", "old-7"}


def test_a_sweep_is_told_by_its_record(tmp_path: Path) -> None:
    path = make_run(tmp_path, "tried")
    objective = ObjectiveConfig(metric="heldout_accuracy", direction="maximize")
    record = SweepRecord(
        path / "sweep.json", {"objective": objective.model_dump()}, objective, best_counts=True
    )  # fmt: skip
    for number, status in enumerate(("finished", "running", "failed")):
        values, run = {"train.learning_rate": 10.0**-number}, f"tried-00{number}"
        record.add(Trial.model_validate(
            {"number": number, "point": {}, "values": values, "run": run, "status": status, "tokens": 100}
        ))  # fmt: skip
        record.measured(number, 4, (0.5, 0.75, 0.9)[number])
    write_json(tmp_path / "runs/tried-001/report.json", {"status": "running", "sweep": {"name": "tried"}})
    sweep = sweep_of(next(run for run in Runs(tmp_path).look() if run.name == "tried"))
    assert sweep is not None
    assert (sweep.metric, sweep.best_score, sweep.tokens) == ("heldout_accuracy", 0.75, 300)
    assert sweep.counts == {"waiting": 0, "running": 1, "finished": 1, "stopped": 0, "failed": 1}
    text = told(tmp_path)
    assert 'raysmith_sweep_best{sweep="tried"} 0.75' in text
    add_steps(make_run(tmp_path, "tuned", steps=3), 3.0, 2.5, 2.0)
    samples = {line.split("{")[0].split(" ")[0] for line in told(tmp_path).splitlines() if not line.startswith("#")}
    assert {one.name for one in RUNS} <= samples, "what the table promises is told"
    shutil.rmtree(tmp_path / "runs/tuned")
    assert 'raysmith_sweep_trials{status="failed",sweep="tried"} 1.0' in text
    assert 'run="tried-001"' not in text, "a trial's process may be anywhere: it is never lost by itself"
    snapshot = Gatherer(tmp_path, None).gather()
    assert [run.name for run in snapshot.runs] == ["tried"]
    (row,) = snapshot.sweeps
    assert (row.best, row.best_values) == (0.75, {"train.learning_rate": 0.1})
    assert row.trials == [{"run": "tried-001", "step": 4, "score": 0.75}]


def test_an_endpoint_is_told_by_what_its_front_measures() -> None:
    registry = CollectorRegistry()
    made: dict[str, Any] = make(registry, SERVING)
    where = {"model": "m", "version": "1"}
    made["raysmith_replicas"].labels(**where).set(2)
    made["raysmith_requests_waiting"].labels(**where).set(5)
    answered = made["raysmith_requests_total"]
    answered.labels(**where, adapter="", route="/v1/chat/completions", code="200").inc(10)
    answered.labels(**where, adapter="", route="/v1/chat/completions", code="503").inc(2)
    first = made["raysmith_time_to_first_token_seconds"].labels(**where, adapter="")
    first.observe(20.0)
    before = _sample(generate_latest(registry).decode())
    made["raysmith_completion_tokens_total"].labels(model="m", adapter="").inc(500)
    for _ in range(100):
        first.observe(0.2)
    after = _sample(generate_latest(registry).decode())._replace(when=before.when + 10)
    blank = EndpointView("m", "serving", "http://127.0.0.1:8000/v1", *[None] * 7)
    seen = _figures(blank, before, after)
    assert (seen.replicas, seen.waiting, seen.failed, seen.tokens_per_s) == (2, 5, 2, 50.0)
    assert seen.ttft_p95_s is not None and 0.1 < seen.ttft_p95_s <= 0.25, "not the slow one from before"
    assert _figures(blank, before, before).tokens_per_s is None


def test_quantiles_are_reckoned_as_prometheus_does() -> None:
    assert quantile(0.5, {1.0: 0, 2.0: 10, math.inf: 10}) == pytest.approx(1.5)
    assert quantile(0.95, {1.0: 1, math.inf: 10}) == 1.0
    assert quantile(0.5, {1.0: 0.0, math.inf: 0.0}) is None
    assert quantile(0.5, {}) is None


def test_curves_in_characters() -> None:
    assert sparkline([1, 2, 3, 4, 5, 6, 7, 8]) == "▁▂▃▄▅▆▇█"
    assert sparkline([5.0] * 4) == "▁▁▁▁"
    assert sparkline([]) == ""
    assert len(sparkline(list(range(100)), 16)) == 16
    assert sparkline([0, 0, 10, 10], 2) == "▁█"


def test_the_gpu_tools_lines_are_read() -> None:
    text = "0, NVIDIA H200, 87, 101376, 143771, 54, 412.10\n1, NVIDIA H200, [N/A], 0, 143771, 30, [Not Supported]\nno\n"
    one, two = gpus_of(text)
    assert (one.name, one.percent, one.memory_used, one.watts) == ("NVIDIA H200", 87.0, 101376 * 2**20, 412.1)
    assert (two.number, two.percent, two.memory_used, two.watts) == (1, None, 0, None)


@pytest.mark.parametrize(("width", "height"), [(200, 50), (80, 24), (40, 10), (10, 3)])
def test_it_fits_any_terminal(tmp_path: Path, width: int, height: int) -> None:
    for number in range(30):
        make_run(tmp_path, f"run-{number:02d}", steps=5)
    console = Console(width=width, height=height, file=open(os.devnull, "w"))  # noqa: SIM115, PTH123
    lines = console.render_lines(view(Gatherer(tmp_path, None).gather(), height, width))
    assert all(sum(part.cell_length for part in line) <= width for line in lines)
    assert sum("run-" in "".join(part.text for part in line) for line in lines) <= max(3, height)


def test_a_long_error_leaves_room_for_the_rest(tmp_path: Path) -> None:
    path = make_run(tmp_path, "a-run-of-a-long-name-indeed-it-is-long", status="failed")
    write_json(path / "report.json", {"status": "failed", "error": "much went wrong " * 20})
    console = Console(width=80, height=24, file=open(os.devnull, "w"), record=True)  # noqa: SIM115, PTH123
    console.print(view(Gatherer(tmp_path, None).gather(), 24, 80))
    (line,) = [line for line in console.export_text().splitlines() if "a-run" in line]
    assert re.search(r"a-run-of-a-lo\S* +failed +much went wr.*— +—", line), line


def test_it_lives_in_a_terminal_until_q_is_pressed(tmp_path: Path) -> None:
    make_run(tmp_path, steps=5)
    ours, theirs = pty.openpty()
    fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "jobs", "top", "--storage", str(tmp_path)],
        stdin=theirs, stdout=theirs, stderr=theirs, env=os.environ | {"TERM": "xterm"}, cwd=REPOSITORY,
    )  # fmt: skip
    os.close(theirs)
    os.set_blocking(ours, False)
    seen = b""

    def shown(words: bytes) -> bool:
        nonlocal seen
        with suppress(OSError):  # nothing yet, or nothing any more
            seen += os.read(ours, 65536)
        return words in seen

    until(lambda: shown(b"tuned"))
    seen = b""
    fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", 10, 60, 0, 0))
    until(lambda: shown(b"tuned"))
    os.write(ours, b"q")
    until(lambda: shown(b"nothing more") or process.poll() is not None)
    os.close(ours)
    assert process.wait(30) == 0
