"""Build what a training worker trains: the model (with an adapter), the objective, the DeepSpeed engine."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import psutil
import torch

from trainers.adapters import add_lora
from trainers.engine import LossModule, initialize, settings
from trainers.models import load_model, load_tokenizer, restore_buffers
from trainers.objectives import Objective, module_of, objective_of

if TYPE_CHECKING:
    from deepspeed import DeepSpeedEngine

    from trainers.loop import Job


class Built(NamedTuple):
    """A worker's engine and what it was built from."""

    engine: DeepSpeedEngine
    objective: Objective
    dtype: torch.dtype
    bytes_before: int
    """The process's resident size before the model was loaded."""
    operations: Operations
    parameters: dict[str, int]
    """How many are `trained`, and how many the `model` has (an adapter's own not counted)."""

    def flops(self, sums: dict[str, float]) -> float:
        """Floating-point operations of a step, all workers together."""
        return self.operations.of(sums["tokens"], sums["terms"])


class Operations(NamedTuple):
    """Operations a token, forward and backward, without attention (which depends on lengths) and recomputation.

    A matrix of n weights costs 2n operations a token forward, 2n for the gradient of its input and, if it is trained,
    2n for its own (Kaplan et al. 2020, arXiv 2001.08361, section 2.1).
    """

    body: float
    """A token through the layers."""
    head: float
    """A trained token through the output head."""

    def of(self, tokens: float, terms: float) -> float:
        """Operations for so many tokens, of which `terms` go through the head."""
        return self.body * tokens + self.head * min(terms, tokens)


def build(job: Job, workers: int) -> Built:
    """Load the base model, wrap it, and give it to DeepSpeed.

    Raises:
        ModelError, ResourceError: the model cannot be trained like that.
    """
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    config, before = job.config, int(psutil.Process().memory_info().rss)
    dtype: torch.dtype = getattr(torch, config.dtype)
    tokenizer = load_tokenizer(job.base)
    objective = objective_of(config.objective, tokenizer)
    head = module_of(config.objective).HEAD
    # While this object lives, transformers loads each weight into the shard that keeps it.
    partitioned = _partitioned_loading(job, workers)
    adapter = config.adapter
    model = load_model(job.base, dtype, head, adapter.base if adapter is not None else "full").train()
    if config.activation_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    if adapter is not None:
        add_lora(model, adapter.lora, dtype, head, job.start)  # its layers now sit inside `model`
    restore_buffers(model)
    if hasattr(objective, "prepare"):
        objective.prepare(job)
    if config.compile:
        _compile(model)
    operations, parameters = _operations(model), count_parameters(model)
    engine = initialize(LossModule(model, objective), config, workers)
    del partitioned
    return Built(engine, objective, dtype, before, operations, parameters)


def count_parameters(model: Any) -> dict[str, int]:
    """Parameters that are `trained`, and those of the `model` without its adapter; shared and packed ones as well."""
    trained = whole = 0
    for name, parameter in model.named_parameters():
        trained += _numel(parameter) if parameter.requires_grad else 0
        whole += _numel(parameter) if ".lora_" not in name else 0
    return {"trained": trained, "model": whole}


def _numel(parameter: Any) -> int:
    if (state := getattr(parameter, "quant_state", None)) is not None:  # two weights of four bits in a byte
        return math.prod(state.shape)
    return int(getattr(parameter, "ds_numel", parameter.numel()))


def _partitioned_loading(job: Job, workers: int) -> Any:
    if job.config.deepspeed.stage != 3:
        return None
    from transformers.integrations.deepspeed import HfDeepSpeedConfig

    return HfDeepSpeedConfig(settings(job.config, workers, num_trained=500_000_000))


def _compile(model: torch.nn.Module) -> None:
    # Each layer for itself: one small graph that all layers share, and DeepSpeed's hooks stay outside.
    # torch's own choice for what it compiles is a name in /tmp that others know, and it unpickles what lies there.
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(Path("~/.cache/raysmith/torchinductor").expanduser()))
    blocks = max((m for m in model.modules() if isinstance(m, torch.nn.ModuleList)), key=len, default=None)
    for block in blocks or []:
        block.compile()


def _operations(model: Any) -> Operations:
    def matrices(module: Any) -> list[torch.nn.Parameter]:
        return (
            [p for p in module.parameters() if len(getattr(p, "ds_shape", p.shape)) > 1] if module is not None else []
        )

    def count(parameters: list[torch.nn.Parameter]) -> float:
        return sum((4 + 2 * p.requires_grad) * _numel(p) for p in parameters)

    head, embeddings = matrices(model.get_output_embeddings()), matrices(model.get_input_embeddings())
    apart = {id(parameter) for parameter in head + embeddings}
    return Operations(count([p for p in matrices(model) if id(p) not in apart]), count(head))
