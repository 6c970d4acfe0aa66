"""What Ray itself says of a local cluster's nodes, asked at the dashboard without importing Ray."""

from __future__ import annotations

import contextlib
import json
import time
import urllib.request
from pathlib import Path
from typing import Any

from cluster.providers._local_nodes import HEAD, LOOPBACK
from cluster.storage import read_json

_PERIOD_S, _TIMEOUT_S = 10.0, 3.0
_SILENT_S = 120.0


def ask(folder: Path, path: str, timeout_s: float = 10.0) -> Any:
    """What the dashboard of the cluster in `folder` answers, or None."""
    if (places := read_json(folder / "places.json")) is None:
        return None
    with contextlib.suppress(OSError, json.JSONDecodeError):
        token = (folder / "token").read_text(encoding="utf-8")
        url = f"http://{LOOPBACK}:{places[HEAD]['ports']['dashboard-port']}{path}"
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
        with urllib.request.urlopen(request, timeout=timeout_s) as answer:  # noqa: S310
            return json.load(answer)
    return None


def ray_nodes(folder: Path, timeout_s: float = 10.0) -> dict[str, dict[str, Any]] | None:
    """The nodes that Ray knows, those that are gone too, by id; None when it does not answer."""
    answer = ask(folder, "/api/v0/nodes?limit=1000&detail=true", timeout_s)
    if not isinstance(answer, dict):
        return None
    rows: list[dict[str, Any]] = ((answer.get("data") or {}).get("result") or {}).get("result") or []
    return {row["node_id"]: row for row in rows}


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
