"""A cluster that is up: its dashboard, its nodes, its clock."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cluster import dashboard
from cluster.errors import RaysmithError
from cluster.records import ClusterRecord
from jobs.doctor.finding import Finding, State, Subject

AREA = "the cluster"
_SKEW_S = 5.0
"""The header tells whole seconds."""
_RECENT_S = 3600.0
_MEANT = ("Expected termination", "Terminated due to")
"""How Ray's messages of nodes begin that were taken away, or drained: a scale-down, a reclaimed spot machine."""
_HERE = "local"
"""The provider whose nodes share this machine: only there can the doctor join as a driver."""


def check(subject: Subject) -> Iterator[Finding]:
    """See `AREA`."""
    if subject.record is None:
        return
    record = subject.record
    try:
        nodes, told_at = dashboard.nodes(record.dashboard, record.token_file)
        off_s = told_at - time.time()
    except (OSError, ValueError) as error:
        yield Finding(
            "dashboard", "problem", f"{record.dashboard} does not answer: {getattr(error, 'reason', error)}",
            f"raysmith cluster status {record.name}; where the head is elsewhere, is the tunnel up?",
        )  # fmt: skip
        return
    yield Finding("dashboard", "ok", record.dashboard)
    yield alive_and_lost(nodes, told_at, record.name)
    yield Finding(
        "the head's clock", "warning" if abs(off_s) > _SKEW_S else "ok", f"{off_s:+.0f} s off this machine's",
        "install chrony on every node",
    )  # fmt: skip
    yield from _alike(subject, record)


def alive_and_lost(nodes: list[dict[str, Any]], now: float, name: str) -> Finding:
    """How many nodes there are, and how many failed lately: Ray lists those that are gone for as long as it runs.

    Args:
        nodes: as the dashboard lists them.
        now: by the head's clock.
    """
    alive = [node for node in nodes if node["state"] == "ALIVE"]
    lost = [
        node for node in nodes
        if node["state"] == "DEAD"
        and not (node.get("state_message") or "").startswith(_MEANT)
        and now - (node.get("end_time_ms") or 0) / 1000 < _RECENT_S
    ]  # fmt: skip
    words = f"{len(alive)} alive" + (f", {len(lost)} lost within the last hour" if lost else "")
    state: State = "problem" if not alive else "warning" if lost else "ok"
    return Finding("nodes", state, words, f"raysmith cluster status {name} says why")


def _alike(subject: Subject, record: ClusterRecord) -> Iterator[Finding]:
    """Python, packages, storage and clock of every node, as before every job (`cluster.preflight`).

    That asks a driver on the cluster. From another machine there is none: its folders are not the nodes' own.
    """
    if record.provider != _HERE:
        yield Finding(
            "nodes alike", "not applicable",
            "its nodes are other machines: every job that is submitted compares them before it takes anything "
            f"(raysmith submit CONFIG --cluster {record.name})",
        )  # fmt: skip
        return
    from cluster.connect import ClusterConfig, connected
    from cluster.preflight import require_ready
    from cluster.queue import Need

    root = record.storage or subject.root
    try:
        with _token_of(record), connected(ClusterConfig(address=record.address)):
            warnings = require_ready(Need([]), root, {})
    except RaysmithError as error:
        yield Finding("nodes alike", "problem", error.message, error.fix or "")
        return
    for warning in warnings:
        yield Finding("nodes alike", "warning", warning, "install chrony on every node")
    if not warnings:
        yield Finding("nodes alike", "ok", f"Python, packages and clocks; {root} is one folder that all can write")


@contextmanager
def _token_of(record: ClusterRecord) -> Iterator[None]:
    """Let Ray take the cluster's token; it would prefer a token that stands in the environment itself."""
    names = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_TOKEN")
    before = {name: os.environ[name] for name in names if name in os.environ}
    if record.token_file.is_file():
        os.environ.pop("RAY_AUTH_TOKEN", None)
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(record.token_file)}
    try:
        yield
    finally:
        for name in names:
            os.environ.pop(name, None)
        os.environ |= before
