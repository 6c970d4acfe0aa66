"""What a replica's process and those it started use of CPU, memory and GPUs."""

from __future__ import annotations

import contextlib
import importlib
import logging
import time
from typing import Any

import psutil

_log = logging.getLogger(__name__)
_EVERY_S = 5.0


class Usage:
    """Measured every few seconds, and the last figures between."""

    def __init__(self) -> None:
        self._processes: dict[int, psutil.Process] = {}
        self._figures: dict[str, float] = {}
        self._at = -_EVERY_S
        self._nvml = _nvml()

    def figures(self) -> dict[str, float]:
        """By the end of a metric's name: `cpu_percent` (100 is a core), `memory_bytes`, and so on."""
        if time.monotonic() - self._at >= _EVERY_S:
            self._at = time.monotonic()
            try:
                self._figures = self._measured()
            except Exception:  # figures that cannot be had (NVML on a divided GPU) must not end the replica
                _log.exception("Use of CPU, memory or GPU cannot be measured.")
        return self._figures

    def _measured(self) -> dict[str, float]:
        me = psutil.Process()
        alive = {one.pid: one for one in (me, *me.children(recursive=True))}
        self._processes = {pid: self._processes.get(pid, one) for pid, one in alive.items()}
        cpu = memory = 0.0
        for process in self._processes.values():
            with contextlib.suppress(psutil.Error):  # it ended meanwhile
                cpu += process.cpu_percent()
                memory += process.memory_info().rss
        figures = {"cpu_percent": cpu, "memory_bytes": memory, "memory_limit_bytes": psutil.virtual_memory().total}
        return {**figures, **self._of_gpus()}

    def _of_gpus(self) -> dict[str, float]:
        if self._nvml is None:
            return {}
        percent = memory = 0.0
        for index in range(self._nvml.nvmlDeviceGetCount()):
            device = self._nvml.nvmlDeviceGetHandleByIndex(index)
            mine = [
                one.usedGpuMemory or 0
                for one in self._nvml.nvmlDeviceGetComputeRunningProcesses(device)
                if one.pid in self._processes
            ]
            if mine:
                memory += sum(mine)
                percent += self._nvml.nvmlDeviceGetUtilizationRates(device).gpu
        return {"gpu_percent": percent, "gpu_memory_bytes": memory} if memory else {}


def _nvml() -> Any:
    """NVIDIA's management library, where there is one (package nvidia-ml-py comes with vLLM for GPUs)."""
    try:
        nvml: Any = importlib.import_module("pynvml")
        nvml.nvmlInit()
    except Exception:  # no package, no driver, no GPU: each has an exception of its own
        return None
    return nvml
