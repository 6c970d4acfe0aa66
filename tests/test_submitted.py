"""The life of submitted jobs on a real cluster of two nodes: the queue, stop, resume, what is lost."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.test_submit import JOB_S, TWO_WORKERS, job_file, raysmith, start
from tests.two_nodes import TwoNodes

__all__ = ["job_file"]  # a fixture

LONG = (*TWO_WORKERS, "train.steps=4000", "train.checkpoint.every_steps=5")


def wait_until(condition: Callable[[], Any], process: subprocess.Popen[str] | None = None) -> Any:
    deadline = time.monotonic() + JOB_S
    while not (found := condition()):
        assert process is None or process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.3)
    return found


class Cluster:
    """`raysmith` for one cluster, in one folder."""

    def __init__(self, two_nodes: TwoNodes, folder: Path) -> None:
        self.environment, self.folder = two_nodes.environment, folder

    def __call__(self, *words: str) -> subprocess.CompletedProcess[str]:
        return raysmith(self.environment, self.folder, *words)

    def start(self, *words: str) -> subprocess.Popen[str]:
        return start(self.environment, self.folder, *words)

    def states(self) -> dict[str, str]:
        """State of each job, by id."""
        rows = [line.split("  ") for line in self("jobs").stdout.splitlines()[1:]]
        cells = [[cell.strip() for cell in row if cell.strip()] for row in rows]
        return {row[1]: row[3] for row in cells}

    def steps(self, name: str) -> int:
        """Training steps that a run has written."""
        file = self.folder / "storage/runs" / name / "metrics.jsonl"
        return len(file.read_text().splitlines()) if file.is_file() else 0

    def report(self, name: str) -> dict[str, Any]:
        report: dict[str, Any] = json.loads((self.folder / "storage/runs" / name / "report.json").read_text())
        return report


@pytest.fixture
def cluster(two_nodes: TwoNodes, job_file: Path) -> Cluster:
    return Cluster(two_nodes, job_file.parent)


def test_a_job_waits_is_stopped_and_resumed(cluster: Cluster, job_file: Path) -> None:
    sent = cluster("submit", job_file.name, "name=long", *LONG, "--no-follow")
    assert sent.returncode == 0, sent.stdout + sent.stderr
    wait_until(lambda: cluster.steps("long") > 10)

    # The same again is the same job; anything else of that name is refused.
    same = cluster("submit", job_file.name, "name=long", *LONG, "--no-follow")
    assert (same.returncode, "already there" in same.stdout) == (0, True), same.stdout + same.stderr
    other = cluster("submit", job_file.name, "name=long", *LONG, "train.learning_rate=0.5", "--no-follow")
    assert other.returncode == 2
    assert "ConfigError: A job of that name runs with another configuration" in other.stderr
    assert "raysmith stop long --cluster two-nodes" in other.stderr

    # Another one that needs both nodes, too, waits for all of it, and says so.
    with cluster.start("submit", job_file.name, "name=second", *TWO_WORKERS) as second:
        states = wait_until(lambda: (now := cluster.states()).get("second.1") == "waiting 1 of 1" and now, second)
        assert states["long.1"] == "running"
        stopped = cluster("stop", "long")
        assert "long.1" in stopped.stdout, stopped.stdout + stopped.stderr
        assert "raysmith resume long --cluster two-nodes" in stopped.stdout
        said, errors = second.communicate(timeout=JOB_S)
    assert second.returncode == 0, said + errors
    assert "waiting 1 of 1 for room, behind long" in said
    assert "let in after" in said
    states = cluster.states()
    assert (states["long.1"], states["second.1"]) == ("stopped", "done")
    assert cluster.report("long")["status"] == "interrupted"
    assert cluster("logs", "-f", "long").returncode == 143

    # It goes on from where it was, and a second stop by id leaves it resumable again.
    done_before = cluster.steps("long")
    resumed = cluster("resume", "long", "--no-follow")
    assert "long.2" in resumed.stdout, resumed.stdout + resumed.stderr
    wait_until(lambda: cluster.steps("long") > done_before)
    assert "stopped" in cluster("stop", "long.2").stdout
    lines = (cluster.folder / "storage/runs/long/metrics.jsonl").read_text().splitlines()
    first_of_second = next(line for line in map(json.loads, lines) if line["attempt"] == "002")
    assert first_of_second["step"] > 5  # not from its beginning


@pytest.mark.slow
def test_a_driver_that_is_lost_is_sent_again_and_goes_on(cluster: Cluster, job_file: Path) -> None:
    few = (*TWO_WORKERS, "train.steps=60", "train.checkpoint.every_steps=5")
    with cluster.start("submit", job_file.name, "name=lost", *few, "--retries", "1") as following:
        wait_until(lambda: cluster.steps("lost") > 10, following)
        kill_driver_of("lost", cluster.folder)
        said, errors = following.communicate(timeout=JOB_S)
    assert following.returncode == 0, said + errors
    assert "Sent again (1 of 1)" in errors
    assert "lost.2: succeeded" in said
    report = cluster.report("lost")
    assert report["status"] == "done"
    assert report["stages"]["train"]["attempts"] == ["001", "002"]
    assert cluster.states()["lost.1"] == "lost"


def kill_driver_of(name: str, folder: Path) -> None:
    """SIGKILL to the process that holds a run's directory."""
    process = psutil.Process(int((folder / "storage/runs" / name / ".lock").read_text()))
    assert "jobs" in process.cmdline()
    process.send_signal(signal.SIGKILL)
