"""Cross-entropy of a language model's head without ever holding the logits of all tokens.

Legend: n tokens, h hidden width, v vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import cross_entropy, linear

# Scores that are turned into gradients at once on a CPU: 4 MB of float32, which stay in its cache.
_CACHED = 1 << 20


class _ChunkedCrossEntropy(torch.autograd.Function):
    """Loss and gradients of one chunk of tokens after the other.

    The gradient of a sum is known while its terms are computed, so each chunk's logits (chunk × v) are turned into
    gradients of hidden states and head at once and forgotten, as in the fused kernel of Liger (Hsu et al. 2024, arXiv
    2410.10989); what is kept is n × h and v × h. Three matrix products a token, as without chunks.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        targets: torch.Tensor,
        chunk: int,
    ) -> torch.Tensor:
        wanted = ctx.needs_input_grad
        grad_hidden = torch.empty_like(hidden) if wanted[0] else None
        grad_weight: torch.Tensor | None = None
        grad_bias = torch.zeros_like(bias, dtype=torch.float32) if bias is not None and wanted[2] else None
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        for start in range(0, len(hidden), chunk):
            part = slice(start, start + chunk)
            logits = linear(hidden[part], weight, bias)
            total += _softmax_gradient(logits, targets[part], grad_bias, wanted=any(wanted))
            if grad_hidden is not None:
                torch.mm(logits, weight, out=grad_hidden[part])
            if wanted[1]:
                product = logits.t() @ hidden[part]
                if len(hidden) > chunk:
                    product = product.float() if grad_weight is None else grad_weight.add_(product)
                grad_weight = product
        ctx.grads = (
            grad_hidden,
            None if grad_weight is None else grad_weight.to(weight.dtype),
            None if grad_bias is None or bias is None else grad_bias.to(bias.dtype),
        )
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (upstream,) = grads
        kept, ctx.grads = ctx.grads, None  # with no one else holding them, autograd takes them over without a copy
        return *[None if grad is None else grad.mul_(upstream) for grad in kept], None, None


def _softmax_gradient(
    logits: torch.Tensor, targets: torch.Tensor, grad_bias: torch.Tensor | None, *, wanted: bool
) -> torch.Tensor:
    """Summed cross-entropy; `logits` [n, v] are overwritten by its gradient if that is wanted.

    Args:
        grad_bias: [v], to which the sum of the gradients is added.
    """
    rows = len(logits) if logits.is_cuda else max(1, _CACHED // logits.shape[1])
    total = torch.zeros((), dtype=torch.float32, device=logits.device)
    for start in range(0, len(logits), rows):
        part = slice(start, start + rows)
        classes, counted = targets[part, None].clamp(min=0), (targets[part, None] >= 0).float()  # [rows, 1]
        scores = logits[part].float()
        largest, right = scores.amax(-1, keepdim=True), scores.gather(-1, classes)
        sums = scores.sub_(largest).exp_().sum(-1, keepdim=True)
        total += ((sums.log() + largest - right) * counted).sum()
        if not wanted:
            continue
        scores.mul_(counted / sums).scatter_add_(-1, classes, -counted)  # softmax less one at the target
        if grad_bias is not None:
            grad_bias += scores.sum(0)
        if scores.dtype != logits.dtype:  # else they are the same memory
            logits[part] = scores
    return total


def head_cross_entropy(
    head: torch.nn.Linear, hidden: torch.Tensor, targets: torch.Tensor, chunk: int | None
) -> torch.Tensor:
    """Summed cross-entropy of `head(hidden)`, a float32 scalar.

    Args:
        hidden: [n, h].
        targets: [n] token ids; negative ones do not count.
        chunk: tokens whose logits are held at once; None: all.
    """
    if chunk is None:
        return cross_entropy(head(hidden).float(), targets, reduction="sum")
    # Called through the module, so that ZeRO-3's hooks gather a partitioned weight.
    forward = head.forward
    chunked: Any = _ChunkedCrossEntropy.apply
    replaced: Any = head
    replaced.forward = lambda states: chunked(states, head.weight, head.bias, targets, chunk)
    try:
        total: torch.Tensor = head(hidden)
    finally:
        replaced.forward = forward
    return total


def right_predictions(head: torch.nn.Linear, hidden: torch.Tensor, targets: torch.Tensor, chunk: int) -> torch.Tensor:
    """How many of [n] `targets` (negative ones do not count) are the head's most probable token, a float32 scalar."""
    right = torch.zeros((), dtype=torch.float32, device=hidden.device)
    for start in range(0, len(hidden), chunk):
        part = slice(start, start + chunk)
        right += (head(hidden[part]).argmax(-1) == targets[part]).sum()
    return right
