"""The chunked cross-entropy against torch's own: values, gradients, and what is never allocated."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.utils._python_dispatch import TorchDispatchMode

from trainers.losses import head_cross_entropy

TOKENS, HIDDEN, VOCABULARY = 50, 24, 301


def inputs(dtype: torch.dtype, *, bias: bool, scale: float = 1.0) -> tuple[torch.nn.Linear, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    head = torch.nn.Linear(HIDDEN, VOCABULARY, bias=bias).to(dtype)
    hidden = (scale * torch.randn(TOKENS, HIDDEN)).to(dtype).requires_grad_()
    targets = torch.randint(VOCABULARY, (TOKENS,))
    targets[[3, 17, TOKENS - 1]] = -100
    return head, hidden, targets


def reference(head: torch.nn.Linear, hidden: torch.Tensor, targets: torch.Tensor, factor: float) -> dict[str, Any]:
    """Torch's loss in float32, of the same numbers."""
    exact = torch.nn.Linear(HIDDEN, VOCABULARY, bias=head.bias is not None)
    exact.load_state_dict({name: value.float() for name, value in head.state_dict().items()})
    states = hidden.detach().float().requires_grad_()
    loss = cross_entropy(exact(states), targets, reduction="sum")
    (factor * loss).backward()
    return {"loss": loss.detach(), "hidden": states.grad, **{name: one.grad for name, one in exact.named_parameters()}}


@pytest.mark.parametrize(("dtype", "bias", "chunk"), product(
    (torch.float32, torch.bfloat16), (False, True), (1, 16, 50, 1000, None)
))  # fmt: skip
def test_value_and_gradients_are_those_of_torch(dtype: torch.dtype, bias: bool, chunk: int | None) -> None:
    head, hidden, targets = inputs(dtype, bias=bias)
    expected = reference(head, hidden, targets, 0.37)
    loss = head_cross_entropy(head, hidden, targets, chunk).total
    (0.37 * loss).backward()
    assert loss.dtype == torch.float32
    found = {"loss": loss.detach(), "hidden": hidden.grad, **{name: one.grad for name, one in head.named_parameters()}}
    # A bfloat16 has 8 bits; its logits are rounded once, the sums of gradients once a chunk.
    relative = 1e-5 if dtype == torch.float32 else 2e-2
    for name, value in found.items():
        error = (value.float() - expected[name]).norm() / expected[name].norm()
        assert error < relative, name


def test_a_frozen_head_gets_no_gradient_and_frozen_states_neither() -> None:
    head, hidden, targets = inputs(torch.float32, bias=True)
    expected = reference(head, hidden, targets, 1.0)
    head.requires_grad_(False)
    head_cross_entropy(head, hidden, targets, 16).total.backward()
    assert head.weight.grad is None
    torch.testing.assert_close(hidden.grad, expected["hidden"], rtol=1e-5, atol=1e-6)
    head.requires_grad_(True)
    head_cross_entropy(head, hidden.detach(), targets, 16).total.backward()
    torch.testing.assert_close(head.weight.grad, expected["weight"], rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        assert head_cross_entropy(head, hidden, targets, 16).total == pytest.approx(float(expected["loss"]), rel=1e-6)


def test_large_logits_do_not_overflow() -> None:
    head, hidden, targets = inputs(torch.float32, bias=False, scale=1e4)
    expected = reference(head, hidden, targets, 1.0)
    loss = head_cross_entropy(head, hidden, targets, 16).total
    loss.backward()
    torch.testing.assert_close(loss, expected["loss"], rtol=1e-5, atol=0)
    torch.testing.assert_close(hidden.grad, expected["hidden"], rtol=1e-4, atol=1e-4)


def test_no_terms_give_zero() -> None:
    head, hidden, targets = inputs(torch.float32, bias=True)
    loss = head_cross_entropy(head, hidden, torch.full_like(targets, -100), 16).total
    loss.backward()
    assert loss.item() == 0
    assert not hidden.grad.any()
    assert head.weight.grad is not None
    assert not head.weight.grad.any()


class Largest(TorchDispatchMode):
    """Elements of the largest tensor that any operation gives back."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        for one in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(one, torch.Tensor):
                self.elements = max(self.elements, one.numel())
        return result


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_logits_of_all_tokens_are_never_held(dtype: torch.dtype) -> None:
    tokens, chunk = 4096, 32
    head = torch.nn.Linear(8, VOCABULARY, bias=False).to(dtype)
    hidden = torch.randn(tokens, 8, dtype=dtype, requires_grad=True)
    targets = torch.randint(VOCABULARY, (tokens,))
    largest: dict[int | None, int] = {}
    for size in (chunk, None):
        with Largest() as seen:
            head_cross_entropy(head, hidden, targets, size).total.backward()
        largest[size] = seen.elements
    assert largest[None] == tokens * VOCABULARY
    assert largest[chunk] == tokens * 8  # the states themselves
    with Largest() as seen, torch.no_grad():
        head_cross_entropy(head, hidden, targets, chunk)
    assert seen.elements == chunk * VOCABULARY


@pytest.mark.parametrize("chunk", [7, None])
def test_right_predictions_are_counted_where_no_gradient_is_wanted(chunk: int | None) -> None:
    head, hidden, targets = inputs(torch.float32, bias=True)
    targets[10:20] = head(hidden[10:20]).argmax(-1)
    targets[12] = -100
    expected = int((head(hidden).argmax(-1) == targets).sum())
    assert expected >= 9
    with torch.no_grad():
        assert head_cross_entropy(head, hidden, targets, chunk).right == expected
    assert head_cross_entropy(head, hidden, targets, chunk).right is None


class Adapted(torch.nn.Module):
    """What peft makes of a head: a linear layer, and a low-rank one beside it."""

    def __init__(self, base: torch.nn.Linear) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.down, self.up = torch.nn.Linear(HIDDEN, 4, bias=False), torch.nn.Linear(4, VOCABULARY, bias=False)

    @property
    def weight(self) -> torch.Tensor:
        return self.base.weight

    @property
    def bias(self) -> torch.Tensor | None:
        return self.base.bias

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.base(hidden) + self.up(self.down(hidden))
        return out


def test_an_adapter_on_the_head_is_trained() -> None:
    head, hidden, targets = inputs(torch.float32, bias=True)
    adapted = Adapted(head)
    expected = cross_entropy(adapted(hidden), targets, reduction="sum")
    loss = head_cross_entropy(adapted, hidden, targets, 16).total
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=0)
    loss.backward()
    assert adapted.down.weight.grad is not None
    assert adapted.down.weight.grad.any()
