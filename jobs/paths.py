"""The files and folders that a configuration names."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from cluster.config import Config
from cluster.storage import StorageConfig
from trainers.config import DeepSpeedConfig
from trainers.text.config import STDLIB, SourceConfig

C = TypeVar("C", bound=Config)


def with_absolute_paths(config: C) -> C:
    """A configuration that means the same in every process: workers need not run in the driver's working directory."""
    return type(config).model_validate(replace_paths(config, lambda _, path: str(absolute(path))))


def named_paths(config: Config) -> dict[str, Path]:
    """Key → absolute path of each file or folder that a configuration names and its processes will open."""
    found: dict[str, Path] = {}

    def note(key: str, path: Path) -> str:
        found[key] = absolute(path)
        return str(path)

    replace_paths(config, note)
    return found


def replace_paths(config: Config, place: Callable[[str, Path], str]) -> dict[str, Any]:
    """The plain data of a configuration, with each path in it replaced by what `place` gives for its key and itself.

    Folders of the nodes, such as the storage root, stay as they are, and so does what is no file here: URIs, the
    standard library.
    """
    replaced: dict[str, Any] = _replaced(config, config.model_dump(mode="json"), place, "")
    return replaced


def absolute(path: Path) -> Path:
    """An absolute path; links are left as they are: one under the storage root may lead out of it."""
    return Path(os.path.abspath(path.expanduser()))  # noqa: PTH100


def _replaced(value: Any, plain: Any, place: Callable[[str, Path], str], key: str) -> Any:
    if isinstance(value, StorageConfig | DeepSpeedConfig):
        return plain
    if isinstance(value, Path):
        return place(key, value)
    if isinstance(value, SourceConfig):
        return {**plain, "path": _source(value.path, lambda path: place(f"{key}.path", path))}
    if isinstance(value, Config):
        value = {name: getattr(value, name) for name in plain}
    if isinstance(value, dict):
        return {name: _replaced(value[name], plain[name], place, f"{key}.{name}".lstrip(".")) for name in plain}
    if isinstance(value, list | tuple):
        pairs = zip(value, plain, strict=True)
        return [_replaced(*pair, place, f"{key}.{index}") for index, pair in enumerate(pairs)]
    return plain


def _source(pattern: str, place: Callable[[Path], str]) -> str:
    """A source of text with its file, or the folder in which its glob begins, replaced."""
    if "://" in pattern or pattern == STDLIB:
        return pattern
    parts = Path(pattern).parts
    fixed = list(itertools.takewhile(lambda part: "*" not in part, parts))
    return str(Path(place(Path(*fixed)), *parts[len(fixed) :]))
