"""Fixtures of the fault suite: clusters that cases share, storage that is ready, the row that each case fills in."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults import machine, storage
from tests.faults.client import Command
from tests.faults.local import LocalCluster
from tests.faults.network import NetworkCluster
from tests.faults.results import WORKLOADS, Case, keep

_KINDS: dict[str, Callable[[], Any]] = {
    "plain": lambda: LocalCluster("plain"),
    "redis": lambda: LocalCluster("redis", redis=True),
    "network": NetworkCluster,
}
_OUTCOME = pytest.StashKey[str]()
"""Why it failed; empty: it passed."""
_SKIPPED = pytest.StashKey[bool]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "case(workload, fault, nodes): a row of docs/reliability.md")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Cases of one kind of cluster one after the other."""
    here = [number for number, item in enumerate(items) if Path(__file__).parent in item.path.parents]
    ordered = sorted((items[number] for number in here), key=_kind)
    for number, item in zip(here, ordered, strict=True):
        items[number] = item


def _kind(item: pytest.Item) -> tuple[int, int]:
    mark = item.get_closest_marker("case")
    if mark is None:
        return (9, 0)
    workload, _, nodes = mark.args
    return (("plain", "redis", "network", "own").index(nodes), WORKLOADS.index(workload))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report: Any = yield
    if report.when == "call" and report.passed:
        item.stash[_OUTCOME] = ""
    elif report.skipped:
        item.stash[_SKIPPED] = True
    elif report.when in ("setup", "call") and report.failed:
        error = call.excinfo.value if call.excinfo else None
        item.stash[_OUTCOME] = str(error) or type(error).__name__
    return report


class Clusters:
    """One at a time: two cores do not hold two."""

    def __init__(self) -> None:
        self.kind, self._cluster = "", None

    def get(self, kind: str) -> Any:
        if kind == self.kind:
            try:
                self._cluster.ready()
            except AssertionError:
                self.close()
        if kind != self.kind:
            self.close()
            self._cluster, self.kind = _KINDS[kind](), kind
        return self._cluster

    def close(self) -> None:
        if self._cluster is not None:
            self._cluster.close()
        self.kind, self._cluster = "", None


@pytest.fixture(scope="session")
def clusters() -> Iterator[Clusters]:
    machine.clean_up()
    found = Clusters()
    yield found
    found.close()
    machine.clean_up()


@pytest.fixture
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    """The row; it is kept however the case ends."""
    mark = request.node.get_closest_marker("case")
    row = Case(*mark.args)
    yield row
    if _SKIPPED in request.node.stash:
        return
    row.end(request.node.stash.get(_OUTCOME, "it was interrupted"))
    keep(request.node.nodeid.split("::")[-1], row, tmp_path_factory.getbasetemp() / "faults.json")


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model and data, to be sent along."""
    folder = tmp_path_factory.mktemp("files")
    storage.make_files(folder)
    return folder


@pytest.fixture
def cluster(case: Case, clusters: Clusters) -> Iterator[Any]:
    """The case's cluster, whole."""
    found = clusters.get(case.nodes)
    yield found
    if case.nodes == "network":
        clusters.close()  # cuts leave their marks


class Whole:
    """The same training without a fault: what the others must equal. Its storage is what the others begin with."""

    def __init__(self, root: Path, losses: list[float], samples: list[list[int]]) -> None:
        self.root, self.losses, self.samples = root, losses, samples


@pytest.fixture(scope="session")
def whole(clusters: Clusters, files: Path, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    cluster = clusters.get(clusters.kind or "plain")
    root = tmp_path_factory.mktemp("whole")
    file = storage.job(root, files, "whole", storage.training(), cluster={"workers": 2})
    with Command(cluster, "submit", file, *cluster.submit_options) as command:
        assert command.wait(300) == 0, command.tail(30)
    steps = command.steps()
    storage.forget_trainings(root)
    return Whole(root, [one["loss"] for one in steps], [one["samples"] for one in steps])


@pytest.fixture
def root(whole: Whole, tmp_path: Path) -> Path:
    """Storage in which model and data are ready."""
    return storage.copy_of(whole.root, tmp_path / "storage")


@pytest.fixture(autouse=True)
def kept_logs(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[None]:
    """What failed cases leave goes to $RAYSMITH_FAULTS_KEEP."""
    yield
    folder = os.environ.get("RAYSMITH_FAULTS_KEEP")
    if folder and request.node.stash.get(_OUTCOME, ""):
        target = Path(folder) / request.node.name.replace("/", "-")
        shutil.copytree(tmp_path, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("objects", "states*"),
                        ignore_dangling_symlinks=True)  # fmt: skip
