"""What there is to read: live runs' nodes, endpoints that are up, a recorded cluster."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from cluster.monitoring.prometheus import SERVING, cluster_job, endpoints_job, nodes_job, runs_job, target_file
from cluster.records import ClusterRecord
from cluster.storage import write_atomically, write_json
from jobs.endpoints.folder import EndpointFolder, State
from jobs.monitor.runs import Run, Runs
from serving.keys import digest_of, read_keys, replace_key

_NODES = "targets/nodes.json"


class Look:
    """The runs under a root, for several threads."""

    def __init__(self, root: Path) -> None:
        self._runs, self._lock = Runs(root), threading.Lock()

    def __call__(self) -> list[Run]:
        """See `Runs.look`."""
        with self._lock:
            return self._runs.look()


class Sources:
    """Finds what there is, and keeps Prometheus's files true to it.

    Args:
        folder: with Prometheus's configuration.
        own: `HOST:PORT` of the exporter of runs.
        cluster: one whose nodes are read as its dashboard lists them.
    """

    def __init__(
        self, root: Path, folder: Path, own: str, cluster: ClusterRecord | None, look: Callable[[], list[Run]]
    ) -> None:
        self._root, self._folder, self._own, self._cluster, self._look = root, folder, own, cluster, look
        self._nodes: list[str] | None = None
        self.notes: list[str] = []
        """What could not be read, in words; each once."""

    def jobs(self) -> list[dict[str, Any]]:
        """What Prometheus is to read now; other jobs than before mean that it must read its configuration again."""
        self._keep_nodes()
        jobs = [runs_job(self._own), nodes_job(self._folder / _NODES)]
        if self._cluster is not None:
            token = self._cluster.token_file
            jobs.append(cluster_job(self._cluster.name, self._cluster.dashboard, token if token.is_file() else None))
        return jobs + [self._endpoint_job(*one) for one in self.endpoints()]

    def endpoints(self) -> list[tuple[str, State, Path]]:
        """Endpoints that are up: name, state and the file with a key for their metrics."""
        found = []
        for path in sorted((self._root / "endpoints").glob("*/state.json")):
            folder = EndpointFolder(self._root, path.parent.name)
            try:
                state = folder.state()
                if state is not None and state.status != "starting":
                    found.append((folder.name, state, self._key_of(folder)))
            except (OSError, ValueError, ValidationError) as error:  # another user's, or being written
                self._note(f"endpoint {folder.name} is left out: {type(error).__name__}")
        return found

    @property
    def nodes(self) -> list[str]:
        """The nodes of live runs, as they were last found."""
        return self._nodes or []

    def _keep_nodes(self) -> None:
        known = None if self._cluster is None else self._cluster.address  # its nodes are read already
        drivers = [run.driver for run in self._look() if run.live and run.driver and run.driver.address != known]
        nodes = sorted({one for driver in drivers for one in driver.nodes})
        if nodes != self._nodes:
            write_json(self._folder / _NODES, target_file(nodes))
            self._nodes = nodes

    def _key_of(self, folder: EndpointFolder) -> Path:
        """The file with a key that opens `/metrics` alone, made where the endpoint does not know it."""
        file = self._folder / "keys" / folder.name
        known = read_keys(folder.keys_file)
        if not file.is_file() or digest_of(file.read_text()) not in known:
            # One for each place that watches: they must not take each other's away.
            name = f"monitor-{hashlib.sha256(str(self._folder).encode()).hexdigest()[:8]}"
            write_atomically(file, replace_key(folder.keys_file, name, scope="metrics"), mode=0o600)
        return file

    def _endpoint_job(self, name: str, state: State, key_file: Path) -> dict[str, Any]:
        address = urlsplit(state.url)
        safe = re.sub(r"\W", "-", name)
        return endpoints_job([f"{address.scheme}://{address.netloc}"], key_file, f"{SERVING}-{safe}")

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)
