"""Where everything lies, and writes that a kill cannot leave half done.

    ROOT/runs/NAME/        a run directory (cluster/rundir.py)
    ROOT/artifacts/        published artifacts and their names (cluster/artifacts.py)
    ROOT/stages/           which artifact a finished stage produced (jobs/context.py)

ROOT must be seen by every node of the cluster: a folder on one machine, a shared file system on several.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from pathlib import Path
from typing import Any

from pydantic import Field

from cluster.config import Config
from cluster.errors import ResourceError

ENVIRONMENT_VARIABLE = "RAYSMITH_STORAGE"


class StorageConfig(Config):
    """Where runs and artifacts are kept."""

    root: Path = Field(default_factory=lambda: Path(os.environ.get(ENVIRONMENT_VARIABLE, "raysmith_data")))
    """A folder that every node sees. Default: `$RAYSMITH_STORAGE`, else `raysmith_data` in the working directory."""

    def location(self) -> Path:
        """The absolute root, whether it is there or not."""
        return self.root.expanduser().resolve()

    def path(self) -> Path:
        """The absolute root, created if need be.

        Raises:
            ResourceError: it cannot be created or written.
        """
        root = self.location()
        try:
            root.mkdir(parents=True, exist_ok=True)
            probe = root / f".probe-{secrets.token_hex(4)}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise ResourceError(
                "The storage folder cannot be written.", field="storage.root", got=f"{root} ({error})",
                expected="a writable folder", fix=f"set storage.root or ${ENVIRONMENT_VARIABLE} to one",
            ) from None  # fmt: skip
        return root


def write_atomically(path: Path, content: str | bytes, mode: int = 0o644) -> None:
    """Write a file so that a reader, or a kill, sees the old content or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
    data = content.encode() if isinstance(content, str) else content
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any, mode: int = 0o644) -> None:
    """Write JSON atomically, indented, keys in the order given."""
    write_atomically(path, json.dumps(value, indent=2, default=str) + "\n", mode)


def read_json(path: Path) -> Any:
    """Read a JSON file, or None when there is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def require_free_space(folder: Path, num_bytes: int, what: str) -> None:
    """Refuse work that the disk cannot hold.

    Raises:
        ResourceError: less than `num_bytes` are free.
    """
    free = shutil.disk_usage(next(there for there in (folder, *folder.parents) if there.exists())).free
    if free < num_bytes:
        raise ResourceError(
            f"Not enough disk space {what}.", field=str(folder), got=f"{free / 1e9:.2f} GB free",
            expected=f"at least {num_bytes / 1e9:.2f} GB",
            fix="free space, or set storage.root to a larger disk",
        )  # fmt: skip
