"""`raysmith submit` against a real head that runs beside the test, with its own ports, token and temporary folder."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import yaml
from ray.job_submission import JobStatus

from cluster.connect import prepare_environment
from cluster.errors import ClusterError, ConfigError, ModelError
from cluster.submit import Ending, RemoteJobs
from jobs import submit as submit_module
from jobs.config import JobConfig
from jobs.submit import package
from tests.conftest import REPOSITORY
from tests.tiny import conversations

START_S, JOB_S, REFUSED_S = 120, 400, 30  # limits for a busy machine


class Head(NamedTuple):
    """A running head."""

    address: str
    token_file: Path


def clean_environment(**variables: str) -> dict[str, str]:
    """The environment without what Ray, or other tests, have left in it."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("RAY_") and key != "PYTHONPATH"}
    return kept | {"RAY_USAGE_STATS_ENABLED": "0"} | variables


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    folder = Path(tempfile.mkdtemp(prefix="rs-"))  # not tmp_path: the paths of Ray's sockets must be short
    token_file = folder / "token"
    token_file.write_text(secrets.token_hex(32))
    environment = clean_environment(
        RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="0", RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH=str(token_file),
        PATH="/usr/bin:/bin",  # as on a node whose virtual environment is not activated
    )  # fmt: skip
    names = (
        "port", "dashboard-port", "dashboard-agent-listen-port", "dashboard-agent-grpc-port", "runtime-env-agent-port",
        "metrics-export-port", "ray-client-server-port",
    )  # fmt: skip
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    command = [
        sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--disable-usage-stats",
        "--node-ip-address=127.0.0.1", "--dashboard-host=127.0.0.1", "--num-cpus=2",
        "--object-store-memory=100000000", f"--temp-dir={folder / 'ray'}",
        *(f"--{name}={port}" for name, port in ports.items()),
    ]  # fmt: skip
    log = folder / "head.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            command, env=environment, cwd=folder, stdout=output, stderr=output, start_new_session=True
        )
    try:
        started = Head(f"http://127.0.0.1:{ports['dashboard-port']}", token_file)
        wait_until(lambda: process.poll() is not None or answers(started), START_S)
        assert process.poll() is None, log.read_text()
        yield started
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # SIGTERM makes Ray drain the node, half a minute
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def answers(head: Head) -> bool:
    headers = {"Authorization": f"Bearer {head.token_file.read_text()}"}
    try:
        with urllib.request.urlopen(urllib.request.Request(f"{head.address}/api/version", headers=headers), timeout=5):
            return True
    except OSError:
        return False


def wait_until(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.3)


@pytest.fixture
def job_file(tmp_path: Path, tiny_model: Path) -> Path:
    """A job whose data lies beside it, under relative paths."""
    for part, seed in (("train", 0), ("heldout", 1)):
        lines = [json.dumps(conversation) for conversation in conversations(16, seed)]
        (tmp_path / f"{part}.jsonl").write_text("\n".join(lines) + "\n")
    job = {
        "name": "sent",
        "storage": {"root": "storage"},
        "model": {"path": str(tiny_model), "name": "tiny"},
        "data": {"train": "train.jsonl", "heldout": "./heldout.jsonl", "name": "pairs", "max_length": 128},
        "train": {"steps": 2, "learning_rate": 1.0e-3, "batch": {"sequences": 2}, "dtype": "float32"},
    }
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(job))
    return path


def start(job_file: Path, address: str, *overrides: str, **variables: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "jobs", "submit", job_file.name, *overrides, "--address", address],
        cwd=job_file.parent, env=clean_environment(PYTHONPATH=str(REPOSITORY), **variables), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def submit(job_file: Path, address: str, *overrides: str, **variables: str) -> subprocess.CompletedProcess[str]:
    with start(job_file, address, *overrides, **variables) as process:
        try:
            stdout, stderr = process.communicate(timeout=JOB_S)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


def test_a_submitted_job_runs_on_the_cluster_and_is_followed(head: Head, job_file: Path) -> None:
    # The variable would win over --address, were it left alone.
    done = submit(job_file, head.address, RAY_AUTH_TOKEN_PATH=str(head.token_file), RAY_ADDRESS="127.0.0.1:1")
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((job_file.parent / "storage/runs/sent/report.json").read_text())
    assert report["status"] == "done"
    assert report["stages"]["train"]["steps"] == 2
    config = yaml.safe_load((job_file.parent / "storage/runs/sent/config.yaml").read_text())
    assert config["cluster"]["address"] == "auto"
    assert config["data"]["train"] == "files/data.train/train.jsonl"
    for line in ("sent: model → data → train", "training loss", "published              pairs-tokens", "succeeded"):
        assert line in done.stdout
    assert done.stdout.count("training loss") == 1
    assert "Traceback" not in done.stdout + done.stderr


def test_a_job_that_fails_on_the_cluster_fails_here(head: Head, job_file: Path) -> None:
    done = submit(
        job_file,
        head.address,
        "cluster.workers=64",
        "train.batch.sequences=64",
        RAY_AUTH_TOKEN_PATH=str(head.token_file),
    )
    assert done.returncode == 1
    assert "ResourceError: The cluster can never hold the training workers" in done.stdout
    assert "failed with exit code 1" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_ctrl_c_leaves_the_job_running(head: Head, job_file: Path) -> None:
    token = {"RAY_AUTH_TOKEN_PATH": str(head.token_file)}
    with start(job_file, head.address, "cluster.workers=64", "train.batch.sequences=64", **token) as process:
        assert process.stdout is not None
        while "Running entrypoint" not in (line := process.stdout.readline()):
            assert line, "the job never began"
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=REFUSED_S)
    assert process.returncode == 130
    assert "the job goes on" in said
    again, stop = (line.strip() for line in said.splitlines()[-2:])
    assert " job stop " in stop
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    log = subprocess.run(
        again, shell=True, env=clean_environment(PATH=path, **token), capture_output=True, text=True, timeout=JOB_S
    )
    assert "The cluster can never hold the training workers" in log.stdout


@pytest.mark.parametrize("token", ["wrong", None])
def test_a_refused_token_says_what_to_do(head: Head, job_file: Path, tmp_path: Path, token: str | None) -> None:
    variables = {"HOME": str(tmp_path)} | ({"RAY_AUTH_TOKEN": token} if token else {})
    began = time.monotonic()
    done = submit(job_file, head.address, **variables)
    assert time.monotonic() - began < REFUSED_S
    assert done.returncode == 1
    assert "ClusterError: The cluster refuses the token" in done.stderr
    assert "RAY_AUTH_TOKEN_PATH" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_address_where_nothing_answers(job_file: Path) -> None:
    done = submit(job_file, f"http://127.0.0.1:{free_ports(1)[0]}")
    assert done.returncode == 1
    assert "ClusterError: No Ray dashboard answers at this address" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_host_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cluster.submit._ANSWER_S", 0.5)
    monkeypatch.delenv("RAY_API_SERVER_ADDRESS", raising=False)
    with socket.socket() as silent, pytest.raises(Exception, match="No Ray dashboard answers"):
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        RemoteJobs(f"http://127.0.0.1:{silent.getsockname()[1]}")


@pytest.mark.parametrize("address", ["auto", "ray://host:10001", "127.0.0.1:8265", "http://"])
def test_an_address_that_is_no_dashboard(address: str) -> None:
    with pytest.raises(ConfigError, match="http://HOST:8265"):
        RemoteJobs(address)


def load(job_file: Path, monkeypatch: pytest.MonkeyPatch, **sections: Any) -> JobConfig:
    monkeypatch.chdir(job_file.parent)
    return JobConfig.model_validate(yaml.safe_load(job_file.read_text()) | sections)


def test_what_is_sent(job_file: Path, tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "storage").mkdir()
    (tmp_path / "storage/model").symlink_to(tiny_model)
    (tmp_path / "model").mkdir()
    job = load(job_file, monkeypatch, model={"path": "storage/model"}, cluster={"address": "10.0.0.1:6379"})
    folder = tmp_path / "sent"
    config = package(job, folder)
    again = JobConfig.model_validate(yaml.safe_load((folder / "job.yaml").read_text()))
    assert again.resolved() == config
    assert again.cluster.address == "auto"
    assert again.storage.root == tmp_path / "storage"
    assert again.model.path == tmp_path / "storage/model"  # under storage.root: not sent
    for key, path in (("data.train", again.data.train), ("data.heldout", again.data.heldout)):  # type: ignore[union-attr]
        assert path.parent == Path("files", key)
        assert (folder / path).read_bytes() == (tmp_path / path.name).read_bytes()
    assert {path.name for path in folder.iterdir()} == {"job.yaml", "files", *submit_module._CODE}
    assert (folder / "jobs/__main__.py").is_file()
    assert not list(folder.rglob("__pycache__"))


def test_a_model_folder_is_sent_whole(job_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = load(job_file, monkeypatch)
    config = package(job, tmp_path / "sent")
    sent = tmp_path / "sent" / config["model"]["path"]
    assert {file.name for file in sent.iterdir()} == {file.name for file in Path(str(job.model.path)).iterdir()}


def test_what_is_too_large_is_refused(job_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submit_module, "_MAX_BYTES", 100_000)
    with pytest.raises(ConfigError, match=r"under storage\.root") as refused:
        package(load(job_file, monkeypatch), tmp_path / "sent")
    assert refused.value.field == "model.path"


def test_files_are_checked_before_anything_is_sent(
    job_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ModelError, match="no model at that path"):
        package(load(job_file, monkeypatch, model={"path": "train.jsonl"}), tmp_path / "a")
    (tmp_path / "heldout.jsonl").unlink()
    with pytest.raises(ConfigError, match="missing") as refused:
        package(load(job_file, monkeypatch), tmp_path / "b")
    assert refused.value.field == "data.heldout"


class Flaky:
    """A client whose connection breaks after each of `readings` but the last, and is silent once they are used up."""

    def __init__(self, *readings: list[str]) -> None:
        self.readings = list(readings)

    async def tail_job_logs(self, _job_id: str) -> AsyncIterator[str]:
        pieces = self.readings.pop(0) if self.readings else []
        for piece in pieces:
            yield piece
        if self.readings or not pieces:
            raise RuntimeError("WebSocket connection closed unexpectedly")

    def get_job_info(self, _job_id: str) -> SimpleNamespace:
        if self.readings:
            raise ConnectionError
        return SimpleNamespace(status=JobStatus.FAILED, driver_exit_code=3, message="")


@pytest.fixture
def flaky(monkeypatch: pytest.MonkeyPatch) -> Callable[..., RemoteJobs]:
    def make(*readings: list[str]) -> RemoteJobs:
        monkeypatch.setattr("cluster.submit._RETRY_S", 0)
        monkeypatch.setattr("cluster.submit._client", lambda _: Flaky(*readings))
        return RemoteJobs("http://host:8265")

    return make


def test_a_broken_connection_is_made_again_and_no_line_lost(flaky: Callable[..., RemoteJobs]) -> None:
    shown: list[str] = []
    remote = flaky(["one\n", "two\n"], ["one\ntwo\nth"], [], ["one\n", "two\nthree\n"])
    ending = remote.follow("job", shown.append)
    assert "".join(shown) == "one\ntwo\nthree\n"
    assert ending == Ending(False, "failed with exit code 3; its log above says why")


def test_a_cluster_that_is_gone_is_given_up(flaky: Callable[..., RemoteJobs]) -> None:
    with pytest.raises(ClusterError, match="the job may go on"):
        flaky(*[[] for _ in range(50)]).follow("job", print)


@pytest.mark.parametrize("token", [True, False])
def test_a_token_is_used_where_there_is_one(token: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("RAY_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    # setenv, so that what prepare_environment sets is undone as well
    for name in ("RAY_AUTH_MODE", "RAY_USAGE_STATS_ENABLED"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    if token:
        (tmp_path / ".ray").mkdir()
        (tmp_path / ".ray/auth_token").write_text("secret")
    prepare_environment(embedded=False)
    assert os.environ.get("RAY_AUTH_MODE") == ("token" if token else None)
    assert "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER" not in os.environ
