"""Ray's token, by which a cluster knows its user: there, and readable by nobody else."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from cluster import records
from jobs.doctor.finding import Finding, Subject
from jobs.doctor.machine import readable_mode

AREA = "token"
_OTHERS = 0o077


def check(subject: Subject) -> Iterator[Finding]:
    """See `AREA`."""
    environment = subject.environment
    mode = environment.get("RAY_AUTH_MODE")
    yield Finding(
        "RAY_AUTH_MODE", "problem" if mode not in (None, "", "token") else "ok", mode or "not set: Raysmith sets it",
        "unset RAY_AUTH_MODE: without a token whoever reaches a head's ports runs code there",
    )  # fmt: skip
    if environment.get("RAY_AUTH_TOKEN"):
        yield Finding(
            "RAY_AUTH_TOKEN", "warning", "the token itself is in the environment, which every child process inherits",
            "keep it in a file of mode 0600 and set RAY_AUTH_TOKEN_PATH",
        )  # fmt: skip
    given = environment.get("RAY_AUTH_TOKEN_PATH")
    yield _file("own token", Path(given).expanduser() if given else subject.account / ".ray" / "auth_token",
                needed=bool(given))  # fmt: skip
    for name in records.names():
        yield _file(f"token of {name}", records.folder_of(name) / "token", needed=True)


def _file(name: str, file: Path, *, needed: bool) -> Finding:
    if not file.is_file():
        return Finding(
            name, "problem" if needed else "ok",
            f"no {file}" + ("" if needed else ": it is made at the first start"),
            "copy the head's token there, mode 0600",
        )  # fmt: skip
    status = file.stat()
    if status.st_mode & _OTHERS:
        return Finding(
            name, "problem", f"{file} has mode {readable_mode(file)}: others can read it, and run code as you",
            f"chmod 600 {file}; if others have accounts here, make a new one: remove it, and start again",
        )  # fmt: skip
    if status.st_uid not in (os.getuid(), 0):
        return Finding(name, "warning", f"{file} belongs to user {status.st_uid}", f"chown it: {file}")
    if not os.access(file, os.R_OK) or not file.read_text(encoding="utf-8").strip():
        return Finding(name, "problem", f"{file} is empty or cannot be read", "remove it: a new one is made")
    return Finding(name, "ok", f"{file}, mode {readable_mode(file)}")
