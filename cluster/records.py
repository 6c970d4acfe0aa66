"""Clusters that were brought up from this account: how to reach them, by name.

    ~/.raysmith/clusters/NAME/cluster.json     the record
    ~/.raysmith/clusters/NAME/token            the cluster's token, readable by the account alone

`$RAYSMITH_HOME` replaces `~/.raysmith`.
"""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path

from cluster.config import Config
from cluster.errors import ClusterError
from cluster.progress import ProgressFile
from cluster.storage import read_json, write_atomically, write_json

ENVIRONMENT_VARIABLE = "RAYSMITH_HOME"


class ClusterRecord(Config):
    """How to reach a cluster."""

    name: str
    """As in its description."""
    provider: str
    """Its kind."""
    dashboard: str
    """`http://HOST:PORT`, for jobs and metrics; reached through a tunnel where the head is elsewhere."""
    address: str
    """`HOST:PORT` of the head's control store, for drivers."""
    storage: Path | None = None
    """`storage.root` on its nodes; unset: the submitter's own."""
    description: Path | None = None
    """A copy of the file that it was made from."""
    pid: int | None = None
    """The process on this machine that keeps it (a supervisor, a tunnel), if there is one."""

    @property
    def token_file(self) -> Path:
        """The cluster's token."""
        return folder_of(self.name) / "token"


def home() -> Path:
    """The folder with what Raysmith keeps for this account."""
    return Path(os.environ.get(ENVIRONMENT_VARIABLE) or "~/.raysmith").expanduser().absolute()


def folder_of(name: str) -> Path:
    """The folder of one cluster."""
    return home() / "clusters" / name


def record_of(name: str) -> ClusterRecord:
    """A cluster that is up.

    Raises:
        ClusterError: there is none of that name.
    """
    if (values := read_json(folder_of(name) / "cluster.json")) is None:
        raise ClusterError(
            "No cluster of that name is up.", field="--cluster", got=name,
            expected=", ".join(names()) or "one that was started", fix="raysmith cluster up CLUSTER.yaml",
        )  # fmt: skip
    return ClusterRecord.model_validate(values)


def progress_of(name: str) -> ProgressFile:
    """How far the start of a cluster is, in nodes; beside its folder, which a failed start removes."""
    return ProgressFile(folder_of(name).with_name(f".{name}.progress"))


def names() -> list[str]:
    """Of the clusters that are up."""
    return sorted(path.parent.name for path in (home() / "clusters").glob("*/cluster.json"))


def keep(record: ClusterRecord) -> None:
    """Write a record."""
    write_json(folder_of(record.name) / "cluster.json", record.model_dump(mode="json"))


def forget(name: str) -> None:
    """Remove a record, its token and all else in its folder."""
    shutil.rmtree(folder_of(name), ignore_errors=True)


def make_token(name: str) -> Path:
    """The file with a cluster's token, made if there is none."""
    file = folder_of(name) / "token"
    if not file.is_file():
        write_atomically(file, secrets.token_hex(32), mode=0o600)
    return file
