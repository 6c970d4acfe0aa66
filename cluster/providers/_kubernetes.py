"""Parts of Kubernetes manifests: what a pod of a cluster is, where it may run, and who may reach it."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from cluster.description import ClusterFile, GpuConfig, HeadConfig, NodeGroup
from cluster.errors import ConfigError
from cluster.preemption import SPOT

CLUSTER_LABEL = "raysmith.io/cluster"
REDIS_LABEL = "raysmith.io/redis"
SERVE_PORT = 8000
RAY_PORTS = {"gcs-server": 6379, "dashboard": 8265, "metrics": 8080, "serve": SERVE_PORT}
_USER = 1000
_GRACE_S = 120
"""A pod that is told to go saves a checkpoint first."""

Manifest = dict[str, Any]
Platform = Literal["plain", "gke", "eks", "karpenter"]


class _Labels(NamedTuple):
    """How a platform's nodes tell what they are."""

    gpu: str
    names: dict[str, tuple[str, ...]]
    """Ray's name of a GPU → the label's values."""
    spot: dict[str, str]
    cloud: str
    """Whose metadata tell a spot node that it is to go (`cluster.preemption`)."""


_PRODUCTS: dict[str, tuple[str, ...]] = {
    "T4": ("Tesla-T4",), "V100": ("Tesla-V100-SXM2-16GB", "Tesla-V100-SXM2-32GB", "Tesla-V100-PCIE-16GB"),
    "A10G": ("NVIDIA-A10G",), "L4": ("NVIDIA-L4",), "L40S": ("NVIDIA-L40S",),
    "A100-40G": ("NVIDIA-A100-SXM4-40GB", "NVIDIA-A100-PCIE-40GB"),
    "A100-80G": ("NVIDIA-A100-SXM4-80GB", "NVIDIA-A100-80GB-PCIe"),
    "H100": ("NVIDIA-H100-80GB-HBM3", "NVIDIA-H100-PCIe", "NVIDIA-H100-NVL"), "H200": ("NVIDIA-H200",),
    "B200": ("NVIDIA-B200",),
}  # fmt: skip
"""As NVIDIA's GPU feature discovery labels nodes."""
_GKE: dict[str, tuple[str, ...]] = {
    "T4": ("nvidia-tesla-t4",), "V100": ("nvidia-tesla-v100",), "L4": ("nvidia-l4",),
    "A100-40G": ("nvidia-tesla-a100",), "A100-80G": ("nvidia-a100-80gb",),
    "H100": ("nvidia-h100-80gb", "nvidia-h100-mega-80gb"), "H200": ("nvidia-h200-141gb",), "B200": ("nvidia-b200",),
}  # fmt: skip
_KARPENTER: dict[str, tuple[str, ...]] = {
    "T4": ("t4",), "V100": ("v100",), "A10G": ("a10g",), "L4": ("l4",), "L40S": ("l40s",), "A100": ("a100",),
    "H100": ("h100",), "H200": ("h200",), "B200": ("b200",),
}  # fmt: skip
_PLATFORMS: dict[Platform, _Labels] = {
    "plain": _Labels("nvidia.com/gpu.product", _PRODUCTS, {}, ""),
    "eks": _Labels("nvidia.com/gpu.product", _PRODUCTS, {"eks.amazonaws.com/capacityType": "SPOT"}, "aws"),
    "gke": _Labels("cloud.google.com/gke-accelerator", _GKE, {"cloud.google.com/gke-spot": "true"}, "gcp"),
    "karpenter": _Labels(
        "karpenter.k8s.aws/instance-gpu-name", _KARPENTER, {"karpenter.sh/capacity-type": "spot"}, "aws"
    ),
}


def _gpu_values(labels: _Labels, gpu: GpuConfig, field: str) -> tuple[str, ...]:
    names = labels.names
    if gpu.kind == "A100" and gpu.kind not in names:  # Ray's name for both
        return (*names["A100-40G"], *names["A100-80G"])
    if gpu.kind not in names:
        raise ConfigError(
            "No node with such GPUs is known.", field=f"{field}.gpu.kind", got=gpu.kind, expected=", ".join(names),
            fix=f"name the machine type in {field}.instance, and another provider.platform if it is one",
        )  # fmt: skip
    return names[gpu.kind]


def placement(platform: Platform, group: NodeGroup | HeadConfig, field: str) -> Manifest:
    """Where pods of a group may run: `nodeSelector`, `affinity`, `tolerations`.

    Raises:
        ConfigError: the platform does not tell such nodes from others.
    """
    labels = _PLATFORMS[platform]
    selector: dict[str, str] = {"kubernetes.io/os": "linux"}
    tolerations: list[Manifest] = []
    found: Manifest = {"nodeSelector": selector}
    if group.instance is not None:
        selector["node.kubernetes.io/instance-type"] = group.instance
    if isinstance(group, HeadConfig):
        return found
    if group.gpu is not None:
        tolerations.append({"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"})
        if group.instance is None:
            values = list(_gpu_values(labels, group.gpu, field))
            term = {"matchExpressions": [{"key": labels.gpu, "operator": "In", "values": values}]}
            required = {"nodeSelectorTerms": [term]}
            found["affinity"] = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}
    if group.spot:
        if not labels.spot:
            raise ConfigError(
                "Which nodes may be taken back differs between platforms.", field=f"{field}.spot",
                got=f"spot with provider.platform: {platform}",
                expected=", ".join(name for name, one in _PLATFORMS.items() if one.spot),
            )  # fmt: skip
        selector |= labels.spot
        tolerations += [{"key": key, "operator": "Equal", "value": value, "effect": "NoSchedule"}
                        for key, value in labels.spot.items()]  # fmt: skip
    if tolerations:
        found["tolerations"] = tolerations
    return found


def warned(platform: Platform, group: NodeGroup) -> dict[str, str]:
    """What a pod's environment says of who warns its node."""
    return {SPOT: _PLATFORMS[platform].cloud} if group.spot else {}


def memory_bytes(group: NodeGroup | HeadConfig, field: str) -> int:
    """Of a pod.

    Raises:
        ConfigError: it is not said.
    """
    if group.memory_gb is None:
        raise ConfigError(
            "A pod's memory has to be said: Ray's object store is a part of it, and more ends the pod.",
            field=f"{field}.memory_gb", got=None, expected="GiB of memory",
        )  # fmt: skip
    return int(group.memory_gb * 2**10) * 2**20


def pod(
    file: ClusterFile, group: NodeGroup | HeadConfig, field: str, claim: str, where: Manifest,
    variables: dict[str, str], **more: Any,
) -> Manifest:  # fmt: skip
    """The pod template of the head or of a group.

    Args:
        claim: the volume claim of storage.
        where: see `placement`.
        variables: more of its environment.
        more: other keys of its `spec`.
    """
    amounts: dict[str, str] = {"cpu": str(group.cpus), "memory": f"{memory_bytes(group, field) // 2**20}Mi"}
    if isinstance(group, NodeGroup) and group.gpu is not None:
        amounts["nvidia.com/gpu"] = str(group.gpu.count)
    is_head = isinstance(group, HeadConfig)
    environment = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",
        "RAY_JOB_STOP_WAIT_TIME_S": "30",
        "RAYSMITH_STORAGE": str(file.storage),
        **variables,
    }
    container: Manifest = {
        "name": "ray-head" if is_head else "ray-worker",
        "image": file.image,
        "imagePullPolicy": "IfNotPresent",
        "env": [{"name": key, "value": value} for key, value in environment.items()],
        "resources": {"requests": amounts, "limits": amounts},
        "securityContext": LOCKED,
        "volumeMounts": [{"name": "storage", "mountPath": str(file.storage)}],
    }
    if is_head:
        container["ports"] = [{"name": name, "containerPort": port} for name, port in RAY_PORTS.items()]
    return {
        "metadata": {"labels": {CLUSTER_LABEL: file.name, "app.kubernetes.io/part-of": "raysmith"}},
        "spec": {
            **where, **more,
            "automountServiceAccountToken": is_head,  # the autoscaler beside the head asks Kubernetes for pods
            "terminationGracePeriodSeconds": _GRACE_S,
            "securityContext": UNPRIVILEGED,
            "containers": [container],
            "volumes": [{"name": "storage", "persistentVolumeClaim": {"claimName": claim}}],
        },
    }  # fmt: skip


LOCKED: Manifest = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
UNPRIVILEGED: Manifest = {
    "runAsNonRoot": True, "runAsUser": _USER, "runAsGroup": _USER, "fsGroup": _USER,
    "fsGroupChangePolicy": "OnRootMismatch", "seccompProfile": {"type": "RuntimeDefault"},
}  # fmt: skip


def metadata(file: ClusterFile, name: str) -> Manifest:
    """Of a manifest of this cluster."""
    namespace = getattr(file.provider, "namespace", "default")
    return {"name": name, "namespace": namespace, "labels": {CLUSTER_LABEL: file.name}}


def network_policies(file: ClusterFile, operator_namespace: str, monitoring_namespace: str | None) -> list[Manifest]:
    """Who may reach the pods: each other; KubeRay's operator; clients in the namespace, the endpoint's port alone."""
    mine = {"podSelector": {"matchLabels": {CLUSTER_LABEL: file.name}}}
    operator = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": operator_namespace}},
        "podSelector": {"matchLabels": {"app.kubernetes.io/name": "kuberay-operator"}},
    }
    ingress: list[Manifest] = [
        {"from": [mine]},
        {"from": [operator], "ports": [_tcp(RAY_PORTS["dashboard"]), _tcp(SERVE_PORT), _tcp(52365)]},
        {"from": [{"podSelector": {}}], "ports": [_tcp(SERVE_PORT)]},
    ]
    if monitoring_namespace is not None:
        watchers = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": monitoring_namespace}}}
        ingress.append({"from": [watchers], "ports": [_tcp(RAY_PORTS["metrics"])]})
    found = [_policy(file, file.name, mine["podSelector"], ingress)]
    if file.head.redis is not None and file.head.redis.address is None:
        selector = {"matchLabels": {REDIS_LABEL: file.name}}
        found.append(_policy(file, f"{file.name}-redis", selector, [{"from": [mine], "ports": [_tcp(6379)]}]))
    return found


def _policy(file: ClusterFile, name: str, selector: Manifest, ingress: list[Manifest]) -> Manifest:
    return {
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata(file, name),
        "spec": {"podSelector": selector, "policyTypes": ["Ingress"], "ingress": ingress},
    }  # fmt: skip


def _tcp(port: int) -> Manifest:
    return {"protocol": "TCP", "port": port}


def volume_claim(file: ClusterFile, name: str, storage_class: str | None, gigabytes: int, mode: str) -> Manifest:
    """A claim of storage."""
    spec: Manifest = {"accessModes": [mode], "resources": {"requests": {"storage": f"{gigabytes}Gi"}}}
    if storage_class is not None:
        spec["storageClassName"] = storage_class
    return {
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata(file, name), "spec": spec,
    }  # fmt: skip


def redis(file: ClusterFile, secret: str, image: str, storage_class: str | None) -> list[Manifest]:
    """A Redis for the head's state, on a volume of its own."""
    name = f"{file.name}-redis"
    labels = {REDIS_LABEL: file.name}
    container = {
        "name": "redis",
        "image": image,
        # The password stays out of the process list: the configuration comes on standard input.
        "command": ["sh", "-c", 'printf "requirepass %s\\nappendonly yes\\ndir /data\\n" "$REDIS_PASSWORD" '
                    "| exec redis-server -"],
        "env": [{"name": "REDIS_PASSWORD", "valueFrom": {"secretKeyRef": {"name": secret, "key": "redis_password"}}}],
        "ports": [{"name": "redis", "containerPort": 6379}],
        "resources": {"requests": {"cpu": "250m", "memory": "512Mi"}, "limits": {"memory": "1Gi"}},
        "securityContext": LOCKED,
        "livenessProbe": {"tcpSocket": {"port": 6379}, "initialDelaySeconds": 5, "periodSeconds": 10},
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }  # fmt: skip
    claim = volume_claim(file, "data", storage_class, 5, "ReadWriteOnce")["spec"]
    return [
        {"apiVersion": "v1", "kind": "Service", "metadata": metadata(file, name),
         "spec": {"clusterIP": "None", "selector": labels, "ports": [{"name": "redis", "port": 6379}]}},
        {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": metadata(file, name),
         "spec": {
             "serviceName": name, "replicas": 1, "selector": {"matchLabels": labels},
             "template": {
                 "metadata": {"labels": labels},
                 "spec": {"automountServiceAccountToken": False, "securityContext": UNPRIVILEGED,
                          "containers": [container]},
             },
             "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": claim}],
         }},
    ]  # fmt: skip
