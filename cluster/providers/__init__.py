"""Platforms that a cluster can run on, one file each: `Config` (its keys of `provider:`) and the class `Provider`.

A file name in this folder is a value of `provider`; a new platform is a new file, and nothing else.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import NamedTuple, Protocol

from cluster.description import ClusterFile


class NodeStatus(NamedTuple):
    """One node, as `raysmith cluster status` shows it."""

    name: str
    group: str
    """`head`, or the group's name."""
    state: str
    """`alive`, `starting`, `dead` or what the platform says."""
    resources: str
    """Such as `2 CPUs, 1 × H100`."""
    detail: str
    """Address, process or reason."""


class Provider(Protocol):
    """Makes one described cluster real."""

    def __init__(self, file: ClusterFile) -> None:
        """Check what the description says against the platform.

        Raises:
            ConfigError: the platform cannot do it.
        """
        ...

    def render(self, folder: Path) -> list[Path]:
        """Write the platform's own files; starts nothing. Gives their paths."""
        ...

    def up(self) -> None:
        """Start it, wait until its head answers, and record it (`cluster.records`); what runs already stays.

        Raises:
            ClusterError: it does not come up, with the reason.
        """
        ...

    def down(self) -> None:
        """Stop all that `up` started, and forget the record."""
        ...

    def status(self) -> list[NodeStatus]:
        """The nodes, the head first."""
        ...


def provider_of(file: ClusterFile) -> Provider:
    """The provider that a description names."""
    provider: Provider = importlib.import_module(f"{__name__}.{file.provider.kind}").Provider(file)
    return provider
