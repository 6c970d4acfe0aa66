"""What Ray itself says of a local cluster's nodes, asked at the dashboard without importing Ray."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from cluster import dashboard
from cluster.providers._local_nodes import HEAD, LOOPBACK
from cluster.storage import read_json

_PERIOD_S, _TIMEOUT_S = 10.0, 3.0
_SILENT_S = 120.0


def ray_nodes(folder: Path, timeout_s: float = 10.0) -> dict[str, dict[str, Any]] | None:
    """The nodes that Ray knows, those that are gone too, by id; None when the cluster in `folder` does not answer."""
    if (places := read_json(folder / "places.json")) is None:
        return None
    address = f"http://{LOOPBACK}:{places[HEAD]['ports']['dashboard-port']}"
    try:
        told = dashboard.nodes(address, folder / "token", timeout_s)
    except (OSError, ValueError):
        return None
    return {row["node_id"]: row for row in told.content}


class Watch:
    """Finds what has stopped without ending (SIGSTOP, a hung disk): its process is there, and Ray has given it up."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._due_at = time.monotonic() + _PERIOD_S
        self._given_up: set[str] = set()
        self._heard_at = time.monotonic()

    def given_up(self) -> set[str]:
        """Ids of nodes that Ray has held for dead at two askings: a raylet that can ends itself before the second."""
        if time.monotonic() < self._due_at:
            return set()
        nodes = ray_nodes(self._folder, _TIMEOUT_S)
        self._due_at = time.monotonic() + _PERIOD_S
        if nodes is None:
            return set()
        self._heard_at = time.monotonic()
        before = self._given_up
        self._given_up = {node_id for node_id, row in nodes.items() if row["state"] == "DEAD"}
        return before & self._given_up

    def head_is_silent(self) -> bool:
        """Whether the head has not answered for long."""
        return time.monotonic() - self._heard_at > _SILENT_S

    def hear(self) -> None:
        """The head is new, or not there to answer."""
        self._heard_at = time.monotonic()
