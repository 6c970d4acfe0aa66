"""DeepSpeed: settings from a TrainConfig, the wrapped model, the learning rate of a step."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import deepspeed
import torch

from trainers.config import TrainConfig

if TYPE_CHECKING:
    from deepspeed import DeepSpeedEngine
    from transformers import PreTrainedModel

    from trainers.objectives import Objective


class LossModule(torch.nn.Module):
    """Model and objective as one module whose forward gives the summed loss.

    DeepSpeed's hooks sit on the module it wraps; with the loss inside, objectives may call parts of the model (the
    decoder without the head) and every ZeRO stage still sees one forward.
    """

    def __init__(self, model: PreTrainedModel, objective: Objective) -> None:
        super().__init__()
        self.model = model
        self._objective = objective

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Summed loss of a batch, a float32 scalar."""
        return self._objective.loss(self.model, batch)


def settings(config: TrainConfig, workers: int, num_trained: int) -> dict[str, Any]:
    """The DeepSpeed configuration of a training stage.

    Args:
        num_trained: trained parameters; a reduction bucket need not be larger than they are.
    """
    bucket = min(num_trained, 500_000_000)
    return {
        "train_micro_batch_size_per_gpu": config.batch.sequences,
        "gradient_accumulation_steps": config.batch.accumulation,
        "train_batch_size": config.sequences_per_step(workers),
        "gradient_clipping": config.clip,
        "bf16": {"enabled": config.dtype == "bfloat16"},
        "zero_optimization": {
            "stage": config.deepspeed.stage,
            "reduce_bucket_size": bucket,
            "allgather_bucket_size": bucket,
        },
        # The fused CPU Adam is compiled at the first run and wins nothing at a few million trained parameters.
        "optimizer": {
            "type": "AdamW",
            "params": {
                "lr": config.learning_rate,
                "betas": list(config.betas),
                "weight_decay": config.weight_decay,
                "torch_adam": not torch.cuda.is_available(),
            },
        },
        "steps_per_print": 1_000_000_000,
        "wall_clock_breakdown": False,
    }


def initialize(module: LossModule, config: TrainConfig, workers: int) -> DeepSpeedEngine:
    """Wrap a module for sharded training; the process group of Ray Train must be up."""
    trainable = [parameter for parameter in module.parameters() if parameter.requires_grad]
    num_trained = sum(parameter.numel() for parameter in trainable)
    # On CPU DeepSpeed would compile a shared-memory all-reduce at the first start: most of a minute, a C++ compiler,
    # and a lock on which every later start waits for ever if that build was killed. gloo does the same work.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    engine, *_ = deepspeed.initialize(
        model=module,
        model_parameters=trainable,
        config=settings(config, workers, num_trained),
        dist_init_required=False,
    )
    return engine


def learning_rate(config: TrainConfig, step: int) -> float:
    """Learning rate of optimizer step `step` (from 0): linear warm-up, then the schedule, zero after the last step."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    progress = (step - config.warmup_steps) / (config.steps - config.warmup_steps)
    factor = {
        "constant": 1.0,
        "linear": 1.0 - progress,
        "cosine": 0.5 * (1.0 + math.cos(math.pi * progress)),
    }[config.schedule]
    return config.learning_rate * factor
