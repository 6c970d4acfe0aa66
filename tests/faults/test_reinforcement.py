"""GRPO on a tiny model, submitted: a worker that learns, a sampler that writes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.faults import storage
from tests.faults.client import Command
from tests.faults.conftest import Clusters
from tests.faults.faults import FAULTS, nodes_for
from tests.faults.results import Case
from tests.faults.workloads import END_S, ends, goes_on, resumes

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
STEPS, EVERY, AT = 24, 2, 7
TRAIN: dict[str, Any] = {
    "objective": {
        "kind": "rl", "algorithm": {"kind": "grpo"},
        "rewards": [{"kind": "pattern", "pattern": "e", "whole": False, "name": "words"}],
        "rollouts": {"prompts": 4, "group": 4, "max_new_tokens": 8},
        "sync": {"timeout_s": 30},
    },
    "steps": STEPS, "batch": {"sequences": 8, "micro": 8}, "learning_rate": 1e-3, "schedule": "constant",
    "dtype": "float32", "deepspeed": {"stage": 1}, "checkpoint": {"every_steps": EVERY}, "trackers": [],
    "watchdog": {"least_s": 10, "other_s": 60},
}  # fmt: skip
FIGURES = ("loss", "reward", "entropy", "grad_norm")


class Whole(NamedTuple):
    """The same without a fault."""

    root: Path
    steps: list[dict[str, Any]]


@pytest.fixture(scope="module")
def whole_rl(clusters: Clusters, files: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    cluster = clusters.get(clusters.kind or "plain")
    root = tmp_path_factory.mktemp("whole-rl")
    with submitted(cluster, root, files, "whole-rl") as command:
        assert command.wait(END_S) == 0, command.tail(30)
    storage.forget_trainings(root)
    yield Whole(root, command.steps())


def submitted(cluster: Any, root: Path, files: Path, name: str) -> Command:
    file = storage.job(root, files, name, TRAIN, data="prompts", cluster={"workers": 1})
    return Command(cluster, "submit", file, *cluster.submit_options)


def case_of(what: str, fault: str) -> Any:
    return pytest.param(
        what, FAULTS[fault], id=f"{what}-{fault}".split(" (")[0].replace(" ", "-").replace(",", ""),
        marks=pytest.mark.case("reinforcement learning", fault.replace("worker", what), nodes_for(fault)),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("what", "fault"),
    [
        case_of("learner", "worker killed (SIGKILL)"),
        case_of("sampler", "worker killed (SIGKILL)"),
        case_of("sampler", "worker hangs (SIGSTOP)"),
        case_of("learner", "node lost (raylet SIGKILLed)"),
        case_of("learner", "driver lost (SIGKILL)"),
        case_of("learner", "head lost, without Redis"),
        case_of("learner", "head lost, with Redis"),
    ],
)
def test_reinforcement(
    what: str, fault: Any, case: Case, cluster: Any, whole_rl: Whole, files: Path, tmp_path: Path
) -> None:
    root = storage.copy_of(whole_rl.root, tmp_path / "storage")
    name = storage.name_of(tmp_path)
    with submitted(cluster, root, files, name) as command:
        command.wait_for_step(AT)
        step, since = command.step(), time.monotonic()
        fault(cluster, command, {"learner": "RayTrainWorker", "sampler": "SamplerActor"}[what])
        goes_on(case, command, step, since, cluster, further=EVERY)
        ends(case, command)
        before, after = command.pause(since)
        case.recover_s = round(after - since, 1)
        at = resumes(command)
        case.figures |= {"last step before the pause": before, "resumed at": at}
        again = max(before - at[-1], 0) if at else 0
        case.lost = f"{again} steps, trained again (a checkpoint every {EVERY})" if at else "nothing"
        steps = command.steps()
        assert [one["samples"] for one in steps] == [one["samples"] for one in whole_rl.steps]
        for key in FIGURES:
            expected = [pytest.approx(one[key], rel=1e-4) if key in one else None for one in whole_rl.steps]
            assert [one.get(key) for one in steps] == expected, key
        assert again <= EVERY + 2, (before, at)
