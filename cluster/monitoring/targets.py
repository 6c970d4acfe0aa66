"""Where a run is driven from and where its nodes show their metrics: `driver.json` in its run directory.

A driver keeps it while it is connected to Ray; `raysmith monitor up` and `raysmith top` read it. Nothing takes it away:
whether it still holds is told by the process that it names.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from pydantic import ValidationError

from cluster.config import Config
from cluster.storage import read_json, write_json

FILE = "driver.json"
_SAME_S = 1.0
"""Two start times of one process differ by less: the system counts in hundredths."""
_SILENT_S = 24 * 3600.0
_LOOK_S, _JOIN_S = 10.0, 5.0


class Driver(Config):
    """The process that drives a run, and the nodes that it found."""

    pid: int
    started: float
    """When that process started, Unix time: process ids are used again."""
    host: str
    address: str = ""
    """`HOST:PORT` of the head's control store."""
    nodes: tuple[str, ...] = ()
    """`HOST:PORT` of each node's metrics, as Prometheus reads them."""

    @property
    def is_here(self) -> bool:
        """Whether it runs, or ran, on this machine."""
        return self.host == socket.gethostname()

    def is_live(self, last_sign: float) -> bool:
        """Whether the process is still there.

        Args:
            last_sign: when the run last wrote something, Unix time. Processes of another machine cannot be seen: what
                has been silent for a day is taken for dead.
        """
        if not self.is_here:
            return time.time() - last_sign < _SILENT_S
        try:
            return abs(psutil.Process(self.pid).create_time() - self.started) < _SAME_S
        except psutil.Error:
            return False


@contextmanager
def recorded(run_folder: Path, every_s: float = _LOOK_S) -> Iterator[None]:
    """Keep the record true for the length of a `with` block: nodes come and go."""
    ended = threading.Event()
    _record(run_folder, before := _cluster())

    def keep() -> None:
        last = before
        while not ended.wait(every_s):
            # A cluster that does not answer now is no cluster without nodes.
            if (now := _cluster())[1] and now != last:
                with suppress(OSError):  # a full disk is told by who must write
                    _record(run_folder, now)
                    last = now

    thread = threading.Thread(target=keep, name="nodes", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(_JOIN_S)  # a head that is gone lets it wait


def _record(run_folder: Path, cluster: tuple[str, tuple[str, ...]]) -> None:
    """Write down this process and the metrics ports of the cluster that it is connected to.

    A cluster that cannot say is no reason to stop a run: then the file names the process alone.
    """
    address, nodes = cluster
    driver = Driver(
        pid=os.getpid(), started=psutil.Process().create_time(), host=socket.gethostname(), address=address, nodes=nodes
    )
    write_json(run_folder / FILE, driver.model_dump(mode="json"))


def driver_of(run_folder: Path) -> Driver | None:
    """What was written down last; None if nothing was, or by another version."""
    try:
        found = read_json(run_folder / FILE)
        return None if found is None else Driver.model_validate(found)
    except (ValueError, ValidationError, OSError):
        return None


def _cluster() -> tuple[str, tuple[str, ...]]:
    import ray
    from ray.exceptions import RayError

    try:
        address = str(ray.get_runtime_context().gcs_address)
        return address, tuple(sorted(_target(node) for node in ray.nodes() if node["Alive"] and _exports(node)))
    except (RayError, RuntimeError, OSError):
        return "", ()


def _exports(node: dict[str, object]) -> bool:
    port = node["MetricsExportPort"]
    return isinstance(port, int) and port > 0


def _target(node: dict[str, object]) -> str:
    host = str(node["NodeManagerAddress"])
    return f"[{host}]:{node['MetricsExportPort']}" if ":" in host else f"{host}:{node['MetricsExportPort']}"
