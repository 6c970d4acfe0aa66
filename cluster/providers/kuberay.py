"""Kubernetes with the KubeRay operator (1.6 or newer: the token comes from a Secret that is made here).

    FOLDER/storage.yaml     the volume claim, unless it is there already
    FOLDER/network.yaml     who may reach the pods
    FOLDER/redis.yaml       where the head keeps its state, unless that is elsewhere
    FOLDER/cluster.yaml     the RayCluster
    FOLDER/job.yaml         a RayJob with its ConfigMap, for `--job FILE`: a cluster of its own, gone with it
    FOLDER/endpoint.yaml    a RayService, for `--endpoint FILE`

None of them holds a secret: `up` makes the Secret NAME-secrets through kubectl's standard input.
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field

from cluster import records
from cluster.config import PluginConfig
from cluster.description import ClusterFile
from cluster.errors import ClusterError, ConfigError
from cluster.providers import NodeStatus, _kuberay
from cluster.providers import _kubernetes as kubernetes
from cluster.providers import _tunnel as tunnel
from cluster.providers._kubernetes import Manifest, Platform
from cluster.providers._local_nodes import LOOPBACK
from cluster.providers._secrets import keep_redis_password, redis_password_file
from cluster.storage import write_atomically

_NAME = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
_START_S, _TUNNEL_S, _KUBECTL_S = 900, 120.0, 120


class Config(PluginConfig):
    """Where in Kubernetes."""

    kind: Literal["kuberay"] = "kuberay"
    namespace: str = Field(default="default", pattern=_NAME)
    """It has to be there."""
    context: str | None = Field(default=None, pattern=r"^[A-Za-z0-9@:/._-]+$")
    """Of kubectl's configuration; unset: the current one."""
    platform: Platform = "plain"
    """Whose nodes: it says how they tell their GPUs, and which may be taken back. `plain`: NVIDIA's GPU feature
    discovery, and no spot nodes."""
    storage_claim: str | None = Field(default=None, pattern=_NAME)
    """A volume claim that is there, ReadWriteMany. Unset: one is made."""
    storage_class: str | None = Field(default=None, pattern=r"^[a-z0-9][a-z0-9.-]*$")
    """Of the claims that are made; unset: the default one, which seldom is ReadWriteMany."""
    storage_gb: int = Field(default=500, ge=1)
    """Size of the claim that is made."""
    pull_secret: str | None = Field(default=None, pattern=_NAME)
    """Of the image's registry."""
    redis_image: str = "redis:7.4"
    """For `head.redis` without an address."""
    operator_namespace: str = Field(default="default", pattern=_NAME)
    """Where KubeRay's operator runs, which must reach the dashboard."""
    monitoring_namespace: str | None = Field(default=None, pattern=_NAME)
    """Whose pods may read metrics; unset: none from outside."""


class Provider:
    """Renders manifests, and applies them with kubectl."""

    RENDERS_JOBS = True

    def __init__(self, file: ClusterFile) -> None:
        if not isinstance(file.provider, Config):
            raise TypeError(file.provider)
        for field, value, expected in (
            ("image", file.image, "a container image with the lock installed (cluster/images)"),
            ("storage", file.storage, "the path at which pods mount the volume, such as /raysmith"),
        ):
            if value is None:
                raise ConfigError("Pods need it.", field=field, got=None, expected=expected)
        if file.storage is not None and not file.storage.is_absolute():
            raise ConfigError("A volume is mounted at an absolute path.", field="storage", got=file.storage)
        self.file = file
        self.config = file.provider
        self.secret = f"{file.name}-secrets"
        self._cluster_spec()  # refuses what cannot be before anything is written

    def _cluster_spec(self) -> Manifest:
        return _kuberay.cluster_spec(self.file, self.config, self.secret, self.claim)

    @property
    def claim(self) -> str:
        """The volume claim of storage."""
        return self.config.storage_claim or f"{self.file.name}-storage"

    def render(self, folder: Path, job: Path | None = None, endpoint: Path | None = None) -> list[Path]:
        """Write the manifests.

        Args:
            job: a job's YAML, for a RayJob.
            endpoint: an endpoint's YAML, for a RayService.

        Raises:
            ConfigError: it is neither, or cannot be sent as one file.
        """
        file, config = self.file, self.config
        parts: dict[str, list[Manifest]] = {
            "network": kubernetes.network_policies(file, config.operator_namespace, config.monitoring_namespace)
        }
        if config.storage_claim is None:
            claim = kubernetes.volume_claim(file, self.claim, config.storage_class, config.storage_gb, "ReadWriteMany")
            parts["storage"] = [claim]
        if file.head.redis is not None and file.head.redis.address is None:
            parts["redis"] = kubernetes.redis(file, self.secret, config.redis_image, config.storage_class)
        parts["cluster"] = [_kuberay.ray_cluster(file, self._cluster_spec())]
        if job is not None:
            parts["job"] = _kuberay.ray_job(file, self._cluster_spec(), job)
        if endpoint is not None:
            parts["endpoint"] = [_kuberay.ray_service(file, self._cluster_spec(), endpoint)]
        return [_write(folder / f"{name}.yaml", manifests) for name, manifests in parts.items()]

    def up(self) -> None:
        """Apply the manifests, wait for the head, open a tunnel to its dashboard, and record the cluster."""
        name = self.file.name
        self._kubectl("get", "namespace", self.config.namespace, namespaced=False)
        keep_redis_password(self.file)
        record, _ = tunnel.begin(self.file, "kuberay")
        self._apply_secret()
        for path in self.render(records.folder_of(name) / "manifests"):
            self._kubectl("apply", "-f", str(path))
        wait = ("--for=condition=HeadPodReady", f"raycluster/{name}", f"--timeout={_START_S}s")
        self._kubectl("wait", *wait, within_s=_START_S + _KUBECTL_S)
        address = f"{name}-head-svc.{self.config.namespace}.svc:{tunnel.CONTROL_PORT}"
        record = record.model_copy(update={"address": address})
        ports = f"{tunnel.port_of(record)}:{tunnel.DASHBOARD_PORT}"
        forward = ("port-forward", "--address", LOOPBACK, f"service/{name}-head-svc", ports)
        tunnel.open_tunnel(record, self._command(*forward), _TUNNEL_S)

    def down(self) -> None:
        """Delete all but the volume claims, and forget the record."""
        record = records.record_of(self.file.name)
        # The cluster first: its end waits until the operator has cleaned the Redis.
        for path in reversed(self.render(records.folder_of(self.file.name) / "manifests")):
            if path.stem != "storage":
                self._kubectl("delete", "--ignore-not-found", "-f", str(path), within_s=_START_S)
        self._kubectl("delete", "--ignore-not-found", "secret", self.secret)
        tunnel.close_tunnel(record)
        records.forget(self.file.name)

    def status(self) -> list[NodeStatus]:
        """What the dashboard tells through the tunnel."""
        return tunnel.nodes_of(records.record_of(self.file.name))

    def _apply_secret(self) -> None:
        """The token, and the password of Redis."""
        values = {"auth_token": records.make_token(self.file.name).read_text()}
        if self.file.head.redis is not None:
            values["redis_password"] = redis_password_file(self.file.name).read_text()
        manifest = {
            "apiVersion": "v1", "kind": "Secret", "metadata": kubernetes.metadata(self.file, self.secret),
            "type": "Opaque", "data": {key: base64.b64encode(one.encode()).decode() for key, one in values.items()},
        }  # fmt: skip
        # Server-side: `kubectl apply` alone would copy the secret into an annotation.
        self._kubectl("apply", "--server-side", "-f", "-", given=json.dumps(manifest))

    def _command(self, *arguments: str, namespaced: bool = True) -> list[str]:
        kubectl = shutil.which("kubectl")
        if kubectl is None:
            raise ClusterError(
                "kubectl is not installed.", field="provider", got="kuberay", fix="install kubectl, or apply what "
                "`raysmith cluster render` writes from where it is",
            )  # fmt: skip
        context = ["--context", self.config.context] if self.config.context is not None else []
        return [kubectl, *context, *(["--namespace", self.config.namespace] if namespaced else []), *arguments]

    def _kubectl(
        self, *arguments: str, namespaced: bool = True, given: str | None = None, within_s: float = _KUBECTL_S
    ) -> str:
        """Run kubectl.

        Raises:
            ClusterError: it is not there, fails, or takes too long.
        """
        command = self._command(*arguments, namespaced=namespaced)
        try:
            done = subprocess.run(  # noqa: S603 a command of ours
                command, input=given or "", capture_output=True, text=True, check=False, timeout=within_s
            )
        except subprocess.TimeoutExpired:
            raise ClusterError(f"`kubectl {arguments[0]}` took over {within_s:.0f} s.", field="kubectl") from None
        if done.returncode:
            raise ClusterError(
                f"`kubectl {arguments[0]}` failed.", field="kubectl", got=done.stderr.strip()[-2000:],
                fix="see that the KubeRay operator (1.6 or newer) is installed, and that your account may do this",
            )  # fmt: skip
        return done.stdout


class _Plain(yaml.SafeDumper):
    """YAML in which each part stands where it is read."""

    def ignore_aliases(self, _data: Any) -> bool:
        """All: what is the same is written again."""
        return True


def _write(path: Path, manifests: list[Manifest]) -> Path:
    texts: list[Any] = [yaml.dump(one, Dumper=_Plain, sort_keys=False, width=120) for one in manifests]
    write_atomically(path, "# Made by `raysmith cluster render`; it holds no secret.\n" + "---\n".join(texts))
    return path
