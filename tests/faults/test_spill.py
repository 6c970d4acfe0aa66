"""Objects that do not fit into the store: the weights that a sampler is sent are larger than it."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.faults import storage
from tests.faults.client import Command
from tests.faults.local import LocalCluster
from tests.faults.results import Case
from tests.faults.test_reinforcement import TRAIN
from tests.faults.workloads import END_S
from tests.tiny import make_tiny_model

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
STORE_MB, STEPS = 80, 4


@pytest.mark.case("reinforcement learning", "object store (80 MB) smaller than the weights (180 MB)", "plain")
def test_spill(case: Case, cluster: LocalCluster, files: Path, tmp_path: Path) -> None:
    large = tmp_path / "files"
    large.mkdir()
    make_tiny_model(large, hidden=1024, layers=5)
    root = tmp_path / "storage"
    root.mkdir()
    (root / "large").symlink_to(large)
    train = TRAIN | {"steps": STEPS, "batch": {"sequences": 16, "micro": 8}}
    file = storage.job(
        root, files, storage.name_of(tmp_path), train, data="prompts", cluster={"workers": 1},
        model={"path": str(root / "large"), "name": "large"},
    )  # fmt: skip
    most = 0
    with Command(cluster, "submit", file, *cluster.submit_options) as command:
        until = time.monotonic() + 2 * END_S
        while not command.ended() and time.monotonic() < until:
            most = max(most, spilled(cluster))
            time.sleep(0.2)
        assert command.wait(1) == 0, command.tail(30)
        steps = command.steps()
    case.figures["most bytes on disk at a time"] = most
    assert most > 0, "all of it fitted"
    assert len(steps) == STEPS
    assert max(one["drift"] for one in steps) < 1e-3, "the sampler writes with the weights that it was sent"
    case.lost = f"nothing; up to {most / 1e6:.0f} MB at a time lay on disk"


def spilled(cluster: LocalCluster) -> int:
    """Bytes that the nodes' stores have on disk."""
    folders = [one for top in Path("/tmp").glob(f"rs-{cluster.supervisor}-*") for one in top.rglob("ray_spilled*")]
    total = 0
    for file in (file for folder in folders for file in folder.rglob("*")):
        with suppress(OSError):
            total += file.stat().st_size if file.is_file() else 0
    return total
