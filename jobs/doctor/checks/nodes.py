"""A cluster that is up: its dashboard, its nodes, its clock."""

from __future__ import annotations

import json
import os
import time
import urllib.request
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import Any

from cluster.errors import RaysmithError
from cluster.records import ClusterRecord
from jobs.doctor.finding import Finding, Subject

AREA = "the cluster"
_ANSWER_S = 10.0
_SKEW_S = 5.0
"""The header tells whole seconds."""


def check(subject: Subject) -> Iterator[Finding]:
    """See `AREA`."""
    if subject.record is None:
        return
    record = subject.record
    try:
        nodes, off_s = ask(record)
    except (OSError, ValueError, KeyError, TypeError) as error:
        yield Finding(
            "dashboard", "problem", f"{record.dashboard} does not answer: {getattr(error, 'reason', error)}",
            f"raysmith cluster status {record.name}; where the head is elsewhere, is the tunnel up?",
        )  # fmt: skip
        return
    yield Finding("dashboard", "ok", record.dashboard)
    alive = [node for node in nodes if node["state"] == "ALIVE"]
    dead = len(nodes) - len(alive)
    yield Finding(
        "nodes", "warning" if dead else "ok" if alive else "problem",
        f"{len(alive)} alive" + (f", {dead} dead" if dead else ""),
        f"raysmith cluster status {record.name} says why",
    )  # fmt: skip
    yield Finding(
        "the head's clock", "warning" if abs(off_s) > _SKEW_S else "ok", f"{off_s:+.0f} s off this machine's",
        "install chrony on every node",
    )  # fmt: skip
    yield from _alike(subject, record)


def ask(record: ClusterRecord) -> tuple[list[dict[str, Any]], float]:
    """The nodes that the dashboard lists, and how far its clock is off this machine's, seconds.

    Raises:
        OSError: it does not answer.
    """
    headers = {}
    if record.token_file.is_file():
        headers["Authorization"] = f"Bearer {record.token_file.read_text(encoding='utf-8').strip()}"
    request = urllib.request.Request(f"{record.dashboard.rstrip('/')}/api/v0/nodes?detail=1", headers=headers)  # noqa: S310
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a token must not go to a proxy
    with opener.open(request, timeout=_ANSWER_S) as answer:
        told = parsedate_to_datetime(answer.headers["Date"]).timestamp()
        content = json.load(answer)
    return content["data"]["result"]["result"], told - time.time()


def _alike(subject: Subject, record: ClusterRecord) -> Iterator[Finding]:
    """Python, packages, storage and clock of every node, as before every job (`cluster.preflight`)."""
    from cluster.connect import ClusterConfig, connected
    from cluster.preflight import require_ready
    from cluster.queue import Need

    if record.token_file.is_file():
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(record.token_file)}
    root = record.storage or subject.root
    try:
        with connected(ClusterConfig(address=record.address)):
            warnings = require_ready(Need([]), root, {})
    except RaysmithError as error:
        yield Finding("nodes alike", "problem", error.message, error.fix or "")
        return
    for warning in warnings:
        yield Finding("nodes alike", "warning", warning, "install chrony on every node")
    if not warnings:
        yield Finding("nodes alike", "ok", f"Python, packages and clocks; {root} is one folder that all can write")
