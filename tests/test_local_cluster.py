"""A local cluster of several nodes: real raylets, kept by a real supervisor."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from cluster import records
from cluster.errors import ClusterError, ConfigError, ResourceError
from cluster.providers import provider_of
from cluster.providers._local_nodes import free_ports
from cluster.providers._local_processes import processes_of
from tests.two_nodes import GROUP, TwoNodes, bring_up, describe, new_home

WAIT_S = 120  # for a busy machine
DRIVER = "import ray, sys; ray.init(sys.argv[1], log_to_driver=False); print(len(ray.nodes()))"
READER = (  # what a driver does first; one that is refused goes on trying for twenty seconds
    "import sys; from ray._raylet import GcsClient\n"
    "print(GcsClient(sys.argv[1]).internal_kv_get(b'session_name', b'session', timeout=20))"
)


def wait_until(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + WAIT_S
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {WAIT_S} s"
        time.sleep(0.2)
    return found


def came_back(cluster: TwoNodes, name: str, restarts: int) -> bool:
    row = cluster.nodes()[name]
    return row["state"] == "alive" and row["restarts"] > restarts and states(cluster)[name] == "alive"


def states(cluster: TwoNodes) -> dict[str, str]:
    return {row.name: row.state for row in cluster.provider.status()}


def folder_of(cluster: TwoNodes) -> Path:
    return cluster.home / "clusters" / cluster.record.name


def ask(cluster: TwoNodes, path: str, **headers: str) -> int:
    request = urllib.request.Request(cluster.record.dashboard + path, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def drive(cluster: TwoNodes, code: str = DRIVER, **environment: str) -> subprocess.CompletedProcess[str]:
    variables = {**cluster.driver_environment, **environment}
    command = [sys.executable, "-c", code, cluster.record.address]
    return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=WAIT_S)


def test_status_tells_what_ray_knows_of_the_nodes(two_nodes: TwoNodes) -> None:
    rows = two_nodes.provider.status()
    assert [(row.name, row.group, row.state, row.resources) for row in rows] == [
        ("head", "head", "alive", "1 CPUs"), ("workers-0", "workers", "alive", "1 CPUs"),
        ("workers-1", "workers", "alive", "1 CPUs"),
    ]  # fmt: skip
    for row in two_nodes.nodes().values():
        assert psutil.Process(row["raylet_pid"]).name() == "raylet"
        assert psutil.Process(row["pid"]).is_running()


def test_who_has_no_token_is_refused(two_nodes: TwoNodes, tmp_path: Path) -> None:
    token = (folder_of(two_nodes) / "token").read_text()
    assert (folder_of(two_nodes) / "token").stat().st_mode & 0o777 == 0o600
    assert ask(two_nodes, "/api/jobs/", Authorization=f"Bearer {token}") == 200
    assert ask(two_nodes, "/api/jobs/") == 401
    assert ask(two_nodes, "/api/jobs/", Authorization=f"Bearer {token[::-1]}") in {401, 403}
    assert drive(two_nodes, READER).stdout.startswith("b'session_")
    other = tmp_path / "token"
    other.write_text(token[::-1])
    for environment in ({"RAY_AUTH_TOKEN_PATH": str(other)}, {"RAY_AUTH_MODE": "disabled"}):
        refused = drive(two_nodes, READER, **environment)
        assert (refused.returncode != 0, refused.stdout) == (True, "")
        assert "AuthenticationError" in refused.stderr


def test_everything_listens_on_loopback_and_no_secret_is_in_a_command_line(two_nodes: TwoNodes) -> None:
    token = (folder_of(two_nodes) / "token").read_text()
    supervisor = psutil.Process(two_nodes.record.pid)
    processes = [supervisor, *supervisor.children(recursive=True)]
    assert len({*processes_of(folder_of(two_nodes))} & {*processes}) > 10
    hosts, named = set(), set()
    for process in processes:
        try:
            listening = [one for one in process.net_connections("inet") if one.status == psutil.CONN_LISTEN]
            assert token not in " ".join(process.cmdline())
        except psutil.Error:  # it has just ended
            continue
        hosts |= {one.laddr.ip.removeprefix("::ffff:") for one in listening}
        named |= {process.name() for _ in listening}
    assert hosts == {"127.0.0.1"}
    assert named >= {"gcs_server", "raylet"}


def test_what_cannot_be_is_refused_and_changes_nothing(two_nodes: TwoNodes) -> None:
    before = two_nodes.nodes()
    name = two_nodes.record.name
    for field, values in (
        ("head", {"head": {"cpus": 2}}),
        ("provider", {"provider": {"kind": "local", "object_store_mb": 100}}),
        ("nodes.workers.cpus", {"nodes": {"workers": GROUP | {"cpus": 2}}}),
    ):
        with pytest.raises(ClusterError, match="another description") as refused:
            provider_of(describe(name, **values)).up()
        assert refused.value.field == field
    two_nodes.provider.up()  # the same description
    assert two_nodes.nodes() == before


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"nodes": {"gpus": {"cpus": 1, "gpu": {"kind": "H100", "count": 64}}}}, "too few GPUs"),
        ({"nodes": {"head": {"cpus": 1}}}, "The name is the head's"),
        ({"provider": {"kind": "local", "object_store_mb": 1}}, "object_store_mb"),
        ({"provider": {"kind": "local", "workers": 1}}, "unknown key"),
    ],
)
def test_a_description_is_checked_before_anything_starts(
    values: dict[str, Any], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(records.ENVIRONMENT_VARIABLE, str(tmp_path))
    with pytest.raises((ConfigError, ResourceError, ValueError), match=words):
        provider_of(describe("refused", **values)).up()
    assert not list(tmp_path.iterdir())


def test_a_port_in_use_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(records.ENVIRONMENT_VARIABLE, str(tmp_path))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        provider = {"kind": "local", "dashboard_port": taken.getsockname()[1]}
        with pytest.raises(ResourceError, match="in use") as refused:
            provider_of(describe("taken", provider=provider)).up()
    assert refused.value.field == "provider.dashboard_port"
    assert records.names() == []


def test_a_redis_that_cannot_be_used_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(records.ENVIRONMENT_VARIABLE, str(tmp_path))
    monkeypatch.delenv("RAYSMITH_REDIS_PASSWORD", raising=False)
    with pytest.raises(ConfigError, match="password of Redis is missing"):
        provider_of(describe("refused", head={"redis": {"address": "127.0.0.1:6379"}})).up()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ResourceError, match="not installed"):
        provider_of(describe("refused", head={"redis": {}})).up()
    assert records.names() == []


def test_a_raylet_that_is_killed_comes_back(two_nodes: TwoNodes) -> None:
    before = two_nodes.nodes()
    os.kill(before["workers-1"]["raylet_pid"], signal.SIGKILL)
    wait_until(lambda: came_back(two_nodes, "workers-1", before["workers-1"]["restarts"]))
    after = two_nodes.nodes()
    assert after["workers-1"]["node_id"] != before["workers-1"]["node_id"]
    assert {name: after[name] for name in ("head", "workers-0")} == {
        name: before[name] for name in ("head", "workers-0")
    }


def test_a_supervisor_that_cannot_write_keeps_its_nodes_and_tries_again(two_nodes: TwoNodes) -> None:
    before = two_nodes.nodes()
    told = folder_of(two_nodes) / "nodes.json"
    told.unlink()
    told.mkdir()  # what a full disk does: the file cannot be replaced
    os.kill(before["workers-0"]["raylet_pid"], signal.SIGKILL)
    log = folder_of(two_nodes) / "supervisor.log"
    wait_until(lambda: "tried again and again" in log.read_text())
    assert psutil.pid_exists(before["workers-1"]["raylet_pid"])
    told.rmdir()
    wait_until(told.is_file)
    wait_until(lambda: came_back(two_nodes, "workers-0", before["workers-0"]["restarts"]))
    assert two_nodes.nodes()["workers-1"] == before["workers-1"]


def test_an_up_that_was_killed_is_finished_by_the_next(two_nodes: TwoNodes) -> None:
    (folder_of(two_nodes) / "cluster.json").unlink()
    two_nodes.provider.up()
    assert records.record_of(two_nodes.record.name) == two_nodes.record


def test_a_cluster_whose_gpus_are_gone_can_be_looked_at_and_taken_down(two_nodes: TwoNodes) -> None:
    gone = {"workers": GROUP, "gpus": {"cpus": 1, "gpu": {"kind": "H100", "count": 64}}}
    provider = provider_of(describe(two_nodes.record.name, nodes=gone))
    assert {one.state for one in provider.status()} == {"alive"}
    with pytest.raises(ResourceError, match="too few GPUs"):
        provider.up()


def test_groups_grow_and_shrink_and_the_rest_stays(two_nodes: TwoNodes) -> None:
    before = two_nodes.nodes()
    name = two_nodes.record.name
    provider_of(describe(name, nodes={"workers": GROUP | {"min_nodes": 3}})).up()
    assert states(two_nodes) == dict.fromkeys(["head", "workers-0", "workers-1", "workers-2"], "alive")
    grown = two_nodes.nodes()
    assert {key: grown[key] for key in before} == before
    two_nodes.provider.up()
    assert two_nodes.nodes() == before
    wait_until(lambda: not psutil.pid_exists(grown["workers-2"]["raylet_pid"]))


def test_what_a_killed_session_left_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    left = tmp_path / f"rt-{ended.pid}-abc"
    left.mkdir()
    variables = {**os.environ, "RAYSMITH_CLUSTER_FOLDER": f"{left}/clusters/x"}
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], env=variables) as orphan:
        wait_until(lambda: processes_of(left / "clusters/x"))
        home = new_home()
        assert orphan.wait(WAIT_S) == -signal.SIGKILL
    assert [path.name for path in tmp_path.iterdir()] == [home.name]


@pytest.fixture
def own_home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    home = new_home()
    monkeypatch.setenv(records.ENVIRONMENT_VARIABLE, str(home))
    yield home
    for name in records.names():
        provider_of(describe(name)).down()
    shutil.rmtree(home, ignore_errors=True)


@pytest.mark.slow
def test_without_redis_nodes_join_the_head_that_comes_after_a_killed_one(own_home: Path) -> None:
    cluster = bring_up(describe("forgetful", nodes={"workers": GROUP | {"min_nodes": 1}}), own_home)
    before = cluster.nodes()
    os.kill(before["head"]["pid"], signal.SIGKILL)
    wait_until(lambda: came_back(cluster, "head", 0) and came_back(cluster, "workers-0", 0))
    assert drive(cluster).stdout == "2\n"
    assert records.record_of("forgetful") == cluster.record  # the same address and dashboard


@pytest.mark.slow
def test_a_node_that_hangs_is_ended_and_started_again(own_home: Path) -> None:
    cluster = bring_up(describe("hanging", nodes={"workers": GROUP | {"min_nodes": 1}}), own_home)
    before = cluster.nodes()["workers-0"]
    os.kill(before["raylet_pid"], signal.SIGSTOP)
    wait_until(lambda: came_back(cluster, "workers-0", 0))
    wait_until(lambda: not psutil.pid_exists(before["raylet_pid"]))


@pytest.mark.slow
def test_a_supervisor_that_is_killed_takes_all_along_and_up_starts_again(own_home: Path) -> None:
    file = describe("orphaned", nodes={"workers": GROUP | {"min_nodes": 1}})
    cluster = bring_up(file, own_home)
    assert cluster.record.pid is not None
    os.kill(cluster.record.pid, signal.SIGKILL)
    wait_until(lambda: not processes_of(folder_of(cluster)))
    assert {row.state for row in cluster.provider.status()} == {"dead"}
    again = bring_up(file, own_home)
    assert again.record.address == cluster.record.address
    assert drive(again).stdout == "2\n"


JOB = """
import os, sys, time, ray
ray.init(address="auto", namespace="test", log_to_driver=False, _temp_dir=os.environ["RAYSMITH_RAY_FOLDER"])

@ray.remote(num_cpus=0, resources={"group-workers": 0.01})
class Counter:
    def __init__(self): self.count = 0
    def add(self):
        self.count += 1
        return self.count

counter = Counter.options(name="counter", lifetime="detached", max_restarts=-1).remote()
while not os.path.exists(sys.argv[1]):
    print("count", ray.get(counter.add.remote()), flush=True)
    time.sleep(0.2)
print("ended after", ray.get(counter.add.remote()))
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("redis-server") is None, reason="redis-server is not installed")
@pytest.mark.parametrize("victim", ["gcs_server", "node"])
def test_with_redis_a_killed_head_comes_back_and_a_job_goes_on(
    victim: str, own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = describe("lasting", head={"cpus": 1, "redis": {}}, nodes={"workers": GROUP | {"min_nodes": 1}})
    cluster = bring_up(file, own_home)
    for key, value in cluster.driver_environment.items():
        monkeypatch.setenv(key, value)
    (tmp_path / "job.py").write_text(JOB)
    jobs = JobsOf(cluster)
    job = jobs.submit(f"{sys.executable} {tmp_path / 'job.py'} {tmp_path / 'end'}")
    wait_until(lambda: "count 5" in jobs.log(job))
    before = cluster.nodes()
    head = psutil.Process(before["head"]["pid"])
    dies = head if victim == "node" else next(one for one in head.children() if one.name() == "gcs_server")
    dies.kill()
    wait_until(lambda: came_back(cluster, "head", 0))
    assert jobs.status(job) == "RUNNING"
    counted = jobs.log(job).count("count ")
    wait_until(lambda: jobs.log(job).count("count ") > counted + 5)
    assert cluster.nodes()["workers-0"] == before["workers-0"], "the other node was never gone"
    (tmp_path / "end").touch()
    wait_until(lambda: jobs.status(job) == "SUCCEEDED")
    counts = [int(line.split()[1]) for line in jobs.log(job).splitlines() if line.startswith("count ")]
    assert counts == list(range(1, len(counts) + 1)), "the actor lost nothing"
    password = (folder_of(cluster) / "redis_password").read_text()
    for process in psutil.Process(cluster.record.pid).children(recursive=True):
        try:
            shown = " ".join(process.cmdline())
        except psutil.Error:  # it has just ended
            continue
        assert password not in shown, process.name()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("redis-server") is None, reason="redis-server is not installed")
def test_a_redis_that_is_there_keeps_the_state_until_down(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (port,) = free_ports(1, set())
    configuration = own_home / "redis.conf"
    configuration.write_text(f'bind 127.0.0.1\nport {port}\nrequirepass secret\nsave ""\ndir {own_home}\n')
    monkeypatch.setenv("RAYSMITH_REDIS_PASSWORD", "secret")

    def keys() -> str:
        environment = {**os.environ, "REDISCLI_AUTH": "secret"}
        command = ["redis-cli", "-p", str(port), "keys", "*"]
        return subprocess.run(command, env=environment, capture_output=True, text=True).stdout.strip()

    with subprocess.Popen(["redis-server", str(configuration)], stdout=subprocess.DEVNULL) as redis:
        try:
            head = {"cpus": 1, "redis": {"address": f"127.0.0.1:{port}"}}
            cluster = bring_up(describe("guest", head=head, nodes={}), own_home)
            assert "raysmith-guest-" in keys()
            cluster.provider.down()
            assert keys() == ""
        finally:
            redis.terminate()


class JobsOf:
    """Ray's own jobs interface, over HTTP: what it keeps is asked for, not what a client remembers."""

    def __init__(self, cluster: TwoNodes) -> None:
        self._url = f"{cluster.record.dashboard}/api/jobs/"
        token = (folder_of(cluster) / "token").read_text()
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def _ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, data=data, headers=self._headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def submit(self, entrypoint: str) -> str:
        # On a worker node: a driver on the head ends with it.
        body = {"entrypoint": entrypoint, "entrypoint_resources": {"group-workers": 0.01}}
        return str(self._ask("", body)["submission_id"])

    def status(self, job: str) -> str:
        return str(self._ask(job)["status"])

    def log(self, job: str) -> str:
        return str(self._ask(f"{job}/logs")["logs"])
