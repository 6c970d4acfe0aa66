"""Limits of this account: open files, processes."""

from __future__ import annotations

import resource
from collections.abc import Iterator

import psutil

from jobs.doctor.finding import Finding, State, Subject
from jobs.doctor.machine import cgroup_number

AREA = "limits"
_FILES_NEEDED, _FILES_WANTED = 1024, 8192
_PROCESSES_WANTED = 4096
_PIDS_WANTED = 1024


def check(subject: Subject) -> Iterator[Finding]:  # noqa: ARG001
    """See `AREA`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    state: State = "problem" if 0 <= soft < _FILES_NEEDED else "warning" if 0 <= soft < _FILES_WANTED else "ok"
    yield Finding(
        "open files", state, f"{_words(soft)} (at most {_words(hard)})",
        "ulimit -n 65536 before `raysmith` or `ray start`, or in /etc/security/limits.conf: each Ray worker takes "
        "dozens, each waiting client of an endpoint one",
    )  # fmt: skip
    soft, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    yield Finding(
        "processes", "warning" if 0 <= soft < _PROCESSES_WANTED else "ok", f"{_words(soft)} (at most {_words(hard)})",
        "ulimit -u 65536: threads count, and Ray starts hundreds",
    )  # fmt: skip
    pids = cgroup_number("pids.max")
    if pids is not None:
        used = cgroup_number("pids.current") or len(psutil.pids())
        yield Finding(
            "container's processes", "warning" if pids - used < _PIDS_WANTED else "ok", f"{used} of at most {pids}",
            "docker run --pids-limit=-1 (Kubernetes: podPidsLimit of the kubelet)",
        )  # fmt: skip


def _words(limit: int) -> str:
    return "unlimited" if limit == resource.RLIM_INFINITY else str(limit)
