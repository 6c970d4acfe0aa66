"""The nodes of a local cluster: which there are to be, with what ports, environment and command lines.

What a node was given once it keeps (`places.json` in the cluster's folder): one that comes back listens where it did.
"""

from __future__ import annotations

import json
import os
import random
import socket
import sys
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import Field

from cluster.config import PluginConfig
from cluster.description import ClusterFile, NodeGroup
from cluster.errors import ConfigError, ResourceError
from cluster.storage import read_json, write_json

LOOPBACK = "127.0.0.1"
HEAD = "head"
FOLDER_VARIABLE, NODE_VARIABLE = "RAYSMITH_CLUSTER_FOLDER", "RAYSMITH_NODE"
"""In the environment of all that a cluster runs: by these its processes are found."""
REDIS_PASSWORD_VARIABLE = "RAYSMITH_REDIS_PASSWORD"  # noqa: S105
_HEAD_PORTS = ("port", "dashboard-port", "ray-client-server-port")
_HEAD_VARIABLES = ("AUTOSCALER_METRIC_PORT", "DASHBOARD_METRIC_PORT")  # fixed ports otherwise: one cluster a machine
_NODE_PORTS = (
    "node-manager-port", "object-manager-port", "dashboard-agent-listen-port", "dashboard-agent-grpc-port",
    "runtime-env-agent-port", "metrics-export-port",
)  # fmt: skip
_PORT_RANGE = range(20000, 32000)  # below those that the kernel gives to outgoing connections: free at a restart, too
TEMPORARY_VARIABLE = "RAYSMITH_RAY_FOLDER"
"""In the environment of all on a node: its `--temp-dir`, by which a driver finds the raylet of its own node."""
_START = Path(__file__).with_name("_local_start.py")
_DRAIN_S = 20
_SETTINGS = {
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # otherwise Ray takes a loopback address for the machine's own
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # a worker without GPUs must not see the machine's
    "RAY_TRAIN_ENABLE_CONTROLLER_LOGGING": "0",
    "RAY_JOB_STOP_WAIT_TIME_S": "30",  # a driver that is stopped saves first
    "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": str(_DRAIN_S),  # SIGTERM to a node: its tasks have so long to end
    # A node that is dead, connections to it being refused, is out after 3 × 2 s (Ray: 5 × 3 s); one that is only slow
    # has 3 × 10 s, as two cores under several nodes need.
    "RAY_health_check_period_ms": "2000",
    "RAY_health_check_failure_threshold": "3",
    # Nodes and drivers wait so long for a head that comes back (Ray: 60 s).
    "RAY_gcs_rpc_server_reconnect_timeout_s": "300",
}


class Config(PluginConfig):
    """Several nodes on this machine, each with processes, ports and sockets of its own, on loopback."""

    kind: Literal["local"] = "local"
    port: int | None = Field(default=None, ge=1024, le=65535)
    """Of the head's control store; unset: a free one, kept for restarts."""
    dashboard_port: int | None = Field(default=None, ge=1024, le=65535)
    """Of the dashboard, where jobs are submitted; unset: a free one, kept for restarts."""
    object_store_mb: int = Field(default=256, ge=80)
    """MiB of shared memory for the objects of each node; what does not fit is spilled to disk."""


class NodePlan(NamedTuple):
    """One node as it is to be started."""

    name: str
    group: str
    command: list[str]
    environment: dict[str, str]
    """What it has beside the environment of `base_environment`."""
    temporary: Path
    """For Ray's files: a name of its own for the folder that all nodes share."""


class Places:
    """Ports and GPUs that nodes were given, kept in a file."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._given: dict[str, Any] = read_json(file) or {}

    def ports(self, node: str, names: tuple[str, ...], fixed: dict[str, int | None] | None = None) -> dict[str, int]:
        """The node's ports, those of `fixed` where they are set."""
        given: dict[str, int] = self._given.setdefault(node, {}).setdefault("ports", {})
        wanted = {name: port for name, port in (fixed or {}).items() if port is not None}
        missing = [name for name in names if name not in given and name not in wanted]
        taken = {port for other in self._given.values() for port in other["ports"].values()} | set(wanted.values())
        found = wanted | dict(zip(missing, free_ports(len(missing), taken), strict=True))
        if not found.items() <= given.items():
            given.update(found)
            write_json(self._file, self._given)
        return {name: given[name] for name in names}

    def gpus(self, node: str, count: int) -> list[str]:
        """Identifiers of the machine's GPUs that are the node's alone."""
        given: list[str] = self._given.setdefault(node, {"ports": {}}).setdefault("gpus", [])
        taken = {gpu for other in self._given.values() for gpu in other.get("gpus", [])}
        given += [gpu for gpu in machine_gpus() if gpu not in taken][: max(0, count - len(given))]
        write_json(self._file, self._given)
        return given

    def forget(self, node: str) -> None:
        """Give back what a node had that is no longer wanted."""
        self._given.pop(node, None)
        write_json(self._file, self._given)


def free_ports(count: int, taken: set[int]) -> list[int]:
    """Ports on loopback that nothing uses now."""
    found: list[int] = []
    for port in random.sample(_PORT_RANGE, len(_PORT_RANGE)):
        if len(found) == count:
            return found
        if port not in taken and port_is_free(port):
            found.append(port)
    raise ResourceError("No ports are free.", field="ports", got=f"{len(found)} of {count} in {_PORT_RANGE}")


def port_is_free(port: int) -> bool:
    """Whether a server could listen there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def machine_gpus() -> list[str]:
    """Identifiers of the GPUs that this account may use."""
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [one.strip() for one in visible.split(",") if one.strip()]
    return sorted((path.name.removeprefix("nvidia") for path in Path("/dev").glob("nvidia[0-9]*")), key=int)


def node_names(file: ClusterFile) -> dict[str, str]:
    """The group of each worker node that is to be there."""
    return {f"{group}-{index}": group for group, what in file.nodes.items() for index in range(what.min_nodes)}


def config_of(file: ClusterFile) -> Config:
    """The provider's keys."""
    if not isinstance(file.provider, Config):
        raise ConfigError("The description is of another provider.", field="provider", got=file.provider.kind)
    return file.provider


def head_ports(file: ClusterFile, places: Places) -> dict[str, int]:
    """`port` (control store), `dashboard-port` and the like of the head."""
    config = config_of(file)
    fixed = {"port": config.port, "dashboard-port": config.dashboard_port}
    return places.ports(HEAD, _HEAD_PORTS + _NODE_PORTS, fixed)


def base_environment(folder: Path) -> dict[str, str]:
    """What all nodes have: this process's environment without what Ray or Python left in it, and the settings."""
    dropped = ("RAY_", "PYTHONPATH", "CUDA_VISIBLE_DEVICES", REDIS_PASSWORD_VARIABLE, NODE_VARIABLE)
    kept = {key: value for key, value in os.environ.items() if not key.startswith(dropped)}
    binaries = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return {**kept, "PATH": binaries, **settings(folder)}


def settings(folder: Path) -> dict[str, str]:
    """What is set for all nodes."""
    return {**_SETTINGS, "RAY_AUTH_TOKEN_PATH": str(folder / "token"), FOLDER_VARIABLE: str(folder)}


def plan_head(file: ClusterFile, places: Places, temporary: Path, keeper: dict[str, str]) -> NodePlan:
    """The head.

    Args:
        keeper: variables that name the Redis with its state; none: it is kept in memory.
    """
    ports = head_ports(file, places)
    flags = ["--head", f"--dashboard-host={LOOPBACK}"]
    environment = keeper | {name: str(port) for name, port in places.ports(HEAD, _HEAD_VARIABLES).items()}
    group = NodeGroup(cpus=file.head.cpus, memory_gb=file.head.memory_gb)
    return _plan(file, HEAD, HEAD, group, ports, temporary, flags, environment, [])


def plan_worker(file: ClusterFile, places: Places, temporary: Path, name: str, group: str) -> NodePlan:
    """A node of a group."""
    what = file.nodes[group]
    address = f"{LOOPBACK}:{head_ports(file, places)['port']}"
    gpus = places.gpus(name, what.gpu.count) if what.gpu is not None else []
    environment = {"RAY_NODE_MARKET_TYPE": "spot"} if what.spot else {}
    ports = places.ports(name, _NODE_PORTS)
    flags = [f"--address={address}", "--include-log-monitor=False"]  # the head's reads the logs that all share
    return _plan(file, name, group, what, ports, temporary, flags, environment, gpus)


def _plan(
    file: ClusterFile, name: str, group: str, what: NodeGroup, ports: dict[str, int], temporary: Path,
    flags: list[str], environment: dict[str, str], gpus: list[str],
) -> NodePlan:  # fmt: skip
    # Raylets of one machine look alike to a driver but for this folder's name; it is short for the paths of sockets.
    temporary /= f"n{ports['node-manager-port']}"
    memory = [] if what.memory_gb is None else [f"--memory={int(what.memory_gb * 2**30)}"]
    command = [
        sys.executable, "-P", str(_START), "start", *flags, "--block", "--disable-usage-stats",
        f"--node-ip-address={LOOPBACK}", f"--node-name={name}", f"--num-cpus={what.cpus}", f"--num-gpus={len(gpus)}",
        *memory,
        f"--object-store-memory={config_of(file).object_store_mb * 2**20}", f"--temp-dir={temporary}",
        f"--resources={json.dumps({f'group-{group}': 1})}",
        f"--labels=raysmith-group={group},raysmith-node={name}",
        *(f"--{flag}={port}" for flag, port in ports.items()),
    ]  # fmt: skip
    environment |= {
        "CUDA_VISIBLE_DEVICES": ",".join(gpus), NODE_VARIABLE: name, TEMPORARY_VARIABLE: str(temporary)
    }  # fmt: skip
    return NodePlan(name, group, command, environment, temporary)
