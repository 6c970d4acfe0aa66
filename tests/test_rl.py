"""Reinforcement learning, whole: rollouts by real samplers, real rewards, weight sync, resume, on a tiny model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cluster.connect import Capacity
from cluster.rundir import read_metrics
from jobs.context import Context
from tests.job_file import load
from tests.test_job_kinds import run_job
from tests.tiny import sentence
from trainers.rl.rollouts import read_rollouts

JOB = """\
name: tiny-rl
cluster: {{workers: 1}}
storage: {{root: {root}}}
model: {{path: {model}, name: small-base}}
data: {{kind: prompts, train: {folder}/train.jsonl, heldout: {folder}/heldout.jsonl, max_length: 64}}
train:
  objective:
    kind: rl
    algorithm: {{kind: grpo}}
    rewards: [{{kind: pattern, pattern: "cat", whole: false}}]
    rollouts: {{prompts: 4, group: 4, max_new_tokens: 8}}
  steps: 3
  batch: {{sequences: 16, micro: 8}}
  learning_rate: 1.0e-3
  schedule: constant
  dtype: float32
  evaluation: {{every_steps: 2}}
  checkpoint: {{every_steps: 1}}
  trackers: []
"""


def write_prompts(folder: Path, count: int = 12) -> None:
    import random

    for part, seed in (("train", 0), ("heldout", 1)):
        rng = random.Random(seed)
        lines = [json.dumps({"prompt": sentence(rng, 4), "answer": str(number)}) for number in range(count)]
        (folder / f"{part}.jsonl").write_text("\n".join(lines))


@pytest.fixture(autouse=True)
def _inside_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_prompts(tmp_path)


def trained(capacity: Capacity, model: Path, folder: Path, *overrides: str) -> tuple[Context, list[dict[str, Any]]]:
    job = load(JOB.format(root=folder / "store", model=model, folder=folder), *overrides)
    context = run_job(job, capacity)
    return context, read_metrics(context.run.metrics_file)


def test_a_round_is_written_judged_kept_and_trained_on(ray_cluster: Capacity, model: Path, tmp_path: Path) -> None:
    context, lines = trained(ray_cluster, model, tmp_path)
    assert [line["step"] for line in lines] == [1, 2, 3]
    [folder] = (context.run.path / "rollouts").iterdir()
    assert sorted(path.name for path in folder.iterdir()) == [
        "heldout-000000.parquet", "heldout-000002.parquet", "heldout-000003.parquet",
        "round-000000.parquet", "round-000001.parquet", "round-000002.parquet",
    ]  # fmt: skip
    for number, line in enumerate(lines):
        rollouts, meta = read_rollouts(folder / f"round-{number:06d}.parquet")
        assert (meta["step"], len(rollouts)) == (number, 16)
        assert {one.version for one in rollouts} == {number}
        assert line["reward"] == pytest.approx(sum(one.reward for one in rollouts) / 16)
        assert line["drift"] < 1e-4
        assert line["clip_share"] == 0.0
        assert all(("cat" in one.completion) == (one.reward == 1.0) for one in rollouts)
