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
            "adapter": {"rank": 8},
            "steps": STEPS,
            "batch": {"sequences": 2, "accumulation": 2},
            "learning_rate": 0.02,
            "dtype": "float32",
            "checkpoint": {"every_steps": 2},
        },
        "quantize": {"method": "kquants", "sequences": 2},
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
    assert stages["quantize"]["handoff"]["merged_to_quantized"]["top1_agreement"] >= 0.8
    assert stages["serve"]["answers"][0]["question"] == "the cat sees"
    assert "raysmith chat tiny" in finished.stdout
    assert (folder / "store/runs/tiny/report.html").stat().st_size > 10_000
    assert list((folder / "store/runs/tiny/tensorboard").glob("events*"))
    assert not (folder / "store/runs/tiny/endpoint.json").exists()
    assert list((folder / "store/runs/tiny/attempts/001/logs").iterdir())


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


def test_a_killed_driver_resumes_from_its_checkpoint(folder: Path) -> None:
    arguments = [sys.executable, "-m", "jobs", "run", "job.yaml", "name=killed", "train.seed=7", "train.steps=12"]
    process = subprocess.Popen(arguments, cwd=folder, stdout=subprocess.PIPE, text=True, start_new_session=True)
    checkpoints = folder / "store/runs/killed/train"
    deadline = time.monotonic() + 200
    while len(list(checkpoints.glob("train-*/checkpoint_*"))) < 2:
        assert process.poll() is None, process.stdout.read() if process.stdout else ""
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    store = ArtifactStore(folder / "store")
    assert "killed-adapter" not in store.names()
    result = raysmith(folder, "run", *arguments[4:])
    assert result.returncode == 0, result.stdout + result.stderr
    run = folder / "store/runs/killed"
    metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [record["step"] for record in metrics] == list(range(1, 13))
    resumed = [record["attempt"] for record in metrics].index("002")
    assert resumed >= 2, "it began anew instead of going on from the checkpoint"
    assert all(record["attempt"] == "002" for record in metrics[resumed:])
    assert report_of(folder, "killed")["status"] == "done"
