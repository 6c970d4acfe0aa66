"""Weights & Biases. The key comes from $WANDB_API_KEY or `wandb login` on the node of rank 0, never from the YAML."""

from __future__ import annotations

import importlib.util
import secrets
from pathlib import Path
from typing import Any, Literal

from pydantic import model_validator

from cluster.config import PluginConfig
from cluster.errors import ConfigError, ConfigValueError
from cluster.storage import write_atomically

_RUN_ID = "run_id"


class Config(PluginConfig):
    """Keys of `train.trackers: [{kind: wandb}]`."""

    kind: Literal["wandb"] = "wandb"
    project: str = "raysmith"
    """The project that the runs belong to."""
    entity: str | None = None
    """User or team; default: the key's own."""
    mode: Literal["online", "offline"] = "online"
    """`offline` writes into the run directory; `wandb sync` sends it later."""

    @model_validator(mode="after")
    def _is_installed(self) -> Config:
        if importlib.util.find_spec("wandb") is None:
            raise ConfigValueError(
                "Weights & Biases is not installed.", got="train.trackers: wandb", expected="the package `wandb`",
                fix="pip install wandb, on every node of the cluster",
            )  # fmt: skip
        return self


class Tracker:
    """One run a training; a resumed training goes on in its run.

    W&B takes steps in rising order only: those that an earlier attempt recorded stay as they are when they are trained
    again.
    """

    def __init__(self, config: Config, run: str, folder: Path, resolved: dict[str, Any], first_step: int) -> None:
        """Open the run.

        Raises:
            ConfigError: there is no key, or the server does not answer or refuses.
        """
        import wandb

        folder.mkdir(parents=True, exist_ok=True)
        id_file = folder / _RUN_ID
        resumed = first_step > 0 and id_file.is_file()
        run_id = id_file.read_text(encoding="utf-8") if resumed else secrets.token_hex(4)
        try:
            self._run = wandb.init(
                project=config.project, entity=config.entity, mode=config.mode, name=run, id=run_id,
                resume="allow" if config.mode == "online" else None, dir=str(folder), config=resolved,
                settings=wandb.Settings(console="off", silent=True),
            )  # fmt: skip
        except wandb.Error as error:
            raise ConfigError(
                "Weights & Biases does not take the training's metrics.", field="train.trackers", got=str(error),
                expected="a key in $WANDB_API_KEY and a server that answers", fix="or set its `mode: offline`",
            ) from None  # fmt: skip
        write_atomically(id_file, run_id)

    def step(self, step: int, figures: dict[str, float]) -> None:
        """Send the figures (from W&B's own process), unless this step was recorded before."""
        if step >= self._run.step:
            self._run.log(figures, step=step)

    def close(self) -> None:
        """Wait until all is sent."""
        self._run.finish()
