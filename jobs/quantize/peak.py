"""Time and peak memory of a piece of work in this process."""

from __future__ import annotations

import contextlib
import gc
import re
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from serving.quantizers._memory import give_back

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_RESET_PEAK = "5"


class PeakMemory:
    """Resident memory that the work of a `with` block takes at most beyond what was there, and a GPU's, if torch is
    there before the block; Linux, else zero.
    """

    def __enter__(self) -> PeakMemory:
        self.peak_bytes = 0
        self.seconds = 0.0
        self._before = self._before_on_gpu = 0
        if _CLEAR.exists():
            gc.collect()
            give_back()  # what earlier work freed would otherwise be used again, uncounted
            with contextlib.suppress(OSError):
                _CLEAR.write_text(_RESET_PEAK)
            self._before = _field("VmRSS")
        if (cuda := _cuda()) is not None:
            cuda.reset_peak_memory_stats()
            self._before_on_gpu = cuda.memory_allocated()
        self._began = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.seconds = time.perf_counter() - self._began
        if _CLEAR.exists():
            self.peak_bytes = max(0, _field("VmHWM") - self._before)
        if (cuda := _cuda()) is not None:
            self.peak_bytes += cuda.max_memory_allocated() - self._before_on_gpu


def _cuda() -> Any:
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_available() else None


def _field(name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB", _STATUS.read_text(), re.MULTILINE)
    return 1024 * int(found[1]) if found else 0
