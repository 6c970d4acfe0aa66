"""Score token ids with a transformers model: the trainers' holder for `cluster.handoff`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cluster.handoff import TokenScores
from trainers.models import compute_device

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class TransformersHolder:
    """A `cluster.handoff.Holder`: one forward pass a sequence, whole distributions cut to the k most probable."""

    def __init__(self, model: PreTrainedModel) -> None:
        self._device = compute_device()
        self._model = model
        self._model.to(self._device)  # type: ignore[arg-type]  # torch's overloads hide transformers' own

    def score(self, sequences: list[list[int]], top_k: int) -> TokenScores:
        """Score every token but the first of each sequence."""
        import torch

        chosen, ids, values = [], [], []
        with torch.inference_mode():
            for sequence in sequences:
                tokens = torch.tensor([sequence], device=self._device)
                logprobs = self._model(input_ids=tokens).logits[0, :-1].float().log_softmax(-1)  # [n-1, vocabulary]
                chosen.append(logprobs.gather(1, tokens[0, 1:, None])[:, 0].cpu().numpy())
                top = logprobs.topk(top_k, dim=-1)
                ids.append(top.indices.cpu().numpy())
                values.append(top.values.cpu().numpy())
        return TokenScores(np.concatenate(chosen), np.concatenate(ids), np.concatenate(values))
