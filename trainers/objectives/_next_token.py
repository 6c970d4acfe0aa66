"""What the objectives that predict the next token share: batches of packed rows, and the loss at given places.

What differs from the textbook: the head (hidden states → vocabulary) runs only at places whose next token is trained,
a chunk of them at a time. The loss is a sum; the loop divides by the trained tokens of the whole step, so that every
token weighs the same however the batch is cut into micro-batches and workers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import numpy as np
from numpy.typing import NDArray

from trainers.data.packing import Packed, rounded

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from trainers.objectives import Batch, Loss

_IGNORED = -100
_PLAIN: WeakSet[Any] = WeakSet()
"""Models that were looked through."""


def next_token_batch(packed: Packed, places: NDArray[np.int64], num_tokens: int) -> Batch:
    """A batch whose loss is that of the tokens after `places` [trained tokens], into the flattened rows.

    Tensors: `input_ids` and `position_ids` [rows, length], `places` and `targets` [trained tokens, rounded up].
    """
    import torch

    from trainers.objectives import Batch

    filling = rounded(max(1, len(places))) - len(places)  # a head without input would have no gradient
    targets = np.pad(packed.input_ids.reshape(-1)[places + 1], (0, filling), constant_values=_IGNORED)
    tensors = {
        "input_ids": torch.from_numpy(packed.input_ids),
        "position_ids": torch.from_numpy(packed.position_ids),
        "places": torch.from_numpy(np.pad(places, (0, filling))),
        "targets": torch.from_numpy(targets),
    }
    return Batch(tensors, terms=len(places), tokens=num_tokens)


def next_token_loss(model: PreTrainedModel, tensors: dict[str, torch.Tensor], chunk: int | None) -> Loss:
    """Summed cross-entropy in nats; where no gradient is wanted also how many targets are the most probable token."""
    from trainers.losses import head_cross_entropy
    from trainers.objectives import Loss

    hidden = decoder_states(model, tensors).flatten(0, 1)[tensors["places"]]  # [trained tokens, hidden]
    head: Any = model.get_output_embeddings()
    loss = head_cross_entropy(head, hidden, tensors["targets"], chunk)
    return Loss(loss.total, {} if loss.right is None else {"accuracy": loss.right.float()})


def decoder_states(model: PreTrainedModel, tensors: dict[str, torch.Tensor]) -> torch.Tensor:
    """Hidden states before the head, [rows, length, hidden].

    Args:
        tensors: `input_ids` and `position_ids` [rows, length], whose restarts say where documents begin; or an
            `attention_mask` [rows, 1, length, length] of who sees whom.

    Raises:
        ModelError: the model does something to its logits that the head alone does not, is bidirectional, or its
            attention takes no such mask.
    """
    _require_plain_head(model)
    ids, positions = tensors["input_ids"], tensors["position_ids"]
    shape = ids.shape
    if (mask := tensors.get("attention_mask")) is not None:
        return _masked_states(model, ids, positions, mask)
    if str(model.config._attn_implementation).startswith("flash"):  # its varlen kernel takes one row
        ids, positions = ids.view(1, -1), positions.view(1, -1)
    decoder: Any = model.get_decoder()
    states: torch.Tensor = decoder(input_ids=ids, position_ids=positions, use_cache=False).last_hidden_state
    return states.view(*shape, -1)


def _masked_states(
    model: PreTrainedModel, ids: torch.Tensor, positions: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    from cluster.errors import ModelError

    if model.config._attn_implementation != "sdpa":
        raise ModelError(
            "The model's attention takes no mask of who sees whom.", field="model",
            got=model.config._attn_implementation, expected="sdpa",
        )  # fmt: skip
    decoder: Any = model.get_decoder()
    states: torch.Tensor = decoder(
        input_ids=ids, position_ids=positions, attention_mask=mask, use_cache=False
    ).last_hidden_state
    return states


def _require_plain_head(model: PreTrainedModel) -> None:
    from cluster.errors import ModelError

    if model in _PLAIN:
        return
    for key, plain in (("final_logit_softcapping", None), ("logit_scale", 1.0), ("logits_scaling", 1.0)):
        if (value := getattr(model.config, key, plain)) not in (plain, None):
            raise ModelError(
                "The model changes its logits after the head, which this training does not.", field=key, got=value,
                expected="a model of the Llama, Qwen, Mistral or GPT-2 kind",
            )  # fmt: skip
    if any(vars(module).get("is_causal", True) is False for module in model.modules()):
        raise ModelError(
            "The model's attention is bidirectional: it sees the token that is to be predicted, and other documents.",
            field="model", got=model.config.model_type, expected="a causal model",
            fix="train an encoder with the objective masked_lm",
        )  # fmt: skip
    _PLAIN.add(model)
