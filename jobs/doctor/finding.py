"""What a check is asked about, and what it answers."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from cluster.config import Config
from cluster.description import ClusterFile
from cluster.records import ClusterRecord

State = Literal["ok", "warning", "problem", "not applicable"]


class Finding(NamedTuple):
    """What one check found."""

    name: str
    state: State
    found: str
    fix: str = ""
    """What to do; empty where nothing is to be done."""


@dataclass(frozen=True)
class Subject:
    """What is looked at: this process's own machine, account and environment, unless a test says otherwise."""

    root: Path
    """The storage root; it need not be there yet."""
    config: Config | None = None
    """The job or endpoint that is to run here."""
    description: ClusterFile | None = None
    """The cluster that is to be started."""
    record: ClusterRecord | None = None
    """The cluster that is up and was named."""
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    packages: tuple[str, ...] = field(default_factory=lambda: tuple(sys.path))
    """Where installed packages are looked for."""
    temporary: Path = field(default_factory=lambda: Path(tempfile.gettempdir()))
    shared_memory: Path = Path("/dev/shm")  # noqa: S108 - it is measured, not written
    account: Path = field(default_factory=Path.home)
    """The user's home folder."""
    checkout: Path = Path(__file__).resolve().parents[2]
    """The folder with the four packages, the lock and pyproject.toml."""


class Check(Protocol):
    """A file of `jobs/doctor/checks`."""

    AREA: str
    """What it looks at, for the table."""

    def check(self, subject: Subject) -> Iterator[Finding]:
        """Look; changes nothing that stays."""
        ...
