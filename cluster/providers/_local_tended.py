"""One node of a local cluster as its supervisor tends it: started, watched, started again."""

from __future__ import annotations

import logging
import subprocess
import time
from pathlib import Path
from typing import Any

from cluster.providers._local_nodes import HEAD, NodePlan
from cluster.providers._local_processes import descendants, kill, raylet_of, start

_STARTED = b"Ray runtime started."
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 30.0
_STEADY_S = 10.0
_GIVE_UP, _OTHER_PORTS = 8, 3
_DRAIN_LIMIT_S = 60.0
log = logging.getLogger("supervisor")


class Tended:
    """One node.

    States: `starting`, `alive`, `dead` (it will be started again), `draining` (it is no longer wanted), `failed` (given
    up).
    """

    def __init__(self, name: str, group: str, folder: Path) -> None:
        self.name, self.group = name, group
        self.process: subprocess.Popen[bytes] | None = None
        self.wanted = True
        self._log = folder / "logs" / f"{name}.log"
        self._log_begin = 0
        self._state = "starting"
        self._raylet: tuple[int, str] | None = None
        self._restarts, self._quick_ends = 0, 0
        self._started_at, self._alive_at, self._due_at, self._drained_at = 0.0, 0.0, 0.0, 0.0

    @property
    def state(self) -> str:
        """See above."""
        return self._state

    @property
    def node_id(self) -> str | None:
        """In the cluster, once it is known."""
        return self._raylet[1] if self._raylet is not None else None

    @property
    def due(self) -> bool:
        """Whether it should be started now."""
        waits = self.process is None and self.wanted and self._state != "failed"
        return waits and time.monotonic() >= self._due_at

    @property
    def needs_other_ports(self) -> bool:
        """Whether it ended soon after its start so often that its ports may be the reason."""
        return self.name != HEAD and self.process is None and self._quick_ends == _OTHER_PORTS

    def try_again(self) -> None:
        """Someone asked for it: a node that was given up is started again."""
        if self._state == "failed":
            self._state, self._quick_ends, self._due_at = "dead", 0, 0.0

    def start(self, plan: NodePlan, environment: dict[str, str]) -> None:
        """Start it."""
        self._log_begin = self._log.stat().st_size if self._log.exists() else 0
        shared = plan.temporary.with_name("ray")
        shared.mkdir(exist_ok=True)
        if not plan.temporary.is_symlink():
            plan.temporary.symlink_to(shared)
        if self.name == HEAD:  # with it there, Ray takes the head for one that runs, since other nodes still know it
            (shared / "ray_current_cluster").unlink(missing_ok=True)
        self.process = start(plan.command, {**environment, **plan.environment}, shared, self._log)
        self._state, self._raylet, self._started_at = "starting", None, time.monotonic()
        log.info("node %s: process %d", self.name, self.process.pid)

    def look(self, *, expected: bool = False) -> bool:
        """Notice what has changed; True when its process has ended.

        Args:
            expected: it was ended on purpose: this is no failure of the node's own.
        """
        if self.process is None:
            return False
        code = self.process.wait() if expected else self.process.poll()
        if code is None:
            self._look_at_running()
            return False
        steady = self._state != "starting" and time.monotonic() - self._alive_at >= _STEADY_S
        self.process, self._raylet = None, None
        if not self.wanted:
            return True
        self._quick_ends = 0 if steady or expected else self._quick_ends + 1
        self._restarts += 1
        wait = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2 ** max(0, self._quick_ends - 1)) if self._quick_ends else 0.0
        self._due_at = time.monotonic() + wait
        self._state = "failed" if self._quick_ends >= _GIVE_UP else "dead"
        if self._state == "failed":
            log.error(
                "node %s ended %d times soon after its start: given up; its log: %s", self.name, _GIVE_UP, self._log
            )
        else:
            log.warning("node %s ended with %s; started again in %.1f s", self.name, code, wait)
        return True

    def _look_at_running(self) -> None:
        if self._state == "draining" and time.monotonic() > self._drained_at:
            log.warning("node %s did not end in time", self.name)
            kill(descendants(self.name))
        if self._raylet is None and self.process is not None:
            self._raylet = raylet_of(self.process)
        if self._state == "starting" and self._raylet is not None and self._has_started():
            self._state, self._alive_at = "alive", time.monotonic()
            log.info("node %s is alive after %.1f s", self.name, time.monotonic() - self._started_at)

    def _has_started(self) -> bool:
        with self._log.open("rb") as stream:
            stream.seek(self._log_begin)
            return _STARTED in stream.read()

    def retire(self) -> None:
        """It is no longer wanted: its tasks and replicas are told, and may end; then it goes."""
        if self.wanted and self.process is not None:
            log.info("node %s is drained", self.name)
            self._state, self._drained_at = "draining", time.monotonic() + _DRAIN_LIMIT_S
            self.process.terminate()  # `ray start` drains its node, then ends
        self.wanted = False

    def row(self) -> dict[str, Any]:
        """What `nodes.json` says of it."""
        raylet_pid, node_id = self._raylet or (None, None)
        return {
            "name": self.name, "group": self.group, "state": self._state, "restarts": self._restarts,
            "pid": self.process.pid if self.process is not None else None, "raylet_pid": raylet_pid, "node_id": node_id,
        }  # fmt: skip
