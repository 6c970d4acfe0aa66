"""Time and peak memory of a piece of work in this process."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import re
import time
from pathlib import Path
from types import TracebackType

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_RESET_PEAK = "5"


class PeakMemory:
    """Resident memory that the work of a `with` block takes at most beyond what was there; Linux, else zero."""

    def __enter__(self) -> PeakMemory:
        self.peak_bytes = 0
        self.seconds = 0.0
        self._before = 0
        if _CLEAR.exists():
            gc.collect()
            with contextlib.suppress(OSError, AttributeError):
                ctypes.CDLL(None).malloc_trim(0)  # what earlier work freed would otherwise be used again, uncounted
            _CLEAR.write_text(_RESET_PEAK)
            self._before = _field("VmRSS")
        self._began = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.seconds = time.perf_counter() - self._began
        if _CLEAR.exists():
            self.peak_bytes = max(0, _field("VmHWM") - self._before)


def _field(name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB", _STATUS.read_text(), re.MULTILINE)
    return 1024 * int(found[1]) if found else 0
