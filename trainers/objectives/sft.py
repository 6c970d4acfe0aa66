"""Supervised fine-tuning: cross-entropy of the trained tokens of a conversation, given all tokens before them.

What differs from the textbook: the head (hidden states → vocabulary) runs only at places whose next token is trained.
With a vocabulary of 49k and questions as long as answers, that saves a fifth of the step and most of its memory. The
loss is a sum; the loop divides by the trained tokens of the whole step, so that every token weighs the same however
the batch is cut into micro-batches and workers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from cluster.config import PluginConfig

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from trainers.data.chat import Rendered

Batch = dict[str, "torch.Tensor"]
_MULTIPLE = 32
_IGNORED = -100


class Config(PluginConfig):
    """Keys of `train.objective: sft`."""

    kind: Literal["sft"] = "sft"


def collate(examples: list[Rendered], pad_id: int) -> Batch:
    """Pad on the right: `input_ids`, `attention_mask` and `trained`, each [sequences, length]."""
    import torch

    length = _rounded(max(len(example.input_ids) for example in examples))

    def padded(rows: list[list[int]], fill: int) -> torch.Tensor:
        return torch.tensor([row + [fill] * (length - len(row)) for row in rows])

    return {
        "input_ids": padded([e.input_ids for e in examples], pad_id),
        "attention_mask": padded([[1] * len(e.input_ids) for e in examples], 0),
        "trained": padded([e.trained for e in examples], 0).bool(),
    }


def weight(example: Rendered) -> int:
    """Tokens of an example that count in the loss: its trained tokens but the first, which nothing precedes."""
    return sum(example.trained[1:])


def loss(model: PreTrainedModel, batch: Batch) -> torch.Tensor:
    """Summed cross-entropy in nats, a float32 scalar."""
    from torch.nn.functional import cross_entropy, pad

    hidden = model.get_decoder()(
        input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False
    ).last_hidden_state  # [sequences, length, hidden]
    places = batch["trained"][:, 1:].flatten().nonzero()[:, 0]  # [trained tokens], into [sequences × (length - 1)]
    targets = batch["input_ids"][:, 1:].flatten()[places]
    filling = _rounded(len(places)) - len(places)
    places, targets = pad(places, (0, filling)), pad(targets, (0, filling), value=_IGNORED)
    logits = model.get_output_embeddings()(hidden[:, :-1].flatten(0, 1)[places])  # [trained tokens, vocabulary]
    return cross_entropy(logits.float(), targets, reduction="sum", ignore_index=_IGNORED)


def _rounded(length: int) -> int:
    # Every new shape makes oneDNN compile and keep another kernel: few shapes cost less time and memory.
    return -(-length // _MULTIPLE) * _MULTIPLE
