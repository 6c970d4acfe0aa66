"""Jobs of a running cluster, asked now and then: Ray's client is not quick."""

from __future__ import annotations

import time
from typing import NamedTuple

from cluster.errors import RaysmithError
from cluster.records import ClusterRecord

_EVERY_S = 3.0
_SHOWN = 20


class JobRow(NamedTuple):
    """A submitted job."""

    name: str
    id: str
    status: str
    seconds: float
    """That it has taken."""


class Remote:
    """The jobs of one cluster."""

    def __init__(self, record: ClusterRecord) -> None:
        self.name = record.name
        self._rows: list[JobRow] = []
        self._note = ""
        self._asked = -_EVERY_S

    def jobs(self, notes: list[str]) -> list[JobRow]:
        """The newest first; `notes` takes why they could not be had."""
        if time.monotonic() - self._asked >= _EVERY_S:
            self._rows, self._note = self._ask()
            self._asked = time.monotonic()
        if self._note:
            notes.append(self._note)
        return self._rows

    def _ask(self) -> tuple[list[JobRow], str]:
        from jobs.submitted import state
        from jobs.targets import target_of

        try:
            remote = target_of(self.name, None).connect()
            found = [one for one in reversed(remote.jobs()) if one.name][:_SHOWN]
            rows = [
                JobRow(one.name, one.id, state(remote, one), (one.ended or time.time()) - one.started) for one in found
            ]
        except RaysmithError as error:
            return [], f"cluster {self.name}: {error.message}"
        return rows, ""
