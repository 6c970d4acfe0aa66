"""Rollouts by transformers: the very model class that is trained, on CPU and GPU, with a batched loop of its own.

What differs from `generate`: a prompt is computed once for all of its completions, rows that have ended leave the
batch, and each completion draws from its own seed, so that what else is in the batch does not change it.

Legend: b rows that still write, v vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import PositiveInt

from trainers.rl.weights import Weights, pieces, tensor_of
from trainers.samplers import Completion, Prompt, SamplerConfig, Sampling, Setup
from trainers.shape import Shape

if TYPE_CHECKING:
    import torch


class Config(SamplerConfig):
    """Keys of `sampler: transformers`."""

    kind: Literal["transformers"] = "transformers"
    batch: PositiveInt = 64
    """Completions written at once."""

    def cache_bytes(self, shape: Shape, bytes_a_weight: int, longest: int) -> int:
        """Keys and values of a batch, and its distributions in float64, of which there are three at a time."""
        token = 2 * shape.layers * shape.kv_heads * shape.head_dim * bytes_a_weight
        return self.batch * (longest * token + 3 * 8 * shape.vocabulary)


class Sampler:
    """One copy of the model, with an adapter if one is trained."""

    def __init__(self, config: Config, setup: Setup) -> None:
        import torch

        from trainers.adapters import add_lora
        from trainers.models import compute_device, load_model, restore_buffers

        self._config, self._setup, self._device = config, setup, compute_device()
        torch.set_num_threads(setup.threads)
        dtype, adapter = getattr(torch, setup.dtype), setup.adapter
        held = adapter.base if adapter else "full"
        model: Any = load_model(setup.base, dtype, "causal_lm", held)
        if adapter is not None:
            add_lora(model, adapter.lora, dtype)
        restore_buffers(model)
        self._model = model.to(self._device) if held == "full" else model
        if model.config._attn_implementation == "sdpa" and self._device == "cpu":
            _register_attention()
            model.set_attn_implementation(_ATTENTION)
        self._trained = {name: one for name, one in self._model.named_parameters() if one.requires_grad}
        for parameter in self._model.parameters():
            parameter.requires_grad_(False)

    def load(self, weights: Weights) -> None:
        """Copy the weights into the model.

        Raises:
            KeyError: a weight has no place in it.
        """
        import torch

        with torch.no_grad():
            for name, piece in weights.items():
                self._trained[name].copy_(tensor_of(piece))

    def held(self) -> Weights:
        """The model's parameters as they are."""
        return pieces(self._trained.items())

    def generate(self, prompts: list[Prompt], sampling: Sampling) -> list[list[Completion]]:
        """Batches of at most `batch` completions, a prompt's together, prompts of like lengths in one."""
        import torch

        found: dict[int, list[Completion]] = {}
        with torch.inference_mode():
            for members in self._batches(prompts):
                written = self._write([prompts[index] for index in members], sampling)
                found |= dict(zip(members, written, strict=True))
        return [found[index] for index in range(len(prompts))]

    def _batches(self, prompts: list[Prompt]) -> Iterator[list[int]]:
        members: list[int] = []
        rows = 0
        for index in sorted(range(len(prompts)), key=lambda one: len(prompts[one].ids)):
            if members and rows + len(prompts[index].seeds) > self._config.batch:
                yield members
                members, rows = [], 0
            members.append(index)
            rows += len(prompts[index].seeds)
        if members:
            yield members

    def _write(self, prompts: list[Prompt], sampling: Sampling) -> list[list[Completion]]:
        import torch
        from transformers import DynamicCache

        logits, cache, mask = self._read(prompts, DynamicCache())
        counts = torch.tensor([len(prompt.seeds) for prompt in prompts])
        rows = torch.repeat_interleave(torch.arange(len(prompts)), counts)
        cache.batch_select_indices(rows.to(self._device))
        logits, mask = logits[rows], mask[rows]
        draws = np.stack([
            np.random.default_rng(seed).random(sampling.max_new_tokens) for prompt in prompts for seed in prompt.seeds
        ])  # fmt: skip
        ids: list[list[int]] = [[] for _ in range(len(rows))]
        logprobs: list[list[float]] = [[] for _ in range(len(rows))]
        ended = [False] * len(rows)
        open_rows = list(range(len(rows)))
        for place in range(sampling.max_new_tokens):
            tokens, scores = _draw(logits, draws[open_rows, place], sampling.temperature)
            for row, token, score in zip(open_rows, tokens.tolist(), scores.tolist(), strict=True):
                ids[row].append(token)
                logprobs[row].append(score)
                ended[row] = token in self._setup.end_ids
            left = [at for at, row in enumerate(open_rows) if not ended[row]]
            if not left or place + 1 == sampling.max_new_tokens:
                break
            if len(left) < len(open_rows):
                kept = torch.tensor(left)
                cache.batch_select_indices(kept.to(self._device))
                mask, tokens = mask[kept], tokens[kept]
                open_rows = [open_rows[at] for at in left]
            mask = torch.nn.functional.pad(mask, (0, 1), value=1)
            logits = self._forward(tokens[:, None], mask, mask.sum(-1, keepdim=True) - 1, cache)
        written = [Completion(*one) for one in zip(ids, logprobs, ended, strict=True)]
        ends = np.cumsum([0, *counts.tolist()])
        return [written[start:end] for start, end in pairwise(ends)]

    def _read(self, prompts: list[Prompt], cache: Any) -> tuple[torch.Tensor, Any, torch.Tensor]:
        """Logits [prompts, v] after each prompt, the filled cache, and the mask [prompts, longest], padded left."""
        import torch

        longest = max(len(prompt.ids) for prompt in prompts)
        ids = torch.full((len(prompts), longest), self._setup.pad_id)
        mask = torch.zeros_like(ids)
        for row, prompt in enumerate(prompts):
            ids[row, longest - len(prompt.ids) :] = torch.tensor(prompt.ids)
            mask[row, longest - len(prompt.ids) :] = 1
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        return self._forward(ids, mask, positions, cache), cache, mask

    def _forward(self, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor, cache: Any) -> torch.Tensor:
        inputs = {"input_ids": ids, "attention_mask": mask, "position_ids": positions}
        output = self._model(
            **{name: tensor.to(self._device) for name, tensor in inputs.items()}, past_key_values=cache,
            use_cache=True, logits_to_keep=1,
        )  # fmt: skip
        logits: torch.Tensor = output.logits[:, -1]
        return logits


_ATTENTION = "raysmith_decoding"


def _register_attention() -> None:
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(_ATTENTION, _attention)
    AttentionMaskInterface.register(_ATTENTION, sdpa_mask)


def _attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **more: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of one new token a row, in plain products: torch's kernel for CPUs wants keys and values repeated for
    each query head, and spends most of a small model's time there. Longer queries go to it.

    Args:
        query: [b, heads, 1, d]; `key` and `value` are [b, key heads, length, d].
        attention_mask: bool [b, 1, 1, length].
    """
    import torch
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    if query.shape[2] > 1:
        found: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **more
        )
        return found
    rows, heads, _, width = query.shape
    grouped = query.view(rows, key.shape[1], heads // key.shape[1], width)
    scores = (grouped @ key.transpose(-1, -2)).float() * (width**-0.5 if scaling is None else scaling)
    if attention_mask is not None:
        scores = scores.masked_fill(~attention_mask[:, :, :, : key.shape[2]], -torch.inf)
    weights = scores.softmax(-1).to(value.dtype)
    return (weights @ value).reshape(rows, 1, heads, width), None


def _draw(logits: torch.Tensor, draws: Any, temperature: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens [b] by inversion of the distribution function at `draws` [b], and their log-probabilities [b], on the CPU.

    At temperature 0 the most probable token, with its log-probability at temperature 1.
    """
    import torch

    scores = torch.log_softmax(logits.float() / (temperature or 1.0), -1)  # [b, v]
    if temperature == 0:
        tokens = scores.argmax(-1, keepdim=True)
    else:
        reached = scores.exp().double().cumsum(-1)
        wanted = torch.from_numpy(draws).to(reached)[:, None] * reached[:, -1:]
        tokens = torch.searchsorted(reached, wanted, right=True).clamp(max=scores.shape[-1] - 1)
    return tokens[:, 0].cpu(), scores.gather(-1, tokens)[:, 0].cpu()
