"""The stacks of processes that hang, on whatever node they are, and their end.

A hung process cannot be asked: a task beside it, which takes no core, lets py-spy read its memory. That works on a
process that was stopped by a signal, too, and does not stop one that runs.
"""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import psutil

_DUMP_S = 30.0
_TRIES = 3
_ALLOW = (
    "py-spy may not read other processes here. Run the workers as root or with CAP_SYS_PTRACE (`--cap-add SYS_PTRACE` "
    "of Docker, `securityContext.capabilities.add: [SYS_PTRACE]` of Kubernetes), or allow it to processes of the same "
    "user where it is 2 or 3: `sysctl kernel.yama.ptrace_scope=1`."
)
_PR_SET_PTRACER, _PR_SET_PTRACER_ANY = 0x59616D61, ctypes.c_ulong(-1)


class Process(NamedTuple):
    """A process on a node; its start tells it from a later one with the same number."""

    rank: int
    pid: int
    created: float
    node: str
    """Ray's id of the node."""
    host: str

    @staticmethod
    def this(rank: int) -> Process:
        """The process that asks."""
        import ray

        node = ray.get_runtime_context().get_node_id() if ray.is_initialized() else ""
        return Process(rank, os.getpid(), psutil.Process().create_time(), node, platform.node())

    def find(self) -> psutil.Process | None:
        """The process on this node, if it still is there."""
        try:
            found = psutil.Process(self.pid)
            return found if abs(found.create_time() - self.created) < 1.0 and found.is_running() else None
        except psutil.Error:
            return None


def let_itself_be_read() -> None:
    """Let this user's other processes read this one's memory, as py-spy does from a task beside it.

    Where `kernel.yama.ptrace_scope` is 1, as on Ubuntu, only parents may otherwise. Other users and
    containers without the right stay shut out; a system without Yama asks for nothing of the kind.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PTRACER, _PR_SET_PTRACER_ANY, 0, 0, 0)


class Found(NamedTuple):
    """What was seen of a process."""

    alive: bool
    state: str
    """As the system names it: `sleeping`, `running`, `stopped` …"""
    text: str
    """Its stacks, or why there are none."""


def look(process: Process) -> Found:
    """The stacks of a process of this node."""
    there = process.find()
    if there is None:
        return Found(False, "gone", "The process is gone.\n")
    try:
        state = str(there.status())
    except psutil.Error:
        return Found(False, "gone", "The process is gone.\n")
    return Found(True, state, _stacks(process.pid))


def _stacks(pid: int) -> str:
    beside = Path(sys.executable).with_name("py-spy")
    command = str(beside) if beside.exists() else shutil.which("py-spy")
    if command is None:
        return "py-spy is not installed on this node: `pip install py-spy`.\n"
    said = ""
    for _ in range(_TRIES):  # without pausing it, a process that runs may move while it is read
        try:
            result = subprocess.run(  # noqa: S603 - our own process id
                [command, "dump", "--nonblocking", "--pid", str(pid)],
                capture_output=True, text=True, timeout=_DUMP_S, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            said = f"py-spy did not answer in {_DUMP_S:.0f} s."
            continue
        if result.returncode == 0:
            return result.stdout
        said = result.stderr.strip()
    denied = any(words in said.lower() for words in ("permission denied", "operation not permitted", "root"))
    return f"py-spy: {said}\n" + (f"{_ALLOW}\n" if denied else "")


def end(process: Process) -> bool:
    """Kill a process of this node; whether it was there."""
    there = process.find()
    if there is None:
        return False
    try:
        there.send_signal(signal.SIGKILL)
    except psutil.NoSuchProcess:
        return False
    return True


def look_at_all(processes: Iterable[Process], timeout_s: float = 90.0) -> list[Found]:
    """The stacks of processes on all nodes, in their order; a node that does not answer is said to be `unknown`."""
    return _everywhere(look, list(processes), timeout_s, lambda reason: Found(False, "unknown", f"{reason}\n"))


def end_all(processes: Iterable[Process], timeout_s: float = 60.0) -> int:
    """Kill processes on all nodes; gives how many were there."""
    return sum(_everywhere(end, list(processes), timeout_s, lambda _reason: False))


def _everywhere(
    function: Callable[[Process], Any], processes: list[Process], timeout_s: float, missing: Callable[[str], Any]
) -> list[Any]:
    import ray
    from ray.exceptions import GetTimeoutError, RayError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    task = ray.remote(function)
    references = [
        task.options(
            num_cpus=0, max_retries=0, scheduling_strategy=NodeAffinitySchedulingStrategy(one.node, soft=False)
        ).remote(one)
        for one in processes
    ]
    found, until = [], time.monotonic() + timeout_s
    for process, reference in zip(processes, references, strict=True):
        try:
            found.append(ray.get(reference, timeout=max(0.1, until - time.monotonic())))
        except GetTimeoutError:
            ray.cancel(reference, force=True)
            found.append(missing(f"Node {process.host} ({process.node[:12]}) did not answer in {timeout_s:.0f} s."))
        except RayError as error:
            reason = str(error).strip().splitlines()[0]
            found.append(missing(f"Node {process.host} ({process.node[:12]}) cannot be asked: {reason}"))
    return found
