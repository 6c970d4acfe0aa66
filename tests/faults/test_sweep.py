"""A sweep of four trials, two at a time, submitted."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from cluster.rundir import read_metrics
from tests.faults import storage
from tests.faults.client import Command
from tests.faults.conftest import Clusters
from tests.faults.faults import FAULTS, nodes_for
from tests.faults.results import Case
from tests.faults.workloads import END_S, ends, goes_on

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
STEPS, EVERY, TRIALS = 80, 20, 3
AT = 50
RATES = [1.0e-4, 1.0e-3, 3.0e-3]


class Trials(Command):
    """Its steps are those of all trials."""

    def runs(self) -> list[list[dict[str, Any]]]:
        return [
            read_metrics(self.root / "runs" / f"{self.name}-{number:03d}" / "metrics.jsonl") for number in range(TRIALS)
        ]

    def step(self) -> int:
        return sum(int(steps[-1]["step"]) for steps in self.runs() if steps)

    def events(self) -> list[str]:
        files = sorted((self.root / "runs").glob(f"{self.name}-*/events.jsonl"))
        return [one["event"] for file in files for one in read_metrics(file)]


class Whole(NamedTuple):
    """The same without a fault."""

    root: Path
    losses: list[list[float]]


def submitted(cluster: Any, root: Path, files: Path, name: str) -> Trials:
    train = storage.training(steps=STEPS, evaluation={"every_steps": EVERY}, checkpoint={"every_steps": EVERY})
    job = storage.job(root, files, f"job-of-{name}", train, cluster={"workers": 1})
    sweep = {
        "name": name, "job": job.name, "space": {"train.learning_rate": {"grid": RATES}},
        "search": {"kind": "grid", "shuffle": False}, "concurrency": 2,
    }  # fmt: skip
    file = root / f"{name}.yaml"
    file.write_text(yaml.safe_dump(sweep))
    return Trials(cluster, "submit", file, *cluster.submit_options)


@pytest.fixture(scope="module")
def whole_sweep(clusters: Clusters, files: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    cluster = clusters.get(clusters.kind or "plain")
    root = tmp_path_factory.mktemp("whole-sweep")
    with submitted(cluster, root, files, "whole-sweep") as command:
        assert command.wait(END_S) == 0, command.tail(30)
    storage.forget_trainings(root)
    yield Whole(root, [[one["loss"] for one in steps] for steps in command.runs()])


def case_of(fault: str) -> Any:
    return pytest.param(
        FAULTS[fault], id=fault.split(" (", maxsplit=1)[0].replace(" ", "-").replace(",", ""),
        marks=pytest.mark.case("sweep", fault.replace("worker", "trial's worker"), nodes_for(fault)),
    )  # fmt: skip


@pytest.mark.parametrize("fault", [case_of(fault) for fault in FAULTS])
def test_sweep(fault: Any, case: Case, cluster: Any, whole_sweep: Whole, files: Path, tmp_path: Path) -> None:
    root = storage.copy_of(whole_sweep.root, tmp_path / "storage")
    name = storage.name_of(tmp_path)
    with submitted(cluster, root, files, name) as command:
        command.wait_for_step(AT)
        step, since = command.step(), time.monotonic()
        fault(cluster, command, "RayTrainWorker")
        goes_on(case, command, step, since, cluster, further=EVERY)
        ends(case, command)
        _, after = command.pause(since)
        case.recover_s = round(after - since, 1)
        runs = command.runs()
        assert [[one["step"] for one in steps] for steps in runs] == [list(range(1, STEPS + 1))] * TRIALS
        for steps, losses in zip(runs, whole_sweep.losses, strict=True):
            assert [one["loss"] for one in steps] == pytest.approx(losses, rel=1e-5)
        record = json.loads((command.run / "sweep.json").read_text())
        assert [trial["status"] for trial in record["trials"]] == ["finished"] * TRIALS, record["trials"]
        resumed = [event for event in command.events() if "resumed at step" in event]
        case.lost = f"{len(resumed)} trials went on from their checkpoints (every {EVERY} steps); none was lost"
