"""The same fine-tuning on nodes that have networks, and clocks, of their own: cut, slow and wrong."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.faults import storage
from tests.faults.client import Command
from tests.faults.conftest import Whole
from tests.faults.machine import command, require_tool, titled
from tests.faults.network import NetworkCluster
from tests.faults.results import Case
from tests.faults.workloads import ends_as_if_nothing_had_happened, goes_on

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
WORKER, AT = "RayTrainWorker", 50


def submitted(cluster: Any, root: Path, files: Path) -> Command:
    file = storage.job(root, files, storage.name_of(root.parent), storage.training(), cluster={"workers": 2})
    return Command(cluster, "submit", file, *cluster.submit_options)


def node_with_a_worker(cluster: NetworkCluster) -> str:
    return next(name for name in cluster.names if titled(cluster.raylet(name), WORKER))


@pytest.mark.case("training", "network of a node cut for good", "network")
def test_network_cut(case: Case, cluster: NetworkCluster, root: Path, files: Path, whole: Whole) -> None:
    with submitted(cluster, root, files) as command:
        command.wait_for_step(AT)
        step, since = command.step(), time.monotonic()
        cluster.cut(node_with_a_worker(cluster))
        goes_on(case, command, step, since)
        ends_as_if_nothing_had_happened(case, command, whole, since, restarts=None)


@pytest.mark.case("training", "network of a node cut for 20 s", "network")
def test_network_cut_for_a_while(case: Case, cluster: NetworkCluster, root: Path, files: Path, whole: Whole) -> None:
    with submitted(cluster, root, files) as command:
        command.wait_for_step(AT)
        step, since = command.step(), time.monotonic()
        name = node_with_a_worker(cluster)
        cluster.cut(name)
        time.sleep(20)
        cluster.join(name)
        goes_on(case, command, step, since)
        ends_as_if_nothing_had_happened(case, command, whole, since, restarts=None)


@pytest.mark.case("training", "link of a node slow for 20 s (20 Mbit/s, 1% of packets lost)", "network")
def test_network_slow(case: Case, cluster: NetworkCluster, root: Path, files: Path, whole: Whole) -> None:
    with submitted(cluster, root, files) as command:
        command.wait_for_step(AT)
        step, since = command.step(), time.monotonic()
        name = node_with_a_worker(cluster)
        cluster.slow(name, "20mbit", 0.01)
        time.sleep(20)
        case.figures["steps in 20 s on the slow link"] = command.step() - step
        cluster.fast(name)
        goes_on(case, command, step, since)
        ends_as_if_nothing_had_happened(case, command, whole, since, restarts=None)


@contextmanager
def shifted(who: str, tmp_path: Path) -> Iterator[tuple[NetworkCluster, Path]]:
    """A cluster in which one node's clock is what a file says."""
    library, offset = tmp_path / "clock.so", tmp_path / "offset"
    require_tool("cc")
    command("cc", "-shared", "-fPIC", "-O2", "-o", str(library), str(Path(__file__).with_name("clock.c")), "-ldl")
    offset.write_text("0")
    variables = {"LD_PRELOAD": str(library), "RAYSMITH_CLOCK": str(offset)}
    cluster = NetworkCluster(("a", "b"), {who: variables})
    try:
        yield cluster, offset
    finally:
        cluster.close()


@pytest.mark.parametrize(
    ("who", "jump"),
    [
        pytest.param(
            "b", "3600", id="node-ahead",
            marks=pytest.mark.case("training", "clock of a node jumps an hour ahead", "own"),
        ),
        pytest.param(
            "head", "-3600", id="head-back",
            marks=pytest.mark.case("training", "clock of the head, with the driver, jumps an hour back", "own"),
        ),
    ],
)  # fmt: skip
def test_clock(
    who: str, jump: str, whole: Whole, case: Case, clusters: Any, root: Path, files: Path, tmp_path: Path
) -> None:
    clusters.close()
    began = time.monotonic()
    with shifted(who, tmp_path) as (cluster, offset), submitted(cluster, root, files) as command:
        command.wait_for_step(AT)
        seen = command.drivers() if who == "head" else titled(cluster.raylet(who), WORKER)
        assert "clock.so" in Path(f"/proc/{seen[0].pid}/maps").read_text(), "its clock is ours"
        step, since = command.step(), time.monotonic()
        offset.write_text(jump)
        goes_on(case, command, step, since)
        ends_as_if_nothing_had_happened(case, command, whole, since, restarts=None)
        times = [one["time"] for one in command.steps()]
        case.figures["largest jump in the run's times s"] = round(
            max(abs(later - earlier) for earlier, later in pairwise(times))
        )
        goodput = command.report()["goodput"]
        case.figures["goodput"] = goodput["share"]
        assert 0.0 < goodput["share"] <= 1.0
        assert min(goodput["seconds"].values()) >= 0.0
        assert goodput["wall_s"] < time.monotonic() - began, "no part of it is the hour"
        assert "clocks_disagree_s" not in goodput
