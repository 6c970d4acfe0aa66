"""`raysmith submit` against a real cluster of two nodes that runs beside the test, with a token of its own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ray.exceptions import AuthenticationError
from ray.job_submission import JobStatus

from cluster.connect import prepare_environment
from cluster.errors import ClusterError, ConfigError, ModelError
from cluster.submit import STOPPED, Ending, RemoteJobs, _ending
from jobs import submit_package
from jobs.config import JobConfig
from jobs.parcel import Parcel, load_parcel
from jobs.submit_package import package
from tests.conftest import REPOSITORY
from tests.tiny import conversations
from tests.two_nodes import TwoNodes

JOB_S = 400  # a limit for a busy machine


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


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


def start(environment: dict[str, str], folder: Path, *words: str, **variables: str) -> subprocess.Popen[str]:
    """`raysmith WORDS` in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "jobs", *words], cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=environment | {"PYTHONPATH": str(REPOSITORY), "COLUMNS": "200"} | variables,
    )  # fmt: skip


def raysmith(
    environment: dict[str, str], folder: Path, *words: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    with start(environment, folder, *words, **variables) as process:
        try:
            stdout, stderr = process.communicate(timeout=JOB_S)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


TWO_WORKERS = ("cluster.workers=2", "train.batch.sequences=2")
TOO_MANY = ("cluster.workers=64", "train.batch.sequences=64")


def test_a_submitted_job_runs_on_two_nodes_and_is_followed(two_nodes: TwoNodes, job_file: Path) -> None:
    # The variables would win over the cluster that is up, were they left alone.
    done = raysmith(
        two_nodes.environment, job_file.parent, "submit", job_file.name, *TWO_WORKERS,
        RAY_ADDRESS="127.0.0.1:1", RAY_AUTH_TOKEN="wrong",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    run = job_file.parent / "storage/runs/sent"
    report = json.loads((run / "report.json").read_text())
    assert report["status"] == "done"
    assert report["stages"]["train"]["steps"] == 2
    assert report["stages"]["train"]["workers"] == 2
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["cluster"]["address"] == "auto"
    assert config["data"]["train"] == "files/data.train/train.jsonl"
    for line in ("sent: model → data → train", "training loss", "published              pairs-tokens", "succeeded"):
        assert line in done.stdout
    assert done.stdout.count("training loss") == 1
    assert "Traceback" not in done.stdout + done.stderr
    assert not list(job_file.parent.glob("storage/.preflight-*"))
    secret = two_nodes.record.token_file.read_text()
    assert secret not in done.stdout + done.stderr
    listed = raysmith(two_nodes.environment, job_file.parent, "jobs")
    [row] = [line.split() for line in listed.stdout.splitlines() if " sent.1 " in line]
    assert row[:4] == ["sent", "sent.1", "run", "done"]
    assert row[-2:] == ["0", str(run)]


def test_a_job_that_fails_on_the_cluster_fails_here_with_its_own_code(two_nodes: TwoNodes, job_file: Path) -> None:
    done = raysmith(two_nodes.environment, job_file.parent, "submit", job_file.name, "name=too-many", *TOO_MANY)
    assert done.returncode == 1
    assert "ResourceError: The cluster can never hold this job" in done.stdout
    assert "failed with exit code 1" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    again = raysmith(two_nodes.environment, job_file.parent, "logs", "-f", "too-many.1")
    assert again.returncode == 1
    assert "The cluster can never hold this job" in again.stdout


@pytest.mark.parametrize("token", ["wrong", None])
def test_a_refused_token_says_what_to_do(
    two_nodes: TwoNodes, job_file: Path, tmp_path: Path, token: str | None
) -> None:
    variables = {"HOME": str(tmp_path)} | ({"RAY_AUTH_TOKEN": token} if token else {})
    address = two_nodes.record.dashboard
    done = raysmith(two_nodes.environment, job_file.parent, "submit", job_file.name, "--address", address, **variables)
    assert done.returncode == 1
    assert "ClusterError: The cluster refuses the token" in done.stderr
    assert "--address" in done.stderr
    assert "RAY_AUTH_TOKEN_PATH" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_address_where_nothing_answers(job_file: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    address = f"http://127.0.0.1:{free_port()}"
    done = raysmith(environment, job_file.parent, "submit", job_file.name, "--address", address)
    assert done.returncode == 1
    assert "ClusterError: No Ray dashboard answers at this address" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_host_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cluster.dashboard._ANSWER_S", 0.5)
    monkeypatch.delenv("RAY_API_SERVER_ADDRESS", raising=False)
    with socket.socket() as silent, pytest.raises(Exception, match="No Ray dashboard answers"):
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        RemoteJobs(f"http://127.0.0.1:{silent.getsockname()[1]}")


@pytest.mark.parametrize("address", ["auto", "ray://host:10001", "127.0.0.1:8265", "http://"])
def test_an_address_that_is_no_dashboard(address: str) -> None:
    with pytest.raises(ConfigError, match="http://HOST:8265"):
        RemoteJobs(address)


def load(job_file: Path, monkeypatch: pytest.MonkeyPatch, **sections: Any) -> Parcel:
    monkeypatch.chdir(job_file.parent)
    job_file.write_text(yaml.safe_dump(yaml.safe_load(job_file.read_text()) | sections))
    return load_parcel(job_file)


def test_what_is_sent(job_file: Path, tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "storage").mkdir()
    (tmp_path / "storage/model").symlink_to(tiny_model)
    (tmp_path / "model").mkdir()
    parcel = load(job_file, monkeypatch, model={"path": "storage/model"}, cluster={"address": "10.0.0.1:6379"})
    folder = tmp_path / "sent"
    files = package(parcel, folder)
    again = JobConfig.model_validate(yaml.safe_load((folder / "job.yaml").read_text()))
    assert files == {"job.yaml": again.resolved()}
    assert again.cluster.address == "auto"
    assert again.storage.root == tmp_path / "storage"
    assert again.model.path == tmp_path / "storage/model"  # under storage.root: not sent
    for key, path in (("data.train", again.data.train), ("data.heldout", again.data.heldout)):  # type: ignore[union-attr]
        assert path.parent == Path("files", key)
        assert (folder / path).read_bytes() == (tmp_path / path.name).read_bytes()
    assert {path.name for path in folder.iterdir()} == {"job.yaml", "files", *submit_package._CODE}
    assert (folder / "jobs/__main__.py").is_file()
    assert not list(folder.rglob("__pycache__"))


def test_a_model_folder_is_sent_whole(
    job_file: Path, tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = package(load(job_file, monkeypatch), tmp_path / "sent")["job.yaml"]
    sent = tmp_path / "sent" / config["model"]["path"]
    assert {file.name for file in sent.iterdir()} == {file.name for file in tiny_model.iterdir()}


def test_what_is_too_large_is_refused(job_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submit_package, "_MAX_BYTES", 100_000)
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


def details(status: JobStatus, **values: Any) -> SimpleNamespace:
    """A job as Ray describes it."""
    given = {"submission_id": "job.1", "start_time": 0, "end_time": 0, "metadata": {}, "message": "why"}
    return SimpleNamespace(**{**given, "status": status, "driver_exit_code": None, "error_type": None, **values})


class Flaky:
    """A client whose connection breaks after each of `readings` but the last, and is silent once they are used up."""

    def __init__(self, *readings: list[str], failure: Exception | None = None) -> None:
        self.readings = list(readings)
        self.failure = failure or ConnectionError()

    async def tail_job_logs(self, _job_id: str) -> AsyncIterator[str]:
        pieces = self.readings.pop(0) if self.readings else []
        for piece in pieces:
            yield piece
        if self.readings or not pieces:
            raise RuntimeError("WebSocket connection closed unexpectedly")

    def get_job_info(self, _job_id: str) -> SimpleNamespace:
        if self.readings:
            raise self.failure
        return details(JobStatus.FAILED, driver_exit_code=3)


@pytest.fixture
def flaky(monkeypatch: pytest.MonkeyPatch) -> Callable[..., RemoteJobs]:
    def make(*readings: list[str], failure: Exception | None = None) -> RemoteJobs:
        monkeypatch.setattr("cluster.submit._RETRY_S", 0)
        monkeypatch.setattr("cluster.dashboard.connect", lambda _: Flaky(*readings, failure=failure))
        return RemoteJobs("http://host:8265")

    return make


def test_a_broken_connection_is_made_again_and_no_line_lost(flaky: Callable[..., RemoteJobs]) -> None:
    shown: list[str] = []
    remote = flaky(["one\n", "two\n"], ["one\ntwo\nth"], [], ["one\n", "two\nthree\n"])
    ending = remote.follow("job", shown.append)
    assert "".join(shown) == "one\ntwo\nthree\n"
    assert ending == Ending(3, "failed with exit code 3; its log above says why")


def test_a_cluster_that_is_gone_is_given_up(flaky: Callable[..., RemoteJobs]) -> None:
    told: list[str] = []
    with pytest.raises(ClusterError, match="the job may go on") as given_up:
        flaky(*[[] for _ in range(200)]).follow("job", print, told.append)
    assert [text.startswith("The cluster does not answer") for text in told] == [True]  # once, and long before
    assert str(given_up.value.fix).endswith("raysmith logs -f job --address http://host:8265")


def test_a_cluster_with_a_name_is_called_by_it() -> None:
    address = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(ClusterError, match="No Ray dashboard answers") as silent:
        RemoteJobs(address, "here")
    assert silent.value.field == "--cluster"
    assert f"here, {address}" in str(silent.value.got)
    assert "raysmith cluster status here" in str(silent.value.fix)


def test_a_head_that_comes_back_with_another_token(flaky: Callable[..., RemoteJobs]) -> None:
    with pytest.raises(ClusterError, match="refuses the token"):
        flaky(["one\n"], ["two\n"], failure=AuthenticationError("Unauthorized")).follow("job", print)


@pytest.mark.parametrize(
    ("described", "exit_code", "lost"),
    [
        (details(JobStatus.SUCCEEDED, driver_exit_code=0), 0, False),
        (details(JobStatus.FAILED, driver_exit_code=2), 2, False),
        (details(JobStatus.FAILED, driver_exit_code=-9), 137, True),
        (details(JobStatus.FAILED, driver_exit_code=-15), 143, False),
        (details(JobStatus.FAILED, error_type="JOB_SUPERVISOR_ACTOR_DIED"), 1, True),
        (details(JobStatus.FAILED, error_type="RUNTIME_ENV_SETUP_FAILURE"), 1, False),
        (details(JobStatus.STOPPED), STOPPED, False),
    ],
)
def test_how_a_job_ended(described: Any, exit_code: int, lost: bool) -> None:
    assert _ending(described)[::2] == (exit_code, lost)


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
