"""Where training metrics go beside metrics.jsonl, one file each: `Config` (its YAML keys) and the class `Tracker`.

A file name in this folder is a value of `train.trackers`; a new one is a new file, and nothing else.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, Protocol

from cluster.config import PluginConfig


class Tracker(Protocol):
    """Takes the metrics of one training, on rank 0."""

    def __init__(self, config: PluginConfig, run: str, folder: Path, resolved: dict[str, Any], first_step: int) -> None:
        """Open it.

        Args:
            run: the job's name.
            folder: a folder of its own under the run directory.
            resolved: the training's configuration, plain data.
            first_step: steps that an earlier attempt has done; what was recorded of later ones is trained again.
        """
        ...

    def step(self, step: int, figures: dict[str, float]) -> None:
        """Record the figures of a step (from 1): `loss`, `learning_rate`, `heldout_loss` …"""
        ...

    def close(self) -> None:
        """Write what is left."""
        ...


def tracker_of(config: PluginConfig, run: str, folder: Path, resolved: dict[str, Any], first_step: int) -> Tracker:
    """Open the tracker that a config names."""
    module = importlib.import_module(f"{__name__}.{config.kind}")
    tracker: Tracker = module.Tracker(config, run, folder, resolved, first_step)
    return tracker
