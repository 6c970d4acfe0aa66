"""Files that others are writing, or have written in another version: what cannot be read is not there."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any


def lines_of(file: Path, most: int) -> list[dict[str, Any]]:
    """The objects on the last lines of a file, of so many bytes at most."""
    try:
        with file.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - most))
            lines = stream.read().split(b"\n")
    except OSError:
        return []
    found = []
    for line in lines[1 if size > most else 0 :]:
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict):
            found.append(value)
    return found


def read_object(file: Path) -> dict[str, Any]:
    """A JSON object; empty if there is none."""
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def changed_at(file: Path) -> float:
    """When it changed last, Unix time; 0 if it is not there."""
    try:
        return file.stat().st_mtime
    except OSError:
        return 0.0


def number(value: Any) -> float | None:
    """The number that this is, or None."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def dict_of(values: dict[str, Any], key: str) -> dict[str, Any]:
    """The dictionary under a key; empty if there is none."""
    found = values.get(key)
    return found if isinstance(found, dict) else {}


def finite(value: float | None) -> float | None:
    """The number, or None if it is none."""
    return value if value is not None and math.isfinite(value) else None
