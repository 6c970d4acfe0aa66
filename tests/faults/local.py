"""A cluster as `raysmith cluster up` makes it: several nodes on loopback, whose supervisor starts again what ends."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from cluster import records
from cluster.description import ClusterFile
from cluster.providers import provider_of
from cluster.storage import read_json
from tests.faults.machine import FOLDERS, PREFIX, kill_tree, wait_until
from tests.faults.network import alive_nodes

NODES = 3
_READY_S = 120.0


class LocalCluster:
    """A head without CPUs to spare for training and three nodes of one CPU: two for workers, one to spare."""

    def __init__(self, name: str, *, redis: bool = False, object_store_mb: int = 80, node_cpus: int = 1) -> None:
        self.folder = FOLDERS / f"{PREFIX}-{name}"
        os.environ[records.ENVIRONMENT_VARIABLE] = str(self.folder / "home")
        self.name = f"{PREFIX}-{name}"
        self._file = ClusterFile.model_validate({
            "name": self.name,
            "provider": {"kind": "local", "object_store_mb": object_store_mb},
            "head": {"cpus": 1, "redis": {} if redis else None},
            "nodes": {"worker": {"cpus": node_cpus, "min_nodes": NODES, "max_nodes": NODES}},
        })  # fmt: skip
        self._provider = provider_of(self._file)
        try:
            self._provider.up()
        except BaseException:
            self.close()
            raise
        record = records.record_of(self.name)
        self.address, self.dashboard, self._token = record.address, record.dashboard, record.token_file
        self.supervisor = record.pid

    @property
    def submit_options(self) -> list[str]:
        return ["--cluster", self.name]

    @property
    def run_options(self) -> list[str]:
        return [f"cluster.address={self.address}"]

    def environment(self) -> dict[str, str]:
        """For commands that use the cluster."""
        return {"RAYSMITH_HOME": str(self.folder / "home"), "RAY_AUTH_TOKEN_PATH": str(self._token)}

    def rows(self) -> list[dict[str, Any]]:
        return read_json(records.folder_of(self.name) / "nodes.json") or []

    def row(self, name: str) -> dict[str, Any]:
        return next(row for row in self.rows() if row["name"] == name)

    @property
    def names(self) -> list[str]:
        return [row["name"] for row in self.rows()]

    def raylet(self, name: str) -> int:
        """The process; 0 when there is none."""
        return int(self.row(name)["raylet_pid"] or 0)

    def head_processes(self) -> list[psutil.Process]:
        """The whole head: control store, dashboard, raylet, and what runs there."""
        top = psutil.Process(self.row("head")["pid"])
        return [top, *top.children(recursive=True)]

    def control_store(self) -> int:
        """The process of the head that knows what there is."""
        return next(one.pid for one in self.head_processes() if one.name() == "gcs_server")

    def ready(self) -> None:
        """Wait until every node is there, as before any case."""
        wait_until(self._whole, _READY_S, f"all nodes: {self.rows()}")

    def _whole(self) -> bool:
        alive = all(row["state"] == "alive" for row in self.rows())
        return alive and alive_nodes(self.dashboard, self._token) == NODES + 1

    def close(self) -> None:
        """Stop all, remove all."""
        os.environ[records.ENVIRONMENT_VARIABLE] = str(self.folder / "home")
        with suppress(Exception):
            self._provider.down()
        for one in psutil.process_iter():
            with suppress(psutil.Error):
                if str(self.folder) in " ".join(one.cmdline()):
                    kill_tree(one.pid)


def node_with(cluster: Any, title: str) -> str:
    """The first node on which such a process runs, but for the head."""
    from tests.faults.machine import titled

    return next(name for name in cluster.names if name != "head" and titled(cluster.raylet(name), title))


def storage_of(folder: Path) -> Path:
    return folder / "storage"
