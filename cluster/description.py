"""What a cluster is to be: one small YAML file, from which each provider makes what its platform wants.

`raysmith cluster render|up|down|status` take it (configs/cluster/*.yaml).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, PositiveFloat, PositiveInt, field_validator, model_validator

from cluster.config import Config, FromFolder, PluginConfig
from cluster.errors import ConfigValueError

Instance = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


class GpuConfig(Config):
    """The GPUs of one node."""

    kind: str = Field(pattern=r"^[A-Z0-9][A-Za-z0-9-]*$")
    """The maker's name as Ray writes it in `accelerator_type`: H100, A100, L4, …"""
    count: PositiveInt = 1
    """How many a node has."""


class RedisConfig(Config):
    """Where the head keeps its state, so that a head that was killed comes back with its jobs and actors."""

    address: str | None = Field(
        default=None, pattern=r"^(rediss?://)?(\[[0-9a-fA-F:]+\]|[A-Za-z0-9][A-Za-z0-9.-]*):\d{1,5}$"
    )
    """`HOST:PORT` (with TLS: `rediss://HOST:PORT`) of a Redis that is there; its password is read from
    `$RAYSMITH_REDIS_PASSWORD`, never from the description. Unset: the provider starts one."""


class HeadConfig(Config):
    """The node that holds the control store, the dashboard and the drivers of submitted jobs."""

    cpus: PositiveInt = 2
    """Cores that it offers to jobs."""
    memory_gb: PositiveFloat | None = None
    """GiB of memory; unset: what the machine has."""
    instance: Instance | None = None
    """Machine type of a cloud; unset: the provider's choice for `cpus` and `memory_gb`."""
    redis: RedisConfig | None = None
    """Survive the head's end. Unset: with the head, what it knew is gone, and its jobs go on from their checkpoints
    when they are submitted again."""


class NodeGroup(Config):
    """Nodes that are alike."""

    cpus: PositiveInt
    """Cores a node."""
    memory_gb: PositiveFloat | None = None
    """GiB of memory a node; unset: what the machine has."""
    gpu: GpuConfig | None = None
    """Its GPUs."""
    instance: Instance | None = None
    """Machine type of a cloud; unset: the provider's choice."""
    spot: bool = False
    """Cheaper nodes that the cloud may take back: training saves a checkpoint when it is warned."""
    min_nodes: int = Field(default=0, ge=0)
    """Nodes that are always there."""
    max_nodes: PositiveInt = 1
    """Nodes that the autoscaler may start."""

    @model_validator(mode="after")
    def _ordered(self) -> NodeGroup:
        if self.min_nodes > self.max_nodes:
            raise ConfigValueError(
                "A group cannot have more nodes at least than at most.",
                got=f"min_nodes {self.min_nodes}, max_nodes {self.max_nodes}", expected="min_nodes ≤ max_nodes",
            )  # fmt: skip
        return self


class ClusterFile(Config):
    """A cluster."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")
    """What `--cluster NAME` means once it is up."""
    provider: Annotated[PluginConfig, FromFolder("cluster.providers")]
    """Where it runs, with that platform's own keys: `local`, `ssh`, `aws`, `gcp`, `kuberay`."""
    head: HeadConfig = HeadConfig()
    """The head node."""
    nodes: dict[Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,29}$")], NodeGroup] = Field(default={})
    """Groups of workers, by name."""
    storage: Path | None = None
    """`storage.root` as every node sees it: where runs and artifacts are kept. Unset: only for `local`, the
    submitter's own."""
    image: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._/:@-]*$")
    """Container image with the lock installed (cluster/images); needed by `kuberay`, otherwise optional."""
    idle_minutes: PositiveInt = 10
    """A node above `min_nodes` that did nothing for so long is given back."""

    @model_validator(mode="after")
    def _head_is_no_group(self) -> ClusterFile:
        if "head" in self.nodes:
            raise ConfigValueError("The name is the head's.", field="nodes.head", got="head", expected="another name")
        return self

    @field_validator("storage")
    @classmethod
    def _can_be_mounted(cls, storage: Path | None) -> Path | None:
        text = str(storage or "")
        if text == "/" or not text.isprintable() or ":" in text or "," in text:
            raise ConfigValueError(
                "Nothing can be mounted there.", got=text,
                expected="a folder of its own, without colons and commas, such as /raysmith",
            )  # fmt: skip
        return storage

    @property
    def max_gpus(self) -> int:
        """GPUs that it can grow to."""
        return sum(group.gpu.count * group.max_nodes for group in self.nodes.values() if group.gpu is not None)
