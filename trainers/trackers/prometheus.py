"""Gauges on Ray's own metrics port, where Prometheus finds every node: `ray_raysmith_train_loss{run="NAME"}` and so on.

Ray collects them about every ten seconds, so they say how a training stands, not how each step went. A worker that
trains one thing after another keeps the gauges of all, so `open` tells which goes on.
"""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cluster.config import PluginConfig

if TYPE_CHECKING:
    from ray.util.metrics import Gauge

_AGAIN_S = 5.0
"""Ray forgets a gauge that was not set for two of its reports, 20 s: a step, or a measurement, may take longer."""


class Config(PluginConfig):
    """Keys of `train.trackers: [prometheus]`."""

    kind: Literal["prometheus"] = "prometheus"


class Tracker:
    """One gauge a figure, and `step`, `steps` and `open`."""

    def __init__(self, _config: Config, run: str, _folder: Path, resolved: dict[str, Any], first_step: int) -> None:
        self._run = run
        self._gauges: dict[str, Gauge] = {}
        self._values: dict[str, float] = {}
        self._lock, self._over = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._repeat, name="gauges", daemon=True)
        self._thread.start()
        for key, value in {"step": first_step, "steps": resolved.get("steps", 0), "open": 1}.items():
            self._set(key, value)

    def step(self, step: int, figures: dict[str, float]) -> None:
        """Set the gauges."""
        for key, value in {**figures, "step": step}.items():
            self._set(key, value)

    def _set(self, key: str, value: float) -> None:
        from ray.util.metrics import Gauge

        with self._lock:
            if key not in self._gauges:
                name = "raysmith_train_" + re.sub(r"\W", "_", key, flags=re.ASCII)
                self._gauges[key] = Gauge(name, f"Of the newest training step: {key}.", tag_keys=("run",))
            self._values[key] = value
            self._gauges[key].set(value, tags={"run": self._run})

    def _repeat(self) -> None:
        while not self._over.wait(_AGAIN_S):
            with self._lock:
                for key, value in self._values.items():
                    self._gauges[key].set(value, tags={"run": self._run})

    def close(self) -> None:
        """Say that the training is over."""
        self._over.set()
        self._thread.join(_AGAIN_S)
        self._set("open", 0)
