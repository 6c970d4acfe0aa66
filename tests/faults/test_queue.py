"""Two jobs of three workers on four cores, and a node lost while one holds the cluster and the other waits."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pytest

from tests.faults import storage
from tests.faults.client import Command
from tests.faults.conftest import Whole
from tests.faults.faults import node_lost
from tests.faults.machine import wait_until
from tests.faults.results import Case
from tests.faults.workloads import END_S

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
WAITING = re.compile(r"waiting \d+ of \d+.*")
AT, LONG, SHORT = 50, 1200, 40


@pytest.mark.case("queue", "node lost while one job runs and one waits", "plain")
def test_two_jobs_and_a_lost_node(case: Case, cluster: Any, root: Path, files: Path, whole: Whole) -> None:
    names = [f"{storage.name_of(root.parent)}-{number}" for number in range(2)]
    first, second = (
        Command(
            cluster, "submit", storage.job(root, files, name, storage.training(steps=steps), cluster={"workers": 3}),
            *cluster.submit_options,
        )
        for steps, name in zip((LONG, SHORT), names, strict=True)
    )  # fmt: skip
    with first:
        first.wait_for_step(AT)
        with second:
            wait_until(lambda: WAITING.search(second.said()) or second.ended(), 120, f"a place:\n{second.tail()}")
            assert not second.ended(), second.tail()
            found = WAITING.search(second.said())
            assert found, "it waits"
            since = time.monotonic()
            node_lost(cluster, first, "RayTrainWorker")
            assert first.wait(END_S) == 0, first.tail(30)
            assert second.step() == 0, "it waits until all of what it needs is free"
            _, after = first.pause(since)
            case.recover_s = round(after - since, 1)
            assert second.wait(END_S) == 0, second.tail(30)
    steps = first.steps()
    assert len(steps) == LONG
    assert [one["samples"] for one in steps[: storage.STEPS]] == whole.samples
    # By three workers instead of two: other sums, whose rounding grows with the steps.
    assert [one["loss"] for one in steps[:100]] == pytest.approx(whole.losses[:100], rel=1e-3)
    assert len(second.steps()) == SHORT
    case.saw = f"the second: {found[0]}"
    case.lost = "nothing but steps trained again; both end"
