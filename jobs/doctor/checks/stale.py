"""What killed processes left behind."""

from __future__ import annotations

import fcntl
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import psutil

from cluster import records
from cluster.errors import RaysmithError
from jobs.doctor.finding import Finding, Subject
from jobs.endpoints.folder import EndpointFolder

AREA = "left behind"
_SHOWN = 5
_TEMPORARY = re.compile(r"rs-(?:vllm-)?(\d+)-.+")
_DRAFT = re.compile(r"(.+)-(\d+)-[0-9a-f]+")
_RAYS = ("raylet", "gcs_server")


def check(subject: Subject) -> Iterator[Finding]:
    """See `AREA`."""
    yield _said(
        "Ray's folders", _abandoned(subject.temporary), "of drivers that are gone",
        "rm -r them; the next embedded start removes the rs-PID ones, too",
    )  # fmt: skip
    yield _said("Ray's processes", _orphans(), "whose driver is gone", "kill them")
    yield _said(
        "endpoints", _endpoints(subject.root), "recorded as up, but their process is gone",
        "raysmith serve starts it again; or remove its private.json",
    )  # fmt: skip
    yield _said(
        "clusters", list(_clusters()), "recorded as up, but their process is gone", "raysmith cluster down NAME"
    )
    yield _said(
        "drafts", _drafts(subject.root), "of artifacts whose writers are gone", "the next publication removes them"
    )
    held = _held(subject.root)
    yield Finding("runs in progress", "ok", ", ".join(held[:_SHOWN]) or "none")


def _said(name: str, left: list[str], what: str, fix: str) -> Finding:
    more = f" and {len(left) - _SHOWN} more" if len(left) > _SHOWN else ""
    words = f"{', '.join(left[:_SHOWN])}{more}: {what}" if left else "none"
    return Finding(name, "warning" if left else "ok", words, fix)


def _abandoned(parent: Path) -> list[str]:
    found = []
    for folder in sorted(parent.glob("rs-*")):
        told = _TEMPORARY.fullmatch(folder.name)
        if told and not psutil.pid_exists(int(told[1])) and folder.stat().st_uid == os.getuid():
            found.append(str(folder))
    return found


def _orphans() -> list[str]:
    """Processes of embedded clusters; their session folder's name tells the driver."""
    found = []
    for process in psutil.process_iter(["name", "cmdline", "uids"]):
        uids = process.info["uids"]
        if process.info["name"] not in _RAYS or uids is None or uids.real != os.getuid():
            continue
        told = re.search(r"/rs-(\d+)-", " ".join(process.info["cmdline"] or []))
        if told and not psutil.pid_exists(int(told[1])):
            found.append(f"{process.info['name']} {process.pid}")
    return found


def _endpoints(root: Path) -> list[str]:
    found = []
    for folder in sorted((root / "endpoints").glob("*")):
        endpoint = EndpointFolder(root, folder.name)
        told = endpoint.last() if folder.is_dir() else None
        if told is None or told.host != socket.gethostname() or not (folder / "private.json").exists():
            continue
        if endpoint.state() is None:
            found.append(folder.name)
    return found


def _clusters() -> Iterator[str]:
    for name in records.names():
        try:
            record = records.record_of(name)
        except (RaysmithError, ValueError):
            yield f"{name} (its record cannot be read)"
            continue
        if record.pid is not None and not psutil.pid_exists(record.pid):
            yield name


def _drafts(root: Path) -> list[str]:
    found = []
    for folder in sorted((root / "artifacts" / "drafts").glob("*")):
        told = _DRAFT.fullmatch(folder.name)
        if told and told[1] == socket.gethostname() and not psutil.pid_exists(int(told[2])):
            found.append(folder.name)
    return found


def _held(root: Path) -> list[str]:
    """Runs whose lock a process holds now; the lock is free again at once."""
    found = []
    for file in sorted((root / "runs").glob("*/.lock")):
        with file.open("rb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                found.append(f"{file.parent.name} (process {file.read_text(encoding='utf-8') or '?'})")
    return found
