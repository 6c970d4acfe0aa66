"""Supervised fine-tuning: cross-entropy of the trained tokens of a conversation, given all tokens before them."""

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

FORMATS = ("chat",)
HEAD = "causal_lm"


class Config(PluginConfig):
    """Keys of `train.objective: sft`."""

    kind: Literal["sft"] = "sft"
    loss_on: Literal["assistant", "completion", "all"] = "assistant"
    """`assistant`: every assistant turn; `completion`: the last one only; `all`: prompts and templates too."""
    head_chunk: PositiveInt | None = 1024
    """Tokens whose logits are held in memory at once; null: all of a micro-batch."""


class Objective:
    """Cross-entropy at the places that `loss_on` names."""

    def __init__(self, config: Config, tokenizer: PreTrainedTokenizerBase) -> None:
        self._config = config
        self._pad_id: int = tokenizer.pad_token_id

    def collate(self, examples: list[Example]) -> Batch:
        """Rows of columns `input_ids` and `trained` (the number of the assistant turn, 0 elsewhere)."""
        packed = pack([example.row["input_ids"] for example in examples], self._pad_id)
        places = [
            start + np.flatnonzero(self._trained(example.row["trained"])[1:])
            for start, example in zip(packed.starts, examples, strict=True)
        ]
        num_tokens = sum(len(example.row["input_ids"]) for example in examples)
        return next_token_batch(packed, np.concatenate(places).astype(np.int64), num_tokens)

    def _trained(self, turns: np.ndarray) -> np.ndarray:
        if self._config.loss_on == "all":
            return np.ones_like(turns)
        return turns == turns.max() if self._config.loss_on == "completion" else turns > 0

    def loss(self, model: PreTrainedModel, tensors: dict[str, torch.Tensor]) -> Loss:
        """Nats, summed over the trained tokens."""
        return next_token_loss(model, tensors, self._config.head_chunk)
