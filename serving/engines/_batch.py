"""Requests that are generated together, a token of each at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from serving.engines._chunks import Step

if TYPE_CHECKING:
    import torch

    from serving.engines._model import Model
    from serving.engines._sampling import Sampler


@dataclass(eq=False)
class Row:
    """One request."""

    ids: list[int]
    """The prompt."""
    sampler: Sampler
    adapter: str | None
    max_tokens: int
    end_ids: frozenset[int]
    send: Callable[[Step | Exception], None]
    cache: Any = None
    num_read: int = 0
    """Tokens in the cache."""
    num_written: int = 0
    last: int = -1
    """The newest token, which is not in the cache yet."""
    cancelled: bool = False

    def read(self, model: Model, num_tokens: int) -> torch.Tensor | None:
        """Read some more of the prompt.

        Returns:
            After the last of it, logits [v].
        """
        import torch

        if self.cache is None:
            self.cache = model.new_cache()
        part = self.ids[self.num_read : self.num_read + num_tokens]
        positions = torch.arange(self.num_read, self.num_read + len(part), device=model.device)[None]
        ids = torch.tensor([part], device=model.device)
        logits = model.next_logits(ids, positions, None, self.cache, [self.adapter])
        self.num_read += len(part)
        return logits[0] if self.num_read == len(self.ids) else None

    def write(self, logits: torch.Tensor) -> bool:
        """Choose the next token and send it.

        Returns:
            Whether the answer goes on.
        """
        token, complete = self.sampler.choose(logits)
        self.num_written += 1
        self.last = token.id
        if token.id in self.end_ids:
            self.send(Step([], self.num_written, "stop"))
            return False
        full = self.num_written >= self.max_tokens
        self.send(Step([token], self.num_written, "stop" if complete else "length" if full else None))
        return not (complete or full)


class Batch:
    """Rows whose prompts are read. Their caches are one, padded on the left: [b, heads, longest, width] each tensor."""

    def __init__(self, model: Model, group: str | None) -> None:
        self._model = model
        self._cache: Any = None
        self.group = group
        self.rows: list[Row] = []

    def add(self, row: Row) -> None:
        """Take a row, and its cache."""
        import torch

        if self.rows:
            longest = max(self._longest(), row.num_read)
            for ours, its in zip(self._cache.layers, row.cache.layers, strict=True):
                ours.keys = torch.cat([_padded(ours.keys, longest), _padded(its.keys, longest)])
                ours.values = torch.cat([_padded(ours.values, longest), _padded(its.values, longest)])
        else:
            self._cache = row.cache
        row.cache = None
        self.rows.append(row)

    def keep(self, rows: list[Row]) -> None:
        """Let go of all other rows, and of the padding that only they needed."""
        if len(rows) == len(self.rows):
            return
        kept = [at for at, row in enumerate(self.rows) if row in rows]
        self.rows = [self.rows[at] for at in kept]
        if not self.rows:
            self._cache = None
            return
        longest = self._longest()
        for layer in self._cache.layers:
            layer.keys = layer.keys[kept, :, -longest:]
            layer.values = layer.values[kept, :, -longest:]

    def step(self) -> torch.Tensor:
        """Run the newest token of each row: logits [b, v]."""
        import torch

        device = self._model.device
        lengths = torch.tensor([row.num_read for row in self.rows], device=device)
        longest = self._longest()
        mask = None
        if any(row.num_read < longest for row in self.rows):
            places = torch.arange(longest + 1, device=device)
            mask = (places >= longest - lengths[:, None]).long()
        ids = torch.tensor([[row.last] for row in self.rows], device=device)
        logits = self._model.next_logits(ids, lengths[:, None], mask, self._cache, [row.adapter for row in self.rows])
        for row in self.rows:
            row.num_read += 1
        return logits

    def _longest(self) -> int:
        return max(row.num_read for row in self.rows)


def _padded(tensor: torch.Tensor, length: int) -> torch.Tensor:
    import torch

    missing = length - tensor.shape[2]
    return torch.nn.functional.pad(tensor, (0, 0, missing, 0)) if missing else tensor
