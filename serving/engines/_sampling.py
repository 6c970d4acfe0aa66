"""The next token of one request: penalties, grammar, temperature, top-p and a generator of its own."""

from __future__ import annotations

import secrets
from collections import Counter
from typing import TYPE_CHECKING, Any

from serving.engines._speaks_ids import asked_logprobs
from serving.engines._text import Token

if TYPE_CHECKING:
    import torch

    from serving.engines._grammar import Grammar

GREEDY_BELOW = 1e-5
"""Temperatures below are 0: their reciprocal would leave float32."""
_LIKELY = 256


class Sampler:
    """Chooses the tokens of one answer; the same seed chooses the same ones.

    Args:
        body: of the request.
        device: of the logits.
        grammar: what the answer must follow.
    """

    def __init__(self, body: dict[str, Any], device: torch.device, grammar: Grammar | None) -> None:
        import torch

        self._temperature = _or(body.get("temperature"), 1.0)
        self._top_p = _or(body.get("top_p"), 1.0)
        self._frequency = _or(body.get("frequency_penalty"), 0.0)
        self._presence = _or(body.get("presence_penalty"), 0.0)
        self._bias = {int(token): float(value) for token, value in (body.get("logit_bias") or {}).items()}
        self._num_tops = asked_logprobs(body)
        self._grammar = grammar
        self._counts: Counter[int] = Counter()
        seed = body.get("seed")
        self._generator = torch.Generator(device).manual_seed(secrets.randbits(63) if seed is None else seed)

    def choose(self, logits: torch.Tensor) -> tuple[Token, bool]:
        """Choose from logits [v], float32.

        Returns:
            The token, and whether the grammar ends with it.
        """
        token = self._draw(self._adjusted(logits))
        self._counts[token] += 1
        complete = self._grammar is not None and self._grammar.accept(token)
        if self._num_tops is None:
            return Token(token), complete
        logprobs = logits.log_softmax(-1)
        top = logprobs.topk(self._num_tops)
        tops = tuple(zip(top.indices.tolist(), top.values.tolist(), strict=True))
        return Token(token, float(logprobs[token]), tops), complete

    def _adjusted(self, logits: torch.Tensor) -> torch.Tensor:
        import torch

        if self._counts and (self._frequency or self._presence):
            ids = torch.tensor(list(self._counts), device=logits.device)
            counts = torch.tensor(list(self._counts.values()), device=logits.device, dtype=logits.dtype)
            logits = logits.index_add(0, ids, -(counts * self._frequency + self._presence))
        if self._bias:
            ids = torch.tensor(list(self._bias), device=logits.device)
            logits = logits.index_add(0, ids, torch.tensor(list(self._bias.values()), device=logits.device))
        if self._grammar is not None:
            allowed = torch.from_numpy(self._grammar.allowed()).to(logits.device)
            logits = logits.masked_fill(~allowed, -torch.inf)
        return logits

    def _draw(self, logits: torch.Tensor) -> int:
        import torch

        if self._temperature < GREEDY_BELOW:
            return int(logits.argmax())
        probabilities = (logits / self._temperature).softmax(-1)
        if self._top_p >= 1:
            return int(torch.multinomial(probabilities, 1, generator=self._generator))
        likely, ids = _nucleus(probabilities, self._top_p)
        return int(ids[torch.multinomial(likely, 1, generator=self._generator)])


def _nucleus(probabilities: torch.Tensor, top_p: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The most probable ids whose probabilities reach `top_p` together. Sorting all is slow, and seldom needed."""
    count = min(_LIKELY, len(probabilities))
    likely, ids = probabilities.topk(count)
    if float(likely.sum()) < top_p and count < len(probabilities):
        likely, ids = probabilities.sort(descending=True)
    return likely * (likely.cumsum(0) - likely < top_p), ids


def _or(value: float | None, default: float) -> float:
    return default if value is None else value
