"""Workers that hang: their stacks, their restart; and what is no hang."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest

from cluster.connect import Capacity, ClusterConfig
from cluster.rundir import read_metrics
from cluster.stacks import Found, Process, look, look_at_all
from jobs.stages.train import identity
from tests.conftest import REPOSITORY
from tests.test_recovery import config, uninterrupted, worker_processes
from tests.workers import training_job
from trainers import watchdog
from trainers.config import WatchdogConfig
from trainers.heartbeat import MEASURE, ROUND, SAVE, START, STEP, WAIT, registered
from trainers.launch import Workers, result_of_training, train
from trainers.loop import Job
from trainers.spans import SPANS_FILE
from trainers.watchdog import Pace

__all__ = ["uninterrupted"]  # a fixture of the module that it comes from
QUICK = WatchdogConfig(least_s=4.0, factor=3.0)
WAIT_S = 180.0


def stop_a_worker_after(job: Job, steps: int) -> None:
    """Freeze a worker in training, as a debugger or a full pipe would."""
    until = time.monotonic() + WAIT_S
    while len(read_metrics(job.metrics_file)) < steps:
        assert time.monotonic() < until, f"no {steps} steps"
        time.sleep(0.05)
    os.kill(worker_processes()[-1].pid, signal.SIGSTOP)


def require_looked_into(job: Job) -> None:
    """The hang is told, and both workers' stacks name the function that they stood in."""
    folder = job.metrics_file.parent / "attempts" / "001" / "stacks" / "001"
    texts = [(folder / f"rank-{rank}.txt").read_text() for rank in range(2)]
    for rank, text in enumerate(texts):
        assert text.startswith("hang 001 of the training run, run test, attempt 001\n")
        assert f"worker {rank} of 2: process " in text
        assert "in phase `step`" in text
        assert "_step (trainers/loop.py:" in text, text
    assert sum(", stopped\n" in text for text in texts) == 1
    events = [json.loads(line)["event"] for line in (job.metrics_file.with_name("events.jsonl")).open()]
    [hang] = [event for event in events if event.startswith("hang")]
    assert hang.startswith("hang 001: no sign of life for ")
    assert "2 workers were killed" in hang
    assert str(folder) in hang


def test_a_stopped_worker_is_looked_into_and_training_goes_on(
    uninterrupted: list[float], tmp_path: Path, model: Path, tokens: Path
) -> None:
    job = training_job(tmp_path / "run", config(watchdog=QUICK), model, tokens)
    stopper = threading.Thread(target=stop_a_worker_after, args=(job, 12))
    stopper.start()
    told: list[str] = []
    train(job, ClusterConfig(workers=2), told.append)
    stopper.join()
    require_looked_into(job)
    assert len(told) == 1, told  # the starts took longer than `least_s`, and were no hangs
    records = read_metrics(job.metrics_file)
    assert [record["loss"] for record in records] == pytest.approx(uninterrupted, rel=1e-5)
    seen = Counter(sample for record in records for sample in record["samples"])
    assert sorted(Counter(seen.values()).items()) == [(6, 8), (7, 16)]
    spans = [json.loads(line) for line in job.metrics_file.with_name(SPANS_FILE).open()]
    [lost] = [one for one in spans if one["what"] == "lost"]
    [restart] = [one for one in spans if one["what"] == "restart"]
    assert 1 <= lost["steps"] <= 5
    assert restart["seconds"] > QUICK.least_s


@pytest.mark.slow
def test_workers_of_a_series_are_watched_too(ray_cluster: Capacity, tmp_path: Path, model: Path, tokens: Path) -> None:
    job = training_job(tmp_path / "run", config(watchdog=QUICK), model, tokens)
    workers = Workers(ClusterConfig(workers=2), tmp_path / "workers")
    try:
        number, until = workers.start(job), time.monotonic() + WAIT_S
        stop_a_worker_after(job, 12)
        while not workers.is_done(number):
            assert time.monotonic() < until, "the job is not done"
            time.sleep(0.1)
    finally:
        assert workers.close(60)
    require_looked_into(job)
    assert result_of_training(job)["workers"] == 2
    assert [record["step"] for record in read_metrics(job.metrics_file)] == list(range(1, 41))


def test_a_process_that_is_gone_or_was_replaced_is_not_touched(ray_cluster: Capacity) -> None:
    here = Process.this(0)
    assert here.find() == psutil.Process()
    assert here._replace(created=here.created - 5).find() is None  # another one has its number now
    found = look(here._replace(created=here.created - 5))
    assert (found.alive, found.state) == (False, "gone")


@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("setpriv") is None, reason="needs root, and setpriv to give rights away"
)
def test_without_permission_the_file_says_how_to_allow_it() -> None:
    code = "import sys; from cluster.stacks import _stacks; print(_stacks(int(sys.argv[1])))"
    weaker = ["setpriv", "--bounding-set=-sys_ptrace", "--inh-caps=-sys_ptrace"]
    command = [*weaker, sys.executable, "-c", code, str(os.getpid())]
    said = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert said.stdout.startswith("py-spy: "), said
    assert "kernel.yama.ptrace_scope=1" in said.stdout
    assert "SYS_PTRACE" in said.stdout


@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("setpriv") is None, reason="needs root, and setpriv to give rights away"
)
def test_workers_without_rights_are_looked_into_by_processes_of_the_same_user(tmp_path: Path) -> None:
    """With `kernel.yama.ptrace_scope` 1 only because they say so themselves: a task is not their parent."""
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all"]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1"}
    hung = "\n".join((
        "import sys, time", "from cluster.stacks import let_itself_be_read", "let_itself_be_read()",
        "def stands_still():", "    print('there', flush=True)", "    time.sleep(600)", "stands_still()",
    ))  # fmt: skip
    look = "import sys; from cluster.stacks import _stacks; print(_stacks(int(sys.argv[1])))"
    with subprocess.Popen(
        [*nobody, sys.executable, "-c", hung], cwd="/", env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "there\n"
            command = [*nobody, sys.executable, "-c", look, str(process.pid)]
            said = subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True, timeout=60)
        finally:
            process.kill()
    assert "stands_still (<string>:" in said.stdout, said


def test_workers_that_could_not_be_asked_are_looked_at_again(
    ray_cluster: Capacity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as process:
        hung = Process.this(0)._replace(pid=process.pid, created=psutil.Process(process.pid).create_time())
        asked: list[list[Process]] = []

        def first_elsewhere(workers: list[Process]) -> list[Found]:
            """A node that Ray does not know stands for one that does not answer."""
            asked.append(workers)
            return look_at_all([one._replace(node="ab" * 28) for one in workers] if len(asked) < 3 else workers)

        monkeypatch.setattr(watchdog, "look_at_all", first_elsewhere)
        monkeypatch.setattr(watchdog, "_AGAIN_S", 0.1)
        settings = WatchdogConfig(least_s=0.2, other_s=0.2)
        job = training_job(tmp_path, config(watchdog=settings), tmp_path, tmp_path)
        told: list[str] = []
        try:
            with watchdog.Watchdog(tmp_path, lambda: job, told.append):
                (tmp_path / "workers").mkdir()
                (tmp_path / "workers" / "rank-0.json").write_text(json.dumps({**hung._asdict(), "workers": 1}))
                assert process.wait(WAIT_S) == -signal.SIGKILL
        finally:
            process.kill()
    assert len(asked) == 3
    assert told[0] == "1 worker shows no sign of life, and its node does not answer"
    [hang] = told[1:]
    assert hang.startswith("hang 001: ")
    assert "; 1 worker was killed and is started again; " in hang


def pace(folder: Path, steps_s: list[float], **keys: float) -> Pace:
    """Of a training whose steps took so long."""
    job = training_job(folder, config(watchdog=WatchdogConfig(**keys)), folder, folder)
    lines = [{"training": "run", "step": step, "seconds": seconds} for step, seconds in enumerate(steps_s)]
    job.metrics_file.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"training": "ru')
    return Pace(job)


def test_a_hang_is_many_times_the_median_step(tmp_path: Path) -> None:
    group = ["a worker"]
    for steps_s, limit in (([], 1000), ([600.0], 6000), ([600.0] + [7.0] * 8, 70), ([600.0] + [0.1] * 200, 30)):
        watched = pace(tmp_path, steps_s, factor=10, least_s=30, other_s=1000)
        watched.look(100.0, group, {"done": 5}, {"phase": STEP, "count": 2})
        watched.look(100.0 + limit, group, {"done": 5}, {"phase": STEP, "count": 2})
        assert watched.limit_s == limit
        assert watched.silent_s(100.0 + limit) == limit
        assert not watched.is_hung(100.0 + limit)
        assert watched.is_hung(100.1 + limit)
        watched.look(100.1 + limit, group, {"done": 6}, {"phase": STEP, "count": 2})
        assert not watched.is_hung(100.2 + limit), "a step is a sign of life"


def test_what_is_no_step_has_its_own_allowance(tmp_path: Path) -> None:
    watched = pace(tmp_path, [1.0] * 10, factor=10, least_s=3, other_s=1000)
    group = ["a worker"]
    for phase, limit in ((START, 1000), (MEASURE, 1000), (SAVE, 1000), (ROUND, 1000), (WAIT, math.inf)):
        watched.look(20.0, group, {"done": 4}, {"phase": phase, "count": 2})
        assert watched.limit_s == limit, phase
        assert not watched.is_hung(1019.0)
        assert watched.is_hung(1021.0) == math.isfinite(limit)
    # Each batch of a long measurement is a sign of life, and so is a start of other workers.
    for count in range(3, 10):
        watched.look(20.0 + 900 * count, group, {"done": 4}, {"phase": MEASURE, "count": count})
        assert watched.silent_s(20.0 + 900 * count) == 0
    watched.look(9_000.0, ["another"], {"done": 4}, {"phase": MEASURE, "count": 9})
    assert watched.silent_s(9_000.0) == 0


def test_rounds_may_take_what_the_objective_says(tmp_path: Path) -> None:
    objective = {"kind": "rl", "rewards": ["number"], "sync": {"writing_timeout_s": 500}}
    job = training_job(tmp_path, config(objective=objective, watchdog=QUICK), tmp_path, tmp_path)
    watched = Pace(job)
    watched.look(0.0, ["a worker"], None, {"phase": ROUND, "count": 1})
    assert watched.limit_s == QUICK.other_s + job.config.objective.alone_s  # type: ignore[attr-defined]
    assert watched.limit_s >= QUICK.other_s + 1000


def test_it_is_no_part_of_what_is_trained() -> None:
    assert identity(config(watchdog=QUICK)) == identity(config())


def test_workers_that_never_registered_are_nobody_s(tmp_path: Path) -> None:
    assert registered(tmp_path) == []
