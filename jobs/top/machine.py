"""This machine: cores, memory, disk, and its GPUs by NVIDIA's own tool, where there are any."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

import psutil

_QUERY = ("index", "name", "utilization.gpu", "memory.used", "memory.total", "temperature.gpu", "power.draw")
_ANSWER_S = 5.0
_GPU_EVERY_S = 2.0
_LEAST_S = 0.2
_MIB = 2**20


class Machine(NamedTuple):
    """The machine that this runs on."""

    host: str
    cpu_percent: float
    """Of all cores."""
    cores: int
    load: float
    """Of the last minute."""
    memory_used: int
    memory_total: int
    disk_free: int
    """Of the disk with the storage root, bytes."""
    disk_total: int


class Gpu(NamedTuple):
    """A GPU of this machine; None where the tool does not tell."""

    number: int
    name: str
    percent: float | None
    memory_used: float | None
    """Bytes."""
    memory_total: float | None
    celsius: float | None
    watts: float | None


class Measures:
    """Measures this machine again and again."""

    def __init__(self, root: Path) -> None:
        self._disk = next(there for there in (root, *root.parents) if there.exists())
        self._tool = shutil.which("nvidia-smi")
        self._gpus: list[Gpu] = []
        self._asked = -_GPU_EVERY_S
        self._began = time.monotonic()
        psutil.cpu_percent(None)  # what follows is measured since this call

    def machine(self) -> Machine:
        """Now."""
        time.sleep(max(0.0, self._began + _LEAST_S - time.monotonic()))  # less would be chance
        memory, disk = psutil.virtual_memory(), shutil.disk_usage(self._disk)
        return Machine(
            socket.gethostname(), psutil.cpu_percent(None), psutil.cpu_count() or 1, os.getloadavg()[0],
            memory.total - memory.available, memory.total, disk.free, disk.total,
        )  # fmt: skip

    def gpus(self) -> list[Gpu]:
        """Now, or as they were two seconds ago at most."""
        if self._tool is not None and time.monotonic() - self._asked >= _GPU_EVERY_S:
            self._gpus, self._asked = _ask(self._tool), time.monotonic()
        return self._gpus


def _ask(tool: str) -> list[Gpu]:
    command = [tool, f"--query-gpu={','.join(_QUERY)}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_ANSWER_S, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return []
    return gpus_of(done.stdout) if done.returncode == 0 else []


def gpus_of(text: str) -> list[Gpu]:
    """The GPUs that the tool's lines tell of; memory is in MiB there."""
    found = []
    for line in text.splitlines():
        fields = [one.strip() for one in line.split(",")]
        if len(fields) != len(_QUERY) or not fields[0].isdecimal():
            continue
        percent, used, total, celsius, watts = (_value(one) for one in fields[2:])
        found.append(
            Gpu(int(fields[0]), fields[1], percent, used and used * _MIB, total and total * _MIB, celsius, watts)
        )
    return found


def _value(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:  # [N/A], [Not Supported]
        return None
