"""Where a trial of a sweep waits after each held-out measurement, until it is told to go on or to end.

The two sides are processes that share the run directory: a small file is enough, and survives both.
"""

from __future__ import annotations

import time
from pathlib import Path

from cluster.storage import read_json, write_json

_POLL_S = 0.02


class Gate:
    """One trial's gate; picklable, so it travels to the workers.

    Args:
        path: the file that says how far the trial may go.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def allow(self, step: int) -> None:
        """Let the trial go past the measurement at this step."""
        write_json(self.path, {"step": step, "stop": None})

    def stop(self, reason: str) -> None:
        """End the trial at its next measurement, or where it waits now."""
        write_json(self.path, {"step": 0, "stop": reason})

    def told_to_stop(self) -> str | None:
        """Why the trial shall end, if it shall; asked at every step."""
        said = read_json(self.path)
        return None if said is None else said["stop"]

    def wait(self, step: int) -> str | None:
        """Wait at a measurement; gives why to end here, None to go on."""
        while True:
            said = read_json(self.path) or {"step": 0, "stop": None}
            if said["stop"] is not None:
                return str(said["stop"])
            if said["step"] >= step:
                return None
            time.sleep(_POLL_S)
