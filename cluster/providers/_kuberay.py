"""KubeRay's own kinds: RayCluster, RayJob, RayService (ray.io/v1)."""

from __future__ import annotations

import re
import shlex
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from cluster import growth
from cluster.config_file import read_tree
from cluster.description import ClusterFile
from cluster.errors import ConfigError
from cluster.providers._kubernetes import (
    LOCKED,
    SERVE_PORT,
    Manifest,
    memory_bytes,
    metadata,
    placement,
    pod,
    warned,
)  # fmt: skip
from cluster.providers._node_types import labels_of

if TYPE_CHECKING:
    from cluster.providers.kuberay import Config

_CONFIG_FOLDER = "/etc/raysmith"
_RETRIES = 3
_TTL_S = 600
_RAYSERVICE = "jobs.endpoints.rayservice:application"


def cluster_spec(file: ClusterFile, config: Config, secret: str, claim: str) -> Manifest:
    """What a RayCluster, a RayJob and a RayService have in common.

    Raises:
        ConfigError: a group that the platform cannot have.
    """
    pull = {"imagePullSecrets": [{"name": config.pull_secret}]} if config.pull_secret is not None else {}
    may_grow = {growth.ENVIRONMENT: growth.encode(_groups(file))}
    head = pod(file, file.head, "head", claim, placement(config.platform, file.head, "head"), may_grow, **pull)
    spec: Manifest = {
        "rayVersion": version("ray"),
        "authOptions": {"mode": "token", "secretName": secret},
        "enableInTreeAutoscaling": True,
        "autoscalerOptions": {
            "version": "v2",
            "idleTimeoutSeconds": file.idle_minutes * 60,
            "upscalingMode": "Default",
            "securityContext": LOCKED,
            "resources": {"requests": {"cpu": "500m", "memory": "512Mi"}, "limits": {"cpu": "500m", "memory": "1Gi"}},
        },
        "headGroupSpec": {
            "serviceType": "ClusterIP",
            "rayStartParams": {"dashboard-host": "0.0.0.0", "num-cpus": str(file.head.cpus)},  # noqa: S104 of the pod
            "template": _never_restarted(head),
        },
        "workerGroupSpecs": [],
    }
    for name, group in file.nodes.items():
        field = f"nodes.{name}"
        where = placement(config.platform, group, field)
        template = pod(file, group, field, claim, where, warned(config.platform, group), **pull)
        spec["workerGroupSpecs"].append({
            "groupName": name,
            "replicas": group.min_nodes, "minReplicas": group.min_nodes, "maxReplicas": group.max_nodes,
            "labels": labels_of(group),
            "rayStartParams": {"num-cpus": str(group.cpus)},
            "template": _never_restarted(template),
        })  # fmt: skip
    if file.head.redis is not None:
        spec["gcsFaultToleranceOptions"] = {
            "redisAddress": file.head.redis.address or f"{file.name}-redis:6379",
            "redisPassword": {"valueFrom": {"secretKeyRef": {"name": secret, "key": "redis_password"}}},
        }
    return spec


def _groups(file: ClusterFile) -> list[growth.Group]:
    """What Ray has in the pods of each group: KubeRay gives it the container's limits."""
    return [
        growth.Group(
            name,
            {"CPU": group.cpus, "memory": memory_bytes(group, f"nodes.{name}")}
            | ({"GPU": group.gpu.count} if group.gpu is not None else {}),
            group.max_nodes,
        )
        for name, group in file.nodes.items()
    ]


def _never_restarted(template: Manifest) -> Manifest:
    # The autoscaler (version 2) decides which pods there are: a container that comes back by itself confuses it.
    template["spec"]["restartPolicy"] = "Never"
    return template


def ray_cluster(file: ClusterFile, spec: Manifest) -> Manifest:
    """A cluster that stays."""
    return {"apiVersion": "ray.io/v1", "kind": "RayCluster", "metadata": metadata(file, file.name), "spec": spec}


def ray_job(file: ClusterFile, spec: Manifest, job: Path) -> list[Manifest]:
    """A job with a cluster of its own, and the ConfigMap of its configuration.

    A retry makes a new cluster and runs the same command: finished stages are reused, what was cut off is resumed.

    Raises:
        ConfigError: the file is a sweep or a chain, which name other files.
    """
    tree = read_tree(job).tree
    if several := sorted({"job", "chain"} & tree.keys()):
        raise ConfigError(
            "Only a single job can be sent as a RayJob: sweeps and chains name other files.", field=several[0],
            got=job, fix="bring the cluster up, and use `raysmith submit`",
        )  # fmt: skip
    name = _object_name(job, tree)
    template = spec["headGroupSpec"]["template"]["spec"]
    template["volumes"].append({"name": "job", "configMap": {"name": f"{name}-job"}})
    template["containers"][0]["volumeMounts"].append({"name": "job", "mountPath": _CONFIG_FOLDER, "readOnly": True})
    command = ["python", "-m", "jobs", "run", f"{_CONFIG_FOLDER}/job.yaml",
               "cluster.address=auto", f"storage.root={file.storage}"]  # fmt: skip
    return [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata(file, f"{name}-job"),
         "data": {"job.yaml": yaml.safe_dump(tree, sort_keys=False)}},
        {"apiVersion": "ray.io/v1", "kind": "RayJob", "metadata": metadata(file, name),
         "spec": {
             "entrypoint": shlex.join(command),
             "submissionMode": "HTTPMode",  # the operator sends it itself: no pod more that needs the image and token
             "metadata": {"raysmith": name},
             "backoffLimit": _RETRIES,
             "shutdownAfterJobFinishes": True,
             "ttlSecondsAfterFinished": _TTL_S,
             "rayClusterSpec": spec,
         }},
    ]  # fmt: skip


def ray_service(file: ClusterFile, spec: Manifest, endpoint: Path) -> Manifest:
    """An endpoint with a cluster of its own (docs/decisions/0017-rayservice.md).

    Its front is the head's port 8000, where KubeRay's service NAME-serve-svc leads; Serve's own proxies are off.

    Raises:
        ConfigError: the file is no endpoint's.
    """
    tree = read_tree(endpoint).tree
    if "model" not in tree or not isinstance(tree["model"], str):
        raise ConfigError("That file is no endpoint's.", field="model", got=endpoint, expected="configs/serve/*.yaml")
    name = _object_name(endpoint, tree)
    wanted = {
        **tree, "host": "0.0.0.0", "port": SERVE_PORT,  # noqa: S104 of the pod; the front asks for a key
        "cluster": {**tree.get("cluster", {}), "address": "auto"}, "storage": {"root": str(file.storage)},
    }  # fmt: skip
    serve = {
        "proxy_location": "Disabled",
        "applications": [{
            "name": f"raysmith-supervisor-{name}", "import_path": _RAYSERVICE, "route_prefix": None,
            "deployments": [{"name": "Supervisor", "user_config": wanted}],
        }],
    }  # fmt: skip
    return {
        "apiVersion": "ray.io/v1", "kind": "RayService", "metadata": metadata(file, name),
        "spec": {
            # A change of the endpoint goes to the cluster that serves it: it starts new versions beside the old ones.
            "upgradeStrategy": {"type": "None"},
            "serveConfigV2": yaml.safe_dump(serve, sort_keys=False),
            "rayClusterConfig": spec,
        },
    }  # fmt: skip


def _object_name(path: Path, tree: dict[str, Any]) -> str:
    """A name that KubeRay takes, from the file's own."""
    found = re.sub(r"[^a-z0-9]+", "-", str(tree.get("name", path.stem)).lower()).strip("-")
    if not found or len(found) > 47:
        raise ConfigError(
            "KubeRay takes names of at most 47 characters.", field="name", got=found, fix="a shorter `name` in the file"
        )
    return found
