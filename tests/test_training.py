"""The loop against plain PyTorch: every ZeRO stage, 1 and 2 workers, any accumulation give the same losses."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from deepspeed.ops.op_builder import AsyncIOBuilder

from cluster.rundir import read_metrics
from tests.workers import run_workers, train_all, training_job
from trainers.adapter_config import AdapterConfig, LoraConfig
from trainers.config import BatchConfig, CheckpointConfig, DeepSpeedConfig, ParameterGroup, TrainConfig
from trainers.data.sampler import global_batch
from trainers.data.store import TokenData
from trainers.engine import learning_rate, parameter_groups
from trainers.loop import Job
from trainers.models import load_model, load_tokenizer
from trainers.objectives import Example
from trainers.objectives.sft import Config, Objective

STAGES = (0, 1, 2, 3)
SEQUENCES = 8


def config(stage: int, micro: int, dtype: str = "float32") -> TrainConfig:
    return TrainConfig(
        steps=5, batch=BatchConfig(sequences=SEQUENCES, micro=micro), learning_rate=1e-2, weight_decay=0.1,
        warmup_steps=1, dtype=dtype, deepspeed=DeepSpeedConfig(stage=stage), trackers=[],
        checkpoint=CheckpointConfig(every_steps=100), parameter_groups=[ParameterGroup(match="mlp", learning_rate=0.5)],
    )  # fmt: skip


@pytest.fixture(scope="module")
def traces(tmp_path_factory: pytest.TempPathFactory, model: Path, tokens: Path) -> dict[tuple[str, int, int, int], Job]:
    """(type, workers, stage, accumulation) → the job that was trained so."""
    jobs: dict[tuple[str, int, int, int], Job] = {}
    for workers in (1, 2):
        folder = tmp_path_factory.mktemp("runs")
        mine = {}
        for dtype, stage, accumulation in product(("float32", "bfloat16"), STAGES, (1, 4)):
            settings = config(stage, SEQUENCES // workers // accumulation, dtype)
            job = training_job(folder / f"{dtype}-{stage}-{accumulation}", settings, model, tokens)
            mine[dtype, workers, stage, accumulation] = job
        run_workers(workers, folder / "rendezvous", train_all, list(mine.values()))
        jobs |= mine
    return jobs


def losses(job: Job, key: str = "loss") -> list[float]:
    return [record[key] for record in read_metrics(job.metrics_file)]


def test_float32_is_plain_pytorch_at_every_stage_with_any_workers_and_accumulation(
    traces: dict[tuple[str, int, int, int], Job], model: Path, tokens: Path
) -> None:
    expected, norms = plain_training(model, tokens, config(0, SEQUENCES))
    found = {key: job for key, job in traces.items() if key[0] == "float32"}
    assert len(found) == 2 * len(STAGES) * 2
    for key, job in found.items():
        assert losses(job) == pytest.approx(expected, rel=1e-5), key
        assert losses(job, "grad_norm") == pytest.approx(norms, rel=1e-4), key


def test_bfloat16_begins_equal_at_every_stage_and_stays_close(traces: dict[tuple[str, int, int, int], Job]) -> None:
    # The first loss depends on weights and buffers alone: a rounded rotary table, say, would show in it.
    found = {key: losses(job) for key, job in traces.items() if key[0] == "bfloat16"}
    first = found["bfloat16", 1, 2, 1]
    for key, trace in found.items():
        assert trace[0] == pytest.approx(first[0], rel=1e-6), key
        assert trace == pytest.approx(first, rel=1e-3), key


def test_the_result_is_the_trained_model(traces: dict[tuple[str, int, int, int], Job], model: Path) -> None:
    from trainers.launch import export_result

    sharded, whole = traces["float32", 2, 3, 4], traces["float32", 1, 0, 1]
    for job in (sharded, whole):
        export_result(job)
    one, other, base = (load_model(folder, torch.float32) for folder in (sharded.output, whole.output, model))
    for (name, a), b, c in zip(one.named_parameters(), other.parameters(), base.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=2e-5, msg=name)
        assert not torch.equal(a, c), name
    assert load_tokenizer(sharded.output)("the cat").input_ids == load_tokenizer(model)("the cat").input_ids


CPU: dict[str, str] = {"offload_optimizer": "cpu"}
WAYS: dict[str, dict[str, Any]] = {
    "activation checkpointing": {"activation_checkpointing": True},
    "activation checkpointing, ZeRO-3": {"activation_checkpointing": True, "deepspeed": {"stage": 3}},
    "optimizer on the CPU, ZeRO-1": {"deepspeed": {"stage": 1, **CPU}},
    "optimizer on the CPU, ZeRO-2": {"deepspeed": {"stage": 2, **CPU}},
    "all on the CPU, ZeRO-3": {"deepspeed": {"stage": 3, **CPU, "offload_parameters": "cpu"}},
    "whole logits": {"objective": {"kind": "sft", "head_chunk": None}},
    "small chunks": {"objective": {"kind": "sft", "head_chunk": 7}},
}
ON_DISK: dict[str, dict[str, Any]] = {
    "optimizer on disk": {"deepspeed": {"stage": 3, "offload_optimizer": "nvme"}},
    "all on disk": {"deepspeed": {"stage": 3, "offload_optimizer": "nvme", "offload_parameters": "nvme"}},
}


def test_ways_to_save_memory_change_no_loss_and_resume(tmp_path: Path, model: Path, tokens: Path) -> None:
    require_same_losses(tmp_path, model, tokens, WAYS)


@pytest.mark.slow
@pytest.mark.skipif(not AsyncIOBuilder().is_compatible(verbose=False), reason="needs libaio and its headers")
def test_offloading_to_disk_changes_no_loss_and_resumes(tmp_path: Path, model: Path, tokens: Path) -> None:
    AsyncIOBuilder().load(verbose=False)  # compiles for minutes, once a machine; the workers then find it there
    (tmp_path / "nvme").mkdir()
    ways = {name: {"deepspeed": {**way["deepspeed"], "nvme": tmp_path / "nvme"}} for name, way in ON_DISK.items()}
    require_same_losses(tmp_path, model, tokens, ways)


@pytest.mark.slow
def test_a_compiled_model_has_the_same_losses(tmp_path: Path, model: Path, tokens: Path) -> None:
    require_same_losses(tmp_path, model, tokens, {"compiled": {"compile": True}})


def require_same_losses(folder: Path, model: Path, tokens: Path, ways: dict[str, dict[str, Any]]) -> None:
    """Two workers, cut off after three steps of five and resumed, have the losses of plain PyTorch."""
    base = config(2, SEQUENCES // 4).model_copy(update={"schedule": "constant"})
    expected, _ = plain_training(model, tokens, base)
    jobs = {}
    for name, way in ways.items():
        settings = TrainConfig.model_validate({**base.model_dump(), **way})
        jobs[name] = training_job(folder / name.replace(" ", "-"), settings, model, tokens)
    for steps in (3, 5):
        cut = [job._replace(config=job.config.model_copy(update={"steps": steps})) for job in jobs.values()]
        run_workers(2, folder / f"rendezvous-{steps}", train_all, cut)
    for name, job in jobs.items():
        assert "resumed at step 3" in job.metrics_file.with_name("events.jsonl").read_text(), name
        assert losses(job) == pytest.approx(expected, rel=1e-5), name


def test_an_adapter_in_bfloat16_leaves_the_rotary_frequencies_exact(tmp_path: Path, model: Path, tokens: Path) -> None:
    settings = config(2, SEQUENCES, "bfloat16").model_copy(
        update={"adapter": AdapterConfig(lora=LoraConfig(rank=4)), "steps": 2}
    )
    job = training_job(tmp_path / "run", settings, model, tokens)
    (dtypes,) = run_workers(1, tmp_path / "rendezvous", buffer_types, job)
    assert set(dtypes) == {"torch.float32"}


def buffer_types(rank: int, workers: int, job: Job) -> list[str]:
    from trainers.build import build

    built = build(job, workers)
    return [str(buffer.dtype) for name, buffer in built.engine.module.named_buffers() if "inv_freq" in name]


def test_workers_with_unequal_terms_measure_and_train_on_at_stage_3(tmp_path: Path, model: Path, tokens: Path) -> None:
    # Seven held-out examples for two workers and a small chunk: one has more of them to go through the head.
    evaluation = {"every_steps": 1, "sequences": 7, "batch": 2}
    base = config(3, SEQUENCES // 4).model_copy(update={"schedule": "constant"})
    way = {"objective": {"kind": "sft", "head_chunk": 8}, "evaluation": evaluation}
    settings = TrainConfig.model_validate({**base.model_dump(), **way})
    jobs = [training_job(tmp_path / str(workers), settings, model, tokens) for workers in (1, 2)]
    for workers, job in zip((1, 2), jobs, strict=True):
        run_workers(workers, tmp_path / f"rendezvous-{workers}", train_all, [job])
    for key in ("loss", "heldout_loss", "heldout_accuracy"):
        assert losses(jobs[1], key) == pytest.approx(losses(jobs[0], key), rel=1e-5), key


def plain_training(base: Path, tokens: Path, settings: TrainConfig) -> tuple[list[float], list[float]]:
    model = load_model(base, torch.float32).train()
    data, objective = TokenData(tokens / "train"), Objective(Config(), load_tokenizer(base))
    optimizer = torch.optim.AdamW(parameter_groups(model.named_parameters(), settings), lr=1.0, betas=settings.betas)
    found, norms = [], []
    for step in range(settings.steps):
        draw = global_batch(settings.seed, step, SEQUENCES, data.counts, data.weights)
        batch = objective.collate([Example(data[index], ()) for index in draw.indices.tolist()])
        loss = objective.loss(model, batch.tensors).total / batch.terms
        loss.backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip)))
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(settings, step) * group["rate"]
        optimizer.step()
        optimizer.zero_grad()
        found.append(loss.item())
    return found, norms


def test_the_loss_and_its_gradient_are_those_of_transformers(model: Path, tokens: Path) -> None:
    data, objective = TokenData(tokens / "train"), Objective(Config(), load_tokenizer(model))
    rows = [data[index] for index in range(6)]
    batch = objective.collate([Example(row, ()) for row in rows])
    ours, theirs = load_model(model, torch.float32).train(), load_model(model, torch.float32).train()
    loss = objective.loss(ours, batch.tensors).total / batch.terms
    loss.backward()
    length = max(len(row["input_ids"]) for row in rows)
    ids, mask, labels = torch.full((6, length), 2), torch.zeros(6, length), torch.full((6, length), -100)
    for index, row in enumerate(rows):
        size = len(row["input_ids"])
        ids[index, :size] = torch.tensor(row["input_ids"].astype("int64"))
        mask[index, :size] = 1
        labels[index, :size] = ids[index, :size].masked_fill(torch.tensor(row["trained"] == 0), -100)
    reference = theirs(input_ids=ids, attention_mask=mask, labels=labels).loss
    reference.backward()
    torch.testing.assert_close(loss, reference, rtol=1e-5, atol=1e-6)
    for (name, a), b in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize(("schedule", "factors"), [
    ("constant", [1, 1, 1, 1]), ("linear", [1, 0.775, 0.55, 0.325]), ("cosine", [1, 0.8682, 0.55, 0.2318]),
    ("wsd", [1, 1, 1, 0.55]),
])  # fmt: skip
def test_the_schedules(schedule: str, factors: list[float]) -> None:
    settings = TrainConfig(
        steps=6, learning_rate=2.0, schedule=schedule, warmup_steps=2, decay_share=0.5, final_rate=0.1
    )
    warm, rest = [learning_rate(settings, step) for step in (0, 1)], [learning_rate(settings, s) for s in range(2, 6)]
    assert warm == [1.0, 2.0]
    assert rest == pytest.approx([2.0 * factor for factor in factors], abs=1e-4)


def test_vectors_are_not_decayed_and_groups_take_what_they_match(model: Path) -> None:
    loaded = load_model(model, torch.float32)
    groups = parameter_groups(loaded.named_parameters(), config(0, 8))
    by_kind = {(group["rate"], group["weight_decay"]): group["params"] for group in groups}
    assert set(by_kind) == {(1.0, 0.1), (1.0, 0.0), (0.5, 0.1)}
    assert all(parameter.ndim == 1 for parameter in by_kind[1.0, 0.0])
    assert sum(len(members) for members in by_kind.values()) == len(list(loaded.parameters()))
