"""What vLLM's worker processes load beside their own: they end with their replica, and adapters leave the head alone.

vLLM applies the adapters of the next tokens, one for each request of the batch, to the head's rows of a prompt's
log-probabilities too (vLLM issue 16668). On a CPU the engine dies of it as soon as a batch has two requests; without
an adapter of the head, it still gathers a matrix as large as the vocabulary for each token. So vLLM is told that the
head takes no adapter; it refuses those that have one.
"""

from __future__ import annotations

import ctypes
import os
import signal
from typing import Any

from vllm.lora import model_manager

_PR_SET_PDEATHSIG = 1


class Extension:
    """Nothing: vLLM takes a class, and imports this module for it."""


_manager: Any = model_manager
_supported_modules = _manager.get_supported_lora_modules


def _without_head(model: Any) -> list[str]:
    return [name for name in _supported_modules(model) if name != "lm_head"]


_manager.get_supported_lora_modules = _without_head


def _end_with_parent() -> None:
    # An engine whose replica was killed would otherwise stay for ever, and hold its memory.
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


_end_with_parent()
