"""A checkpoint as an ordinary transformers folder (or peft adapter), without DeepSpeed and on one process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cluster.errors import ModelError
from trainers.checkpoint import Folder, Marker, Reader
from trainers.config import TrainConfig


def export(folder: Folder, marker: Marker, base: Path, config: TrainConfig, base_name: str, output: Path) -> None:
    """Write the trained weights, rounded once from their float32 masters to the type of training.

    Args:
        base: folder of the model that was trained from; the tokenizer and what was not trained come from there.
        base_name: what an adapter records as its base model.

    Raises:
        ClusterError: the checkpoint is not of this model.
        ModelError: a trained weight is not a finite number.
    """
    import torch

    from trainers.adapters import add_lora
    from trainers.models import copy_tokenizer, load_model
    from trainers.objectives import module_of

    head = module_of(config.objective).HEAD
    dtype = getattr(torch, config.dtype)
    model = load_model(base, dtype, head)
    holder: Any = model
    if config.adapter is not None:
        holder = add_lora(model, config.adapter.lora, dtype, head)
    reader = Reader(folder, marker)
    try:
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if not parameter.requires_grad:
                    continue
                flat = torch.empty(parameter.numel())
                reader.fill(name, 0, {0: flat})
                if not flat.isfinite().all():
                    raise ModelError("A trained weight is not a finite number.", field=name, got=f"step {marker.step}")
                parameter.copy_(flat.view_as(parameter))
    finally:
        reader.close()
    if config.adapter is not None:
        holder.peft_config["default"].base_model_name_or_path = base_name
    else:
        copy_tokenizer(base, output)
    # An adapter is its own weights alone; peft would add those of an adapted output head.
    own = {"save_embedding_layers": False} if config.adapter is not None else {}
    holder.save_pretrained(str(output), **own)
    (output / "README.md").unlink(missing_ok=True)  # peft's empty model card; the manifest says more
