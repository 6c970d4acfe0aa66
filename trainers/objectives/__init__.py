"""Objectives, one file each: `Config` (its YAML keys), `FORMATS`, `HEAD` and the class `Objective`.

A file name in this folder is a value of `train.objective`; a new objective is a new file, and nothing else.

    FORMATS = ("text",)        kinds of data (files of trainers/formats) that it trains on
    HEAD = "causal_lm"         which kind of model it trains (`trainers.models.HEADS`)
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple, Protocol

from cluster.config import PluginConfig
from trainers.data.store import Row

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class Example(NamedTuple):
    """One example of a batch."""

    row: Row
    """Its columns, as the data's format wrote them."""
    key: tuple[int, ...]
    """Seed of what is drawn at random for it: the same example in the same epoch draws the same on any worker."""


class Batch(NamedTuple):
    """What one worker takes through the model at once."""

    tensors: dict[str, torch.Tensor]
    terms: int
    """How many terms (tokens, pairs …) the loss is summed over."""
    tokens: int
    """Tokens that are not padding."""


class Loss(NamedTuple):
    """Sums over the terms of a batch; whoever calls divides by the terms of all workers and micro-batches."""

    total: torch.Tensor
    """The loss, a float32 scalar with a gradient."""
    figures: dict[str, torch.Tensor]
    """Other sums, without a gradient, such as `accuracy`: the number of terms predicted rightly."""


class Objective(Protocol):
    """What the training loop and the evaluation ask of an objective."""

    def __init__(self, config: PluginConfig, tokenizer: PreTrainedTokenizerBase) -> None: ...

    def collate(self, examples: list[Example]) -> Batch:
        """Make a batch on the CPU. Called from a thread beside the training step."""
        ...

    def loss(self, model: PreTrainedModel, tensors: dict[str, torch.Tensor]) -> Loss:
        """Sum of the loss over the batch's terms.

        Figures beside the loss are wanted only where no gradient is (`torch.is_grad_enabled()` is false).
        """
        ...


def module_of(config: PluginConfig) -> ModuleType:
    """The file of the objective that a config names."""
    return importlib.import_module(f"{__name__}.{config.kind}")


def objective_of(config: PluginConfig, tokenizer: PreTrainedTokenizerBase) -> Objective:
    """The objective that a config names."""
    objective: Objective = module_of(config).Objective(config, tokenizer)
    return objective
