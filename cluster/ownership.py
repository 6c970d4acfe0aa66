"""Folders with pickles in them: they are read back only where nobody else can have written."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from uuid import uuid4

from cluster.errors import ResourceError


def require_own(folder: Path) -> None:
    """Refuse a folder in which another user wrote, or can write, anything: to unpickle a file is to run it.

    A file server may give all files to one user of its own, so "own" is whom a new file there belongs to.

    Raises:
        ResourceError: naming the first such file.
    """
    own = _owner_of_new_files(folder)
    for path in (folder, *sorted(folder.rglob("*"))):
        try:
            status = path.lstat()
        except FileNotFoundError:
            continue  # another worker's probe
        if stat.S_ISLNK(status.st_mode):
            why = "a link, which may lead anywhere"
        elif status.st_uid not in (own, os.getuid()):
            why = f"belongs to user {status.st_uid}"
        elif status.st_mode & stat.S_IWOTH:
            why = "can be written by every user"
        else:
            continue
        raise ResourceError(
            "A checkpoint that holds pickles may have been altered by somebody else: reading it would run their code.",
            field=str(path), got=why, expected="files of your own, that nobody else can write",
            fix=f"chmod -R o-w {folder}, if you trust it; or run with --fresh",
        )  # fmt: skip


def _owner_of_new_files(folder: Path) -> int:
    """Whom a file made there belongs to; where none can be made (a read-only mount), this account."""
    probe = folder / f".own-{uuid4().hex}"
    try:
        probe.touch(mode=0o600)
    except FileNotFoundError:
        raise
    except OSError:
        return os.getuid()
    try:
        return probe.stat().st_uid
    finally:
        probe.unlink()
