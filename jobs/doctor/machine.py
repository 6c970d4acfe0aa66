"""What Linux says of this process's limits and file systems."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_CGROUPS = Path("/sys/fs/cgroup")


class Mount(NamedTuple):
    """A mounted file system."""

    point: Path
    kind: str
    options: frozenset[str]


def mount_of(path: Path) -> Mount:
    """The file system that a path lies on, or would lie on."""
    there = next(one for one in (path, *path.parents) if one.exists()).resolve()
    found = Mount(Path("/"), "unknown", frozenset())
    for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines():
        _, point, kind, options, *_ = line.split(" ")
        place = Path(point.replace("\\040", " "))
        if there.is_relative_to(place) and len(place.parts) >= len(found.point.parts):
            found = Mount(place, kind, frozenset(options.split(",")))  # later ones lie over earlier ones
    return found


def _groups() -> Iterator[Path]:
    """Folders of this process's control groups, innermost first; of version 2 and of version 1."""
    for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines():
        _, controllers, path = line.split(":", 2)
        for name in controllers.split(",") if controllers else [""]:
            top = _CGROUPS / name
            inner = top / path.lstrip("/")
            yield from (one for one in (inner, *inner.parents) if one.is_relative_to(top) and one.is_dir())


def cgroup_number(*files: str) -> int | None:
    """The least number that one of these files holds in any of this process's control groups; None without one."""
    found = []
    for folder in _groups():
        for file in files:
            try:
                text = (folder / file).read_text(encoding="utf-8").strip()
            except OSError:
                continue
            if text.isdecimal():
                found.append(int(text))
    return min(found, default=None)


def cgroup_cpus() -> float | None:
    """The cores that the control groups let this process use; None without a quota."""
    found = []
    for folder in _groups():
        try:
            quota, period = (folder / "cpu.max").read_text(encoding="utf-8").split()
        except (OSError, ValueError):
            try:
                quota, period = ((folder / f"cpu.cfs_{what}_us").read_text("utf-8").strip() for what in _V1)
            except OSError:
                continue
        if quota.isdecimal():
            found.append(int(quota) / int(period))
    return min(found, default=None)


_V1 = ("quota", "period")


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0))


def readable_mode(path: Path) -> str:
    """A file's permissions, such as `0600`."""
    return f"{path.stat().st_mode & 0o7777:04o}"
