"""A local cluster of two worker nodes beside a head, through the real provider, shared by a session's tests.

def test_…(two_nodes: TwoNodes) -> None:
    two_nodes.record       how to reach it
    two_nodes.environment  for a subprocess that is to know it by its name
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest

from cluster import records
from cluster.description import ClusterFile
from cluster.providers import Provider, provider_of
from cluster.providers._local_nodes import FOLDER_VARIABLE
from cluster.providers._local_processes import kill
from cluster.storage import read_json

NAME = "two-nodes"
_PREFIX = "rt-"
GROUP = {"cpus": 1, "min_nodes": 2, "max_nodes": 3}


class TwoNodes(NamedTuple):
    """A cluster that is up."""

    record: records.ClusterRecord
    provider: Provider
    home: Path
    """Its $RAYSMITH_HOME."""
    environment: dict[str, str]
    """A subprocess's whole environment: this one's without what Ray left in it, with $RAYSMITH_HOME."""

    @property
    def driver_environment(self) -> dict[str, str]:
        """`environment`, with what a plain `ray.init(record.address)` needs."""
        return self.environment | {
            "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(self.home / "clusters" / self.record.name / "token"),
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        }  # fmt: skip

    def nodes(self) -> dict[str, dict[str, Any]]:
        """`nodes.json`, by name."""
        rows = read_json(self.home / "clusters" / self.record.name / "nodes.json")
        return {row["name"]: row for row in rows}


def describe(name: str, **values: Any) -> ClusterFile:
    """A local cluster of two worker nodes, with some keys replaced."""
    described = {"name": name, "provider": "local", "head": {"cpus": 1}, "nodes": {"workers": GROUP}}
    return ClusterFile.model_validate(described | values)


def bring_up(file: ClusterFile, home: Path) -> TwoNodes:
    """Start a cluster; $RAYSMITH_HOME must be `home`."""
    provider = provider_of(file)
    provider.up()
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "PYTHONPATH"))}
    environment = kept | {"RAY_USAGE_STATS_ENABLED": "0", records.ENVIRONMENT_VARIABLE: str(home)}
    return TwoNodes(records.record_of(file.name), provider, home, environment)


def new_home() -> Path:
    """A folder for $RAYSMITH_HOME; what sessions that were killed have left is removed first."""
    parent = Path(tempfile.gettempdir())
    for folder in parent.glob(f"{_PREFIX}*-*"):
        pid = folder.name.removeprefix(_PREFIX).split("-")[0]
        if pid.isdecimal() and not psutil.pid_exists(int(pid)) and folder.stat().st_uid == os.getuid():
            kill([one for one in psutil.process_iter() if _belongs(one, folder)])
            shutil.rmtree(folder, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=parent))


def _belongs(process: psutil.Process, home: Path) -> bool:
    try:
        inside = process.environ().get(FOLDER_VARIABLE, "").startswith(f"{home}/")
        return inside or any(word.startswith(f"{home}/") for word in process.cmdline())
    except (psutil.Error, OSError):
        return False


@pytest.fixture(scope="session")
def two_nodes() -> Iterator[TwoNodes]:
    """A local cluster with a head and two worker nodes of one CPU each; tests leave it as it was."""
    home = new_home()
    patch = pytest.MonkeyPatch()
    patch.setenv(records.ENVIRONMENT_VARIABLE, str(home))
    file = describe(NAME)
    try:
        yield bring_up(file, home)
    finally:
        patch.setenv(records.ENVIRONMENT_VARIABLE, str(home))
        provider_of(file).down()
        patch.undo()
        shutil.rmtree(home, ignore_errors=True)
