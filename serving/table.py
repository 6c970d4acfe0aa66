"""What an endpoint serves, in one file that the front reads again when it changes: versions, their weights, limits."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import Field

from cluster.config import Config
from cluster.storage import write_json
from serving.config import LimitConfig

T = TypeVar("T")
_log = logging.getLogger(__name__)
FILE_NAME = "table.json"
ADAPTER_SEPARATOR = ":"
MAIN_DEPLOYMENT = "model"
"""Name of the one deployment in a version's application."""


class Origin(Config):
    """Where something that is served comes from; `/v1/models` shows it."""

    artifact: str
    """Id of the artifact."""
    content: str = ""
    """SHA-256 of its content."""
    lineage: tuple[str, ...] = ()
    """Ids of what it was made from, nearest first, back to the text."""


class Version(Config):
    """A model in an engine: one application of Ray Serve."""

    name: str
    """v1, v2, …"""
    app: str
    """Name of the application."""
    weight: float = Field(ge=0)
    """Share of the requests, of the sum of all weights."""
    engine: str
    """Kind of the engine."""
    origin: Origin
    adapters: dict[str, Origin] = Field(default_factory=dict)
    """By the name that follows the colon."""
    proof: str = ""
    """How far the replicas' log-probabilities are from those of the artifact's weights."""


class Table(Config):
    """All that the front needs to know."""

    name: str
    """What clients ask for."""
    created: int = 0
    """Unix time, seconds."""
    num_versions: int = 0
    """Versions that there ever were: the next one's number."""
    versions: tuple[Version, ...] = ()
    limits: LimitConfig = LimitConfig()

    def write(self, folder: Path) -> None:
        """Let the front see it."""
        write_json(folder / FILE_NAME, self.model_dump(mode="json"))

    def choose(self, adapter: str | None) -> Version | None:
        """One of the versions that have the adapter, by weight; None if there is none."""
        fitting = [one for one in self.versions if one.weight > 0 and (adapter is None or adapter in one.adapters)]
        if len(fitting) < 2:
            return fitting[0] if fitting else None
        return random.choices(fitting, [one.weight for one in fitting])[0]  # noqa: S311

    def models(self) -> dict[str, Origin]:
        """Every name that clients may ask for, and what it stands for; a canary stands behind its model's name."""
        named: dict[str, Origin] = {}
        for version in sorted(self.versions, key=lambda one: -one.weight):
            if version.weight == 0:
                continue
            named.setdefault(self.name, version.origin)
            for name, origin in version.adapters.items():
                named.setdefault(f"{self.name}{ADAPTER_SEPARATOR}{name}", origin)
        return named


def read_table(folder: Path) -> Table:
    """The endpoint's table."""
    return Table.model_validate_json((folder / FILE_NAME).read_bytes())


class Fresh(Generic[T]):
    """A file's content, read again when the file was replaced."""

    def __init__(self, file: Path, read: Callable[[], T]) -> None:
        self._file, self._read = file, read
        self._stamp: tuple[int, int] | None = None
        self._told = False
        self.value = read()

    def refresh(self) -> bool:
        """Look at the file; gives whether there was something new."""
        try:
            status = self._file.stat()
            stamp = (status.st_mtime_ns, status.st_ino)
            if stamp == self._stamp:
                return False
            self.value = self._read()
        except OSError:  # on its way, or the storage is away for a moment: what is known stays
            return False
        except ValueError:
            if not self._told:
                _log.exception("%s cannot be read: what was known stays.", self._file)
            self._told = True
            return False
        self._stamp, self._told = stamp, False
        return True
