"""Cross-entropy of a language model's head without ever holding the logits of all tokens.

Legend: n tokens, h hidden width, v vocabulary.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch.nn.functional import cross_entropy, linear

# Scores that are turned into gradients at once on a CPU: 4 MB of float32, which stay in its cache.
_CACHED = 1 << 20


class HeadLoss(NamedTuple):
    """What the head makes of hidden states and targets."""

    total: torch.Tensor
    """Summed cross-entropy in nats, a float32 scalar."""
    right: torch.Tensor | None
    """Targets that are the most probable token, a scalar; None where gradients are wanted."""


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
        measured: bool,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        # A weight needs its gradient where nobody will ask for one, too.
        wanted = (False,) * 3 if measured else ctx.needs_input_grad
        grad_hidden = torch.empty_like(hidden) if wanted[0] else None
        grad_weight: torch.Tensor | None = None
        grad_bias = torch.zeros_like(bias, dtype=torch.float32) if bias is not None and wanted[2] else None
        sums = torch.zeros(2, dtype=torch.float32, device=hidden.device)
        for start in range(0, len(hidden), chunk):
            part = slice(start, start + chunk)
            logits = linear(hidden[part], weight, bias)
            sums += _softmax_gradient(logits, targets[part], grad_bias, wanted=any(wanted))
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
        total, right = sums.unbind()
        ctx.mark_non_differentiable(right)
        return total, right

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        upstream, _ = grads
        kept, ctx.grads = ctx.grads, None  # with no one else holding them, autograd takes them over without a copy
        return *[None if grad is None else grad.mul_(upstream) for grad in kept], None, None, None


def _softmax_gradient(
    logits: torch.Tensor, targets: torch.Tensor, grad_bias: torch.Tensor | None, *, wanted: bool
) -> torch.Tensor:
    """[2]: summed cross-entropy, and right predictions; `logits` [n, v] are overwritten by the loss's gradient if that
    is wanted. Predictions are counted only if it is not, which is when something is measured.

    Args:
        grad_bias: [v], to which the sum of the gradients is added.
    """
    rows = len(logits) if logits.is_cuda else max(1, _CACHED // logits.shape[1])
    sums = torch.zeros(2, dtype=torch.float32, device=logits.device)
    for start in range(0, len(logits), rows):
        part = slice(start, start + rows)
        classes, counted = targets[part, None].clamp(min=0), (targets[part, None] >= 0).float()  # [rows, 1]
        scores = logits[part].float()
        if not wanted:
            sums[1] += (scores.argmax(-1) == targets[part]).sum()
        largest, right = scores.amax(-1, keepdim=True), scores.gather(-1, classes)
        powers = scores.sub_(largest).exp_().sum(-1, keepdim=True)
        sums[0] += ((powers.log() + largest - right) * counted).sum()
        if not wanted:
            continue
        scores.mul_(counted / powers).scatter_add_(-1, classes, -counted)  # softmax less one at the target
        if grad_bias is not None:
            grad_bias += scores.sum(0)
        if scores.dtype != logits.dtype:  # else they are the same memory
            logits[part] = scores
    return sums


def head_cross_entropy(
    head: torch.nn.Module, hidden: torch.Tensor, targets: torch.Tensor, chunk: int | None
) -> HeadLoss:
    """Summed cross-entropy of `head(hidden)`, and how many targets are the most probable token.

    The head is called once however many chunks there are, as a module: ZeRO-3's hooks gather its weight, and every
    worker must call it equally often.

    Args:
        head: the output layer; one that is not a plain linear layer (an adapter's) computes all logits at once.
        hidden: [n, h].
        targets: [n] token ids; negative ones do not count.
        chunk: tokens whose logits are held at once; None: all.
    """
    measured = not torch.is_grad_enabled()
    if chunk is None or type(head) is not torch.nn.Linear:
        logits = head(hidden).float()
        right = (logits.argmax(-1) == targets).sum() if measured else None
        return HeadLoss(cross_entropy(logits, targets, reduction="sum"), right)
    forward = head.forward
    chunked: Any = _ChunkedCrossEntropy.apply
    replaced: Any = head
    replaced.forward = lambda states: chunked(states, head.weight, head.bias, targets, chunk, measured)
    try:
        total, right = head(hidden)
    finally:
        replaced.forward = forward
    return HeadLoss(total, right if measured else None)


class _ChunkedLogprobs(torch.autograd.Function):
    """log p of given tokens and the entropy at their places, one chunk of logits after the other, each computed again
    for the gradient: what is kept is n × h.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        targets: torch.Tensor,
        temperature: float,
        chunk: int,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        chosen, entropy, normalizers = (hidden.new_empty(len(hidden), dtype=torch.float32) for _ in range(3))
        for start in range(0, len(hidden), chunk):
            part = slice(start, start + chunk)
            scores = linear(hidden[part], weight, bias).float() / temperature
            normalizers[part] = scores.logsumexp(-1)
            chosen[part] = scores.gather(-1, targets[part, None])[:, 0] - normalizers[part]
            probabilities = (scores - normalizers[part, None]).exp()
            entropy[part] = normalizers[part] - (probabilities * scores).sum(-1)
        ctx.save_for_backward(hidden, weight, targets, normalizers, *([] if bias is None else [bias]))
        ctx.temperature, ctx.chunk = temperature, chunk
        ctx.mark_non_differentiable(entropy)
        return chosen, entropy

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        upstream = grads[0]
        hidden, weight, targets, normalizers, *biases = ctx.saved_tensors
        bias = biases[0] if biases else None
        wanted = ctx.needs_input_grad
        grad_hidden = torch.empty_like(hidden) if wanted[0] else None
        grad_weight = torch.zeros_like(weight, dtype=torch.float32) if wanted[1] else None
        grad_bias = torch.zeros_like(bias, dtype=torch.float32) if bias is not None and wanted[2] else None
        for start in range(0, len(hidden), ctx.chunk):
            part = slice(start, start + ctx.chunk)
            scores = linear(hidden[part], weight, bias).float() / ctx.temperature
            slope = (scores - normalizers[part, None]).exp().mul_(-upstream[part, None])
            slope.scatter_add_(-1, targets[part, None], upstream[part, None])
            slope = (slope / ctx.temperature).to(hidden.dtype)
            if grad_hidden is not None:
                grad_hidden[part] = slope @ weight
            if grad_weight is not None:
                grad_weight += slope.t() @ hidden[part]
            if grad_bias is not None:
                grad_bias += slope.float().sum(0)
        return (
            grad_hidden,
            None if grad_weight is None else grad_weight.to(weight.dtype),
            None if grad_bias is None or bias is None else grad_bias.to(bias.dtype),
            None, None, None,
        )  # fmt: skip


def selected_logprobs(
    head: torch.nn.Module, hidden: torch.Tensor, targets: torch.Tensor, temperature: float, chunk: int | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log p(target) [n] under softmax(logits / temperature), with gradient, and the entropy [n], without; nats.

    Args:
        head, chunk: as for `head_cross_entropy`.
        hidden: [n, h].
        targets: [n] token ids.
    """
    if chunk is None or type(head) is not torch.nn.Linear:
        scores = torch.log_softmax(head(hidden).float() / temperature, -1)
        entropy = -(scores.detach().exp() * scores.detach()).sum(-1)
        return scores.gather(-1, targets[:, None])[:, 0], entropy
    forward = head.forward
    chunked: Any = _ChunkedLogprobs.apply
    replaced: Any = head
    replaced.forward = lambda states: chunked(states, head.weight, head.bias, targets, temperature, chunk)
    try:
        chosen, entropy = head(hidden)
    finally:
        replaced.forward = forward
    return chosen, entropy
