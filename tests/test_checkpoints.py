"""Checkpoints: any stage and number of workers read what any other wrote; damage and full disks cost nothing else."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from cluster.errors import ClusterError, ResourceError
from cluster.rundir import read_metrics
from tests.workers import run_workers, train_all, training_job
from trainers.adapter_config import AdapterConfig, LoraConfig
from trainers.checkpoint import Folder, best_of, list_checkpoints, step_name, sweep, write_marker, write_pieces
from trainers.config import BatchConfig, CheckpointConfig, DeepSpeedConfig, ScheduleConfig, TrainConfig
from trainers.loop import Job

STEPS = 12


def config(stage: int = 2, dtype: str = "float32", steps: int = STEPS, **more: Any) -> TrainConfig:
    checkpoint = CheckpointConfig(every_steps=3, keep=10, **more.pop("checkpoint", {}))
    return TrainConfig(
        steps=steps, batch=BatchConfig(sequences=8, micro=2), learning_rate=1e-2, schedule="constant", dtype=dtype,
        deepspeed=DeepSpeedConfig(stage=stage), checkpoint=checkpoint, trackers=[], **more,
    )  # fmt: skip


def cut(job: Job, steps: int, stage: int) -> Job:
    """The same training, ended after `steps`, as a kill right after that checkpoint would."""
    sharding = DeepSpeedConfig(stage=stage)
    return job._replace(config=job.config.model_copy(update={"steps": steps, "deepspeed": sharding}))


def test_two_one_two_workers_and_other_stages_train_what_one_uninterrupted_run_does(
    tmp_path: Path, model: Path, tokens: Path
) -> None:
    whole = training_job(tmp_path / "whole", config(), model, tokens)
    run_workers(2, tmp_path / "a", train_all, [whole])
    expected = [record["loss"] for record in read_metrics(whole.metrics_file)]
    job = training_job(tmp_path / "parts", config(), model, tokens)
    run_workers(2, tmp_path / "b", train_all, [cut(job, 3, 2)])
    run_workers(1, tmp_path / "c", train_all, [cut(job, 6, 3)])
    run_workers(2, tmp_path / "d", train_all, [cut(job, 9, 0), cut(job, STEPS, 1)])
    records = read_metrics(job.metrics_file)
    assert [record["loss"] for record in records] == pytest.approx(expected, rel=1e-5)
    assert [record["samples"] for record in records] == [r["samples"] for r in read_metrics(whole.metrics_file)]
    seen = Counter(sample for record in records for sample in record["samples"])
    assert set(seen.values()) == {STEPS * 8 // 24}  # each of the 24 examples exactly once an epoch


def test_a_resume_is_the_uninterrupted_run_to_the_bit(tmp_path: Path, model: Path, tokens: Path) -> None:
    pairs = []
    for stage in (0, 1, 2, 3):
        settings = config(stage, "bfloat16", steps=6)
        if stage == 2:
            settings = settings.model_copy(update={"adapter": AdapterConfig(lora=LoraConfig(rank=4, dropout=0.2))})
        pairs.append(
            [training_job(tmp_path / f"{name}{stage}", settings, model, tokens) for name in ("whole", "parts")]
        )
    jobs = [job for whole, parts in pairs for job in (whole, cut(parts, 3, parts.config.deepspeed.stage), parts)]
    run_workers(2, tmp_path / "r", train_all, jobs)
    for whole, parts in pairs:
        losses = [[record["loss"] for record in read_metrics(job.metrics_file)] for job in (whole, parts)]
        assert losses[0] == losses[1]
        for rank in range(2):
            file = f"checkpoints/{step_name(6)}/rank-0000{rank}.safetensors"
            one, other = load_file(whole.folder / file), load_file(parts.folder / file)
            assert one.keys() == other.keys()
            assert all(torch.equal(one[name], other[name]) for name in one)
            assert whole.config.adapter is None or all("lora_" in name for name in one)


def test_a_damaged_checkpoint_is_left_out_and_the_one_before_is_taken(
    tmp_path: Path, model: Path, tokens: Path
) -> None:
    job = training_job(tmp_path / "run", config(), model, tokens)
    run_workers(1, tmp_path / "a", train_all, [cut(job, 9, 2)])
    expected = [record["loss"] for record in read_metrics(job.metrics_file)]
    folder = job.folder / "checkpoints"
    truncate(folder / step_name(9) / "rank-00000.safetensors")
    flip(folder / step_name(6) / "rank-00000.safetensors")
    (folder / step_name(12)).mkdir()  # what a kill while saving leaves
    (folder / step_name(12) / "rank-00000.safetensors").write_bytes(b"half")
    run_workers(1, tmp_path / "b", train_all, [cut(job, 9, 2)])
    assert [record["loss"] for record in read_metrics(job.metrics_file)] == expected
    events = [json.loads(line)["event"] for line in job.metrics_file.with_name("events.jsonl").read_text().splitlines()]
    assert any("step 9 is damaged" in event and "bytes" in event for event in events)
    assert any("step 6 is damaged" in event and "hash" in event for event in events)
    assert any("resumed at step 3" in event for event in events)
    for step in (3, 6, 9):
        truncate(folder / step_name(step) / "rank-00000.safetensors")
    with pytest.raises(RuntimeError, match="No checkpoint is whole"):
        run_workers(1, tmp_path / "c", train_all, [job])


def truncate(path: Path) -> None:
    with path.open("r+b") as stream:
        stream.truncate(path.stat().st_size // 2)


def flip(path: Path) -> None:
    with path.open("r+b") as stream:
        stream.seek(-5, os.SEEK_END)
        byte = stream.read(1)
        stream.seek(-5, os.SEEK_END)
        stream.write(bytes([byte[0] ^ 1]))


def test_a_full_disk_costs_the_checkpoint_that_was_being_written_and_no_other(
    tmp_path: Path, model: Path, tokens: Path
) -> None:
    job = training_job(tmp_path / "run", config(steps=9), model, tokens)
    folder = job.folder / "checkpoints"
    (folder / step_name(6)).mkdir(parents=True)
    (folder / step_name(6) / "rank-00001.safetensors.part").symlink_to("/dev/full")  # each write says: no space left
    run_workers(2, tmp_path / "a", train_without_cleaning, [job])
    assert [marker.step for marker in list_checkpoints(Folder(str(folder)))] == [3, 9]
    events = job.metrics_file.with_name("events.jsonl").read_text()
    assert "checkpoint at step 6 failed, the one before is kept" in events
    assert "No space left" in events
    assert len(read_metrics(job.metrics_file)) == 9


def test_a_full_disk_at_the_last_step_is_an_error_and_the_good_checkpoint_stays(
    tmp_path: Path, model: Path, tokens: Path
) -> None:
    job = training_job(tmp_path / "run", config(steps=6), model, tokens)
    folder = job.folder / "checkpoints"
    (folder / step_name(6)).mkdir(parents=True)
    (folder / step_name(6) / "rank-00000.safetensors.part").symlink_to("/dev/full")
    with pytest.raises(RuntimeError, match="The last checkpoint cannot be written"):
        run_workers(1, tmp_path / "a", train_without_cleaning, [job])
    assert [marker.step for marker in list_checkpoints(Folder(str(folder)))] == [3]
    run_workers(1, tmp_path / "b", train_all, [job])
    assert [marker.step for marker in list_checkpoints(Folder(str(folder)))] == [3, 6]
    assert [record["step"] for record in read_metrics(job.metrics_file)] == [1, 2, 3, 4, 5, 6]


def train_without_cleaning(rank: int, count: int, jobs: list[Job]) -> None:
    """As `train_all`, but the unmarked folder that the test has prepared is not removed at the start."""
    import trainers.saver

    trainers.saver.remove_unfinished = lambda _: None
    train_all(rank, count, jobs)


def test_asynchronous_and_synchronous_saves_are_the_same_bytes(tmp_path: Path, model: Path, tokens: Path) -> None:
    jobs = [
        training_job(tmp_path / str(kind), config(steps=3, checkpoint={"asynchronous": kind}), model, tokens)
        for kind in (True, False)
    ]
    run_workers(2, tmp_path / "r", train_all, jobs)
    for rank in range(2):
        one, other = ((job.folder / f"checkpoints/{step_name(3)}/rank-0000{rank}.safetensors") for job in jobs)
        assert one.read_bytes() == other.read_bytes()


def test_early_stop_best_checkpoint_and_a_resume_that_stays_stopped(tmp_path: Path, model: Path, tokens: Path) -> None:
    from trainers.launch import export_result
    from trainers.outcome import read_outcome

    evaluation = ScheduleConfig(every_steps=3, batch=4, patience=1, min_gain=0.3, publish="best")
    settings = config(steps=60, evaluation=evaluation, checkpoint={}).model_copy(update={"learning_rate": 5e-2})
    settings = settings.model_copy(update={"checkpoint": CheckpointConfig(every_steps=3, keep=1)})
    job = training_job(tmp_path / "run", settings, model, tokens)
    run_workers(2, tmp_path / "a", train_all, [job])
    records, outcome = read_metrics(job.metrics_file), read_outcome(job.folder)
    measured = {record["step"]: record["heldout_loss"] for record in records if "heldout_loss" in record}
    assert records[-1]["step"] < 60
    assert "did not fall by 0.3 nats" in outcome["stopped"]
    markers = list_checkpoints(Folder(str(job.folder / "checkpoints")))
    best = min(measured, key=lambda step: measured[step])
    assert best in {marker.step for marker in markers}
    assert markers[-1].step == records[-1]["step"]
    run_workers(1, tmp_path / "b", train_all, [job])
    assert len(read_metrics(job.metrics_file)) == len(records)
    export_result(job)
    champion = best_of(markers)
    assert champion is not None
    stored = load_file(job.folder / f"checkpoints/{step_name(champion.step)}/rank-00000.safetensors")
    exported = load_file(job.output / "model.safetensors")
    name = next(name for name in exported if f"master/{name}" in stored)
    count = stored[f"master/{name}"].numel()
    assert torch.equal(exported[name].float().flatten()[:count], stored[f"master/{name}"])


def test_the_best_step_is_kept_though_no_checkpoint_was_due(tmp_path: Path, model: Path, tokens: Path) -> None:
    from trainers.outcome import read_outcome

    evaluation = ScheduleConfig(every_steps=2, batch=4, publish="best")
    settings = config(steps=9, evaluation=evaluation).model_copy(
        update={"learning_rate": 0.3, "checkpoint": CheckpointConfig(every_steps=100, keep=1)}
    )
    job = training_job(tmp_path / "run", settings, model, tokens)
    run_workers(1, tmp_path / "a", train_all, [job])
    best = read_outcome(job.folder)["best"]
    measured = {r["step"]: r["heldout_loss"] for r in read_metrics(job.metrics_file) if "heldout_loss" in r}
    assert best["step"] == min(measured, key=lambda step: measured[step])
    assert best["step"] < 9
    markers = list_checkpoints(Folder(str(job.folder), "checkpoints"))
    assert [marker.step for marker in markers] == [best["step"], 9]


def test_a_sweep_that_fails_costs_no_checkpoint(tmp_path: Path, model: Path, tokens: Path) -> None:
    settings = config(steps=6).model_copy(update={"checkpoint": CheckpointConfig(every_steps=3, keep=1)})
    job = training_job(tmp_path / "run", settings, model, tokens)
    run_workers(1, tmp_path / "a", train_where_nothing_can_be_removed, job)
    assert [m.step for m in list_checkpoints(Folder(str(job.folder), "checkpoints"))] == [3, 6]
    assert "could not be removed: held open" in job.metrics_file.with_name("events.jsonl").read_text()


def train_where_nothing_can_be_removed(rank: int, workers: int, job: Job) -> None:
    from trainers.loop import Training

    loop = Training(job, rank, workers)

    def refuse(name: str) -> None:
        raise OSError("held open")

    loop.saver._folder.remove = refuse  # type: ignore[method-assign]
    loop.run()


def test_a_marker_cut_in_half_does_not_stay(tmp_path: Path) -> None:
    from trainers.checkpoint import Marker, remove_unfinished

    folder = Folder(str(tmp_path))
    for step in (5, 10):
        write_pieces(folder, step, 0, [])
        write_marker(folder, Marker(step=step, optimizer_steps=step, shapes={}, files={}), 1)
    marker = tmp_path / step_name(10) / "complete.json"
    marker.write_bytes(marker.read_bytes()[:20])
    remove_unfinished(folder)
    assert folder.names() == [step_name(5)]


def test_a_uri_keeps_its_query_and_each_training_its_folder(tmp_path: Path) -> None:
    from trainers.checkpoint import checkpoint_folder

    base = "s3://bucket/prefix?region=eu-west-1&endpoint_override=localhost:9000"
    settings = config(checkpoint={"folder": base})
    assert checkpoint_folder(settings, tmp_path, "run", "train-a").path("x") == "bucket/prefix/run/train-a/x"


def test_the_policy_keeps_last_best_and_every_nth(tmp_path: Path) -> None:
    from trainers.checkpoint import Marker

    folder = Folder(tmp_path.as_uri())
    for step, loss in ((10, 3.0), (20, 1.0), (30, 2.0), (40, 2.5), (50, 2.6), (60, 2.7)):
        write_pieces(folder, step, 0, [])
        marker = Marker(step=step, optimizer_steps=step, shapes={}, files={}, heldout_loss=loss)
        write_marker(folder, marker, 1)
    assert sweep(folder, keep=2, every=30, best=True) == [10, 40]
    assert [marker.step for marker in list_checkpoints(folder)] == [20, 30, 50, 60]


def test_workers_that_do_not_share_the_folder_are_told(tmp_path: Path) -> None:
    from trainers.checkpoint import Marker

    folder = Folder(str(tmp_path))
    write_pieces(folder, 5, 0, [])
    with pytest.raises(ClusterError, match="cannot be seen by worker 0"):
        write_marker(folder, Marker(step=5, optimizer_steps=5, shapes={}, files={}), 2)


def test_a_scheme_that_is_not_known_is_refused() -> None:
    from cluster.errors import ConfigError

    with pytest.raises(ConfigError, match="address is not understood"):
        Folder("ftp://somewhere/else")


def test_float16_is_refused_where_the_device_cannot(tmp_path: Path, model: Path, tokens: Path) -> None:
    from deepspeed.accelerator import get_accelerator

    if get_accelerator().is_fp16_supported():
        pytest.skip("this device can")
    job = training_job(tmp_path / "run", config(dtype="float16"), model, tokens)
    with pytest.raises(RuntimeError, match="cannot train in float16"):
        run_workers(1, tmp_path / "a", train_all, [job])
    assert issubclass(ResourceError, Exception)
