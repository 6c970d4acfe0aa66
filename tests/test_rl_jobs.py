"""The recipes of reinforcement learning in small: reward model and PPO, a judge and GRPO, and a sweep."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.connect import Capacity
from cluster.errors import ConfigError, ResourceError
from cluster.rundir import read_metrics
from jobs.plan import make_plan, require_room
from jobs.sweep.space import load_sweep
from tests.job_file import load
from tests.test_job_kinds import run_job, write_pairs
from tests.test_rl import write_prompts
from tests.test_sweeps import searched
from trainers.memory import process_bytes
from trainers.rl.rollouts import read_rollouts

COMMON = """\
cluster: {{workers: 1}}
storage: {{root: {root}/store}}
model: {{path: {model}, name: small-base}}
"""
REWARD = """\
name: {name}
data: {data}
train:
  objective: reward
  steps: 6
  batch: {{sequences: 4, micro: 4}}
  learning_rate: 1e-3
  dtype: float32
  trackers: []
"""
RL = """\
name: policy
data: {{kind: prompts, train: {root}/prompts/train.jsonl, heldout: {root}/prompts/heldout.jsonl, max_length: 64}}
train:
  objective:
    kind: rl
    algorithm: {algorithm}
    rewards: [{{kind: model, artifact: liking-model, name: liked}}]
    rollouts: {{prompts: 4, group: 4, max_new_tokens: 8}}
  steps: 4
  batch: {{sequences: 16, micro: 8}}
  learning_rate: 3e-3
  dtype: float32
  evaluation: {{every_steps: 2}}
  trackers: []
"""
PAIRS = "{{kind: pairs, train: {root}/train.jsonl, heldout: {root}/heldout.jsonl, max_length: 128}}"


@pytest.fixture(autouse=True)
def _with_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prompts").mkdir()
    write_prompts(tmp_path / "prompts")
    write_pairs(tmp_path)


def test_a_reward_model_is_trained_against_by_ppo(ray_cluster: Capacity, model: Path, tmp_path: Path) -> None:
    common = COMMON.format(root=tmp_path, model=model)
    run_job(load(common + REWARD.format(name="liking", data=PAIRS.format(root=tmp_path))), ray_cluster)
    algorithm = "{kind: ppo, epochs: 1, critic: liking-model, critic_rate: 3.0}"
    context = run_job(load(common + RL.format(root=tmp_path, algorithm=algorithm)), ray_cluster)
    lines = read_metrics(context.run.metrics_file)
    [folder] = (context.run.path / "rollouts").iterdir()
    first, _ = read_rollouts(folder / "round-000000.parquet")
    assert len({one.rewards["liked"] for one in first}) > 8, "a learned reward tells completions apart"
    assert any(value != 0 for value in first[0].values or []), "the critic begins as the reward model"
    assert "heldout_win_rate" in lines[-1]
    published = context.store.get("policy-model")
    assert published.parents["model liking-model"] == context.store.get("liking-model").id
    assert not [name for name in published.files if "critic" in name]
    assert context.report["stages"]["train"]["rewards"][0][0] == 1


def test_the_plan_counts_samplers_and_reward_workers(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    common = COMMON.format(root=tmp_path, model=model)
    job = load(common + RL.format(root=tmp_path, algorithm="grpo"))
    made = make_plan(job)
    assert made.memory is not None
    token = 2 * made.shape.layers * made.shape.kv_heads * made.shape.head_dim * 4
    weights = 4 * made.shape.num_parameters
    longest = made.beside["samplers"] - process_bytes() - weights - 64 * 24 * made.shape.vocabulary
    assert longest % (64 * token) == 0
    assert 8 < longest // (64 * token) <= 64 + 8, "prompt and completion"
    # The reward model is not there yet: an earlier link of a chain would publish it.
    assert made.beside["reward workers"] == process_bytes() + 2 * made.shape.num_parameters
    two = load(common + RL.format(root=tmp_path, algorithm="grpo"), "train.objective.sampler={kind: vllm, number: 2}")
    assert make_plan(two).beside["samplers"] == 2 * (process_bytes() + weights + 2**30)
    on_gpus = load(common + RL.format(root=tmp_path, algorithm="grpo"), "train.objective.sampler={kind: vllm, gpus: 1}")
    assert "samplers" not in make_plan(on_gpus).beside
    workers_alone = Capacity(2, 0, made.memory.total + 1, 2)
    monkeypatch.setattr("jobs.plan.embedded_capacity", lambda _: workers_alone)
    with pytest.raises(ResourceError, match="Too little memory") as caught:
        require_room(job, made)
    assert "(samplers)" in str(caught.value)


def test_the_plan_says_when_reward_hacking_can_be_seen(model: Path, tmp_path: Path) -> None:
    text = COMMON.format(root=tmp_path, model=model) + RL.format(root=tmp_path, algorithm="grpo")
    for change, words in (
        ("train.evaluation.every_steps=1", "from the 4th of 4 held-out measurements on"),
        ("train.evaluation.every_steps=2", "none: reward hacking is seen from the 4th held-out measurement on, and 2"),
        ("train.evaluation=null", "and 0 are made"),
    ):
        job = load(text, change)
        assert job.train is not None
        objective: Any = job.train.objective
        assert words in dict(objective.facts(job.train))["alarm"]


def test_a_judge_s_preferences_become_a_reward(ray_cluster: Capacity, model: Path, tmp_path: Path) -> None:
    common = COMMON.format(root=tmp_path, model=model)
    judged = (
        f"{{kind: judged, train: {tmp_path}/prompts/train.jsonl, heldout: {tmp_path}/heldout.jsonl, max_length: 128, "
        "policy: small-base, max_new_tokens: 8, least_margin: 0.0, "
        "judge: {artifact: small-base, rubric: A good answer names an animal.}}"
    )
    base_only = load(common + "name: base\n")
    run_job(base_only, ray_cluster)
    context = run_job(load(common + REWARD.format(name="liking", data=judged)), ray_cluster)
    collected = context.report["stages"]["dataset"]
    assert collected["judged"] == 12
    assert 0.0 <= collected["agreement"] <= 1.0
    dataset = context.store.get("dataset")
    assert sorted(dataset.parents) == ["model small-base"]
    context = run_job(load(common + RL.format(root=tmp_path, algorithm="{kind: grpo, kl: 0.01}")), ray_cluster)
    assert [line["step"] for line in read_metrics(context.run.metrics_file)] == [1, 2, 3, 4]


def write_job(folder: Path, model: Path) -> None:
    """A GRPO job with a plain reward, for a sweep."""
    tree = yaml.safe_load(COMMON.format(root=folder, model=model) + RL.format(root=folder, algorithm="grpo"))
    tree["train"]["objective"]["rewards"] = [{"kind": "pattern", "pattern": "e", "whole": False}]
    (folder / "job.yaml").write_text(yaml.safe_dump(tree))


@pytest.mark.slow
def test_a_population_moves_weights_with_their_rollouts(ray_cluster: Capacity, model: Path, tmp_path: Path) -> None:
    write_job(tmp_path, model)
    sweep = {
        "name": "moving", "job": "job.yaml", "search": "random", "concurrency": 1, "budget": {"trials": 2},
        "space": {"train.learning_rate": {"loguniform": [1e-5, 3e-2]}},
        "objective": {"metric": "heldout_reward", "direction": "maximize"},
        "scheduler": {"kind": "pbt", "every_steps": 2, "quantile": 0.5},
    }  # fmt: skip
    (tmp_path / "moving.yaml").write_text(yaml.safe_dump(sweep))
    record, _ = searched(load_sweep(tmp_path / "moving.yaml", []), tmp_path / "store", ray_cluster)
    assert all(one.status == "finished" for one in record.trials), json.dumps([one.reason for one in record.trials])
    [moved] = [one for one in record.trials if one.moves]
    assert [step for step, _ in moved.curve] == [2, 4]
    files = sorted(path.name for path in (tmp_path / "store/runs" / moved.run).glob("rollouts/*/round-*.parquet"))
    assert files.count("round-000000.parquet") == 2, "its own before, and that of the weights it went on with"
    sweep["space"] = {"train.objective.rollouts.group": {"choice": [4, 2]}}
    (tmp_path / "moving.yaml").write_text(yaml.safe_dump(sweep))
    with pytest.raises(ConfigError, match=r"cannot change that key on the way"):
        load_sweep(tmp_path / "moving.yaml", [])


@pytest.mark.slow
def test_rl_is_swept(ray_cluster: Capacity, model: Path, tmp_path: Path) -> None:
    write_job(tmp_path, model)
    sweep = {
        "name": "swept", "job": "job.yaml", "search": {"kind": "grid", "shuffle": False}, "concurrency": 1,
        "space": {
            "train.objective.algorithm.kl": {"grid": [0.0, 0.1]},
            "groups": {"together": [
                {"train.objective.rollouts.prompts": 4, "train.objective.rollouts.group": 4},
                {"train.objective.rollouts.prompts": 8, "train.objective.rollouts.group": 2},
            ]},
        },
        "budget": {"trials": 2}, "objective": {"metric": "heldout_reward", "direction": "maximize"},
        "scheduler": {"kind": "asha", "grace_steps": 2, "reduction": 2},
    }  # fmt: skip
    (tmp_path / "swept.yaml").write_text(yaml.safe_dump(sweep))
    loaded = load_sweep(tmp_path / "swept.yaml", [])
    record, store = searched(loaded, tmp_path / "store", ray_cluster)
    assert all(one.status in ("finished", "stopped") for one in record.trials), json.dumps(
        [one.reason for one in record.trials]
    )
    assert [step for step, _ in record.trials[0].curve][:1] == [2]
    assert store.get("swept-winner").kind == "model"
