"""LoRA adapters for tests, as peft writes them."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any


def make_adapter(model: Path, folder: Path, seed: int, scale: float = 0.1, **keys: Any) -> Path:
    """Write an adapter that changes a model's answers; with a `scale` of 0 it changes nothing, as at the beginning of
    a training.

    Args:
        keys: of peft's `LoraConfig`.
    """
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    base: Any = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    keys = {"target_modules": ["q_proj", "v_proj", "o_proj", "up_proj", "down_proj"]} | keys
    with warnings.catch_warnings(action="ignore"), torch.random.fork_rng():  # an adapter of the head is to be refused
        torch.manual_seed(seed)  # of lora_A
        adapted = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", **keys))
    generator = torch.Generator().manual_seed(seed)
    for name, weights in adapted.named_parameters():
        if "lora_B" in name:
            weights.data = scale * torch.randn(weights.shape, generator=generator)
    with warnings.catch_warnings(action="ignore"):
        adapted.save_pretrained(str(folder))
    return folder
