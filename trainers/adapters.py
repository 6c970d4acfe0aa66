"""Low-rank adapters through peft: add, load, merge.

Merging goes into the full-precision base: B·A is added in float32 and rounded to the base's dtype once.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cluster.progress import ProgressFile
from trainers.config import LoraConfig
from trainers.models import copy_tokenizer, load_model

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel


_TASKS = {"causal_lm": "CAUSAL_LM", "reward": "SEQ_CLS"}


def add_lora(model: PreTrainedModel, config: LoraConfig, head: str = "causal_lm") -> PeftModel:
    """Wrap a model with a fresh adapter (B = 0, so it computes the same function); only the adapter is trainable.

    Args:
        head: a key of `trainers.models.HEADS`; a reward model's scalar head is trained too.
    """
    import peft

    settings = peft.LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules=config.targets,
        task_type=_TASKS.get(head),
    )
    adapted: PeftModel = peft.get_peft_model(model, settings)
    return adapted


def load_adapted(base: Path, adapter: Path | None) -> PreTrainedModel:
    """A base model in float32, with an adapter laid over it if one is given."""
    import torch
    from peft import PeftModel

    model = load_model(base, torch.float32)
    if adapter is None:
        return model
    return PeftModel.from_pretrained(model, str(adapter)).eval()  # type: ignore[return-value]


def merge(progress: ProgressFile, base: Path, adapter: Path, folder: Path) -> None:
    """Write base + adapter as an ordinary model folder, in the dtype of the base's weights."""
    import torch
    from peft import PeftModel
    from transformers import AutoConfig

    dtype = AutoConfig.from_pretrained(str(base)).dtype or torch.float32
    progress.write(0, 2, "adding")
    adapted = PeftModel.from_pretrained(load_model(base, torch.float32), str(adapter))
    merged = adapted.merge_and_unload(safe_merge=True)
    progress.write(1, 2, "writing")
    merged.to(dtype).save_pretrained(folder)
    copy_tokenizer(base, folder)
