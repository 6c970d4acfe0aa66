"""When lines of files were written: by the wall clock, and by one that nobody can set.

A wall clock may be set, by hand or by NTP, in the midst of a run: what lies between two of its times is then no
duration. So a stamp has beside it the seconds since the machine was started, and which start of it that was; between
two stamps of the same start these are right, whatever the wall clock did, and whichever processes wrote them. Between
two machines there is only the wall clock.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

_BOOT = Path("/proc/sys/kernel/random/boot_id")


@cache
def _boot() -> str:
    try:
        return _BOOT.read_text(encoding="ascii").strip()[:13]
    except OSError:  # not Linux
        return ""


def stamp() -> dict[str, Any]:
    """`time`, the wall clock; on Linux also `clock`, seconds since the machine's start, and `boot`, which start."""
    wall, boot = {"time": time.time()}, _boot()
    return {**wall, "clock": time.clock_gettime(time.CLOCK_BOOTTIME), "boot": boot} if boot else wall


class Axis:
    """Times of stamps as if no wall clock had been set since the first one of its machine that was asked for."""

    def __init__(self) -> None:
        self._offsets: dict[str, float] = {}

    def at(self, stamped: Mapping[str, Any]) -> float:
        """The time of a stamp, or of a line that has only a `time`."""
        if "boot" not in stamped:
            return float(stamped["time"])
        offset = self._offsets.setdefault(stamped["boot"], float(stamped["time"] - stamped["clock"]))
        return float(stamped["clock"] + offset)


def seconds_since(stamped: Mapping[str, Any]) -> float:
    """From a stamp until now; by the wall clocks, and never less than nothing, if it is of another machine."""
    axis = Axis()
    earlier = axis.at(stamped)
    return max(0.0, axis.at(stamp()) - earlier)
