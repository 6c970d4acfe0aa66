"""Memory: what the machine has, what a container may use, and what Ray's object store would take."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import psutil

from jobs.doctor.finding import Finding, Subject
from jobs.doctor.machine import cgroup_number
from jobs.words import size

AREA = "memory"
_LEAST = 8e9
"""What the quickstart needs (README)."""
_LEAST_FREE = 4e9
_STORE_SHARE = 0.3
"""Of the memory, for Ray's object store."""
_STORE_AT_MOST = 200e9
_SWAPPED = 0.25


def check(subject: Subject) -> Iterator[Finding]:
    """See `AREA`."""
    machine = psutil.virtual_memory()
    limit = cgroup_number("memory.max", "memory.limit_in_bytes")
    total = min(machine.total, limit or machine.total)
    yield Finding(
        "memory", "ok" if total >= _LEAST else "warning", f"{size(total)}, {size(machine.available)} of it available",
        f"the quickstart needs {size(int(_LEAST))}; `raysmith plan CONFIG` says what a job needs",
    )  # fmt: skip
    if machine.available < _LEAST_FREE:
        yield Finding(
            "available", "warning", f"only {size(machine.available)}: Ray kills workers when the machine is 95% full",
            "end other programs, or lower cluster.workers and train.batch.micro",
        )  # fmt: skip
    if limit is None or limit >= machine.total:
        yield Finding("container's limit", "ok", "none below the machine's memory")
    else:
        used = cgroup_number("memory.current", "memory.usage_in_bytes") or 0
        tight = limit - used < _LEAST_FREE
        yield Finding(
            "container's limit", "warning" if tight else "ok", f"{size(limit)}, {size(used)} of it used",
            "raise the container's memory limit: at the limit the kernel kills workers",
        )  # fmt: skip
    yield _shared_memory(subject, total)
    swap = psutil.swap_memory()
    swapped = swap.total > 0 and swap.used > _SWAPPED * swap.total
    words = f"{size(swap.used)} of {size(swap.total)} used" if swap.total else "none"
    yield Finding(
        "swap", "warning" if swapped else "ok", words,
        "end what is swapped out: a training step that waits for the disk holds up all workers",
    )  # fmt: skip


def _shared_memory(subject: Subject, total: int) -> Finding:
    """Ray puts its object store there; where it does not fit, into a file in /tmp, which is slow."""
    folder = subject.shared_memory
    if not folder.is_dir():
        return Finding("shared memory", "not applicable", f"no {folder}")
    there, wanted = shutil.disk_usage(folder), int(min(_STORE_SHARE * total, _STORE_AT_MOST))
    fix = f"docker run --shm-size={wanted // 2**20 + 1}m (Kubernetes: an emptyDir of medium Memory)"
    if there.free < 0.05 * there.total or there.free < 64_000_000:
        words = f"{folder} is full: {size(there.free)} of {size(there.total)} free; workers die with a bus error"
        return Finding("shared memory", "problem", words, f"remove what fills it: ls {folder}; or {fix}")
    small = there.free < wanted
    return Finding(
        "shared memory", "warning" if small else "ok",
        f"{size(there.free)} of {size(there.total)} free in {folder}; Ray's object store wants {size(wanted)}",
        fix,
    )  # fmt: skip
