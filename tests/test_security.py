"""Secrets stay where they belong, heads want their token, and what holds pickles is one's own (docs/security.md)."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest
import yaml
from pydantic import ValidationError

from cluster import records
from cluster.config_file import load_config
from cluster.description import ClusterFile
from cluster.errors import ResourceError
from cluster.ownership import require_own
from cluster.providers import provider_of
from cluster.storage import read_json
from cluster.token import keep_token
from jobs.doctor.checks import heads
from jobs.doctor.finding import Subject
from serving.keys import digest_of
from tests.conftest import REPOSITORY
from tests.job_file import refusal
from tests.tiny import conversations
from tests.workers import run_workers

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="giving files away needs root")
PLANTED = {
    "RAY_AUTH_TOKEN": "planted0ray0token0" + "a1" * 23,
    "WANDB_API_KEY": "planted0wandb0key0" + "b2" * 11,
    "RAYSMITH_JUDGE_KEY": "planted-judge-key-c3c3c3",
    "AWS_SECRET_ACCESS_KEY": "planted/aws/secret/d4d4d4",
    "HF_TOKEN": "hf_plantedplantedplanted",
    "MLFLOW_TRACKING_PASSWORD": "planted-mlflow-e5e5",
    "RAYSMITH_REDIS_PASSWORD": "planted-redis-f6f6",
}
"""Secrets that users keep in the environment."""


PROMPT = "the cat plantedprompt sees"


class Ran(NamedTuple):
    """A job that ran with `PLANTED` in its environment and served, and what was seen of it meanwhile."""

    root: Path
    session: Path
    """Ray's own folder, copied before the job ended: its logs and settings."""
    output: str
    commands: set[str]
    """Command lines of all processes that were there."""
    key: str
    """The operator's, of the endpoint."""
    modes: dict[str, int]
    """Of the endpoint's files, while it was up."""
    trained: bool
    """Whether it trained, too."""


def watch(commands: set[str], done: threading.Event) -> None:
    """Collect command lines, as any user of the machine can."""
    while not done.wait(0.1):
        for file in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                commands.add(file.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
            except OSError:
                continue


@pytest.fixture(scope="module", params=["served", pytest.param("trained", marks=pytest.mark.slow)])
def ran(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, model: Path) -> Iterator[Ran]:
    """A whole job; the quick one quantizes and serves what it is given, which spares half of the time."""
    trained = request.param == "trained"
    folder = tmp_path_factory.mktemp("secrets")
    for name, seed in (("train", 0), ("heldout", 1)):
        lines = [json.dumps(item) for item in conversations(16, seed)]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    job = {
        "name": "watched",
        "cluster": {"workers": 1, "num_cpus": 2},
        "storage": {"root": str(folder / "store")},
        "model": {"path": str(model), "name": "watched-base"},
        "data": {"train": str(folder / "train.jsonl"), "heldout": str(folder / "heldout.jsonl"), "max_length": 128},
        "quantize": {"measure": {"sequences": 2}, "gate": {"min_agreement": 0.01}},
        "serve": {"port": 0, "prove": False, "engine": {"kind": "llama_cpp", "context_tokens": 256}},
    }  # fmt: skip
    if trained:
        job["train"] = {
            "steps": 2, "batch": {"sequences": 4, "micro": 4}, "learning_rate": 0.01, "dtype": "float32",
            "checkpoint": {"every_steps": 1},
        }  # fmt: skip
    (folder / "job.yaml").write_text(yaml.safe_dump(job))
    temporary = Path(tempfile.mkdtemp(prefix="h"))  # short: paths of sockets hold 107 characters
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    environment |= {**PLANTED, "TMPDIR": str(temporary), "HOME": str(folder)}
    commands: set[str] = set()
    done = threading.Event()
    watcher = threading.Thread(target=watch, args=(commands, done))
    watcher.start()
    log = folder / "output.txt"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "jobs", "run", "job.yaml", "--keep-serving", "data.max_length=100"],
            cwd=folder, env={**environment, "PYTHONPATH": str(REPOSITORY)}, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        endpoint = folder / "store" / "endpoints" / "watched"
        while "Serving on" not in log.read_text():
            assert process.poll() is None, log.read_text()
            time.sleep(0.2)
        key = read_json(endpoint / "private.json")["api_key"]
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in endpoint.iterdir() if file.is_file()}
        ask(log.read_text(), key)
        session = folder / "session"
        copy_files(temporary, session)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(120)
        done.set()
        watcher.join()
        shutil.rmtree(temporary, ignore_errors=True)
    yield Ran(folder / "store", session, log.read_text(), commands, key, modes, trained)


def ask(output: str, key: str) -> None:
    import httpx

    (url,) = re.findall(r"Serving on (http://\S+?)\. ", output)
    body = {"model": "watched", "messages": [{"role": "user", "content": PROMPT}], "max_tokens": 2}
    for given, status in ((key, 200), ("rs-" + "wrong" * 8, 401)):
        answer = httpx.post(
            f"{url}/chat/completions", json=body, headers={"Authorization": f"Bearer {given}"}, timeout=60,
            trust_env=False,
        )  # fmt: skip
        assert answer.status_code == status, answer.text


def copy_files(source: Path, target: Path) -> None:
    """Ordinary files alone: Ray's folder holds sockets, and links to itself."""
    for file in source.rglob("*"):
        if file.is_file() and not file.is_symlink():
            place = target / file.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, place)


def holding(folder: Path, secret: str) -> list[str]:
    """The files in which a text stands."""
    return [
        str(file.relative_to(folder))
        for file in folder.rglob("*")
        if file.is_file() and not file.is_symlink() and secret.encode() in file.read_bytes()
    ]


def test_the_search_finds_what_is_there(ran: Ran) -> None:
    assert holding(ran.root, digest_of(ran.key)) == ["endpoints/watched/keys.json"]
    assert holding(ran.root, '"watched"')
    assert any("job.yaml" in command for command in ran.commands)
    assert any("raylet" in command for command in ran.commands)
    assert list(ran.session.rglob("raylet.out"))
    for file in ("report.html", "report.json", "attempts/001/environment.json", "config.yaml"):
        assert (ran.root / "runs" / "watched" / file).is_file()
    assert list(ran.root.glob("artifacts/objects/*/manifest.json"))
    logs = ran.root / "runs" / "watched" / "attempts" / "001" / "logs"
    assert not ran.trained or list(logs.iterdir())


@pytest.mark.parametrize("name", PLANTED)
def test_a_secret_of_the_environment_is_written_nowhere(ran: Ran, name: str) -> None:
    secret = PLANTED[name]
    assert holding(ran.root, secret) == []
    assert holding(ran.session, secret) == []
    assert secret not in ran.output
    assert [command for command in ran.commands if secret in command] == []


def test_an_endpoints_key_is_written_nowhere(ran: Ran) -> None:
    assert holding(ran.root, ran.key) == []  # private.json went with the endpoint
    assert holding(ran.session, ran.key) == []
    assert ran.key not in ran.output
    assert [command for command in ran.commands if ran.key in command] == []
    assert holding(ran.session, "rs-wrongwrong") == []


def test_what_clients_write_is_in_no_log(ran: Ran) -> None:
    assert holding(ran.root, "plantedprompt") == []
    assert holding(ran.session, "plantedprompt") == []
    assert "plantedprompt" not in ran.output


def test_files_with_keys_are_their_owners(ran: Ran) -> None:
    assert (ran.modes["private.json"], ran.modes["keys.json"]) == (0o600, 0o600)


def test_nothing_that_was_written_can_be_written_by_others(ran: Ran) -> None:
    open_to_all = [
        str(path.relative_to(ran.root))
        for path in ran.root.rglob("*")
        if not path.is_symlink() and path.stat().st_mode & stat.S_IWOTH
    ]
    assert open_to_all == []


def test_a_runs_folder_holds_no_pickles(ran: Ran) -> None:
    suffixes = {".pkl", ".pickle", ".pt", ".pth", ".bin", ".joblib", ".ckpt", ".npy"}
    assert [str(path) for path in ran.root.rglob("*") if path.suffix in suffixes] == []
    protocols = tuple(bytes([0x80, version]) for version in (2, 3, 4, 5))
    begun = [path for path in ran.root.rglob("*") if path.is_file() and path.read_bytes()[:2] in protocols]
    assert begun == []


# Secrets in configurations


@pytest.mark.parametrize(
    "override",
    [
        "train.checkpoint.folder=s3://AKIAKEY:planted-secret@bucket/prefix",
        "data={kind: text, sources: [{path: 's3://AKIAKEY:planted-secret@bucket/x.jsonl'}]}",
        "train.trackers=[{kind: wandb, api_key: planted-secret}]",
        "train.hf_token=planted-secret",
        "storage.password=planted-secret",
    ],
)
def test_a_secret_in_a_configuration_is_refused_and_not_repeated(
    override: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.job_file import JOB

    monkeypatch.chdir(tmp_path)
    assert "planted-secret" not in str(refusal(JOB, override))


def test_addresses_of_services_hold_no_secret() -> None:
    from trainers.rl.judge_config import EndpointConfig
    from trainers.trackers.mlflow import Config as MLflow

    for make in (
        lambda: EndpointConfig(url="https://me:planted-secret@judge.example/v1", model="x"),
        lambda: MLflow(uri="postgresql://me:planted-secret@db.example/mlflow"),
    ):
        with pytest.raises(ValidationError) as caught:
            make()
        assert "must not hold credentials" in str(caught.value)
    assert EndpointConfig(url="http://127.0.0.1:8000/v1", model="x").url.startswith("http")


# Ray's token, and heads


def test_the_accounts_token_is_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    previous = os.umask(0)
    try:
        file = keep_token()
    finally:
        os.umask(previous)
    made = file.read_text()
    assert (file, stat.S_IMODE(file.stat().st_mode)) == (tmp_path / ".ray" / "auth_token", 0o600)
    assert re.fullmatch("[0-9a-f]{64}", made)
    file.chmod(0o644)  # as Ray writes it
    assert keep_token().read_text() == made
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in file.parent.iterdir()] == ["auth_token"]


def test_processes_that_start_together_share_one_token(tmp_path: Path) -> None:
    code = "from cluster.token import keep_token; print(keep_token().read_text())"
    started = [
        subprocess.Popen([sys.executable, "-c", code], cwd=REPOSITORY, env={**os.environ, "HOME": str(tmp_path)},
                         stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]  # fmt: skip
    assert len({process.communicate(timeout=60)[0] for process in started}) == 1


DESCRIPTIONS = sorted((REPOSITORY / "configs" / "cluster").glob("*.yaml"))


@pytest.mark.parametrize("path", DESCRIPTIONS, ids=lambda path: path.stem)
def test_no_cluster_is_rendered_without_its_token(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(records.ENVIRONMENT_VARIABLE, str(tmp_path / "home"))
    written = provider_of(load_config(ClusterFile, path)).render(tmp_path / "rendered")
    text = "\n".join(re.sub(r"\s*\\?\n\s*", " ", file.read_text()) for file in written)
    if path.stem == "kuberay":
        kinds = [one for file in written for one in yaml.safe_load_all(file.read_text())]
        inside = ("rayClusterSpec", "rayClusterConfig")
        rays = [one["spec"] for one in kinds if one and one["kind"].startswith("Ray")]
        specs = [next((spec[key] for key in inside if key in spec), spec) for spec in rays]
        assert specs
        assert all(spec["authOptions"]["mode"] == "token" for spec in specs)
    else:
        (start,) = re.findall(r"\bstart --head .*?--dashboard-host[= ]'?([\w.:]+)", text)
        assert start == "127.0.0.1"
        assert "RAY_AUTH_MODE=token" in text
        assert "--node-ip-address=0.0.0.0" not in text
    assert not re.search("LoadBalancer|NodePort|RAY_AUTH_MODE=disabled", text)


@pytest.fixture
def open_head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A real head that was started without a token, on loopback; its dashboard's address."""
    ports = []
    for _ in range(2):
        with socket.create_server(("127.0.0.1", 0)) as probe:
            ports.append(probe.getsockname()[1])
    temporary = tempfile.mkdtemp(prefix="o")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    environment |= {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    process = subprocess.Popen(
        [str(Path(sys.executable).parent / "ray"), "start", "--head", "--block", "--node-ip-address=127.0.0.1",
         f"--port={ports[0]}", f"--dashboard-port={ports[1]}", "--dashboard-host=127.0.0.1", "--num-cpus=1",
         f"--temp-dir={temporary}", "--object-store-memory=80000000"],
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        while True:
            assert process.poll() is None
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", ports[1])) == 0:
                    break
            time.sleep(0.2)
        yield f"http://127.0.0.1:{ports[1]}"
    finally:
        started = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        process.wait(60)
        for one in psutil.wait_procs(started, timeout=20)[1]:
            one.kill()
        shutil.rmtree(temporary, ignore_errors=True)


@pytest.mark.slow
def test_the_doctor_finds_a_head_without_a_token(
    open_head: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(records.ENVIRONMENT_VARIABLE, str(tmp_path))
    records.keep(records.ClusterRecord(name="bare", provider="local", dashboard=open_head, address="127.0.0.1:1"))
    deadline = time.monotonic() + 60
    while True:
        found = {one.name: one for one in heads.check(Subject(tmp_path))}["cluster bare"]
        if "does not answer" not in found.found or time.monotonic() > deadline:
            break
        time.sleep(0.5)
    assert found.state == "warning"  # on loopback: every user of this machine
    assert "takes jobs without a token" in found.found


# What models write


def test_a_completion_of_brackets_does_not_end_the_reward() -> None:
    from trainers.rewards import Sample
    from trainers.rewards.json_schema import Config, score

    nested = Config(schema_of_answer={"type": "array", "items": {"$ref": "#"}})
    for depth, reward in ((50, 1.0), (300, 0.0), (100_000, 0.0)):
        completion = "[" * depth + "]" * depth
        assert score(nested, Sample("", completion, [], 0, ended=True, record={})) == reward


# What holds pickles


@pytest.fixture
def checkpoints(tmp_path: Path) -> Path:
    folder = tmp_path / "trl" / "checkpoint-2"
    folder.mkdir(parents=True)
    (folder / "optimizer.pt").write_bytes(b"\x80\x04.")
    (folder / "complete.json").write_text('{"workers": 1, "stage": 1}')
    return folder


def spoil(folder: Path, how: str) -> None:
    file = folder / "optimizer.pt"
    if how == "mode":
        file.chmod(0o666)
    elif how == "folder":
        folder.chmod(0o777)
    elif how == "owner":
        os.chown(file, 12345, -1)
    else:
        file.rename(folder.parent / "elsewhere")
        file.symlink_to(folder.parent / "elsewhere")


@pytest.mark.parametrize("how", ["mode", "folder", pytest.param("owner", marks=needs_root), "link"])
def test_pickles_that_others_may_have_written_are_not_read(checkpoints: Path, how: str) -> None:
    require_own(checkpoints)
    before = sorted(checkpoints.iterdir())
    spoil(checkpoints, how)
    with pytest.raises(ResourceError, match="somebody else"):
        require_own(checkpoints)
    assert sorted(checkpoints.iterdir()) == before


@needs_root
def test_files_on_a_read_only_mount_are_judged_too(tmp_path: Path) -> None:
    folder = tmp_path / "mounted"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "none", folder], check=True)
    try:
        (folder / "optimizer.pt").write_bytes(b"\x80\x04.")
        subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
        require_own(folder)
        subprocess.run(["mount", "-o", "remount,rw", folder], check=True)
        (folder / "optimizer.pt").chmod(0o666)
        subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
        with pytest.raises(ResourceError, match="somebody else"):
            require_own(folder)
    finally:
        subprocess.run(["umount", folder], check=True)


def test_what_torch_compiles_is_kept_where_nobody_else_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from trainers.build import _compile

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "")
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    _compile(torch.nn.Sequential(torch.nn.ModuleList([torch.nn.Linear(2, 2)])))
    assert Path(os.environ["TORCHINDUCTOR_CACHE_DIR"]).is_relative_to(Path.home())


def newest(rank: int, count: int, folder: Path) -> Any:
    from trainers.config import CheckpointConfig
    from trainers.trl_log import Checkpoints

    checkpoints = Checkpoints(folder, CheckpointConfig(), rank, count, 1)
    try:
        return checkpoints.newest()
    except ResourceError as error:
        return str(error.got)


def test_trl_resumes_from_files_of_its_own_alone(checkpoints: Path, tmp_path: Path) -> None:
    assert run_workers(1, tmp_path / "one", newest, checkpoints.parent) == [2]
    spoil(checkpoints, "mode")
    assert run_workers(1, tmp_path / "two", newest, checkpoints.parent) == ["can be written by every user"]


# The document


def test_every_test_that_the_document_names_is_there() -> None:
    text = (REPOSITORY / "docs" / "security.md").read_text()
    named = set(re.findall(r"`(test_\w+\.py)::(test_\w+)`", text))
    assert len(named) > 40
    for file, test in named:
        assert f"def {test}(" in (REPOSITORY / "tests" / file).read_text(), f"{file}::{test}"
    for path in set(re.findall(r"`((?:cluster|trainers|serving|jobs)/[\w/]+\.py)`", text)):
        assert (REPOSITORY / path).is_file(), path
