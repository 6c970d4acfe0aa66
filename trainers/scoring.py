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


class PairHolder(TransformersHolder):
    """Scores preference pairs with a reward model: the two "tokens" are which of the two is better."""

    def score(self, sequences: list[list[int]], top_k: int) -> TokenScores:  # noqa: ARG002
        """Score every pair (the sequences 0 and 1, 2 and 3 …) by log σ(difference of rewards) (Bradley-Terry)."""
        import torch
        from torch.nn.functional import logsigmoid

        with torch.inference_mode():
            rewards = [
                self._model(input_ids=torch.tensor([ids], device=self._device)).logits[0, 0].float()
                for ids in sequences
            ]
            first, second = torch.stack(rewards).view(-1, 2).unbind(1)
            logprobs = torch.stack([logsigmoid(first - second), logsigmoid(second - first)], 1).cpu()  # [pairs, 2]
        top = logprobs.sort(dim=1, descending=True)
        return TokenScores(logprobs[:, 0].numpy(), top.indices.numpy(), top.values.numpy())
