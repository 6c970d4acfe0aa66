"""A fine-tuning with two workers on two nodes, submitted to a local cluster with a third node to spare."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.faults import storage
from tests.faults.client import Command
from tests.faults.conftest import Clusters, Whole
from tests.faults.local import LocalCluster, node_with
from tests.faults.machine import filled, kill, small_disk, titled, wait_until
from tests.faults.results import Case
from tests.faults.workloads import END_S, ends_as_if_nothing_had_happened, goes_on

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
WORKER = "RayTrainWorker"
AT, LONG = 50, 1200


def submitted(cluster: Any, root: Path, files: Path, options: Sequence[str] = (), **train: Any) -> Command:
    name = storage.name_of(root.parent)
    file = storage.job(root, files, name, storage.training(**train), cluster={"workers": 2})
    return Command(cluster, "submit", file, *cluster.submit_options, *options)


def workers(cluster: Any) -> list[psutil.Process]:
    return [one for name in cluster.names for one in titled(cluster.raylet(name), WORKER)]


@pytest.mark.case("training", "worker killed (SIGKILL)", "plain")
def test_training_worker_killed(case: Case, cluster: LocalCluster, root: Path, files: Path, whole: Whole) -> None:
    with submitted(cluster, root, files) as command:
        command.wait_for_step(AT)
        since = time.monotonic()
        kill(workers(cluster)[-1])
        ends_as_if_nothing_had_happened(case, command, whole, since)


@pytest.mark.case("training", "node lost (raylet SIGKILLed)", "plain")
def test_training_node_lost(case: Case, cluster: LocalCluster, root: Path, files: Path, whole: Whole) -> None:
    with submitted(cluster, root, files) as command:
        command.wait_for_step(AT)
        since = time.monotonic()
        kill(cluster.raylet(node_with(cluster, WORKER)))
        ends_as_if_nothing_had_happened(case, command, whole, since)


@pytest.mark.case("training", "worker hangs (SIGSTOP)", "plain")
def test_training_worker_hangs(case: Case, cluster: LocalCluster, root: Path, files: Path, whole: Whole) -> None:
    with submitted(cluster, root, files) as command:
        command.wait_for_step(AT)
        since = time.monotonic()
        kill(workers(cluster)[-1], signal.SIGSTOP)
        ends_as_if_nothing_had_happened(case, command, whole, since)


@pytest.mark.case("training", "node hangs (raylet SIGSTOPped)", "plain")
def test_training_node_hangs(case: Case, cluster: LocalCluster, root: Path, files: Path, whole: Whole) -> None:
    with submitted(cluster, root, files, steps=LONG) as command:
        command.wait_for_step(AT)
        since = time.monotonic()
        raylet = cluster.raylet(node_with(cluster, WORKER))
        kill(raylet, signal.SIGSTOP)
        try:
            ends_as_if_nothing_had_happened(case, command, whole, since, restarts=None, last=LONG)
        finally:
            kill(raylet, signal.SIGCONT)


@pytest.mark.case("training", "driver lost (SIGKILL)", "plain")
def test_training_driver_lost(case: Case, cluster: LocalCluster, root: Path, files: Path, whole: Whole) -> None:
    with submitted(cluster, root, files) as command:
        command.wait_for_step(AT)
        step, since = command.step(), time.monotonic()
        for driver in command.drivers():
            kill(driver)
        goes_on(case, command, step, since)
        ends_as_if_nothing_had_happened(case, command, whole, since)


@pytest.mark.case("training", "submitting client lost (SIGKILL)", "plain")
def test_training_client_lost(case: Case, cluster: LocalCluster, root: Path, files: Path, whole: Whole) -> None:
    with submitted(cluster, root, files) as command:
        command.wait_for_step(AT)
        step, since = command.step(), time.monotonic()
        command.interrupt(signal.SIGKILL)
        assert command.process is not None
        command.process.wait()
        wait_until(lambda: command.step() > step, 30, "the job goes on")
        case.recover_s = round(time.monotonic() - since, 1)
        wait_until(lambda: (command.run / "report.json").exists() and not command.drivers(), END_S, "its end", 0.5)
        assert command.report()["status"] == "done"
        steps = command.steps()
        assert [one["samples"] for one in steps] == whole.samples
        assert [one["loss"] for one in steps] == pytest.approx(whole.losses, rel=1e-5)
        case.saw, case.lost = "the terminal is gone; the job goes on on the cluster", "nothing"


def loses_its_head(case: Case, cluster: LocalCluster, command: Command, whole: Whole, restarts: int | None = 1) -> None:
    step, since = command.step(), time.monotonic()
    for one in cluster.head_processes():
        kill(one)
    goes_on(case, command, step, since, cluster)
    ends_as_if_nothing_had_happened(case, command, whole, since, restarts=restarts)


@pytest.mark.case("training", "head lost, without Redis", "plain")
def test_training_head_lost(case: Case, cluster: LocalCluster, root: Path, files: Path, whole: Whole) -> None:
    with submitted(cluster, root, files) as command:
        command.wait_for_step(AT)
        loses_its_head(case, cluster, command, whole)


@pytest.mark.case("training", "head lost, with Redis", "redis")
def test_training_head_lost_redis(case: Case, cluster: LocalCluster, root: Path, files: Path, whole: Whole) -> None:
    with submitted(cluster, root, files) as command:
        command.wait_for_step(AT)
        loses_its_head(case, cluster, command, whole)


@pytest.mark.case("training", "head lost, with Redis; the driver is on another node", "own")
def test_training_head_lost_driver_elsewhere(
    case: Case, whole: Whole, clusters: Clusters, root: Path, files: Path
) -> None:
    clusters.close()
    cluster = LocalCluster("two", redis=True, node_cpus=2)
    try:
        # With cores of its own, as many as the head does not have, the driver is on a node, and fills it.
        with submitted(cluster, root, files, options=["--entrypoint-cpus", "2"]) as command:
            command.wait_for_step(AT)
            head = {one.pid for one in cluster.head_processes()}
            assert not head & {driver.pid for driver in command.drivers()}
            loses_its_head(case, cluster, command, whole, restarts=None)
    finally:
        cluster.close()


@pytest.mark.case("training", "disk of the checkpoints full, then freed", "plain")
def test_training_checkpoint_disk_full(
    case: Case, cluster: LocalCluster, root: Path, files: Path, whole: Whole
) -> None:
    with (
        small_disk(40) as disk,
        submitted(
            cluster, root, files, checkpoint={"every_steps": storage.EVERY, "folder": str(disk / "checkpoints")}
        ) as command,
    ):
        command.wait_for_step(AT)
        since = time.monotonic()
        with filled(disk):
            wait_until(lambda: any("failed, the one before" in event for event in command.events()), 60, "the event")
        ends_as_if_nothing_had_happened(case, command, whole, since, restarts=0)
        [event, *_] = [event for event in command.events() if "failed" in event]
        case.saw, case.lost = f"in the report: {event}", "nothing; no checkpoint while the disk was full"


@pytest.mark.case("training", "storage.root full, then freed", "plain")
def test_training_storage_full(case: Case, cluster: LocalCluster, files: Path, whole: Whole, tmp_path: Path) -> None:
    with small_disk(120) as disk:
        root = storage.copy_of(whole.root, disk / "storage")
        command = submitted(cluster, root, files)
        command.log = tmp_path / "terminal.log"  # the user's terminal is no file on that disk
        with command:
            command.wait_for_step(AT)
            step, since = command.step(), time.monotonic()
            with filled(disk):
                time.sleep(10)
            goes_on(case, command, step, since)
            ends_as_if_nothing_had_happened(case, command, whole, since, restarts=None)
