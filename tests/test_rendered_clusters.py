"""Clusters that are rendered: Ray's launcher files against Ray's own checks, Kubernetes manifests against schemas."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import stat
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from cluster import records
from cluster.config_file import load_config
from cluster.description import ClusterFile
from cluster.errors import ClusterError, ConfigError
from cluster.providers import provider_of
from cluster.providers._machines import AWS, GCP
from tests import kuberay_schema
from tests.conftest import REPOSITORY

LAUNCHED = ("ssh", "aws", "gcp")
RENDERED = (*LAUNCHED, "kuberay")
PASSWORD = "a-password-of-redis"


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(records.ENVIRONMENT_VARIABLE, str(tmp_path / "home"))


def described(kind: str, *changes: str) -> ClusterFile:
    return load_config(ClusterFile, REPOSITORY / "configs" / "cluster" / f"{kind}.yaml", list(changes))


def rendered(kind: str, folder: Path, *changes: str, **more: Any) -> dict[str, list[dict[str, Any]]]:
    """File name → its documents."""
    provider: Any = provider_of(described(kind, *changes))
    return {path.name: list(yaml.safe_load_all(path.read_text())) for path in provider.render(folder, **more)}


def launcher(kind: str, folder: Path, *changes: str) -> dict[str, Any]:
    found: dict[str, Any] = rendered(kind, folder, *changes)["cluster.yaml"][0]
    return found


def refusal(kind: str, *changes: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        provider_of(described(kind, *changes))
    return caught.value


JOB = """
name: Tiny_Job
model: {scratch: {kind: llama, size: 1M, context: 64}}
"""
ENDPOINT = "name: support\nmodel: quickstart-quantized\nengine: {kind: llama_cpp}\n"


@pytest.fixture
def kube(tmp_path: Path) -> dict[str, dict[str, Any]]:
    """Kind/name → manifest, of all that can be rendered for Kubernetes."""
    (tmp_path / "job.yaml").write_text(JOB)
    (tmp_path / "endpoint.yaml").write_text(ENDPOINT)
    files = rendered("kuberay", tmp_path / "out", job=tmp_path / "job.yaml", endpoint=tmp_path / "endpoint.yaml")
    assert sorted(files) == ["cluster.yaml", "endpoint.yaml", "job.yaml", "network.yaml", "redis.yaml", "storage.yaml"]
    return {f"{one['kind']}/{one['metadata']['name']}": one for documents in files.values() for one in documents}


@pytest.mark.parametrize("kind", RENDERED)
def test_every_shipped_file_renders_the_same_twice(kind: str, tmp_path: Path) -> None:
    assert rendered(kind, tmp_path / "a") == rendered(kind, tmp_path / "b") != {}


@pytest.mark.parametrize("image", ["null", "registry.example.com/raysmith:1"])
@pytest.mark.parametrize("kind", LAUNCHED)
def test_ray_s_own_checks_take_the_launcher_file(kind: str, image: str, tmp_path: Path) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = prepare_config(launcher(kind, tmp_path, f"image={image}", "head.redis.address=10.0.0.9:6379"))
    validate_config(config)
    assert bool(config["docker"]) == (image != "null")
    with pytest.raises(jsonschema.ValidationError):
        validate_config({**config, "idle_timeout": 5})
    workers = [name for name in config["available_node_types"] if name != config["head_node_type"]]
    assert config["max_workers"] == sum(group.max_nodes for group in described(kind).nodes.values())
    assert kind == "ssh" or workers == list(described(kind).nodes)


@pytest.mark.parametrize("kind", LAUNCHED)
def test_what_starts_ray_asks_for_the_token_listens_on_loopback_and_is_bash(kind: str, tmp_path: Path) -> None:
    config = launcher(kind, tmp_path, "head.redis.address=10.0.0.9:6379")
    head, worker = config["head_start_ray_commands"], config["worker_start_ray_commands"]
    for command in (head[-1], worker[-1]):
        for part in ("RAY_AUTH_MODE=token", "RAY_JOB_STOP_WAIT_TIME_S=30", "RAYSMITH_STORAGE=/", "ray start"):
            assert part in command
    assert "--dashboard-host=127.0.0.1" in head[-1]
    assert "--autoscaling-config=~/ray_bootstrap_config.yaml" in head[-1]
    assert "RAY_REDIS_ADDRESS=10.0.0.9:6379" in head[-1] and "RAY_REDIS_ADDRESS" not in worker[-1]
    assert "--address=$RAY_HEAD_IP:6379" in worker[-1]
    commands = [one for key, value in config.items() if key.endswith("_commands") for one in value]
    subprocess.run(["bash", "-n"], input="\n".join(commands), text=True, check=True)
    mounted = [Path(local) for remote, local in config["file_mounts"].items() if remote.startswith("~/raysmith/")]
    assert mounted and all(path.is_file() for path in mounted)


@pytest.mark.parametrize("kind", RENDERED)
def test_no_secret_is_in_what_is_rendered(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = described(kind, "head.redis.address=10.0.0.9:6379")
    token = records.make_token(file.name)
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    monkeypatch.setenv("RAYSMITH_REDIS_PASSWORD", PASSWORD)
    text = "\n".join(path.read_text() for path in provider_of(file).render(tmp_path / "out"))
    assert token.read_text() not in text
    assert PASSWORD not in text
    if kind == "kuberay":
        assert "kind: Secret\n" not in text and "kube-train-secrets" in text
    else:
        assert yaml.safe_load(text)["file_mounts"]["~/.ray/auth_token"] == str(token)


def test_spot_nodes_and_open_ports_on_aws(tmp_path: Path) -> None:
    config = launcher("aws", tmp_path)
    types = config["available_node_types"]
    options = types["train-spot"]["node_config"]["InstanceMarketOptions"]
    assert options["MarketType"] == "spot"
    assert types["train-spot"]["labels"]["ray.io/market-type"] == "spot"
    assert not any("InstanceMarketOptions" in types[name]["node_config"] for name in ("head", "serve"))
    assert all(one["node_config"]["InstanceInitiatedShutdownBehavior"] == "terminate" for one in types.values())
    assert all(one["node_config"]["MetadataOptions"]["HttpTokens"] == "required" for one in types.values())
    assert "IpPermissions" not in config["provider"]["security_group"], "nothing beside ssh and the nodes themselves"
    assert (types["serve"]["resources"], types["serve"]["node_config"]["InstanceType"]) == (
        {"CPU": 8, "GPU": 1, "accelerator_type:L40S": 1}, "g6e.2xlarge",
    )  # fmt: skip


def test_spot_nodes_on_google_cloud(tmp_path: Path) -> None:
    types = launcher("gcp", tmp_path)["available_node_types"]
    assert types["train-spot"]["node_config"]["scheduling"] == {
        "onHostMaintenance": "TERMINATE", "automaticRestart": False, "provisioningModel": "SPOT",
        "instanceTerminationAction": "DELETE",
    }  # fmt: skip
    assert types["train-spot"]["node_config"]["machineType"] == "a2-highgpu-8g"
    assert types["head"]["node_config"]["scheduling"]["onHostMaintenance"] == "MIGRATE"
    t4 = launcher("gcp", tmp_path, "nodes.serve.gpu={kind: T4, count: 2}")["available_node_types"]["serve"]
    assert t4["node_config"]["guestAccelerators"] == [{"acceleratorType": "nvidia-tesla-t4", "acceleratorCount": 2}]


def _has(module: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(importlib.util.find_spec(module) is None, reason=f"{module} is not installed")


@_has("botocore")
def test_ec2_s_own_model_takes_the_nodes(tmp_path: Path) -> None:
    import botocore.session
    from botocore.validate import ParamValidator

    model = botocore.session.Session().get_service_model("ec2", api_version=None)
    shape = model.operation_model("RunInstances").input_shape
    for node in launcher("aws", tmp_path)["available_node_types"].values():
        asked = {**node["node_config"], "MinCount": 1, "MaxCount": 1}
        assert not ParamValidator().validate(asked, shape).has_errors()
        assert ParamValidator().validate({**asked, "InstanceTyp": "x"}, shape).has_errors()


@_has("googleapiclient")
def test_compute_engine_s_own_description_takes_the_nodes(tmp_path: Path) -> None:
    from googleapiclient.discovery_cache import get_static_doc

    schemas = json.loads(get_static_doc("compute", "v1"))["schemas"]

    def unknown(value: Any, schema: dict[str, Any], path: str) -> list[str]:
        schema = schemas[schema["$ref"]] if "$ref" in schema else schema
        if isinstance(value, list):
            return [bad for one in value for bad in unknown(one, schema["items"], path)]
        if not isinstance(value, dict):
            allowed = schema.get("enum")
            return [f"{path}={value}"] if allowed and value not in allowed else []
        known = schema.get("properties", {})
        bad = [f"{path}.{key}" for key in value if key not in known]
        return bad + [b for key in value if key in known for b in unknown(value[key], known[key], f"{path}.{key}")]

    for node in launcher("gcp", tmp_path, "provider.subnetwork=projects/p/regions/r/subnetworks/s")[
        "available_node_types"
    ].values():
        assert unknown(node["node_config"], {"$ref": "Instance"}, "") == []
        assert unknown({"scheduling": {"preemptable": True}}, {"$ref": "Instance"}, "") == [".scheduling.preemptable"]


@pytest.mark.parametrize(
    ("kind", "change", "field", "words"),
    [
        ("aws", "nodes.serve.gpu.kind=L44", "nodes.serve.gpu.kind", "L40S"),
        ("aws", "nodes.serve.gpu.count=3", "nodes.serve.gpu.count", "1, 4, 8"),
        ("aws", "nodes.serve.cpus=65", "nodes.serve.cpus", "at most 64 cores"),
        ("aws", "head.memory_gb=9999", "head.cpus", "at most"),
        ("aws", "storage=null", "storage", "absolute path"),
        ("aws", "head.redis={}", "head.redis.address", "HOST:PORT"),
        ("aws", "provider.ssh_key=~/.ssh/id", "provider.key_name", "both"),
        ("aws", "provider.key_name=mine", "provider.ssh_key", "both"),
        ("aws", "provider.node_profile=arn:aws:iam::1:instance-profile/n", "provider.head_profile", "iam:PassRole"),
        ("gcp", "nodes.serve.gpu.kind=A10G", "nodes.serve.gpu.kind", "L4"),
        ("gcp", "provider.gpu_machine_image=null", "provider.gpu_machine_image", "has GPUs"),
        ("ssh", "nodes.train.min_nodes=1", "provider.hosts.train", "min_nodes = max_nodes = 2"),
        ("ssh", "nodes.train.max_nodes=3", "provider.hosts.train", "not 2 and 3"),
        ("ssh", "provider.hosts.more=[10.0.0.99]", "provider.hosts.more", "no such group"),
        ("ssh", "nodes.train.spot=true", "nodes.train", "spot"),
        ("ssh", "provider.head=10.0.0.11", "provider.hosts", "each host once"),
        ("ssh", "provider.head=127.0.0.1", "provider", "loopback"),
        ("kuberay", "image=null", "image", "cluster/images"),
        ("kuberay", "nodes.serve.memory_gb=null", "nodes.serve.memory_gb", "GiB"),
        ("kuberay", "nodes.serve.gpu.kind=A10G", "nodes.serve.gpu.kind", "L4"),
        ("kuberay", "provider.platform=plain", "nodes.train-spot.spot", "gke"),
    ],
)
def test_what_the_platform_cannot_do_is_refused_with_the_key(kind: str, change: str, field: str, words: str) -> None:
    error = refusal(kind, change)
    assert error.field == field
    assert words in str(error)


@pytest.mark.parametrize(
    "change",
    [
        "provider.nfs='host:/x; rm -rf /'",
        "provider.ssh_user='a b'",
        "provider.ami=latest",
        "name=A",
        "image='x; rm -rf /'",
        "nodes.serve.instance='a b'",
        "storage=/",
        "storage='/a:/etc'",
        "head.redis.address='host:6379; id'",
    ],
)
def test_what_reaches_a_shell_is_checked_when_it_is_read(change: str) -> None:
    with pytest.raises(ConfigError):
        described("aws", change)


def test_a_named_machine_is_taken_as_it_is(tmp_path: Path) -> None:
    node = launcher("aws", tmp_path, "nodes.serve.gpu={kind: B300, count: 8}", "nodes.serve.instance=p6-b300.48xlarge")
    serve = node["available_node_types"]["serve"]
    assert serve["node_config"]["InstanceType"] == "p6-b300.48xlarge"
    assert serve["resources"] == {"CPU": 8, "GPU": 8, "accelerator_type:B300": 1}


@pytest.mark.parametrize("table", [AWS, GCP])
def test_the_tables_name_gpus_as_ray_does_and_no_machine_twice(table: Any) -> None:
    from ray.util.accelerators import accelerators

    names = {value for key, value in vars(accelerators).items() if key.isupper()}
    assert {one.gpu for one in table if one.gpu} <= names
    assert len({(one.name, one.gpus) for one in table}) == len(table)


def test_manifests_have_only_fields_that_kuberay_has(kube: dict[str, dict[str, Any]]) -> None:
    mine = [one for one in kube.values() if one["apiVersion"] == "ray.io/v1"]
    assert sorted(one["kind"] for one in mine) == ["RayCluster", "RayJob", "RayService"]
    for manifest in mine:
        kuberay_schema.check_fields(manifest)
        with pytest.raises(jsonschema.ValidationError):
            kuberay_schema.check_fields({**manifest, "spec": {**manifest["spec"], "headGroupSpecs": {}}})


@pytest.mark.skipif(not kuberay_schema.has_kubernetes_schemas(), reason="kubernetes-validate is not installed")
def test_kubernetes_own_schemas_take_the_manifests(kube: dict[str, dict[str, Any]]) -> None:
    import kubernetes_validate

    for manifest in kube.values():
        kuberay_schema.check_kubernetes(manifest)
    pod = kube["RayCluster/kube-train"]["spec"]["headGroupSpec"]["template"]["spec"]
    pod["securityContext"]["runAsUsers"] = 1
    with pytest.raises(kubernetes_validate.ValidationError):
        kuberay_schema.check_kubernetes(kube["RayCluster/kube-train"])


def test_a_crd_file_is_applied_as_the_api_server_does(kube: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    """With a CRD made of the known fields: the files of a release are checked by the test below."""
    manifest = kube["RayCluster/kube-train"]
    crd = {
        "spec": {
            "names": {"kind": "RayCluster"},
            "versions": [{"name": "v1", "schema": {"openAPIV3Schema": kuberay_schema.crd_schema("RayCluster")}}],
        }
    }
    folder = tmp_path / "crds"
    folder.mkdir()
    (folder / "crd.yaml").write_text(yaml.safe_dump(crd))
    kuberay_schema.check_crd(manifest, folder)
    for spoilt in ({"rayVersions": "2"}, {"enableInTreeAutoscaling": "yes"}, {"headGroupSpec": {}}):
        with pytest.raises(jsonschema.ValidationError):
            kuberay_schema.check_crd({**manifest, "spec": {**manifest["spec"], **spoilt}}, folder)


@pytest.mark.skipif("RAYSMITH_KUBERAY_CRDS" not in os.environ, reason="RAYSMITH_KUBERAY_CRDS names no folder of CRDs")
def test_kuberay_s_crds_take_the_manifests(kube: dict[str, dict[str, Any]]) -> None:
    folder = Path(os.environ["RAYSMITH_KUBERAY_CRDS"])
    for manifest in kube.values():
        if manifest["apiVersion"] == "ray.io/v1":
            kuberay_schema.check_crd(manifest, folder)


def test_pods_have_the_token_from_a_secret_no_root_and_their_own_nodes(kube: dict[str, dict[str, Any]]) -> None:
    spec = kube["RayCluster/kube-train"]["spec"]
    assert spec["authOptions"] == {"mode": "token", "secretName": "kube-train-secrets"}
    assert spec["gcsFaultToleranceOptions"]["redisAddress"] == "kube-train-redis:6379"
    groups = {one["groupName"]: one for one in spec["workerGroupSpecs"]}
    pods = [spec["headGroupSpec"]["template"]["spec"], *(one["template"]["spec"] for one in groups.values())]
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"] is True
        (container,) = pod["containers"]
        assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
        assert container["resources"]["limits"] == container["resources"]["requests"]
    assert [pod["automountServiceAccountToken"] for pod in pods] == [True, False, False]
    train = groups["train-spot"]["template"]["spec"]
    assert train["nodeSelector"]["cloud.google.com/gke-spot"] == "true"
    assert train["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "8"
    assert "nvidia-h100-80gb" in str(train["affinity"])
    assert (groups["train-spot"]["minReplicas"], groups["train-spot"]["maxReplicas"]) == (0, 4)


def test_ray_s_ports_are_closed_to_other_namespaces(kube: dict[str, dict[str, Any]]) -> None:
    policy = kube["NetworkPolicy/kube-train"]["spec"]
    label = policy["podSelector"]["matchLabels"]
    for manifest in kube.values():
        spec = manifest["spec"] if manifest["apiVersion"] == "ray.io/v1" else {}
        cluster = spec.get("rayClusterSpec") or spec.get("rayClusterConfig") or spec
        for group in [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]] if cluster else []:
            assert label.items() <= group["template"]["metadata"]["labels"].items(), "the policy holds for every pod"
    for rule in policy["ingress"]:
        ports = {port["port"] for port in rule.get("ports", [])}
        inside = rule["from"] == [{"podSelector": {"matchLabels": label}}]
        assert inside or (ports and 6379 not in ports and 10001 not in ports)
        if any("namespaceSelector" not in peer for peer in rule["from"]) and not inside:
            assert ports == {8000}, "clients in the namespace reach the endpoint alone"


def test_a_job_is_sent_with_its_configuration_and_resumes_in_a_new_cluster(kube: dict[str, dict[str, Any]]) -> None:
    job = kube["RayJob/tiny-job"]["spec"]
    assert job["entrypoint"] == (
        "python -m jobs run /etc/raysmith/job.yaml cluster.address=auto storage.root=/raysmith"
    )
    assert (job["backoffLimit"], job["shutdownAfterJobFinishes"]) == (3, True)
    sent = yaml.safe_load(kube["ConfigMap/tiny-job-job"]["data"]["job.yaml"])
    assert sent == yaml.safe_load(JOB)
    head = job["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
    assert {"name": "job", "mountPath": "/etc/raysmith", "readOnly": True} in head["containers"][0]["volumeMounts"]
    assert {"name": "job", "configMap": {"name": "tiny-job-job"}} in head["volumes"]
    cluster = kube["RayCluster/kube-train"]["spec"]["headGroupSpec"]["template"]["spec"]
    assert [one["name"] for one in cluster["volumes"]] == ["storage"], "the cluster itself has no job"


def test_a_sweep_cannot_be_sent_as_one_file(tmp_path: Path) -> None:
    provider: Any = provider_of(described("kuberay"))
    with pytest.raises(ConfigError, match="sweeps and chains"):
        provider.render(tmp_path, job=REPOSITORY / "configs" / "sweep" / "lora_rank.yaml")
    with pytest.raises(ConfigError, match="no endpoint"):
        provider.render(tmp_path, endpoint=REPOSITORY / "configs" / "quickstart.yaml")


def test_an_endpoint_is_what_serve_is_given(kube: dict[str, dict[str, Any]]) -> None:
    from ray.serve.schema import ServeDeploySchema

    spec = kube["RayService/support"]["spec"]
    config = ServeDeploySchema.model_validate(yaml.safe_load(spec["serveConfigV2"]))
    (app,) = config.applications
    module, _, name = app.import_path.partition(":")
    assert hasattr(importlib.import_module(module), name)
    wanted = app.deployments[0].user_config
    assert (wanted["host"], wanted["port"], wanted["model"]) == ("0.0.0.0", 8000, "quickstart-quantized")
    assert spec["upgradeStrategy"] == {"type": "None"}


def test_up_without_the_platform_s_tools_says_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ClusterError, match="kubectl is not installed"):
        provider_of(described("kuberay")).up()
    if importlib.util.find_spec("boto3") is None:
        with pytest.raises(ClusterError, match="boto3"):
            provider_of(described("aws")).up()
    with pytest.raises(ClusterError, match="No cluster of that name"):
        provider_of(described("ssh")).down()
