"""Sweeps: what is refused, what is proposed, and trials on Ray Tune that stop, fail, move weights and are resumed."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.artifacts import ArtifactStore
from cluster.config import digest
from cluster.connect import Capacity
from cluster.errors import ConfigError, ResourceError
from cluster.rundir import RunDirectory, read_metrics
from cluster.storage import read_json
from jobs.config import load_job
from jobs.context import Context
from jobs.run import run_stages
from jobs.sweep import driver
from jobs.sweep.config import Dimension
from jobs.sweep.record import SweepRecord, Trial
from jobs.sweep.report import importance, write_report
from jobs.sweep.searchers import Tried, grid, optuna, random
from jobs.sweep.space import Sweep, grid_size, load_sweep
from tests.tiny import conversations

JOB = """\
name: small
cluster: {{workers: 1}}
model: {{path: {model}, name: small-base}}
data: {{train: {folder}/train.jsonl, heldout: {folder}/heldout.jsonl, max_length: 128}}
train:
  steps: 8
  batch: {{sequences: 4, micro: 4}}
  learning_rate: 1.0e-3
  schedule: constant
  dtype: float32
  adapter: {{lora: {{rank: 4}}}}
  evaluation: {{every_steps: 2, publish: best}}
  checkpoint: {{every_steps: 2}}
  trackers: []
"""
SWEEP: dict[str, Any] = {
    "name": "tried", "job": "job.yaml",
    "space": {"train.learning_rate": {"grid": [1e-4, 1e-2]}, "train.adapter.lora.rank": {"grid": [2, 4]}},
    "search": {"kind": "grid", "shuffle": False},
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    """With a job file and its data."""
    where = tmp_path_factory.mktemp("sweeps")
    for part, seed in (("train", 0), ("heldout", 1)):
        lines = [json.dumps(item) for item in conversations(16, seed)]
        (where / f"{part}.jsonl").write_text("\n".join(lines))
    (where / "job.yaml").write_text(JOB.format(model=model, folder=where))
    return where


def sweep_of(folder: Path, **changes: Any) -> Sweep:
    path = folder / f"{changes.get('name', SWEEP['name'])}.yaml"
    path.write_text(yaml.safe_dump(SWEEP | changes))
    return load_sweep(path, [])


# --- what is refused before any trial


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"space": {"train.learning_rat": {"grid": [1]}}}, ("train.learning_rat (space of", "train.learning_rate")),
        ({"space": {"train.adapter.lora.rank": {"grid": [4, 0]}}}, ("train.adapter.lora.rank", "greater than 0")),
        ({"space": {"train.dtype": {"choice": ["float32", "float33"]}}}, ("train.dtype", "float33")),
        ({"space": {"train.warmup_steps": {"integer": [0, 20]}}, "search": "random", "budget": {"trials": 2}},
         ("The warm-up never ends",)),
        ({"space": {}}, ("space",)),
        ({"space": {"train.steps": {"grid": [2, 4], "choice": [1]}}}, ("exactly one kind",)),
        ({"space": {"train.steps": {"loguniform": [0, 4]}}}, ("Not a range", "above 0")),
        ({"space": {"train.steps": {"uniform": [4, 2]}}}, ("Not a range",)),
        ({"space": {"train.steps": {"grid": [2, 2]}}}, ("different values",)),
        ({"space": {"a": {"together": [{"train.steps": 2}, {"train.seed": 1}]}}}, ("the same keys",)),
        ({"space": {"a": {"together": [{"train.steps": 2}]}, "train.steps": {"grid": [3]}}}, ("two dimensions",)),
        ({"space": {"train.learning_rate": {"uniform": [0.1, 0.2]}}}, ("cannot count a range",)),
        ({"search": "random"}, ("no number of trials",)),
        ({"search": "bayes"}, ("bayes", "optuna")),
        ({"scheduler": "asha"}, ("grace_steps",)),
        ({"scheduler": {"kind": "pbt", "every_steps": 2}, "budget": {"trials": 4}}, ("train.adapter.lora.rank",)),
        ({"set": {"train": {"evaluation": None}}}, ("the job makes none",)),
        ({"set": {"train": {"lerning_rate": 1}}}, ("train.lerning_rate (`set` of the sweep)",)),
        ({"set": {"train": {"adapter": {"lora": {"rank": "escalate"}}}},
          "space": {"train.learning_rate": {"grid": [1e-3]}}}, ("escalate",)),
        ({"job": "nowhere.yaml"}, ("nowhere.yaml",)),
    ],
)  # fmt: skip
def test_a_wrong_sweep_is_refused_before_any_trial(
    folder: Path, changes: dict[str, Any], words: tuple[str, ...]
) -> None:
    with pytest.raises(ConfigError) as caught:
        sweep_of(folder, **changes)
    for word in words:
        assert word in str(caught.value)


def test_more_trials_than_there_is_room_for_are_refused(folder: Path) -> None:
    capacity = Capacity(cpus=4, gpus=0, memory_bytes=0, largest_node_cpus=4)
    sweep = sweep_of(folder, set={"cluster": {"workers": 2}})
    cluster = sweep.sample.cluster
    assert driver.slots(sweep, cluster, capacity) == 2
    greedy = sweep._replace(config=sweep.config.model_copy(update={"concurrency": 3}))
    with pytest.raises(ResourceError, match="so many trials at a time"):
        driver.slots(greedy, cluster, capacity)


# --- what is proposed


SPACE = {
    "rate": Dimension(loguniform=(1e-5, 1e-1)), "share": Dimension(uniform=(0, 1)), "depth": Dimension(integer=(1, 3)),
    "width": Dimension(loginteger=(8, 512)), "kind": Dimension(choice=["a", "b"]),
    "size": Dimension(together=[{"x": 1, "y": 2}, {"x": 3, "y": 4}]),
}  # fmt: skip


def test_random_points_follow_from_seed_and_number_and_fill_the_space() -> None:
    points = [random.propose(random.Config(), SPACE, 7, number, []) for number in range(400)]
    assert points[3] == random.propose(random.Config(), SPACE, 7, 3, [Tried(points[0], 1.0, False)])
    assert points[3] != random.propose(random.Config(), SPACE, 8, 3, [])
    assert all(1e-5 <= one["rate"] <= 1e-1 and 8 <= one["width"] <= 512 for one in points)
    assert 150 < sum(one["rate"] < 1e-3 for one in points) < 250  # half of the logarithms
    assert 150 < sum(one["width"] < 64 for one in points) < 250
    counts = [sum(one["depth"] == depth for one in points) for depth in (1, 2, 3)]
    assert all(100 < count < 170 for count in counts)
    assert {one["kind"] for one in points} == {"a", "b"}
    assert {one["size"] for one in points} == {0, 1}


def test_the_grid_has_every_combination_once() -> None:
    space = {name: SPACE[name] for name in ("kind", "size")} | {"n": Dimension(grid=[1, 2, 3])}
    assert (grid_size(space), grid_size(SPACE)) == (12, None)
    for shuffle in (False, True):
        points = [grid.propose(grid.Config(shuffle=shuffle), space, 1, number, []) for number in range(13)]
        assert points.pop() is None
        assert len({json.dumps(point) for point in points}) == 12
        ordered = [point["n"] for point in points if point is not None] == [1, 2, 3] * 4
        assert ordered is not shuffle


def test_optuna_goes_where_it_was_good_and_has_no_memory_of_its_own() -> None:
    space = {"rate": Dimension(loguniform=(1e-5, 1e-1)), "kind": Dimension(choice=["a", "b"])}

    def loss(point: dict[str, Any]) -> float:
        return abs(math.log10(point["rate"]) + 3) + (0.5 if point["kind"] == "a" else 0.0)

    def tried(owner: Any) -> list[Tried]:
        history: list[Tried] = []
        for number in range(30):
            point = owner.propose(owner.Config(), space, 0, number, history)
            history.append(Tried(point, loss(point), False))
        return history

    found, by_chance = tried(optuna), tried(random)
    assert sum(one.score or 0.0 for one in found[10:]) < 0.75 * sum(one.score or 0.0 for one in by_chance[10:])
    again = optuna.propose(optuna.Config(), space, 0, 20, found[:20])
    assert again == found[20].point
    waiting = [*found[:20], Tried(found[20].point, None, True)]
    assert optuna.propose(optuna.Config(), space, 0, 21, waiting) != found[20].point


# --- what is kept and shown


def recorded(folder: Path, sweep: Sweep, *, best: bool = True, count: int = 4) -> SweepRecord:
    record = SweepRecord(folder / "sweep.json", driver.identity(sweep), sweep.config.objective, best_counts=best)
    for number, point in enumerate(
        grid.propose(sweep.config.search, sweep.config.space, 0, n, []) for n in range(count)
    ):  # type: ignore[arg-type]
        assert point is not None
        record.add(Trial(number=number, point=point, values=sweep.values(point), run=f"tried-{number:03d}"))
    return record


def test_a_record_scores_ranks_and_is_read_back(folder: Path, tmp_path: Path) -> None:
    sweep = sweep_of(folder)
    record = recorded(tmp_path, sweep)
    for step, value in ((2, 3.0), (4, 2.0), (6, 2.5)):
        record.measured(0, step, value)
    record.measured(1, 2, 2.1)
    record.measured(3, 2, 1.0)
    record.update(0, status="finished")
    record.update(1, status="running")
    record.update(3, status="failed", reason="it broke\nbadly")
    assert (record.trials[0].score, record.trials[0].score_step) == (2.0, 4)
    assert [one.number for one in record.ranked()] == [0, 1]
    record.measured(0, 4, 2.7)  # measured again after a restart: what was after it is gone
    assert record.trials[0].curve == [(2, 3.0), (4, 2.7)]
    last = recorded(tmp_path, sweep, best=False)
    last.measured(0, 2, 1.0)
    last.measured(0, 4, 2.0)
    assert last.trials[0].score == 2.0
    record.save()
    again = SweepRecord(tmp_path / "sweep.json", driver.identity(sweep), sweep.config.objective, best_counts=True)
    again.load()
    assert [one.status for one in again.trials] == ["finished", "waiting", "waiting", "failed"]
    assert [one.running for one in again.history()] == [False, True, True, False]
    assert SweepRecord.identity_of(tmp_path / "sweep.json") == again.identity


def test_the_report_has_curves_values_importance_and_cost(folder: Path, tmp_path: Path) -> None:
    sweep = sweep_of(folder)
    record = recorded(tmp_path, sweep)
    for trial in record.trials:
        loss = 2.0 + (0.5 if trial.values["train.learning_rate"] < 1e-3 else 0.0)
        record.measured(trial.number, 2, loss + 0.2)
        record.measured(trial.number, 4, loss + 0.001 * trial.number)
        record.update(trial.number, status="finished", steps=4, tokens=1000, seconds=3.0)
    record.update(1, status="failed", reason="<script>alert(1)</script>")
    record.winner = {"number": 2, "values": record.trials[2].values, "artifact": "adapter-1"}
    write_report(sweep, record, tmp_path)
    page = (tmp_path / "report.html").read_text()
    for words in ("Trials", "Values and objective", "Cost", "50%", "tried-winner", "adapter-1", "1 failed"):
        assert words in page
    assert "<script>" not in page
    assert importance(sweep, record) is None, "four trials tell nothing"
    wide = sweep_of(
        folder, space={"train.learning_rate": {"grid": [1e-5, 1e-4, 1e-3, 1e-2]}, "train.seed": {"grid": [0, 1, 2, 3]}}
    )
    record = recorded(tmp_path, wide, count=16)
    for trial in record.trials:
        record.measured(trial.number, 2, abs(math.log10(trial.values["train.learning_rate"]) + 3))
        record.update(trial.number, status="finished")
    found = importance(wide, record)
    assert found is not None
    assert found["train.learning_rate"] > 0.5
    write_report(wide, record, tmp_path)
    assert "What mattered" in (tmp_path / "report.html").read_text()


# --- trials on Ray Tune


def searched(sweep: Sweep, root: Path, capacity: Capacity) -> tuple[SweepRecord, ArtifactStore]:
    """A sweep on the cluster that is up already."""
    directory = RunDirectory(root, sweep.config.name)
    record = driver.open_record(sweep, directory.path / "sweep.json")
    record.load()
    with directory.attempt({}) as attempt:
        context = Context(sweep.sample, root, directory, attempt, capacity=capacity)
        driver.search(sweep, record, context)
    return record, context.store


@pytest.fixture(scope="module")
def halved(folder: Path, ray_cluster: Capacity, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """An ASHA sweep with a trial that diverges: root, record, store."""
    root = tmp_path_factory.mktemp("halved")
    sweep = sweep_of(
        folder, name="halved", space={"train.learning_rate": {"grid": [3e-3, 1e30, 1e-5, 1e-4]}},
        scheduler={"kind": "asha", "grace_steps": 2, "reduction": 2}, concurrency=1,
        set={"storage": {"root": str(root)}},
    )  # fmt: skip
    record, store = searched(sweep, root, ray_cluster)
    yield root, record, store


def test_asha_stops_the_worse_and_a_failure_ends_one_trial_alone(halved: Any) -> None:
    root, record, _ = halved
    assert [one.status for one in record.trials] == ["finished", "failed", "stopped", "stopped"]
    assert "Training diverged" in record.trials[1].reason
    assert "at step 2" in record.trials[2].reason
    assert [one.steps for one in record.trials] == [8, 1, 2, 2]  # no step beyond the rung
    assert [step for step, _ in record.trials[0].curve] == [2, 4, 6, 8]
    assert [len(read_metrics(root / "runs" / one.run / "metrics.jsonl")) for one in record.trials] == [8, 1, 2, 2]
    assert record.tokens == sum(
        line["tokens"] for one in record.trials
        for line in read_metrics(root / "runs" / one.run / "metrics.jsonl")
    )  # fmt: skip
    stopped = read_json(root / "runs" / "halved-002" / "report.json")
    assert (stopped["status"], stopped["sweep"]["values"]) == ("done", {"train.learning_rate": 1e-5})
    assert "sweep has stopped it" in stopped["stages"]["train"]["stopped"]
    failed = read_json(root / "runs" / "halved-001" / "report.json")
    assert (failed["status"], "diverged" in failed["error"]) == ("failed", True)


def test_the_winner_is_an_artifact_with_the_sweep_in_its_lineage(halved: Any) -> None:
    root, record, store = halved
    winner = store.get("halved-winner")
    assert winner.id == record.winner["artifact"]
    assert winner.kind == "adapter"
    assert sorted(winner.parents) == ["base", "sweep", "tokens"]
    history = read_json(store.files(store.get(winner.parents["sweep"])) / "sweep.json")
    assert [one["status"] for one in history["trials"]] == [one.status for one in record.trials]
    assert "adapter_model.safetensors" in winner.files
    [kept] = root.glob("runs/halved-*/train/*/checkpoints")
    assert kept.parents[2].name == "halved-000", "only the winner keeps its checkpoints"
    assert not [name for name in ("tune", "workers", "moves") if (root / "runs" / "halved" / name).exists()]


def test_a_run_with_the_winner_s_values_takes_its_weights(halved: Any, folder: Path, ray_cluster: Capacity) -> None:
    root, _, store = halved
    job = load_job(folder / "job.yaml", [f"storage.root={root}"], winner="halved")
    assert job.train is not None
    assert job.train.learning_rate == 3e-3
    directory = RunDirectory(root, "after")
    with directory.attempt({}) as attempt:
        context = Context(job, root, directory, attempt, capacity=ray_cluster)
        run_stages(context)
    assert context.report["stages"]["train"]["reused"]
    assert context.report["stages"]["train"]["artifact"] == store.get("halved-winner").id
    assert context.report["stages"]["merge"]["handoff"]["adapter_to_merged"]["kl"] < 1e-3
    over = load_job(folder / "job.yaml", [f"storage.root={root}", "train.learning_rate=5e-3"], winner="halved")
    assert over.train is not None
    assert over.train.learning_rate == 5e-3
    with pytest.raises(ConfigError, match="no sweep of that name") as caught:
        load_job(folder / "job.yaml", [f"storage.root={root}"], winner="other")
    assert caught.value.expected == "halved"


def test_pbt_moves_weights_and_the_hashes_say_so(folder: Path, ray_cluster: Capacity, tmp_path: Path) -> None:
    sweep = sweep_of(
        folder, name="moving", space={"train.learning_rate": {"loguniform": [1e-5, 3e-2]}}, search="random", seed=3,
        scheduler={"kind": "pbt", "every_steps": 4, "quantile": 0.5}, budget={"trials": 2}, concurrency=1,
        keep_checkpoints=True,
        set={
            "train": {"checkpoint": {"keep": 9}, "evaluation": {"publish": "last"}}, "storage": {"root": str(tmp_path)},
        },
    )  # fmt: skip
    record, store = searched(sweep, tmp_path, ray_cluster)
    moved = [one for one in record.trials if one.moves]
    assert len(moved) == 1
    [trial], [move] = moved, moved[0].moves
    donor = next(one for one in record.trials if one is not trial)
    assert (move.step, move.source) == (4, donor.run)
    assert dict(trial.curve)[2] > dict(donor.curve)[2]  # the worse one went on with the better one's weights
    assert [step for step, _ in trial.curve] == [2, 4, 6, 8]
    assert move.values["train.learning_rate"] == trial.values["train.learning_rate"]
    # The donor's checkpoint of that step, and the one that the other trial began with, have the same files.
    found = {}
    for one in (donor, trial):
        for marker in tmp_path.glob(f"runs/{one.run}/train/*/checkpoints/step-00000004/complete.json"):
            files = read_json(marker)["files"]
            found.setdefault(one.run, set()).add(digest({name: file["sha256"] for name, file in files.items()}))
    assert move.sha256 in found[donor.run]
    assert move.sha256 in found[trial.run]
    events = [json.loads(line)["event"] for line in (tmp_path / "runs" / trial.run / "events.jsonl").open()]
    assert "resumed at step 4 with 1 worker" in events
    assert store.get("moving-winner").kind == "adapter"


@pytest.mark.slow
def test_a_method_of_trl_is_swept_too(
    folder: Path, ray_cluster: Capacity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.test_job_kinds import write_pairs

    monkeypatch.chdir(tmp_path)
    write_pairs(tmp_path)
    changes = {
        "data": {"kind": "pairs", "train": f"{tmp_path}/train.jsonl", "heldout": f"{tmp_path}/heldout.jsonl"},
        "train": {"objective": {"kind": "trl", "method": "dpo"}, "steps": 4,
                  "evaluation": {"every_steps": 2, "publish": "last"}},
        "storage": {"root": str(tmp_path / "store")},
    }  # fmt: skip
    sweep = sweep_of(
        folder, name="preferred", space={"train.learning_rate": {"grid": [1e-2, 1e-6]}}, set=changes, concurrency=1,
        scheduler={"kind": "asha", "grace_steps": 2, "reduction": 2},
    )  # fmt: skip
    record, store = searched(sweep, tmp_path / "store", ray_cluster)
    assert [one.status for one in record.trials] == ["finished", "stopped"]
    assert [[step for step, _ in one.curve] for one in record.trials] == [[2, 4], [2]]
    assert record.ranked()[0].number == 0
    assert "adapter_model.safetensors" in store.get("preferred-winner").files


@pytest.mark.slow
def test_a_reward_model_is_swept(
    folder: Path, ray_cluster: Capacity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.test_job_kinds import write_pairs

    monkeypatch.chdir(tmp_path)
    write_pairs(tmp_path)
    changes = {
        "data": {"kind": "pairs", "train": f"{tmp_path}/train.jsonl", "heldout": f"{tmp_path}/heldout.jsonl"},
        "train": {"objective": "reward", "evaluation": {"publish": "last"}},
        "storage": {"root": str(tmp_path / "store")},
    }  # fmt: skip
    sweep = sweep_of(
        folder, name="judging", space={"train.learning_rate": {"grid": [1e-7, 1e-2]}}, set=changes, concurrency=1,
    )  # fmt: skip
    record, store = searched(sweep, tmp_path / "store", ray_cluster)
    assert [one.status for one in record.trials] == ["finished", "finished"]
    assert [step for step, _ in record.trials[1].curve] == [2, 4, 6, 8]
    assert record.ranked()[0].number == 1
    first, second = (one.score for one in record.trials)
    assert first is not None
    assert second is not None
    assert second < 0.7 * first
    assert sorted(store.get("judging-winner").parents) == ["base", "sweep", "tokens"]


def test_a_pretraining_is_swept_and_its_winner_is_a_whole_model(
    folder: Path, ray_cluster: Capacity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.test_job_kinds import SCRATCH, write_corpus

    monkeypatch.chdir(tmp_path)
    write_corpus(tmp_path / "corpus")
    (folder / "scratch.yaml").write_text(SCRATCH)
    changes = {
        "cluster": {"workers": 1}, "storage": {"root": str(tmp_path / "store")},
        "train": {"dtype": "float32", "trackers": [], "evaluation": {"every_steps": 5, "publish": "best"}},
    }  # fmt: skip
    sweep = sweep_of(
        folder, name="from-scratch", job="scratch.yaml", concurrency=1, set=changes,
        space={"train.learning_rate": {"grid": [1e-2, 1e-6]}},
        scheduler={"kind": "asha", "grace_steps": 5, "reduction": 2},
    )  # fmt: skip
    record, store = searched(sweep, tmp_path / "store", ray_cluster)
    assert [one.status for one in record.trials] == ["finished", "stopped"]
    assert [one.steps for one in record.trials] == [10, 5]
    winner = store.get("from-scratch-winner")
    assert winner.kind == "model"
    assert "model.safetensors" in winner.files


@pytest.mark.slow
def test_a_spent_budget_ends_the_trials_and_a_higher_one_goes_on_with_them(
    folder: Path, ray_cluster: Capacity, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {
        "name": "spent", "space": {"train.learning_rate": {"grid": [3e-3, 1e-5]}}, "concurrency": 1,
        "set": {"storage": {"root": str(tmp_path)}},
    }  # fmt: skip
    record, store = searched(sweep_of(folder, **settings, budget={"tokens": 1}), tmp_path, ray_cluster)
    assert record.trials[0].status == "waiting"
    assert "the budget is spent" in (record.trials[0].reason or "")
    done = record.trials[0].curve
    assert [step for step, _ in done] == [2]
    first = store.get("spent-winner")
    assert first.metrics["step"] == 2
    record, store = searched(sweep_of(folder, **settings), tmp_path, ray_cluster)
    assert [one.status for one in record.trials] == ["finished", "finished"]
    assert record.trials[0].curve[:1] == done
    assert [one.steps for one in record.trials] == [8, 8], "no step was trained twice"
    assert store.get("spent-winner").metrics["step"] == 8
    again, store = searched(sweep_of(folder, **settings), tmp_path, ray_cluster)
    assert again.winner == record.winner
    assert store.get("spent-winner").id == record.winner["artifact"]


def test_an_unknown_metric_is_named_and_paths_are_the_driver_s(
    folder: Path, ray_cluster: Capacity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    sweep = sweep_of(
        folder, name="unmeasured", objective={"metric": "heldout_beauty"}, concurrency=1,
        space={"train.learning_rate": {"grid": [1e-3]}},
        set={
            "storage": {"root": str(tmp_path)}, "data": {"train": "train.jsonl", "heldout": "heldout.jsonl"},
            "train": {"evaluation": {"publish": "last"}},
        },
    )  # fmt: skip
    with pytest.raises(Exception, match="No trial came to a measurement") as caught:
        searched(sweep, tmp_path, ray_cluster)
    assert "heldout_beauty" in str(caught.value)
    assert "heldout_loss" in str(caught.value)


@pytest.mark.slow
def test_a_killed_sweep_is_resumed(folder: Path, tmp_path: Path) -> None:
    longer = {"steps": 150, "evaluation": {"every_steps": 25}, "checkpoint": {"every_steps": 25}}
    sweep = sweep_of(folder, name="killed", concurrency=1, set={"train": longer}, budget={"trials": 3})
    command = [sys.executable, "-m", "jobs", "sweep", str(folder / "killed.yaml")]
    environment = {**os.environ, "RAYSMITH_STORAGE": str(tmp_path), "PYTHONPATH": str(Path(driver.__file__).parents[2])}
    record = driver.open_record(sweep, tmp_path / "runs" / "killed" / "sweep.json")
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 120
    while time.monotonic() < until:
        record.load()
        if len(record.trials) > 1 and len(record.trials[1].curve) >= 2:
            break
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    record.load()
    first, second = record.trials[:2]
    assert (first.status, second.status) == ("finished", "waiting")
    again = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert again.returncode == 2
    assert "--resume goes on with it" in again.stderr
    done = subprocess.run(
        [*command, "--resume"], env=environment, capture_output=True, text=True, timeout=180, check=False
    )
    assert done.returncode == 0, done.stderr
    record.load()
    assert [one.status for one in record.trials] == ["finished"] * 3
    assert record.trials[0].curve == first.curve
    assert record.trials[0].steps == first.steps, "a finished trial is not trained again"
    assert record.trials[1].curve[: len(second.curve)] == second.curve
    assert [step for step, _ in record.trials[1].curve] == list(range(25, 151, 25))
    lines = read_metrics(tmp_path / "runs" / "killed-001" / "metrics.jsonl")
    assert [line["step"] for line in lines] == list(range(1, 151))
    assert len({line["attempt"] for line in lines}) == 2, "it went on from a checkpoint"
    assert (tmp_path / "runs" / "killed" / "report.html").is_file()
    other = subprocess.run(
        [*command, "--resume", "space.train={}"], env=environment, capture_output=True, text=True, check=False
    )
    assert other.returncode == 2
