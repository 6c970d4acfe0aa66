"""A cluster that runs elsewhere, reached through a tunnel: its dashboard answers on a port of loopback here."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import urllib.error
from pathlib import Path
from typing import Any

import psutil

from cluster import dashboard, records
from cluster.description import ClusterFile
from cluster.errors import ClusterError
from cluster.providers import NodeStatus
from cluster.providers._local_nodes import free_ports
from cluster.storage import write_json

LOOPBACK = "127.0.0.1"
DASHBOARD_PORT = 8265
CONTROL_PORT = 6379
_END_S = 10.0
_POLL_S = 1.0
_LABEL_GROUP = "ray.io/node-group"


def begin(file: ClusterFile, kind: str) -> tuple[records.ClusterRecord, bool]:
    """Record a cluster before anything of it is started, so that `down` finds what a failed `up` has left.

    Returns:
        The record, with a dashboard's address here that nothing listens on yet; and whether the cluster was up before.
    """
    pid = None
    if file.name in records.names():
        earlier = records.record_of(file.name)
        close_tunnel(earlier)
        pid = earlier.pid  # once there was a tunnel, Ray was up
    description = records.folder_of(file.name) / "description.json"
    write_json(description, file.model_dump(mode="json"))
    (port,) = free_ports(1, set())
    record = records.ClusterRecord(
        name=file.name, provider=kind, dashboard=f"http://{LOOPBACK}:{port}", address="", storage=file.storage,
        description=description, pid=pid,
    )  # fmt: skip
    records.keep(record)
    return record, pid is not None


def port_of(record: records.ClusterRecord) -> int:
    """Of its dashboard here."""
    return int(record.dashboard.rpartition(":")[2])


def open_tunnel(record: records.ClusterRecord, command: list[str], within_s: float) -> records.ClusterRecord:
    """Start the process that makes the tunnel, wait until the dashboard answers through it, and keep the record.

    Args:
        command: forwards the port of `record.dashboard` to the head's dashboard, until it is ended.

    Raises:
        ClusterError: nothing answers in time, with the command's last words.
    """
    log = records.folder_of(record.name) / "tunnel.log"
    with log.open("wb") as stream:
        # A session of its own: Ctrl-C here must not end it, and with it goes all that it starts.
        process = subprocess.Popen(  # noqa: S603 a command of ours
            command, stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True
        )
    record = record.model_copy(update={"pid": process.pid})
    records.keep(record)
    deadline = time.monotonic() + within_s
    while True:
        try:
            dashboard.ask(record.dashboard, "/api/version", record.token_file)
        except (OSError, ValueError) as error:
            if process.poll() is None and time.monotonic() < deadline:
                time.sleep(_POLL_S)
                continue
            close_tunnel(record)
            refused = isinstance(error, urllib.error.HTTPError) and error.code in {401, 403}
            raise ClusterError(
                "The cluster's dashboard refuses the token." if refused else "The cluster's dashboard does not answer.",
                field=record.name, got=f"{error}\n{last_lines(log)}",
                fix=f"raysmith cluster up again; `raysmith cluster down {record.name}` removes what was started",
            ) from None  # fmt: skip
        return record


def close_tunnel(record: records.ClusterRecord) -> None:
    """End the tunnel's process and what it started."""
    if not tunnel_is_open(record) or record.pid is None:
        return
    os.killpg(record.pid, signal.SIGTERM)
    try:
        psutil.Process(record.pid).wait(_END_S)
    except psutil.NoSuchProcess:
        return
    except psutil.TimeoutExpired:
        os.killpg(record.pid, signal.SIGKILL)


def tunnel_is_open(record: records.ClusterRecord) -> bool:
    """Whether the process of the record is there: process ids are used again, but not as leaders of a session."""
    try:
        return record.pid is not None and os.getsid(record.pid) == record.pid
    except ProcessLookupError:
        return False


def nodes_of(record: records.ClusterRecord) -> list[NodeStatus]:
    """The nodes, the head first, as the cluster's own dashboard tells.

    Raises:
        ClusterError: it does not answer.
    """
    try:
        told = dashboard.nodes(record.dashboard, record.token_file).content
    except (OSError, ValueError) as error:
        raise ClusterError(
            "The cluster's dashboard does not answer.", field=record.name, got=error, expected=record.dashboard,
            fix="raysmith cluster up CLUSTER.yaml opens the tunnel again, and starts what is not up",
        ) from None  # fmt: skip
    return sorted((_status(node) for node in told), key=lambda one: (one.group != "head", one.state != "alive", one))


def _status(node: dict[str, Any]) -> NodeStatus:
    head = node.get("is_head_node", False)
    has = node.get("resources_total") or {}
    kinds = [key.removeprefix("accelerator_type:") for key in has if key.startswith("accelerator_type:")]
    words = [f"{has.get('CPU', 0):g} CPUs"]
    if gpus := has.get("GPU"):
        words.append(f"{gpus:g} × {kinds[0] if kinds else 'GPU'}")
    return NodeStatus(
        name=node["node_name"], group="head" if head else (node.get("labels") or {}).get(_LABEL_GROUP, ""),
        state=node["state"].lower(), resources=", ".join(words),
        detail=node.get("state_message") or node["node_ip"],
    )  # fmt: skip


def last_lines(log: Path, count: int = 20) -> str:
    """The end of a log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-count:]) if log.is_file() else ""
