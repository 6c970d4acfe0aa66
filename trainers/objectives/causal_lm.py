"""Pretraining: cross-entropy of every next token within a document (Radford et al. 2018)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import PositiveInt

from cluster.config import PluginConfig
from trainers.data.packing import pack
from trainers.objectives._next_token import next_token_batch, next_token_loss

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from trainers.objectives import Batch, Example, Loss

FORMATS = ("text",)
HEAD = "causal_lm"


class Config(PluginConfig):
    """Keys of `train.objective: causal_lm`."""

    kind: Literal["causal_lm"] = "causal_lm"
    head_chunk: PositiveInt | None = 1024
    """Tokens whose logits are held in memory at once; null: all of a micro-batch."""


class Objective:
    """Cross-entropy of every token but a document's first, which nothing precedes."""

    def __init__(self, config: Config, tokenizer: PreTrainedTokenizerBase) -> None:
        self._config = config
        self._pad_id: int = tokenizer.pad_token_id

    def collate(self, examples: list[Example]) -> Batch:
        """Rows of columns `input_ids` and `documents`, the lengths of the documents in the row."""
        packed = pack(
            [example.row["input_ids"] for example in examples],
            self._pad_id,
            [example.row["documents"] for example in examples],
        )
        segments = packed.segments.reshape(-1)
        # Rows never run into one another: the first token of each row begins a document, whose position is 0.
        begins = packed.position_ids.reshape(-1) == 0
        places = np.flatnonzero((segments[:-1] > 0) & (segments[1:] > 0) & ~begins[1:])
        return next_token_batch(packed, places.astype(np.int64), int((segments > 0).sum()))

    def loss(self, model: PreTrainedModel, tensors: dict[str, torch.Tensor]) -> Loss:
        """Nats, summed over the tokens."""
        return next_token_loss(model, tensors, self._config.head_chunk)
