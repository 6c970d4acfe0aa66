"""Reinforcement learning, whole, on tiny models: real samplers and rewards, weight sync, deaths and resume."""

from __future__ import annotations

import json
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch

from cluster.connect import Capacity, ClusterConfig
from cluster.errors import ClusterError, HandoffError
from cluster.monitoring.metrics import LEARNING
from cluster.progress import ProgressFile
from cluster.rundir import read_metrics
from tests.job_file import load
from tests.test_job_kinds import run_job
from tests.tiny import sentence
from tests.workers import training_job
from trainers.config import TrainConfig, WatchdogConfig
from trainers.formats import prompts
from trainers.launch import Workers, result_of_training, train
from trainers.loop import Job
from trainers.models import load_model, load_tokenizer
from trainers.objectives.rl import Objective
from trainers.rl import writing
from trainers.rl.config import SyncConfig
from trainers.rl.rollouts import Rollout, read_rollouts
from trainers.rl.scoring import NOT_SCORED, example_of
from trainers.rl.weights import Weights, pieces, weights_digest
from trainers.rl.writing import SamplerActor, Samplers, Written
from trainers.samplers import Prompt, Sampling, Setup
from trainers.samplers.transformers import Config as SamplerConfig
from trainers.samplers.transformers import Sampler

TRAIN: dict[str, Any] = {
    "objective": {
        "kind": "rl", "algorithm": {"kind": "grpo"},
        "rewards": [{"kind": "pattern", "pattern": "e", "whole": False, "name": "words"}],
        "rollouts": {"prompts": 4, "group": 4, "max_new_tokens": 8},
    },
    "steps": 4, "batch": {"sequences": 8, "micro": 8}, "learning_rate": 1e-3, "schedule": "constant",
    "dtype": "float32", "deepspeed": {"stage": 1}, "checkpoint": {"every_steps": 1}, "trackers": [],
}  # fmt: skip
LORA = {"lora": {"rank": 4}}


def config(objective: dict[str, Any] | None = None, **changes: Any) -> TrainConfig:
    return TrainConfig.model_validate(TRAIN | {"objective": TRAIN["objective"] | (objective or {})} | changes)


def write_prompts(folder: Path, count: int = 12) -> None:
    for part, seed in (("train", 0), ("heldout", 1)):
        rng = random.Random(seed)
        lines = [json.dumps({"prompt": sentence(rng, 4), "answer": str(number)}) for number in range(count)]
        (folder / f"{part}.jsonl").write_text("\n".join(lines))


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    """Token stores of prompts."""
    folder = tmp_path_factory.mktemp("prompts")
    write_prompts(folder)
    settings = prompts.Config(train=folder / "train.jsonl", heldout=folder / "heldout.jsonl")
    progress = ProgressFile(folder / "progress.json")
    dataset = folder / "dataset"
    dataset.mkdir()
    prompts.collect(progress, settings, dataset)
    prompts.tokenize(progress, settings, model, dataset, folder / "tokens")
    return folder / "tokens"


class Done:
    """A training that is over."""

    def __init__(self, job: Job) -> None:
        self.lines = read_metrics(job.metrics_file)
        self.folder = job.metrics_file.parent / "rollouts" / job.name
        events = job.metrics_file.with_name("events.jsonl")
        self.events = [json.loads(line)["event"] for line in events.open()] if events.exists() else []

    def round(self, number: int) -> list[Rollout]:
        return read_rollouts(self.folder / f"round-{number:06d}.parquet")[0]

    def figure(self, name: str) -> list[float]:
        return [line[name] for line in self.lines]


class Trainer:
    """Workers that stay, since their start takes longer than a training here."""

    def __init__(self, workers: Workers, base: Path, tokens: Path) -> None:
        self._workers, self._base, self._tokens = workers, base, tokens

    def __call__(self, folder: Path, settings: TrainConfig) -> Done:
        job = training_job(folder, settings, self._base, self._tokens)
        number = self._workers.start(job)
        while not self._workers.is_done(number):
            time.sleep(0.05)
        result_of_training(job)
        return Done(job)


def trainer(count: int, folder: Path, base: Path, tokens: Path) -> Iterator[Trainer]:
    workers = Workers(ClusterConfig(workers=count, cpus_per_worker=0.5), folder)
    yield Trainer(workers, base, tokens)
    assert workers.close(60)


@pytest.fixture(scope="module")
def alone(
    ray_cluster: Capacity, tmp_path_factory: pytest.TempPathFactory, model: Path, tokens: Path
) -> Iterator[Trainer]:
    yield from trainer(1, tmp_path_factory.mktemp("alone"), model, tokens)


@pytest.fixture(scope="module")
def two(
    ray_cluster: Capacity, tmp_path_factory: pytest.TempPathFactory, model: Path, tokens: Path
) -> Iterator[Trainer]:
    yield from trainer(2, tmp_path_factory.mktemp("two"), model, tokens)


@pytest.fixture(scope="module")
def whole(alone: Trainer, tmp_path_factory: pytest.TempPathFactory) -> Done:
    """Four updates, two a round, nothing in between."""
    return alone(tmp_path_factory.mktemp("whole") / "run", config())


# --- a job


JOB = """\
name: tiny-rl
cluster: {{workers: 1}}
storage: {{root: {root}}}
model: {{path: {model}, name: small-base}}
data: {{kind: prompts, train: {root}/train.jsonl, heldout: {root}/heldout.jsonl, max_length: 64}}
train:
  objective:
    kind: rl
    rewards: [{{kind: pattern, pattern: "cat", whole: false}}]
    rollouts: {{prompts: 4, group: 4, max_new_tokens: 8}}
  steps: 3
  batch: {{sequences: 16, micro: 8}}
  learning_rate: 1.0e-3
  dtype: float32
  evaluation: {{every_steps: 2}}
  trackers: []
"""


def test_a_job_keeps_every_rollout_and_publishes(
    ray_cluster: Capacity, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_prompts(tmp_path)
    context = run_job(load(JOB.format(root=tmp_path, model=model)), ray_cluster)
    lines = read_metrics(context.run.metrics_file)
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
    # What the dashboard draws; an alarm is rare, and there is no KL here.
    drawn = {one.name.removeprefix("ray_raysmith_train_") for one in LEARNING}
    assert drawn - {"kl", "kl_completion", "heldout_alarm"} <= set().union(*lines)
    heldout, meta = read_rollouts(folder / "heldout-000003.parquet")
    assert (
        lines[-1]["heldout_reward"] == meta["figures"]["reward"] == pytest.approx(np.mean([o.reward for o in heldout]))
    )
    assert context.store.get("tiny-rl-model").kind == "model"


# --- algorithms


@pytest.mark.parametrize(
    ("algorithm", "changes", "workers"),
    [
        ({"kind": "ppo", "kl": 0.1, "adaptive_kl": {"target": 1.0, "horizon": 100}}, {"deepspeed": {"stage": 3}}, 2),
        ({"kind": "ppo", "kl": 0.1, "critic_rate": 2.0}, {"adapter": LORA}, 1),
        ({"kind": "rloo", "kl": 0.05}, {"deepspeed": {"stage": 3}}, 2),
        ({"kind": "reinforce_pp", "kl": 0.05}, {"adapter": LORA, "deepspeed": {"stage": 2}}, 2),
        ({"kind": "grpo", "kl": 0.05, "epochs": 2, "normalize": "length"}, {"adapter": LORA}, 1),
    ],
)  # fmt: skip
def test_every_algorithm_trains_on_its_own_rollouts(
    algorithm: dict[str, Any], changes: dict[str, Any], workers: int,
    request: pytest.FixtureRequest, tmp_path: Path,
) -> None:  # fmt: skip
    settings = config({"algorithm": algorithm}, batch={"sequences": 8, "micro": 4}, **changes)
    steps = 4 * settings.objective.settings.epochs  # two rounds
    run: Trainer = request.getfixturevalue("alone" if workers == 1 else "two")
    done = run(tmp_path / "run", settings.model_copy(update={"steps": steps}))
    assert len(done.figure("loss")) == steps
    assert max(done.figure("drift")) < 1e-4, "sampler and learner agree, whatever is sharded or adapted"
    assert all(line["grad_norm"] > 0 for line in done.lines)
    first = done.round(0)
    assert first[0].reference == pytest.approx(first[0].old, abs=1e-4), "training begins at the reference"
    if algorithm["kind"] == "ppo":
        assert first[0].values == pytest.approx([0.0] * len(first[0].completion_ids)), "a new critic expects nothing"
        assert any(value != 0 for one in done.round(1) for value in one.values or [])
        assert done.lines[0]["value_loss"] > 0
    if "adaptive_kl" in algorithm:
        assert done.lines[4]["kl_coefficient"] != algorithm["kl"]


def test_figures_are_means_a_token_whatever_the_loss_is_divided_by(model: Path) -> None:
    policy, tokenizer = load_model(model, torch.float32), load_tokenizer(model)
    rollouts = [
        Rollout(
            prompt="", completion="", prompt_ids=[5, 6, 7], completion_ids=ids, logprobs=[-6.0] * len(ids), version=0,
            example=0, epoch=0, group=0, seed=0, ended=True,
        )
        for ids in ([8, 9], [8, 9, 10, 11, 12, 13])
    ]  # fmt: skip
    found = {}
    for normalize, of_each in (("tokens", [1.0, 1.0]), ("sequences", [1 / 2, 1 / 6]), ("length", [0.01, 0.01])):
        objective = Objective(config({"algorithm": {"kind": "grpo", "normalize": normalize}}).objective, tokenizer)  # type: ignore[arg-type]
        batch = objective.collate([
            example_of(
                one, old=NOT_SCORED, sampled=one.logprobs, reference=0.0, advantages=[1.0] * len(one.completion_ids),
                returns=0.0, old_values=0.0, weights=weight,
            )
            for one, weight in zip(rollouts, of_each, strict=True)
        ])  # fmt: skip
        figures = objective.loss(policy, batch.tensors).figures
        found[normalize] = {name: float(value) / batch.terms for name, value in figures.items()}
        assert found[normalize]["entropy"] == pytest.approx(np.log(512), rel=0.1), "a model that knows nothing yet"
    assert found["length"] == pytest.approx(found["sequences"], rel=1e-5)


# --- weight sync


def setup(model: Path, **changes: Any) -> Setup:
    given = {"base": model, "dtype": "float32", "adapter": None, "pad_id": 2, "end_ids": (2,), "threads": 1}
    return Setup(**(given | changes), max_length=64)


def changed(model: Path, by: float) -> Weights:
    """The model's weights, each moved by a number."""
    sampler = Sampler(SamplerConfig(), setup(model))
    return pieces((name, tensor + by) for name, tensor in sampler._trained.items())


class FrozenActor(SamplerActor):
    """A sampler that takes every weight and keeps writing with those it had."""

    def load(self, version: int, weights: Weights) -> str:  # noqa: ARG002
        return weights_digest(self._sampler.held())


class SlowActor(SamplerActor):
    """A sampler that hangs when it is given weights."""

    def load(self, version: int, weights: Weights) -> str:  # noqa: ARG002
        time.sleep(20)
        return ""


@pytest.mark.parametrize(
    ("actor", "timeout_s", "error", "words"),
    [
        (FrozenActor, 120, HandoffError, "does not hold the weights"),
        (SlowActor, 8, ClusterError, "did not take over new weights in time"),
    ],
)
def test_weights_that_do_not_arrive_stop_the_run(
    actor: Any, timeout_s: float, error: Any, words: str, ray_cluster: Capacity, model: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(writing, "SamplerActor", actor)
    samplers = Samplers(SamplerConfig(), setup(model), SyncConfig(timeout_s=timeout_s), WatchdogConfig())
    try:
        samplers.send(1, changed(model, 0.1))
        written = samplers.begin([Prompt([5, 6], [1])], Sampling(2, 1.0))
        with pytest.raises(error, match=words):
            samplers.finish(written)
    finally:
        samplers.close()


def test_a_dead_sampler_comes_back_with_the_weights_and_writes_the_same(ray_cluster: Capacity, model: Path) -> None:
    import ray

    samplers = Samplers(SamplerConfig(), setup(model), SyncConfig(), WatchdogConfig())
    asked = [Prompt([5, 6, 7], [11, 12]), Prompt([8, 9], [13])]
    try:
        samplers.send(3, changed(model, 0.01))
        before = samplers.finish(samplers.begin(asked, Sampling(12, 1.0)))
        written = samplers.begin(asked, Sampling(12, 1.0))
        ray.kill(samplers._pool.actors[0])
        after = samplers.finish(written)
    finally:
        samplers.close()
    assert before == after
    assert {version for version, _ in after} == {3}


def test_a_sampler_that_hangs_while_it_writes_is_found_by_what_writing_took(
    ray_cluster: Capacity, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written, hung = tmp_path / "written", tmp_path / "hung"

    class Actor(SamplerActor):
        """It hangs when it writes for the second time."""

        def generate(self, prompts: list[Prompt], sampling: Sampling) -> Written:
            if written.exists() and not hung.exists():
                hung.touch()
                time.sleep(1000)
            written.touch()
            return super().generate(prompts, sampling)

    monkeypatch.setattr(writing, "SamplerActor", Actor)
    samplers = Samplers(SamplerConfig(), setup(model), SyncConfig(), WatchdogConfig(least_s=5))
    asked = [Prompt([5, 6, 7], [11, 12])]
    try:
        samplers.send(1, changed(model, 0.01))
        assert samplers._limit_s(2) == 3600, "nobody knows how long it takes"
        before = samplers.finish(samplers.begin(asked, Sampling(4, 1.0)))
        assert samplers._limit_s(2) == 5
        assert samplers._limit_s(10**9) == 3600
        after = samplers.finish(samplers.begin(asked, Sampling(4, 1.0)))
    finally:
        samplers.close()
    assert hung.exists()
    assert samplers._pool.failures == 1
    assert before == after


def test_what_else_is_in_the_batch_changes_no_completion(model: Path) -> None:
    sampler = Sampler(SamplerConfig(batch=8), setup(model))
    asked = [Prompt([5, 6, 7, 8], [1, 2, 3]), Prompt([9], [4]), Prompt([10, 11], [5, 6])]
    together = sampler.generate(asked, Sampling(10, 0.9))
    alone = [sampler.generate([one], Sampling(10, 0.9))[0] for one in asked]
    assert [[one.ids for one in part] for part in together] == [[one.ids for one in part] for part in alone]
    for part, other in zip(together, alone, strict=True):
        for one, same in zip(part, other, strict=True):
            assert one.logprobs == pytest.approx(same.logprobs, abs=1e-4)
            assert len(one.ids) == len(one.logprobs) == 10 or one.ended
    greedy = sampler.generate(asked[:1], Sampling(10, 0.0))[0]
    assert greedy[0] == greedy[1] == greedy[2]


@torch.no_grad()
def test_draws_follow_the_distribution(model: Path) -> None:
    sampler = Sampler(SamplerConfig(batch=4000), setup(model))
    [found] = sampler.generate([Prompt([5, 6], list(range(4000)))], Sampling(1, 0.5))
    logits = load_model(model, torch.float32)(torch.tensor([[5, 6]])).logits[0, -1] / 0.5
    expected = logits.log_softmax(-1)
    counts = torch.zeros(512).index_add(0, torch.tensor([one.ids[0] for one in found]), torch.ones(4000))
    likely = expected.exp() > 0.003
    assert torch.allclose(counts[likely] / 4000, expected[likely].exp(), atol=0.006)
    assert [one.logprobs[0] for one in found] == pytest.approx([float(expected[one.ids[0]]) for one in found], abs=1e-4)


# --- deaths


def ray_processes(name: str) -> list[psutil.Process]:
    """Those of this session's cluster whose title has the name."""
    return [
        one for one in psutil.Process().children(recursive=True)
        if one.is_running() and any(name in part for part in one.cmdline())
    ]  # fmt: skip


def kill_once(job: Job, name: str, steps: int) -> threading.Thread:
    """Kill a process when so many steps are done."""

    def run() -> None:
        while len(read_metrics(job.metrics_file)) < steps:
            time.sleep(0.02)
        for process in ray_processes(name):
            process.send_signal(signal.SIGKILL)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


@pytest.mark.parametrize(
    ("name", "steps"), [pytest.param("RayTrainWorker", 3, marks=pytest.mark.slow), ("SamplerActor", 2)]
)
def test_whoever_is_killed_the_training_is_the_same(
    name: str, steps: int, whole: Done, model: Path, tokens: Path, tmp_path: Path
) -> None:
    job = training_job(tmp_path / "run", config(), model, tokens)
    killer = kill_once(job, name, steps)
    train(job, ClusterConfig(workers=1, cpus_per_worker=0.5))
    killer.join()
    done = Done(job)
    for key in ("loss", "reward", "entropy", "grad_norm"):
        names = [line.get(key) for line in done.lines]
        assert names == [pytest.approx(line[key], rel=1e-4) if key in line else None for line in whole.lines]
    assert [line["samples"] for line in done.lines] == [line["samples"] for line in whole.lines]
    for number in range(2):
        assert [one.ids for one in done.round(number)] == [one.ids for one in whole.round(number)]


def test_a_training_cut_off_between_two_updates_of_a_round_goes_on_with_its_rollouts(
    whole: Done, alone: Trainer, tmp_path: Path
) -> None:
    alone(tmp_path / "run", config(steps=3))
    done = alone(tmp_path / "run", config())
    assert "resumed at step 3 with 1 worker" in done.events
    assert done.figure("loss") == pytest.approx(whole.figure("loss"), rel=1e-4)
    assert [one.ids for one in done.round(1)] == [one.ids for one in whole.round(1)]


# --- rewards


def test_a_reward_that_hangs_costs_that_reward_alone(alone: Trainer, tmp_path: Path) -> None:
    # Each character in one of two ways: a completion of some words takes this expression for ever.
    hanging = {"kind": "pattern", "pattern": r"(.|.)*\d{9}", "whole": True, "timeout_s": 0.3, "name": "slow"}
    settings = config(
        {"rewards": [TRAIN["objective"]["rewards"][0], hanging], "scoring": {"max_failed": 1.0},
         "rollouts": {"prompts": 2, "group": 4, "max_new_tokens": 40}}, steps=1,
    )  # fmt: skip
    done = alone(tmp_path / "run", settings)
    rollouts = done.round(0)
    failed = [one for one in rollouts if np.isnan(one.rewards["slow"])]
    assert failed
    assert done.lines[0]["failed_slow"] == len(failed)
    assert all(np.isnan(one.reward) and one.advantage == 0.0 for one in failed)
    assert np.isfinite(done.lines[0]["loss"])
    strict = config(
        {"rewards": [hanging], "scoring": {"max_failed": 0.0},
         "rollouts": {"prompts": 2, "group": 4, "max_new_tokens": 40}}, steps=1,
    )  # fmt: skip
    with pytest.raises(ClusterError, match="fails too often") as caught:
        alone(tmp_path / "strict", strict)
    assert "TimeoutError" in str(caught.value.got)


def test_only_mixed_groups_are_trained_on(alone: Trainer, tmp_path: Path) -> None:
    rollouts = {"prompts": 2, "group": 4, "max_new_tokens": 8, "only_mixed_groups": True, "max_draws": 5}
    done = alone(tmp_path / "run", config({"rollouts": rollouts}, steps=2))
    metas = [read_rollouts(done.folder / f"round-{number:06d}.parquet")[1] for number in range(2)]
    draws = [draw for meta in metas for draw in meta["draws"]]
    assert sorted(set(draws)) == sorted(draws), "no prompt twice"
    for number, meta in enumerate(metas):
        rewards = [{one.reward for one in done.round(number) if one.group == group} for group in range(2)]
        assert all(len(values) > 1 for values in rewards) or len(meta["draws"]) == 5
        written = done.round(number)
        assert len(written) == 8 * len(meta["draws"]), "what is not trained on is kept"
        assert {one.group for one in written if one.trained} == {0, 1}
        assert done.lines[number]["reward"] == pytest.approx(np.mean([one.reward for one in written]))


# --- asynchronous


@pytest.mark.parametrize("staleness", [1, 2])
def test_weights_that_write_are_never_older_than_allowed(staleness: int, alone: Trainer, tmp_path: Path) -> None:
    rollouts = TRAIN["objective"]["rollouts"] | {"max_staleness": staleness}
    done = alone(tmp_path / "run", config({"rollouts": rollouts}, steps=10))
    ages = []
    for number in range(5):
        versions = {one.version for one in done.round(number)}
        assert all(version % 2 == 0 for version in versions), "completions end under the version they began with"
        ages += [number - version // 2 for version in versions]
    assert max(ages) == staleness
    assert [line["staleness"] for line in done.lines if "staleness" in line] == pytest.approx(sorted(ages))
    drawn = [sample for number in range(5) for sample in sorted({one.example for one in done.round(number)})]
    assert len(drawn) == 20


# --- reward hacking


def test_reward_hacking_is_told_and_a_clean_run_is_not_suspected() -> None:
    from trainers.rl.alarm import Alarm
    from trainers.rl.config import AlarmConfig

    def measured(pairs: list[tuple[float, float]]) -> list[str | None]:
        alarm = Alarm(AlarmConfig())
        return [
            alarm.measured({"step": step, "figures": {"reward": held}, "training_reward": trained}, [])
            for step, (held, trained) in enumerate(pairs, start=1)
        ]

    hacked = measured([(0.2, 0.3), (0.5, 0.5), (0.45, 0.6), (0.4, 0.7), (0.3, 0.9)])
    assert hacked[:4] == [None] * 4
    assert "rose from 0.500 to 0.900" in str(hacked[4])
    assert not any(measured([(0.2, 0.3), (0.5, 0.5), (0.52, 0.6), (0.5, 0.7), (0.6, 0.9), (0.59, 0.92)]))
    assert not any(measured([(0.5, 0.9), (0.4, 0.8), (0.3, 0.7), (0.2, 0.5)])), "both fall: no hacking"


@pytest.mark.parametrize("hacked", [True, False])
def test_a_planted_hack_raises_the_alarm_and_a_clean_run_does_not(hacked: bool, alone: Trainer, tmp_path: Path) -> None:
    def holds(name: str, pattern: str) -> dict[str, Any]:
        return {"kind": "pattern", "pattern": pattern, "whole": False, "name": name}

    objective = {
        "rewards": [holds("has_e", "e")],
        # What is really wanted is the contrary of what is rewarded, as where length is rewarded in place of quality.
        "heldout_rewards": [holds("wanted", "^[^e]*$" if hacked else "e")],
        "rollouts": {"prompts": 4, "group": 8, "max_new_tokens": 6}, "alarm": {"measurements": 2},
    }  # fmt: skip
    settings = config(
        objective, steps=16, batch={"sequences": 32, "micro": 32}, learning_rate=3e-3, evaluation={"every_steps": 2},
    )  # fmt: skip
    done = alone(tmp_path / "run", settings)
    rewards = done.figure("reward")
    assert sum(rewards[-4:]) > sum(rewards[:4]) + 0.5, "it learns what it is rewarded for"
    told = [event for event in done.events if "reward hacking" in event]
    assert bool(told) is hacked
    if hacked:
        assert "the held-out reward fell" in told[0]
        assert any(line.get("heldout_alarm") == 1.0 for line in done.lines)
