"""What events.jsonl of a run tells, counted by kind."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from jobs.monitor.files import number

EVENTS = {
    "checkpoint_failed": re.compile(r"checkpoint at step \d+ failed"),
    "drift": re.compile(r"drift at step"),
    "not_finite": re.compile(r"diverged at step \d+: .*\b(nan|inf)\b"),
    "reward_hacking": re.compile(r"suspected reward hacking"),
    "hang": re.compile(r"hang( \d+)?: no sign of life"),
    "preemption": re.compile(r"notice: "),
    "resumed": re.compile(r"resumed at step"),
}
"""Kind of an event → how its text begins (`Events` of trainers.metrics)."""
_GONE = re.compile(r"hang( \d+)?: .* (was|were) killed|all workers are gone")


class EventCounts:
    """The events of one run; each look reads only what was appended since.

    A count never falls, whatever becomes of the file: Prometheus would take that for a counter that began anew, and
    count everything once more.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._inode, self._offset = 0, 0
        self.counts = dict.fromkeys(EVENTS, 0)
        """Kind → how often it happened."""
        self.gone_at = 0.0
        """When the watchdog last killed the workers, or found none; Unix time."""

    def look(self) -> None:
        """Count what is new; a line that is still being written is left for the next look."""
        try:
            with self._file.open("rb") as stream:
                status = os.fstat(stream.fileno())
                if status.st_ino != self._inode or status.st_size < self._offset:
                    self._inode, self._offset = status.st_ino, 0
                stream.seek(self._offset)
                for line in stream:
                    if not line.endswith(b"\n"):
                        break
                    self._offset += len(line)
                    self._count(line)
        except OSError:
            return

    def _count(self, line: bytes) -> None:
        try:
            event: Any = json.loads(line)
        except ValueError:
            return
        if not isinstance(event, dict):
            return
        text = str(event.get("event", ""))
        for kind, pattern in EVENTS.items():
            self.counts[kind] += pattern.match(text) is not None
        if _GONE.match(text):
            self.gone_at = max(self.gone_at, number(event.get("time")) or 0.0)
