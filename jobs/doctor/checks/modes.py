"""Who may read keys, and write where code and states are read back from."""

from __future__ import annotations

import getpass
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from cluster import records
from jobs.doctor.finding import Finding, Subject
from jobs.doctor.machine import readable_mode

AREA = "files of yours"
_SECRETS = ("endpoints/*/keys.json", "endpoints/*/private.json", "endpoints/**/*key")
_SHOWN = 5


def check(subject: Subject) -> Iterator[Finding]:
    """See `AREA`."""
    root, home = subject.root, records.home()
    if root.is_dir():
        yield _writers("storage root", root)
    if home.is_dir():
        yield _writers("Raysmith's home", home)
    files = [
        *(file for pattern in _SECRETS for file in root.glob(pattern)),
        *(home / "clusters").glob("*/*token*"),
        *(home / "clusters").glob("*/*password*"),
    ]
    bare = [f"{file} ({readable_mode(file)})" for file in files if file.is_file() and file.stat().st_mode & 0o077]
    yield Finding(
        "secrets", "problem" if bare else "ok",
        "others can read " + ", ".join(bare[:_SHOWN]) if bare else f"{len(files)} files with keys, for you alone",
        "chmod 600 them, and revoke the keys: raysmith keys revoke",
    )  # fmt: skip
    yield from _strangers(root)
    yield _compiled(subject)


def _compiled(subject: Subject) -> Finding:
    """Torch keeps what it compiles under a name that everybody knows, and reads pickles back from there."""
    folder = subject.temporary / f"torchinductor_{getpass.getuser()}"
    if folder.is_dir() and (folder.stat().st_uid != os.getuid() or folder.stat().st_mode & stat.S_IWOTH):
        return Finding(
            "compiled kernels", "problem", f"{folder} is another's, or all can write there: torch would run what "
            "they left there", "export TORCHINDUCTOR_CACHE_DIR=~/.cache/torchinductor, and have it removed",
        )  # fmt: skip
    return Finding("compiled kernels", "ok", "no folder of others in torch's place")


def _writers(name: str, folder: Path) -> Finding:
    """Training states are read back from there, and TRL's hold pickles: who may write there, runs code."""
    mode = folder.stat().st_mode
    if mode & stat.S_IWOTH:
        return Finding(
            name, "problem", f"{folder} has mode {readable_mode(folder)}: every user can run code as you",
            f"chmod o-w {folder}",
        )  # fmt: skip
    if mode & stat.S_IWGRP:
        return Finding(
            name, "warning", f"{folder} has mode {readable_mode(folder)}: whoever is in its group can run code as you",
            f"chmod g-w {folder}, unless the group is meant to share runs",
        )  # fmt: skip
    return Finding(name, "ok", f"{folder}, mode {readable_mode(folder)}")


def _strangers(root: Path) -> Iterator[Finding]:
    if not (root / "runs").is_dir():
        return
    others = [one.name for one in (root / "runs").iterdir() if one.stat().st_uid not in (os.getuid(), 0)]
    if others:
        yield Finding(
            "runs of others", "warning", ", ".join(sorted(others)[:_SHOWN]),
            "resume only runs of your own: their states are read back",
        )  # fmt: skip
