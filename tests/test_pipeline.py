"""Whole jobs on a tiny model through the command line: results, reuse, kill and resume, and what breaks them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.artifacts import ArtifactStore
from cluster.rundir import read_metrics
from tests.tiny import conversations

STEPS = 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """A working directory with data and a job file."""
    folder = tmp_path_factory.mktemp("pipeline")
    for name, count, seed in (("train", 64, 0), ("heldout", 16, 1)):
        lines = [json.dumps(item) for item in conversations(count, seed)]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    job = {
        "name": "tiny",
        "cluster": {"workers": 2, "num_cpus": 2},
        "storage": {"root": str(folder / "store")},
        "model": {"path": str(tiny_model), "name": "tiny-base"},
        "data": {"train": str(folder / "train.jsonl"), "heldout": str(folder / "heldout.jsonl"), "max_length": 128},
        "evaluate": {"questions": ["the cat sees"], "max_new_tokens": 8},
        "train": {
            "adapter": {"lora": {"rank": 8}},
            "steps": STEPS,
            "batch": {"sequences": 8, "micro": 2},
            "learning_rate": 0.02,
            "dtype": "float32",
            "checkpoint": {"every_steps": 2},
        },
        "quantize": {
            "measure": {"sequences": 2},
            "gate": {"min_agreement": 0.5},
        },  # a random model is full of near ties
        "serve": {"port": 0, "engine": {"kind": "llama_cpp", "context_tokens": 256, "num_parallel": 2}},
    }
    (folder / "job.yaml").write_text(yaml.safe_dump(job))
    return folder


def raysmith(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "jobs", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=400)


def report_of(folder: Path, name: str) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((folder / "store" / "runs" / name / "report.json").read_text())
    return report


@pytest.fixture(scope="module")
def finished(folder: Path) -> subprocess.CompletedProcess[str]:
    """The first run of the whole job."""
    result = raysmith(folder, "run", "job.yaml")
    assert result.returncode == 0, result.stdout + result.stderr
    return result


def test_a_job_goes_from_model_to_endpoint(folder: Path, finished: subprocess.CompletedProcess[str]) -> None:
    report = report_of(folder, "tiny")
    stages = report["stages"]
    assert report["status"] == "done"
    assert stages["evaluate_after"]["heldout_loss"] < 0.75 * stages["evaluate_before"]["heldout_loss"]
    assert stages["merge"]["handoff"]["adapter_to_merged"]["kl"] < 0.01
    assert stages["merge"]["handoff"]["base_to_adapter"]["mean_abs_logprob_diff"] > 0.01
    assert stages["quantize"]["handoff"]["merged_to_quantized"]["kl"] < 0.15
    assert stages["serve"]["answers"][0]["question"] == "the cat sees"
    assert "raysmith chat tiny" in finished.stdout
    assert (folder / "store/runs/tiny/report.html").stat().st_size > 10_000
    assert list((folder / "store/runs/tiny/tensorboard").glob("events*"))
    assert not (folder / "store/endpoints/tiny/private.json").exists()
    assert list((folder / "store/runs/tiny/attempts/001/logs").iterdir())
    measured = max(worker["peak_bytes"] for worker in stages["train"]["memory"])
    assert report["worker_memory"]["total"] == pytest.approx(measured, rel=0.25)


def test_lineage_leads_from_the_served_file_to_data_and_base(
    folder: Path, finished: subprocess.CompletedProcess[str]
) -> None:
    shown = raysmith(folder, "trace", "tiny-quantized", "--storage", "store").stdout
    store = ArtifactStore(folder / "store")
    for name in ("tiny-quantized", "tiny-merged", "tiny-adapter", "dataset", "tiny-base"):
        assert store.get(name).id in shown
    for manifest in map(store.get, store.names()):
        store.verify(manifest)


def test_nothing_is_done_twice(folder: Path, finished: subprocess.CompletedProcess[str]) -> None:
    before = report_of(folder, "tiny")["stages"]
    began = time.monotonic()
    result = raysmith(folder, "run", "job.yaml")
    assert result.returncode == 0, result.stdout + result.stderr
    after = report_of(folder, "tiny")["stages"]
    reused = [name for name, stage in after.items() if stage.get("reused")]
    assert set(reused) == set(after) - {"serve"}
    assert all(before[name]["artifact"] == after[name]["artifact"] for name in reused if "artifact" in before[name])
    assert time.monotonic() - began < 120


@pytest.mark.slow
def test_an_interrupted_and_then_killed_driver_resumes_as_if_nothing_had_happened(folder: Path) -> None:
    steps = 120
    arguments = ["run", "job.yaml", f"train.steps={steps}", "train.adapter=null", "train.learning_rate=0.001"]
    arguments += ["train.checkpoint.every_steps=10", "quantize=null", "serve=null", "evaluate.questions=[]"]
    stopped = [*arguments, "name=stopped"]
    run = folder / "store/runs/stopped"

    assert _stop_in_training(folder, stopped, run, signal.SIGINT) == 130
    assert report_of(folder, "stopped")["status"] == "interrupted"
    assert _stop_in_training(folder, stopped, run, signal.SIGKILL) == -signal.SIGKILL
    assert "stopped-model" not in ArtifactStore(folder / "store").names()
    elsewhere = ["cluster.workers=1", "train.deepspeed.stage=0", "train.batch.micro=4"]  # the same training
    for command in ([*stopped, *elsewhere], [*arguments, "name=whole", "--fresh"]):
        result = raysmith(folder, *command)
        assert result.returncode == 0, result.stdout + result.stderr

    metrics, whole = (read_metrics(folder / "store/runs" / name / "metrics.jsonl") for name in ("stopped", "whole"))
    assert [record["step"] for record in metrics] == list(range(1, steps + 1))
    attempts = [record["attempt"] for record in metrics]
    assert sorted(set(attempts)) == ["001", "002", "003"], "each attempt went on from the one before"
    assert attempts == sorted(attempts)
    assert [one["samples"] for one in metrics] == [one["samples"] for one in whole]
    # One worker adds up in another order than two, and training makes that grow.
    assert [one["loss"] for one in metrics] == pytest.approx([one["loss"] for one in whole], rel=2e-3)
    report = report_of(folder, "stopped")
    assert report["status"] == "done"
    trained = report["stages"]["train"]
    assert trained["workers"] == 1
    assert [event[:16] for _, event in trained["events"]] == ["resumed at step ", "resumed at step "]
    losses = [report["stages"][f"evaluate_{when}"]["heldout_loss"] for when in ("before", "after")]
    assert losses[1] < losses[0]


def _stop_in_training(folder: Path, arguments: list[str], run: Path, with_signal: signal.Signals) -> int:
    """Start a job, send a signal once it has completed a checkpoint of its own, and give its exit code."""
    before = _complete(run)
    command = [sys.executable, "-m", "jobs", *arguments]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 200
    while not _complete(run) - before:
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            pytest.fail(f"no checkpoint; the job ended with {process.wait()}")
        time.sleep(0.02)
    os.kill(process.pid, with_signal)
    return process.wait(timeout=60)


def _complete(run: Path) -> set[str]:
    return {str(marker) for marker in run.glob("train/train-*/checkpoints/step-*/complete.json")}
