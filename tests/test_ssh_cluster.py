"""A cluster over ssh, really brought up by `ray up` on two machines that are namespaces of this one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster import records
from cluster.config_file import load_config
from cluster.description import ClusterFile
from cluster.errors import ClusterError, ConfigError
from cluster.providers import provider_of
from cluster.providers._local_nodes import free_ports
from tests.machines import Machines, machines, missing

pytestmark = [pytest.mark.slow, pytest.mark.skipif(missing() is not None, reason=str(missing()))]


def call(record: records.ClusterRecord, path: str, body: Any = None, token: str | None = None) -> Any:
    """The dashboard's own interface for jobs, through the tunnel."""
    given = record.token_file.read_text() if token is None else token
    headers = {"Authorization": f"Bearer {given}", "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(record.dashboard + path, data, headers), timeout=30) as answer:
        return json.load(answer)


def run(record: records.ClusterRecord, code: str) -> dict[str, Any]:
    """A job on the cluster, to its end."""
    started = call(record, "/api/jobs/", {"entrypoint": f"python -c '{code}'"})
    deadline = time.monotonic() + 120
    while True:
        told: dict[str, Any] = call(record, f"/api/jobs/{started['submission_id']}")
        if told["status"] in {"SUCCEEDED", "FAILED", "STOPPED"} or time.monotonic() > deadline:
            told["logs"] = call(record, f"/api/jobs/{started['submission_id']}/logs")["logs"]
            return told
        time.sleep(0.5)


def described(
    folder: Path, hosts: Machines, storage: Path, workers: list[str] | None = None, **head_keys: Any
) -> ClusterFile:
    head, *others = (one.address for one in hosts.nodes)
    workers = others if workers is None else workers
    file = folder / "cluster.yaml"
    file.write_text(yaml.safe_dump({
        "name": "lab",
        "provider": {"kind": "ssh", "ssh_user": "root", "ssh_key": str(hosts.key), "head": head,
                     "hosts": {"work": workers} if workers else {}},
        "nodes": {"work": {"cpus": 1, "min_nodes": len(workers), "max_nodes": len(workers)}} if workers else {},
        "head": head_keys,
        "storage": str(storage),
    }))  # fmt: skip
    return load_config(ClusterFile, file)


@contextmanager
def redis(folder: Path, address: str, password: str) -> Iterator[Callable[[str], str]]:
    """A Redis on an address of this machine; gives what asks it."""
    (port,) = free_ports(1, set())
    (folder / "redis.conf").write_text(f'bind {address}\nport {port}\nrequirepass {password}\nsave ""\ndir {folder}\n')

    def ask(command: str) -> str:
        asked = ["redis-cli", "-h", address, "-p", str(port), *command.split()]
        return subprocess.run(
            asked, env={**os.environ, "REDISCLI_AUTH": password}, capture_output=True, text=True
        ).stdout

    with subprocess.Popen(["redis-server", folder / "redis.conf"], stdout=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + 20
            while "PONG" not in ask("ping"):
                assert time.monotonic() < deadline
                time.sleep(0.1)
            (folder / "redis.address").write_text(f"{address}:{port}")
            yield ask
        finally:
            process.terminate()


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="redis-server is not installed")
def test_a_head_whose_ray_died_is_started_again_and_redis_password_is_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(records.ENVIRONMENT_VARIABLE, str(tmp_path / "home"))
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    storage = tmp_path / "storage"
    with machines(tmp_path, 1, storage) as hosts:
        (head,) = hosts.nodes
        outside = f"{head.address.rpartition('.')[0]}.1"
        with redis(tmp_path, outside, "a-password-of-redis") as ask:
            file = described(tmp_path, hosts, storage, redis={"address": (tmp_path / "redis.address").read_text()})
            with pytest.raises(ConfigError, match="password of Redis is missing"):
                provider_of(file).up()
            monkeypatch.setenv("RAYSMITH_REDIS_PASSWORD", "a-password-of-redis")
            provider = provider_of(file)
            provider.up()
            try:
                monkeypatch.delenv("RAYSMITH_REDIS_PASSWORD")  # said once
                shown = [" ".join(process.cmdline()) for process in head.processes()]
                assert any("gcs_server" in line for line in shown)
                assert not any("a-password-of-redis" in line for line in shown)
                assert "lab" in ask("keys *"), "the head's state is there"
                assert run(records.record_of("lab"), "print(1)")["status"] == "SUCCEEDED"

                for process in head.processes():
                    if process.name() in {"gcs_server", "raylet"}:
                        process.kill()
                provider.up()
                assert {"gcs_server", "raylet"} <= head.names()
                record = records.record_of("lab")
                assert len(call(record, "/api/jobs/")) == 1, "it knows what there was before"
                assert run(record, "print(2)")["status"] == "SUCCEEDED"
            finally:
                provider.down()


def test_ray_up_jobs_with_the_token_and_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(records.ENVIRONMENT_VARIABLE, str(tmp_path / "home"))
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    storage = tmp_path / "storage"
    with machines(tmp_path, 2, storage) as hosts:
        provider = provider_of(described(tmp_path, hosts, storage))
        provider.up()
        record = records.record_of("lab")
        try:
            assert record.dashboard.startswith("http://127.0.0.1:")
            found = provider.status()
            assert [(one.group == "head", one.state) for one in found] == [(True, "alive"), (False, "alive")]
            assert {one.detail for one in found} == {one.address for one in hosts.nodes}

            with pytest.raises(urllib.error.HTTPError) as refused:
                call(record, "/api/jobs/", token="0" * 64)
            assert refused.value.code in {401, 403}
            told = run(record, 'import os, ray; ray.init(); print(len(ray.nodes()), os.environ["RAYSMITH_STORAGE"])')
            assert told["status"] == "SUCCEEDED", f"{told['message']}\n{told['logs']}"
            assert f"2 {storage}" in told["logs"]

            token = record.token_file.read_text()
            for machine in hosts.nodes:
                lines = [" ".join(process.cmdline()) for process in machine.processes()]
                assert any("raylet" in line for line in lines)
                assert not any(token in line for line in lines), "the token is in no list of processes"

            before = {process.pid for machine in hosts.nodes for process in machine.processes() if _is_ray(process)}
            provider.up()  # again: nothing restarts
            after = {process.pid for machine in hosts.nodes for process in machine.processes() if _is_ray(process)}
            assert before <= after
            record = records.record_of("lab")
            assert len(provider.status()) == 2
        finally:
            provider.down()
        assert records.names() == []
        assert not any({"raylet", "gcs_server"} & machine.names() for machine in hosts.nodes)
        with pytest.raises(ClusterError, match="No cluster of that name"):
            provider.status()


def test_a_machine_that_does_not_join_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(records.ENVIRONMENT_VARIABLE, str(tmp_path / "home"))
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.setattr("cluster.providers._launcher._JOIN_S", 1.0)
    storage = tmp_path / "storage"
    with machines(tmp_path, 1, storage) as hosts:
        away = f"{hosts.nodes[0].address.rpartition('.')[0]}.77"
        provider = provider_of(described(tmp_path, hosts, storage, workers=[away]))
        try:
            with pytest.raises(ClusterError, match="did not join the cluster, which is up without them") as told:
                provider.up()
            assert told.value.got == "1 of 2 after 0 minutes"
            assert [one.group for one in provider.status()] == ["head"]
        finally:
            with suppress(ClusterError):  # nobody answers there
                provider.down()


def _is_ray(process: Any) -> bool:
    return process.name() in {"raylet", "gcs_server"}
