"""Several nodes on this machine: real `ray start` processes on loopback, kept by one supervisor.

For trying what several nodes do (elastic training, scaling, failures) without having them, and for tests. Cores are
what the description says, not what the machine has: a cluster may promise more.
"""

from __future__ import annotations

import contextlib
import fcntl
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from cluster import records
from cluster.description import ClusterFile
from cluster.errors import ClusterError, ResourceError
from cluster.providers import NodeStatus
from cluster.providers._local_nodes import (
    HEAD,
    LOOPBACK,
    Config,
    Places,
    config_of,
    head_ports,
    machine_gpus,
    node_names,
    port_is_free,
)  # fmt: skip
from cluster.providers._local_processes import end, processes_of
from cluster.providers._local_redis import forget_state, require_redis
from cluster.providers._local_watch import ray_nodes
from cluster.storage import read_json, write_json
from cluster.words import counted

__all__ = ["Config", "Provider"]
_CODE = Path(__file__).resolve().parents[2]
_UP_S, _DOWN_S, _POLL_S = 300.0, 20.0, 0.1
_RETRY_S, _HOPELESS = (
    5.0,
    3,
)  # a node that was given up is tried again by `up`; ended so often meanwhile, it is hopeless
_MODULE = "cluster.providers._local_supervisor"
_LINES = 15


class Provider:
    """A cluster of this machine; see `cluster.providers.Provider`."""

    def __init__(self, file: ClusterFile) -> None:
        self._file = file
        config_of(file)
        self._folder = records.folder_of(file.name)

    def up(self) -> None:
        """Start it, or bring the number of nodes of one that is up to the description's; wait until all are alive."""
        self._require_gpus()
        with self._alone():
            running = self._supervisor()
            if running is not None:
                self._require_same_but_for_nodes()
                self._write_description()
                self._wait(running.pid)
                self._record(running.pid)
                return
            was_recorded = self._is_recorded()
            self._clean()
            self._require_ports()
            require_redis(self._file)
            try:
                pid = self._start()
                self._record(pid)  # at once: `down` finds it, whatever becomes of this process
                self._wait(pid)
            except BaseException:
                self._stop()
                if not was_recorded:
                    records.forget(self._file.name)
                raise

    def down(self) -> None:
        """Stop everything at once, and forget it."""
        with self._alone():
            self._stop()
            forget_state(self._file, self._folder)
            records.forget(self._file.name)

    def _start(self) -> int:
        records.make_token(self._file.name)
        self._write_description()
        head_ports(self._file, Places(self._folder / "places.json"))
        (self._folder / "nodes.json").unlink(missing_ok=True)
        with (self._folder / "supervisor.log").open("ab") as log:
            process = subprocess.Popen(  # noqa: S603 - a command of our own making
                [sys.executable, "-m", _MODULE, str(self._folder)], cwd=_CODE, stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, start_new_session=True,
            )  # fmt: skip
        return process.pid

    def _write_description(self) -> None:
        write_json(self._folder / "description.json", self._file.model_dump(mode="json"))

    def _is_recorded(self) -> bool:
        return (self._folder / "cluster.json").exists()

    def _record(self, pid: int) -> None:
        ports = head_ports(self._file, Places(self._folder / "places.json"))
        records.keep(
            records.ClusterRecord(
                name=self._file.name, provider="local", dashboard=f"http://{LOOPBACK}:{ports['dashboard-port']}",
                address=f"{LOOPBACK}:{ports['port']}", storage=self._file.storage,
                description=self._folder / "description.json", pid=pid,
            )
        )  # fmt: skip

    def _wait(self, pid: int) -> None:
        """Until all nodes are alive, and no others are left."""
        wanted = {HEAD, *node_names(self._file)}
        begun, progress = time.monotonic(), records.progress_of(self._file.name)
        before = {row["name"]: row["restarts"] for row in self._rows()}
        try:
            while True:
                rows = self._rows()
                alive = {row["name"] for row in rows if row["state"] == "alive"}
                if alive == wanted == {row["name"] for row in rows} and self._jobs_are_taken():
                    return
                progress.write(len(alive & wanted), len(wanted), _words(rows))
                self._require_hope(pid, rows, before, time.monotonic() - begun)
                time.sleep(_POLL_S)
        finally:
            progress.clear()

    def _jobs_are_taken(self) -> bool:
        """Whether the dashboard answers, which starts after its head."""
        return ray_nodes(self._folder) is not None

    def _require_hope(self, pid: int, rows: list[dict[str, Any]], before: dict[str, int], waited_s: float) -> None:
        for row in rows:
            ends = row["restarts"] - before.get(row["name"], 0)
            if row["state"] != "alive" and (ends >= _HOPELESS or (row["state"] == "failed" and waited_s > _RETRY_S)):
                log = _tail(self._folder / "logs" / f"{row['name']}.log")
                raise ClusterError("A node does not stay up.", field=row["name"], got=log)
        if not _is_supervisor(pid, self._folder):
            raise ClusterError("The cluster's supervisor ended.", got=_tail(self._folder / "supervisor.log"))
        if waited_s > _UP_S:
            raise ClusterError(
                "The cluster does not come up.", field=self._file.name, got=_words(rows), expected="all nodes alive",
                fix="see supervisor.log and logs/ in the cluster's folder",
            )  # fmt: skip

    def _require_same_but_for_nodes(self) -> None:
        """Nodes may be more or fewer, groups may come and go; all else needs another cluster."""
        there = ClusterFile.model_validate(read_json(self._folder / "description.json"))
        if (field := _difference(there, self._file)) is not None:
            raise ClusterError(
                "A cluster of that name is up, with another description.", field=field, got=self._file.name,
                expected="the same, but for min_nodes and max_nodes of groups, and new or left-out groups",
                fix=f"raysmith cluster down {self._file.name}",
            )  # fmt: skip

    def _require_gpus(self) -> None:
        needed, there = self._file.max_gpus, len(machine_gpus())
        if needed > there:
            raise ResourceError(
                "The machine has too few GPUs: nodes cannot share one.", field="nodes", got=f"{needed} at most",
                expected=f"at most {there}", fix="lower max_nodes or gpu.count",
            )  # fmt: skip

    def _require_ports(self) -> None:
        config = config_of(self._file)
        for field, port in (("port", config.port), ("dashboard_port", config.dashboard_port)):
            if port is not None and not port_is_free(port):
                raise ResourceError(
                    "The port is in use.", field=f"provider.{field}", got=port, expected="a free one",
                    fix="leave the key out: a free one is taken",
                )  # fmt: skip

    def _rows(self) -> list[dict[str, Any]]:
        return read_json(self._folder / "nodes.json") or []

    def _supervisor(self) -> psutil.Process | None:
        """The process that keeps it, where it is up."""
        for process in psutil.process_iter():
            if _is_supervisor(process.pid, self._folder):
                return process
        return None

    def _stop(self) -> None:
        if (supervisor := self._supervisor()) is not None:
            supervisor.send_signal(signal.SIGTERM)
            deadline = time.monotonic() + _DOWN_S
            while time.monotonic() < deadline and _is_supervisor(supervisor.pid, self._folder):
                time.sleep(0.05)
            with contextlib.suppress(psutil.Error):
                if _is_supervisor(supervisor.pid, self._folder):
                    supervisor.kill()
        self._clean()

    def _clean(self) -> None:
        """End what a supervisor that was killed has left."""
        end(processes_of(self._folder))

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """One command at a time changes it."""
        self._folder.parent.mkdir(parents=True, exist_ok=True)
        lock = self._folder.parent / f".{self._file.name}.lock"
        with lock.open("w") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ClusterError(
                    "Another command is changing the cluster.", field=self._file.name, fix="wait for it"
                ) from None
            yield

    def status(self) -> list[NodeStatus]:
        """The nodes: what the supervisor says of them, and what Ray does."""
        known = ray_nodes(self._folder) or {}
        up = self._supervisor() is not None
        found = []
        for row in self._rows():
            node = known.get(row["node_id"])
            state = row["state"] if up else "dead"
            if state == "alive" and (node is None or node["state"] != "ALIVE"):
                state = "not in the cluster"
            restarts = f", restarted {counted(row['restarts'], 'time')}" if row["restarts"] else ""
            detail = (
                f"process {row['pid']}{restarts}" if up else "its supervisor has gone: `cluster up` starts it again"
            )
            found.append(NodeStatus(row["name"], row["group"], state, _resources(node), detail))
        return found

    def render(self, folder: Path) -> list[Path]:
        """A shell script with the commands that the supervisor runs."""
        from cluster.providers._local_render import script

        self._require_gpus()
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self._file.name}.sh"
        path.write_text(script(self._file), encoding="utf-8")
        path.chmod(0o755)
        return [path]


def _is_supervisor(pid: int, folder: Path) -> bool:
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        if process.status() != psutil.STATUS_ZOMBIE:
            return process.cmdline()[-2:] == [_MODULE, str(folder)]
    return False


def _difference(one: ClusterFile, other: ClusterFile) -> str | None:
    """The first key in which two descriptions differ, that a cluster which is up cannot take over."""
    left, right = one.model_dump(mode="json"), other.model_dump(mode="json")
    for name in left["nodes"].keys() & right["nodes"].keys():
        for key in left["nodes"][name]:
            if key not in {"min_nodes", "max_nodes"} and left["nodes"][name][key] != right["nodes"][name][key]:
                return f"nodes.{name}.{key}"
    return next((key for key in left if key not in {"nodes", "idle_minutes"} and left[key] != right[key]), None)


def _words(rows: list[dict[str, Any]]) -> str:
    return ", ".join(f"{row['name']} {row['state']}" for row in rows)


def _tail(file: Path) -> str:
    try:
        return "\n".join(file.read_text(encoding="utf-8", errors="replace").splitlines()[-_LINES:])
    except OSError as error:
        return str(error)


def _resources(node: dict[str, Any] | None) -> str:
    """Such as `2 CPUs, 1 × H100`."""
    if node is None:
        return ""
    total = node["resources_total"]
    kind = next((key.split(":", 1)[1] for key in total if key.startswith("accelerator_type:")), "GPU")
    gpus = [f"{total['GPU']:g} × {kind}"] if total.get("GPU") else []
    return ", ".join([f"{total.get('CPU', 0):g} CPUs", *gpus])
