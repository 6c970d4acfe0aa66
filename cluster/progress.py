"""Progress of work in other processes: the worker writes a small file, the driver reads it.

A file in the run directory works wherever the storage does, survives the driver, and needs no actor.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cluster.storage import read_json, write_atomically


class ProgressFile:
    """Position of one piece of work; picklable, so it travels to Ray tasks."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, done: int, total: int, text: str = "") -> None:
        """Say how far the work is; `text` is shown beside the bar."""
        write_atomically(self.path, json.dumps({"done": done, "total": total, "text": text}))

    def read(self) -> dict[str, Any] | None:
        """The last position, or None before the first."""
        position: dict[str, Any] | None = read_json(self.path)
        return position

    def clear(self) -> None:
        """Forget the last position."""
        self.path.unlink(missing_ok=True)
