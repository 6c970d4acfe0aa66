"""The interpreter, the system, and that our four packages are ours."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
from collections.abc import Iterator
from pathlib import Path

import cluster
import serving
import trainers
from jobs.doctor.finding import Finding, Subject

AREA = "Python"
_OLDEST, _TOO_NEW = (3, 11), (3, 13)
_OURS = ("cluster", "trainers", "serving", "jobs")


def check(subject: Subject) -> Iterator[Finding]:
    """See `AREA`."""
    version = platform.python_version()
    fits = _OLDEST <= sys.version_info[:2] < _TOO_NEW
    yield Finding(
        "interpreter", "ok" if fits else "problem", f"Python {version}, {sys.executable}",
        "the lock is for Python 3.11 and 3.12: make environment PYTHON=python3.12",
    )  # fmt: skip
    system, machine = platform.system(), platform.machine()
    yield Finding(
        "system", "ok" if system == "Linux" and machine == "x86_64" else "warning" if system == "Linux" else "problem",
        f"{system} {platform.release()}, {machine}, {' '.join(platform.libc_ver()) or 'libc unknown'}",
        "wheels of the lock are tried on Linux on x86-64" if system == "Linux" else "use Linux (a container, WSL 2)",
    )  # fmt: skip
    inside = sys.prefix != sys.base_prefix
    yield Finding(
        "environment", "ok" if inside else "warning",
        sys.prefix if inside else f"none: packages of {sys.prefix} are used",
        "make environment, then .venv/bin/raysmith: other programs' packages do not mix with the lock's",
    )  # fmt: skip
    yield _own_packages(subject)


def _own_packages(subject: Subject) -> Finding:
    """A package `cluster` exists on the index; installed beside ours, it depends on sys.path which one is imported."""
    elsewhere = [
        f"{module.__name__} from {Path(module.__file__ or '').parent}"
        for module in (cluster, trainers, serving)
        if Path(module.__file__ or "").parent.parent != subject.checkout
    ]
    foreign = [
        f"{one.metadata['Name']} {one.version}"
        for one in importlib.metadata.distributions(path=list(subject.packages))
        if one.metadata["Name"] in _OURS
    ]
    found = elsewhere + [f"the foreign package {name} is installed" for name in foreign]
    return Finding(
        "own packages", "problem" if found else "ok", "; ".join(found) or f"from {subject.checkout}",
        f"pip uninstall {' '.join(name.split()[0] for name in foreign) or 'the other package'}, "
        "and start raysmith from its own environment",
    )  # fmt: skip
