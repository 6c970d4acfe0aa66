"""Processes of a local cluster: started so that they end with the supervisor, found by their environment, ended."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import psutil

from cluster.providers._local_nodes import FOLDER_VARIABLE, LOOPBACK, NODE_VARIABLE

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_GRACE_S, _KILL_S = 2.0, 10.0


def adopt_orphans() -> None:
    """Become the parent of what a dead node leaves behind, drivers of jobs in sessions of their own included."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def start(command: list[str], environment: dict[str, str], folder: Path, log: Path) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own that dies with this one; its output is appended to `log`."""
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()

    def die_with_parent() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return subprocess.Popen(  # noqa: S603 - commands of our own making
            command, env=environment, cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            start_new_session=True, preexec_fn=die_with_parent,  # noqa: PLW1509 - this process has one thread
        )  # fmt: skip


def listens(port: int) -> bool:
    """Whether something accepts connections there."""
    with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, port), timeout=1):
        return True
    return False


def descendants(of_node: str | None = None) -> list[psutil.Process]:
    """What this process has started, and what that has; of one node, or all."""
    found = psutil.Process().children(recursive=True)
    return found if of_node is None else [one for one in found if _variable(one, NODE_VARIABLE) == of_node]


def processes_of(folder: Path) -> list[psutil.Process]:
    """All of this account's processes that belong to the cluster of a folder, but this one."""
    own = (one for one in psutil.process_iter() if one.pid != os.getpid())
    return [one for one in own if _variable(one, FOLDER_VARIABLE) == str(folder)]


def _variable(process: psutil.Process, name: str) -> str | None:
    with contextlib.suppress(psutil.Error, OSError):
        return process.environ().get(name)
    return None


def end(processes: Iterable[psutil.Process], grace_s: float = _GRACE_S) -> None:
    """SIGTERM to Ray's own, which then end at once, and SIGKILL to what is left.

    The processes of `ray start` get no SIGTERM: they would drain their node first.
    """
    processes = list(processes)
    for process in _alive(processes):
        with contextlib.suppress(psutil.Error):
            if process.name() in {"raylet", "gcs_server"}:
                process.terminate()
    deadline = time.monotonic() + grace_s
    while time.monotonic() < deadline and any(_is(one, "raylet", "gcs_server") for one in _alive(processes)):
        time.sleep(0.05)
    kill(processes)


def kill(processes: Iterable[psutil.Process]) -> None:
    """SIGKILL, and wait until they are gone (or wait for whoever reaps them)."""
    processes = list(processes)
    for process in _alive(processes):
        with contextlib.suppress(psutil.Error):
            process.kill()
    deadline = time.monotonic() + _KILL_S
    while time.monotonic() < deadline and any(True for _ in _alive(processes)):
        time.sleep(0.02)


def _is(process: psutil.Process, *names: str) -> bool:
    with contextlib.suppress(psutil.Error):
        return process.name() in names
    return False


def _alive(processes: Iterable[psutil.Process]) -> Iterator[psutil.Process]:
    for process in processes:
        with contextlib.suppress(psutil.Error):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                yield process


def raylet_of(process: subprocess.Popen[bytes]) -> tuple[int, str] | None:
    """The raylet that a `ray start` has started: its process id, and its node's id in the cluster."""
    with contextlib.suppress(psutil.Error):
        for child in psutil.Process(process.pid).children():
            if child.name() == "raylet":
                flags = dict(part.split("=", 1) for part in child.cmdline() if "=" in part)
                return child.pid, flags.get("--node_id", "")
    return None


def reap(managed: set[int]) -> None:
    """Let ended orphans go; those of `managed` are waited for by who started them."""
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) and ended.si_pid not in managed:
            os.waitpid(ended.si_pid, os.WNOHANG)
