"""The admission queue in real clusters: its actor, what the head is told, drivers with cores, jobs without a place."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cluster import growth, keeper
from cluster.connect import Capacity
from cluster.errors import ClusterError
from cluster.growth import Group
from cluster.keeper import look
from cluster.line import Ask
from cluster.queue import Need, admitted
from jobs.placing import NotPlacedError, placed_in_time, until_placed
from tests.conftest import REPOSITORY
from tests.test_submit import job_file, raysmith
from tests.two_nodes import TwoNodes

__all__ = ["job_file"]  # a fixture


def test_the_real_queue_survives_its_restart(ray_cluster: Capacity, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    monkeypatch.setattr("cluster.keeper.LOST_S", 8.0)
    monkeypatch.setattr("cluster.queue._BEAT_S", 0.2)
    everything = Need([{"CPU": ray_cluster.cpus}])
    told: list[str] = []

    def wait_in_line() -> None:
        with admitted("second", everything, 0, told.append):
            told.append("inside")

    try:
        with admitted("first", everything, 0, told.append) as admission:
            assert admission.copies == 1
            second = threading.Thread(target=wait_in_line)
            second.start()
            _until(lambda: told == ["waiting 1 of 1 for room, behind first"])
            since = {one["name"]: one["since"] for one in look()}
            ray.kill(keeper.keeper(), no_restart=False)
            time.sleep(0.5)
            _until(lambda: _names() == [("first", 1), ("second", 0)])
            assert {one["name"]: one["since"] for one in look()} == since
        second.join(60)
        assert told[-2].startswith("let in after")
        assert told[-1] == "inside"
        assert all(one.startswith("waiting 1 of 1") for one in told[:-2])  # told anew after the restart, it may be
        assert not look()
    finally:
        ray.kill(keeper.keeper())


def test_an_older_queue_is_replaced_when_it_keeps_nobody(
    ray_cluster: Capacity, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    monkeypatch.setattr("cluster.keeper.LOST_S", 2.0)  # so long nobody is let in by one that follows another

    class Older:
        """Of a release that said other things."""

        def __init__(self) -> None:
            self.kept: list[dict[str, Any]] = [{"name": "of-old", "admitted": 1}]

        def look(self) -> list[dict[str, Any]]:
            return self.kept

        def end(self) -> None:
            self.kept = []

    made: Any = ray.remote(Older)
    older = made.options(name=keeper.NAME, namespace=keeper.NAMESPACE, num_cpus=0).remote()
    try:
        with pytest.raises(ClusterError, match="of an older release") as caught:
            keeper.keeper()
        assert "of-old" in str(caught.value)
        ray.get(older.end.remote())
        newer = Need([{"CPU": 1.0}])
        with admitted("newer", newer, 0, str) as admission:
            assert admission.copies == 1
            of_a_later_release = {**Ask("later", "later", newer.bundles)._asdict(), "wishes": ["a view of the sea"]}
            assert ray.get(keeper.keeper().hear.remote(of_a_later_release), timeout=60)["admitted"] == 1
            assert {one["name"] for one in look()} == {"newer", "later"}
    finally:
        ray.kill(older)
        ray.kill(keeper.keeper())


def test_a_queue_that_fails_says_why(ray_cluster: Capacity, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    monkeypatch.setattr("cluster.queue._SILENT_S", 10.0)
    try:
        unlike: Any = [{"CPU": "much"}]
        with pytest.raises(ClusterError, match="does not answer") as caught, admitted("unlike", Need(unlike), 0, str):
            raise AssertionError
        assert "TypeError" in str(caught.value)
    finally:
        ray.kill(keeper.keeper())


def test_a_job_that_finds_no_node_leaves_and_asks_again(ray_cluster: Capacity, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    for name, value in (("_LOOKS_EVERY_S", 0.2), ("_LIMIT_S", (0.5, 0.6)), ("_PAUSES_S", (0.1,))):
        monkeypatch.setattr(f"jobs.placing.{name}", value)

    class Process:
        """One that takes all cores."""

        def answer(self) -> bool:
            return True

    made: Any = ray.remote(Process).options(num_cpus=ray_cluster.cpus)
    need, told = Need([{"CPU": 1.0}]), list[str]()
    holder = made.remote()
    ray.get(holder.answer.remote(), timeout=60)
    actors: list[Any] = []

    def attempt() -> None:
        if told:
            ray.kill(holder)
        actors.append(made.remote())
        with placed_in_time(need):
            assert ray.get(actors[-1].answer.remote(), timeout=120)
        ray.kill(actors[-1])

    def give_back(text: str) -> None:
        told.append(text)
        monkeypatch.setattr("jobs.placing._LIMIT_S", (100.0, 110.0))
        ray.kill(actors[-1])

    try:
        with admitted("other", need, 0, str), admitted("own", need, 0, str):
            until_placed(attempt, give_back)
        assert len(actors) == 2
        assert told == [
            "Part of the job found no node, while others hold what it needs. "
            "It gave back what it held, and asks again in 0 s"
        ]
    finally:
        ray.kill(keeper.keeper())


@pytest.mark.parametrize("stop", [False, True])
def test_who_is_stopped_while_it_gives_back_does_not_ask_again(monkeypatch: pytest.MonkeyPatch, stop: bool) -> None:
    def interrupt(_signum: int, _frame: object) -> None:
        raise KeyboardInterrupt

    for name, value in (("_LOOKS_EVERY_S", 0.02), ("_LIMIT_S", (0.05, 0.06)), ("_is_stuck", lambda _need: True)):
        monkeypatch.setattr(f"jobs.placing.{name}", value)
    monkeypatch.setattr("jobs.placing.unplaced", lambda: ["Process"])
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt if stop else NotPlacedError), placed_in_time(Need([{"CPU": 1.0}])):
            try:
                time.sleep(60)
            finally:
                if stop:
                    os.kill(os.getpid(), signal.SIGTERM)
                    time.sleep(60)
        assert signal.getsignal(signal.SIGTERM) is interrupt
    finally:
        signal.signal(signal.SIGTERM, before)


GROWS = """
from cluster.connect import ClusterConfig, connected
from cluster.growth import cluster_now
from cluster.queue import Need, admitted, require_possible

with connected(ClusterConfig(num_cpus=1)):
    large = Need([{"CPU": 12.0, "GPU": 8.0}] * 2)
    print("reasons", require_possible(large, cluster_now()))
    with admitted("large", large, 0, print) as admission:
        print("admitted", admission.copies)
    print("reasons", require_possible(Need([{"GPU": 16.0}]), cluster_now()))
"""


@pytest.mark.slow
def test_a_real_head_that_was_told_its_groups_admits_what_is_not_there_yet() -> None:
    told = {growth.ENVIRONMENT: growth.encode([Group("gpu", {"CPU": 96, "GPU": 8}, 2)])}
    command = [sys.executable, "-c", GROWS]
    done = subprocess.run(
        command, env={**os.environ, **told}, cwd=REPOSITORY, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[:2] == ["reasons []", "admitted 1"]
    assert "16 GPU, do not fit on 3 nodes, 2 of them not started yet" in done.stdout.splitlines()[2]


@pytest.mark.slow
def test_the_cores_of_a_submitted_driver_count(two_nodes: TwoNodes, job_file: Path) -> None:
    done = raysmith(
        two_nodes.environment, job_file.parent, "submit", job_file.name, "name=driver-holds", "--entrypoint-cpus", "1",
        "cluster.workers=32", "train.batch.sequences=32",
    )  # fmt: skip
    assert done.returncode == 1
    assert "ResourceError: The cluster can never hold this job" in done.stdout
    assert "33 CPU are needed" in done.stdout


def _names() -> list[tuple[str, int]]:
    import ray

    try:
        return [(one["name"], one["admitted"]) for one in look()]
    except ray.exceptions.RayError:  # it is being restarted
        return []


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)
