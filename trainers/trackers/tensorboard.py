"""TensorBoard event files in the run directory, by tensorboardX: `tensorboard --logdir …/runs/NAME/tensorboard`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from cluster.config import PluginConfig

_FLUSH_S = 1


class Config(PluginConfig):
    """Keys of `train.trackers: [tensorboard]`."""

    kind: Literal["tensorboard"] = "tensorboard"


class Tracker:
    """One scalar a figure, `train/loss` and so on."""

    def __init__(self, _config: Config, _run: str, folder: Path, _resolved: dict[str, Any], first_step: int) -> None:
        from tensorboardX import SummaryWriter

        # TensorBoard shows nothing of an earlier attempt from `purge_step` on.
        self._writer = SummaryWriter(str(folder), purge_step=first_step + 1, flush_secs=_FLUSH_S)

    def step(self, step: int, figures: dict[str, float]) -> None:
        """Write the figures; a thread puts them on the disk within a second."""
        for key, value in figures.items():
            self._writer.add_scalar(f"train/{key}", value, step)

    def close(self) -> None:
        """Close the event file."""
        self._writer.close()
