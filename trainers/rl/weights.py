"""Weights on their way from the learner to the samplers, and the digest by which both sides know what was sent.

Only what is trained travels: all weights, or the adapter's alone. As plain bytes, so that Ray's object store hands them
to every sampler without a copy.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch


class Piece(NamedTuple):
    """One parameter."""

    dtype: str
    """torch's name of the type, such as `bfloat16`."""
    shape: tuple[int, ...]
    data: NDArray[np.uint8]
    """Its bytes, in order of rows."""


Weights = dict[str, Piece]
"""Parameter's name in the transformers (or peft) model → value."""


def pieces(named: Iterable[tuple[str, torch.Tensor]]) -> Weights:
    """Tensors as pieces, copied to the CPU where they are not there."""
    import torch

    found = {}
    for name, tensor in named:
        flat = tensor.detach().to("cpu").contiguous().reshape(-1)
        dtype = str(tensor.dtype).removeprefix("torch.")
        found[name] = Piece(dtype, tuple(tensor.shape), flat.view(torch.uint8).numpy().copy())
    return found


def tensor_of(piece: Piece) -> torch.Tensor:
    """A piece as a tensor of its own."""
    import torch

    flat: torch.Tensor = torch.from_numpy(piece.data.copy())
    return flat.view(getattr(torch, piece.dtype)).reshape(piece.shape)


def weights_digest(weights: Weights) -> str:
    """SHA-256 (hex) of names, types, shapes and bytes, whatever the order."""
    found = hashlib.sha256()
    for name in sorted(weights):
        piece = weights[name]
        found.update(f"{name}:{piece.dtype}:{piece.shape}:".encode())
        found.update(piece.data.data)  # the array's own memory
    return found.hexdigest()


def trained_weights(engine: Any, prefix: str = "model.") -> Weights:
    """The trained parameters of an engine's model, whole. All workers call it; with ZeRO-3 each gathers all of them."""
    named = [
        (name.removeprefix(prefix), parameter)
        for name, parameter in engine.module.named_parameters()
        if parameter.requires_grad and name.startswith(prefix)
    ]
    if engine.zero_optimization_stage() < 3:
        return pieces(named)
    import deepspeed

    found: Weights = {}
    for name, parameter in named:  # one at a time: a worker need not hold the whole model on its GPU
        with deepspeed.zero.GatheredParameters([parameter]):
            found |= pieces([(name, parameter)])
    return found


def num_bytes(weights: Weights) -> int:
    """Bytes that travel."""
    return sum(piece.data.nbytes for piece in weights.values())
