"""What a training's workers say of themselves for whoever watches them: which processes they are, and signs of life.

Steps are told by the progress file. Beside them worker 0 says in a small file what it is about whenever that changes,
since a held-out measurement or a round of rollouts may rightly take many times as long as a step.
"""

from __future__ import annotations

import json
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from cluster.stacks import Process, let_itself_be_read
from cluster.storage import read_json, write_atomically, write_json

START, STEP, MEASURE, SAVE, ROUND, WAIT, OVER = "start", "step", "measure", "save", "round", "wait", "over"
"""Until the first step is done; steps; a held-out measurement; a save holds the workers up; what the objective does
before a step, perhaps on one worker alone; waiting for the sweep; nothing more to do."""
_LEAST_S = 1.0
_FILE, _WORKERS = "heartbeat.json", "workers"


class Heartbeat:
    """Worker 0's signs of life; other workers' are silent, since all meet at every step."""

    def __init__(self, folder: Path, rank: int) -> None:
        self._path, self._rank = folder / _FILE, rank
        self._count = 0
        self._phase, self._last = "", 0.0

    def beat(self, phase: str) -> None:
        """A sign of life in a phase; of many in the same phase, one a second is kept."""
        now = time.monotonic()
        if self._rank or (phase == self._phase and now < self._last + _LEAST_S):
            return
        self._count, self._phase, self._last = self._count + 1, phase, now
        with suppress(OSError):  # a full disk is told by who must write
            write_atomically(self._path, json.dumps({"phase": phase, "count": self._count}))

    def enter(self, phase: str) -> None:
        """Say so if it is another phase than before."""
        if phase != self._phase:
            self.beat(phase)


def heartbeat_file(folder: Path) -> Path:
    """The file that changes with each sign of life."""
    return folder / _FILE


def read_heartbeat(folder: Path) -> dict[str, Any] | None:
    """`phase` and `count` of the last sign of life."""
    found: dict[str, Any] | None = read_json(heartbeat_file(folder))
    return found


def register(folder: Path, rank: int, workers: int) -> None:
    """Let this worker be found by its process number and node, and looked into."""
    let_itself_be_read()
    (folder / _WORKERS).mkdir(parents=True, exist_ok=True)
    write_json(folder / _WORKERS / f"rank-{rank}.json", {**Process.this(rank)._asdict(), "workers": workers})


def forget(folder: Path) -> None:
    """Leave out whoever registered so far: workers of a driver that is no more."""
    shutil.rmtree(folder / _WORKERS, ignore_errors=True)


def registered_at(folder: Path) -> float:
    """When worker 0 last registered, Unix time; 0 if there is none."""
    try:
        return (folder / _WORKERS / "rank-0.json").stat().st_mtime
    except OSError:
        return 0.0


def registered(folder: Path) -> list[Process]:
    """The workers that last registered, by rank."""
    first = read_json(folder / _WORKERS / "rank-0.json")
    if first is None:
        return []
    records = [read_json(folder / _WORKERS / f"rank-{rank}.json") for rank in range(first["workers"])]
    return [Process(**{key: one[key] for key in Process._fields}) for one in records if one is not None]
