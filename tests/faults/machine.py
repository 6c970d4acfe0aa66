"""What the cases do to this machine: processes, mounts, namespaces; all named `rsf-PID-…`, all removed again."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

PREFIX = f"rsf-{os.getpid()}"
FOLDERS = Path("/tmp")  # Ray's sockets need short paths


def clean_environment(**variables: str) -> dict[str, str]:
    """The environment without what Ray, or other tests, have left in it."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("RAY_") and key != "PYTHONPATH"}
    return kept | {"RAY_USAGE_STATS_ENABLED": "0"} | variables


def wait_until(true: Callable[[], object], within_s: float, what: str, each_s: float = 0.1) -> float:
    """Seconds that it took."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() < began + within_s, f"not within {within_s:.0f} s: {what}"
        time.sleep(each_s)
    return time.monotonic() - began


def command(*words: str) -> None:
    """Run one of `ip`, `tc`, `mount` …; its message is in the error."""
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr.strip()}")


def require_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("network namespaces and mounts need root")


def require_tool(name: str) -> None:
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")


def titled(pid: int, title: str) -> list[psutil.Process]:
    """Processes below `pid` whose title has the words, oldest first."""
    found = []
    with suppress(psutil.Error):
        for one in psutil.Process(pid).children(recursive=True):
            with suppress(psutil.Error):
                if one.status() != psutil.STATUS_ZOMBIE and title in " ".join(one.cmdline()):
                    found.append(one)
    return sorted(found, key=lambda one: one.pid)


def with_variable(name: str, value: str, words: str) -> list[psutil.Process]:
    """Processes that have an environment variable of that value, and the words in their command."""
    found = []
    for one in psutil.process_iter():
        with suppress(psutil.Error):
            if words in " ".join(one.cmdline()) and one.environ().get(name) == value:
                found.append(one)
    return found


def kill(process: psutil.Process | int, number: int = signal.SIGKILL) -> None:
    with suppress(ProcessLookupError):
        os.kill(process if isinstance(process, int) else process.pid, number)


def kill_tree(pid: int) -> None:
    """SIGKILL a process that this suite started, and all below it."""
    with suppress(psutil.Error):
        top = psutil.Process(pid)
        for one in [top, *top.children(recursive=True)]:
            kill(one, signal.SIGCONT)
            kill(one)


@contextmanager
def small_disk(size_mb: int) -> Iterator[Path]:
    """A file system that is full soon."""
    require_root()
    folder = FOLDERS / f"{PREFIX}-disk"
    folder.mkdir()
    command("mount", "-t", "tmpfs", "-o", f"size={size_mb}m", PREFIX, str(folder))
    try:
        yield folder
    finally:
        command("umount", "-l", str(folder))
        folder.rmdir()


@contextmanager
def filled(folder: Path) -> Iterator[None]:
    """Take all that is free on a small disk, until the end of the block."""
    file = folder / "filler"
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT)
    with suppress(OSError):
        while True:
            os.write(descriptor, b"\0" * 4096)
    os.close(descriptor)
    try:
        yield
    finally:
        file.unlink()


def abandoned(name: str) -> bool:
    """Whether it was made by a suite that is no more, or by this one."""
    parts = name.split("-")
    mine = name.startswith(PREFIX)
    return parts[0] == "rsf" and parts[1].isdecimal() and (mine or not psutil.pid_exists(int(parts[1])))


def clean_up() -> None:
    """Remove what is left of this suite's, and of suites that were killed."""
    with suppress(OSError, RuntimeError):
        names = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True).stdout.split()
        for name in filter(abandoned, [one for one in names if one.startswith("rsf-")]):
            pids = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True).stdout.split()
            for pid in pids:
                kill(int(pid))
            command("ip", "netns", "delete", name)
        for link in Path("/sys/class/net").glob("rsf-*"):
            if abandoned(link.name):
                with suppress(RuntimeError):
                    command("ip", "link", "delete", link.name)
    for one in psutil.process_iter():  # of local clusters
        with suppress(psutil.Error):
            words = one.cmdline()
            folder = (
                re.search(r"/(rsf-\d+-\w+)/", words[-1]) if "cluster.providers._local_supervisor" in words else None
            )
            if folder is not None and abandoned(folder[1]):
                kill_tree(one.pid)
    for line in Path("/proc/mounts").read_text().splitlines():
        mount = Path(line.split()[1])
        if mount.parent == FOLDERS and mount.name.startswith("rsf-") and abandoned(mount.name):
            with suppress(RuntimeError):
                command("umount", "-l", str(mount))
    for folder in FOLDERS.glob("rsf-*"):
        if abandoned(folder.name):
            shutil.rmtree(folder, ignore_errors=True)
