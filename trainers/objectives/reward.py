"""Reward model: one number for a conversation, such that the preferred of two gets the higher one.

Bradley & Terry 1952, as Ouyang et al. 2022 (arXiv 2203.02155, eq. 1) train it: −log σ(r_chosen − r_rejected − margin).
The margin is that of Touvron et al. 2023 (arXiv 2307.09288, eq. 2), the pull towards a mean of zero that of Eisenstein
et al. 2023 (arXiv 2312.09244, eq. 2). What differs from TRL, whose loss this equals: all conversations of a micro-batch
share packed rows, and the head runs on their last tokens alone.

Legend: p pairs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import NonNegativeFloat

from cluster.config import PluginConfig
from cluster.errors import ModelError
from trainers.data.packing import pack
from trainers.objectives._next_token import decoder_states

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from trainers.objectives import Batch, Example, Loss

FORMATS = ("pairs",)
HEAD = "reward"


class Config(PluginConfig):
    """Keys of `train.objective: reward`."""

    kind: Literal["reward"] = "reward"
    margin: bool = True
    """Ask for a distance of at least a pair's `margin` where the data gives one."""
    center: NonNegativeFloat = 0.0
    """Weight of (r_chosen + r_rejected)², which keeps rewards around zero; 0.01 is a usual value."""


class Objective:
    """Bradley-Terry loss of pairs.

    The reward is read where transformers' own forward reads it: at the last token whose id is not the padding's.
    """

    def __init__(self, config: Config, tokenizer: PreTrainedTokenizerBase) -> None:
        self._config = config
        self._pad_id: int = tokenizer.pad_token_id

    def collate(self, examples: list[Example]) -> Batch:
        """Packed rows of columns `chosen_ids` and `rejected_ids`.

        Tensors: `input_ids` and `position_ids` [rows, length], `places` [2p] of the last tokens in the flattened rows,
        those of the chosen conversations first, and `margins` [p].
        """
        import torch

        from trainers.objectives import Batch

        sequences = [example.row[name] for name in ("chosen_ids", "rejected_ids") for example in examples]
        packed = pack(sequences, self._pad_id)
        places = [start + self._last(ids) for start, ids in zip(packed.starts, sequences, strict=True)]
        margins = [float(example.row["margin"].sum()) if self._config.margin else 0.0 for example in examples]
        tensors = {
            "input_ids": torch.from_numpy(packed.input_ids),
            "position_ids": torch.from_numpy(packed.position_ids),
            "places": torch.tensor(places),
            "margins": torch.tensor(margins, dtype=torch.float32),
        }
        return Batch(tensors, terms=len(examples), tokens=sum(len(ids) for ids in sequences))

    def _last(self, ids: NDArray[Any]) -> int:
        return int(np.flatnonzero(ids != self._pad_id)[-1])

    def loss(self, model: PreTrainedModel, tensors: dict[str, torch.Tensor]) -> Loss:
        """Nats, summed over the pairs; without gradient also how many pairs are ranked rightly (`accuracy`)."""
        import torch
        from torch.nn.functional import logsigmoid

        from trainers.objectives import Loss

        chosen, rejected = _rewards(model, tensors).chunk(2)  # [p] each
        total = -logsigmoid(chosen - rejected - tensors["margins"]).sum()
        if self._config.center:
            total = total + self._config.center * (chosen + rejected).square().sum()
        return Loss(total, {} if torch.is_grad_enabled() else {"accuracy": (chosen > rejected).float().sum()})

    def scores(self, model: PreTrainedModel, sequences: list[list[int]]) -> list[float]:
        """The reward of each conversation, as token ids, without gradient."""
        import torch

        arrays = [np.asarray(ids) for ids in sequences]
        packed = pack(arrays, self._pad_id)
        tensors = {
            "input_ids": torch.from_numpy(packed.input_ids),
            "position_ids": torch.from_numpy(packed.position_ids),
            "places": torch.tensor([start + self._last(ids) for start, ids in zip(packed.starts, arrays, strict=True)]),
        }
        with torch.inference_mode():
            found = _rewards(model, {name: tensor.to(model.device) for name, tensor in tensors.items()})
        values: list[float] = found.tolist()
        return values


def _rewards(model: PreTrainedModel, tensors: dict[str, torch.Tensor]) -> torch.Tensor:
    """Float32 [places]."""
    last = decoder_states(model, tensors).flatten(0, 1)[tensors["places"]]  # [places, hidden]
    rewards: torch.Tensor = _head(model)(last).float().squeeze(-1)
    return rewards


def initialise_head(model: PreTrainedModel, seed: int, pad_id: int) -> None:
    """Draw the weights of a new scalar head from `seed`, and record the padding id in the model's configuration.

    For a base model without a head, once, before training: the result is saved, and every worker and every later start
    loads the same. A head of zeros would leave the rest of the model without a gradient at the first step.
    """
    import torch

    config = model.config.get_text_config()
    weight: torch.Tensor = _head(model).weight
    drawn = torch.randn(weight.shape, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        weight.copy_(drawn * getattr(config, "initializer_range", 0.02))
    # Without it transformers cannot tell which token of a padded batch is a conversation's last.
    config.pad_token_id = pad_id


def _head(model: PreTrainedModel) -> Any:
    try:
        return model.get_submodule("score")
    except AttributeError:
        raise ModelError(
            "The model has no linear head over its last token's state.", field="model", got=type(model).__name__,
            expected="a decoder, such as Llama, Qwen, Mistral or GPT-2",
        ) from None  # fmt: skip
