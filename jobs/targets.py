"""Which cluster a command about submitted jobs means, and its token."""

from __future__ import annotations

import os
from typing import NamedTuple

from cluster import records
from cluster.errors import ConfigError
from cluster.records import ClusterRecord
from cluster.submit import RemoteJobs

_DEFAULT = "http://127.0.0.1:8265"


class Target(NamedTuple):
    """A cluster's dashboard."""

    dashboard: str
    record: ClusterRecord | None
    """None when it was given by its address."""

    def connect(self) -> RemoteJobs:
        """Reach its jobs; for errors see there."""
        return RemoteJobs(self.dashboard, None if self.record is None else self.record.name)

    @property
    def key(self) -> str:
        """Names it among the submissions that are kept."""
        if self.record is not None:
            return self.record.name
        return "".join(letter if letter.isalnum() or letter in ".-" else "_" for letter in self.dashboard)

    @property
    def option(self) -> str:
        """What to write after a command to mean it."""
        return f"--address {self.dashboard}" if self.record is None else f"--cluster {self.record.name}"


def target_of(cluster: str | None, address: str | None) -> Target:
    """The cluster that was named; else the only one that is up, or the head of this machine where none is.

    The token of a cluster that is up by name is used for it, whatever the environment has: it goes to Ray by its file.

    Raises:
        ConfigError: both options, or neither and several clusters.
        ClusterError: no cluster of that name is up.
    """
    if cluster is not None and address is not None:
        raise ConfigError(
            "A cluster is named in one way.", field="--address", got=f"--cluster {cluster} --address {address}",
            expected="one of the two", fix="leave out --address",
        )  # fmt: skip
    if cluster is None and address is None:
        names = records.names()
        if len(names) > 1:
            raise ConfigError(
                "Several clusters are up.", field="--cluster", got="none named", expected=f"one of {', '.join(names)}",
                fix=f"--cluster {names[0]}",
            )  # fmt: skip
        cluster = names[0] if names else None
    if cluster is None:
        return Target((address or _DEFAULT).rstrip("/"), None)
    record = records.record_of(cluster)
    if record.token_file.is_file():
        os.environ.pop("RAY_AUTH_TOKEN", None)  # Ray would prefer it
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(record.token_file)}
    return Target(record.dashboard.rstrip("/"), record)
