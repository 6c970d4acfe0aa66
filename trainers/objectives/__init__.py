"""Objectives, one file each: `Config` (its YAML keys) and the functions of `Objective`.

A file name in this folder is a value of `train.objective`; a new objective is a new file, and nothing else.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Protocol, cast

from cluster.config import PluginConfig

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from trainers.data.chat import Rendered


class Objective(Protocol):
    """What the training loop and the evaluation ask of an objective's module."""

    def collate(self, examples: list[Rendered], pad_id: int) -> dict[str, torch.Tensor]:
        """Make a batch of examples."""
        ...

    def weight(self, example: Rendered) -> int:
        """How many terms (tokens) the example adds to the loss."""
        ...

    def loss(self, model: PreTrainedModel, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Sum of the loss over the batch's terms, a float32 scalar."""
        ...


def objective_of(config: PluginConfig) -> Objective:
    """The module of the objective that a config names."""
    return cast(Objective, importlib.import_module(f"{__name__}.{config.kind}"))
