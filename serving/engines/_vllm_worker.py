"""What vLLM's worker processes load beside their own, for three faults of vLLM.

An engine outlives its replica: it ends with it here.

vLLM applies the adapters of the next tokens, one for each request of the batch, to the head's rows of a prompt's
log-probabilities too (vLLM issue 16668). On a CPU the engine dies of it as soon as a batch has two requests; without
an adapter of the head, it still gathers a matrix as large as the vocabulary for each token. So vLLM is told that the
head takes no adapter; it refuses those that have one.

vLLM's operators for CPUs take the adapters' weights by index, and the index of "none" is -1: a token without an
adapter got the last adapter's weights when its batch had tokens with one. Its part is zero here.
"""

from __future__ import annotations

import ctypes
import os
import signal
from typing import Any

import torch
from vllm.lora import model_manager
from vllm.lora.ops.torch_ops import lora_ops
from vllm.lora.punica_wrapper import punica_cpu

_PR_SET_PDEATHSIG = 1


class Extension:
    """Nothing: vLLM takes a class, and imports this module for it."""


_manager: Any = model_manager
_supported_modules = _manager.get_supported_lora_modules


def _without_head(model: Any) -> list[str]:
    return [name for name in _supported_modules(model) if name != "lm_head"]


_manager.get_supported_lora_modules = _without_head


def _none_adds_nothing(expand: Any) -> Any:
    def masked(
        inputs: torch.Tensor, weights: torch.Tensor, output: torch.Tensor, indices: torch.Tensor, *rest: Any
    ) -> None:
        expand(inputs.masked_fill((indices < 0).unsqueeze(1), 0), weights, output, indices, *rest)

    return masked


for _name in ("bgmv_expand", "bgmv_expand_slice"):
    _masked = _none_adds_nothing(getattr(lora_ops, _name))
    for _module in (lora_ops, punica_cpu):
        setattr(_module, _name, _masked)


def _end_with_parent() -> None:
    # An engine whose replica was killed would otherwise stay for ever, and hold its memory.
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


_end_with_parent()
