"""What rendered clusters start Ray with: how far they grow, who warns spot nodes, passwords, and what commands do."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster import growth, preemption, records
from cluster.errors import ConfigError
from cluster.providers import provider_of
from cluster.providers._secrets import REDIS_PASSWORD, keep_redis_password, redis_password_file
from jobs.clusters import render
from tests.conftest import REPOSITORY
from tests.test_rendered_clusters import ENDPOINT, JOB, described, launcher, rendered

CONFIG = REPOSITORY / "configs" / "cluster" / "kuberay.yaml"


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(records.ENVIRONMENT_VARIABLE, str(tmp_path / "home"))
    monkeypatch.delenv(REDIS_PASSWORD, raising=False)


def variables(container: dict[str, Any]) -> dict[str, str]:
    return {one["name"]: one["value"] for one in container["env"]}


def kube_specs(folder: Path, *changes: str) -> list[dict[str, Any]]:
    """Of the RayCluster, and of those of a RayJob and a RayService."""
    folder.mkdir(exist_ok=True)
    (folder / "job.yaml").write_text(JOB)
    (folder / "endpoint.yaml").write_text(ENDPOINT)
    files = rendered("kuberay", folder / "out", *changes, job=folder / "job.yaml", endpoint=folder / "endpoint.yaml")
    job = next(one for one in files["job.yaml"] if one["kind"] == "RayJob")
    return [
        files["cluster.yaml"][0]["spec"], job["spec"]["rayClusterSpec"],
        files["endpoint.yaml"][0]["spec"]["rayClusterConfig"],
    ]  # fmt: skip


def start(folder: Path, command: str, **environment: str) -> tuple[list[str], dict[str, str]]:
    """Run a start command in a home with a `ray` that only tells how it was called."""
    binaries = folder / "raysmith" / "venv" / "bin"
    binaries.mkdir(parents=True, exist_ok=True)
    told = folder / "told"
    for name in ("ray", "python"):
        (binaries / name).write_text(f'#!/bin/sh\nprintf "%s\\n" "$0" "$@" > {told}.argv\nenv -0 > {told}.env\n')
        (binaries / name).chmod(0o755)
    command = command.replace("/opt/raysmith/venv/bin", str(binaries))  # of an image
    kept = {"HOME": str(folder), "PATH": os.environ["PATH"], **environment}
    subprocess.run(["bash", "-c", command], env=kept, check=True)
    found = dict(one.split("=", 1) for one in Path(f"{told}.env").read_text().split("\0") if one)
    return Path(f"{told}.argv").read_text().splitlines(), found


@pytest.mark.parametrize("image", ["null", "registry.example.com/raysmith:1"])
@pytest.mark.parametrize("kind", ["aws", "gcp"])
def test_a_head_that_the_launcher_starts_knows_how_far_it_may_grow(kind: str, image: str, tmp_path: Path) -> None:
    config = launcher(kind, tmp_path, f"image={image}")
    argv, environment = start(tmp_path, config["head_start_ray_commands"][-1])
    assert argv[0].endswith("raysmith/venv/bin/ray")
    groups = growth.decode(environment["RAYSMITH_NODE_GROUPS"])
    types = config["available_node_types"]
    # The launcher gives these to `ray start`, which then counts nothing itself (RAY_OVERRIDE_RESOURCES).
    assert {one.name: (one.resources, one.max_nodes) for one in groups} == {
        name: (types[name]["resources"], types[name]["max_workers"]) for name in described(kind).nodes
    }
    assert sum(one.max_nodes for one in groups) == config["max_workers"]
    assert "RAYSMITH_NODE_GROUPS" not in "".join(config["worker_start_ray_commands"])


def test_machines_of_one_s_own_do_not_grow(tmp_path: Path) -> None:
    assert "RAYSMITH_NODE_GROUPS" not in json.dumps(launcher("ssh", tmp_path))


def test_a_head_on_kubernetes_knows_how_far_it_may_grow(tmp_path: Path) -> None:
    """The resources of a pod are those that Ray's own autoscaler reads from the manifest."""
    from ray.autoscaler._private.kuberay.autoscaling_config import _get_ray_resources_from_group_spec

    for spec in kube_specs(tmp_path, "nodes.serve.memory_gb=26.3"):
        (head,) = spec["headGroupSpec"]["template"]["spec"]["containers"]
        groups = growth.decode(variables(head)["RAYSMITH_NODE_GROUPS"])
        assert [(one.name, one.resources, one.max_nodes) for one in groups] == [
            (one["groupName"], _get_ray_resources_from_group_spec(one, is_head=False), one["maxReplicas"])
            for one in spec["workerGroupSpecs"]
        ]


@pytest.mark.parametrize("kind", ["aws", "gcp"])
def test_spot_nodes_of_the_launcher_ask_their_cloud_and_others_do_not(kind: str, tmp_path: Path) -> None:
    (command,) = launcher(kind, tmp_path)["worker_start_ray_commands"][1:]
    _, spot = start(tmp_path, command, RAY_NODE_TYPE_NAME="train-spot", RAY_HEAD_IP="10.0.0.1")
    argv, other = start(tmp_path, command, RAY_NODE_TYPE_NAME="serve", RAY_HEAD_IP="10.0.0.1")
    assert (spot[preemption.SPOT], other.get(preemption.SPOT)) == (kind, None)
    assert "--address=10.0.0.1:6379" in argv
    asked = [type(source).__name__.lower() for source in preemption.sources_of(spot)]
    assert kind in asked


@pytest.mark.parametrize(("platform", "cloud"), [("gke", "gcp"), ("eks", "aws"), ("karpenter", "aws")])
def test_spot_pods_ask_the_cloud_of_their_platform(platform: str, cloud: str, tmp_path: Path) -> None:
    for spec in kube_specs(tmp_path, f"provider.platform={platform}"):
        told = {
            one["groupName"]: variables(one["template"]["spec"]["containers"][0]).get(preemption.SPOT)
            for one in spec["workerGroupSpecs"]
        }
        assert told == {"train-spot": cloud, "serve": None}


@pytest.mark.parametrize("image", ["null", "registry.example.com/raysmith:1"])
def test_redis_password_is_on_no_command_line_of_a_head(image: str, tmp_path: Path) -> None:
    config = launcher("aws", tmp_path, "head.redis.address=10.0.0.9:6379", f"image={image}")
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "redis_password").write_text("secret")
    argv, environment = start(tmp_path, config["head_start_ray_commands"][-1])
    assert argv[:3] == [
        f"{tmp_path}/raysmith/venv/bin/python", f"{tmp_path}/raysmith/ray_start.py", "start",
    ]  # fmt: skip
    assert not [one for one in argv if "secret" in one or "--redis" in one]
    assert environment[REDIS_PASSWORD] == "secret"
    assert Path(config["file_mounts"]["~/raysmith/ray_start.py"]).is_file()


@pytest.mark.parametrize("kind", ["aws", "kuberay"])
def test_a_password_of_redis_is_said_once_and_kept(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    file = described(kind, "head.redis.address=10.0.0.9:6379")
    with pytest.raises(ConfigError, match="password of Redis is missing"):
        keep_redis_password(file)
    assert not redis_password_file(file.name).exists()
    monkeypatch.setenv(REDIS_PASSWORD, "secret")
    keep_redis_password(file)
    monkeypatch.delenv(REDIS_PASSWORD)
    keep_redis_password(file)
    kept = redis_password_file(file.name)
    assert (kept.read_text(), kept.stat().st_mode & 0o777) == ("secret", 0o600)


def test_a_redis_that_is_started_here_gets_a_password_that_stays() -> None:
    file = described("kuberay")
    keep_redis_password(file)
    made = redis_password_file(file.name).read_text()
    keep_redis_password(file)
    assert len(made) == 64 and redis_password_file(file.name).read_text() == made


def test_the_mode_of_what_is_mounted_is_seen_to(tmp_path: Path) -> None:
    """In a container too, where a user who is not the account's could not read the token."""
    config = launcher("aws", tmp_path, "image=registry.example.com/raysmith:1")
    token = tmp_path / ".ray" / "auth_token"
    token.parent.mkdir()
    token.write_text("token")
    token.chmod(0o644)
    (command,) = config["setup_commands"]
    subprocess.run(["bash", "-c", command], env={**os.environ, "HOME": str(tmp_path)}, check=True)
    assert token.stat().st_mode & 0o777 == 0o600
    if os.geteuid() != 0:
        return
    os.chown(token, 12345, 12345)
    refused = subprocess.run(["bash", "-c", command], env={**os.environ, "HOME": str(tmp_path)}, capture_output=True)
    assert refused.returncode == 1
    assert b"not the account of the machine" in refused.stderr


def test_a_rayjob_names_nothing_of_this_machine(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="pods do not see") as refused:
        render(CONFIG, [], tmp_path / "out", REPOSITORY / "configs" / "quickstart.yaml", None)
    assert "data.train: " in str(refused.value)
    assert not (tmp_path / "out").exists()
    tree = yaml.safe_load((REPOSITORY / "configs" / "quickstart.yaml").read_text())
    tree["data"] |= {"train": "/raysmith/train.jsonl", "heldout": "/raysmith/heldout.jsonl"}
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(tree))
    render(CONFIG, [], tmp_path / "out", tmp_path / "job.yaml", None)
    assert (tmp_path / "out" / "job.yaml").is_file()


def test_disks_of_google_are_of_a_type_that_the_machine_takes(tmp_path: Path) -> None:
    def disk(*changes: str) -> str:
        node = launcher("gcp", tmp_path, *changes)["available_node_types"]["serve"]["node_config"]
        return str(node["disks"][0]["initializeParams"]["diskType"])

    assert disk() == "zones/us-central1-a/diskTypes/pd-balanced"  # not Google's own choice, which G2 refuses
    assert disk("nodes.serve={cpus: 224, gpu: {kind: H200, count: 8}}").endswith("/hyperdisk-balanced")
    assert disk("provider.disk_type=pd-ssd").endswith("/pd-ssd")


def test_a_file_that_is_there_is_replaced_whole_and_no_folder_is(tmp_path: Path) -> None:
    provider = provider_of(described("aws"))
    (tmp_path / "cluster.yaml").write_text("old: " + "x" * 100_000)
    provider.render(tmp_path)
    assert "old" not in yaml.safe_load((tmp_path / "cluster.yaml").read_text())
