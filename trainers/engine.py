"""DeepSpeed: settings from a TrainConfig, the wrapped model, parameter groups, the learning rate of a step."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import deepspeed
import torch
from torch.optim import AdamW

from cluster.errors import ResourceError
from trainers.config import DeepSpeedConfig, ParameterGroup, TrainConfig

if TYPE_CHECKING:
    from deepspeed import DeepSpeedEngine
    from transformers import PreTrainedModel

    from trainers.objectives import Objective

_BUCKET = 500_000_000
# On CPU DeepSpeed would compile a shared-memory all-reduce at the first start: most of a minute, a C++ compiler, and a
# lock on which every later start waits for ever if that build was killed. gloo does the same work.
deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False


class LossModule(torch.nn.Module):
    """Model and objective as one module whose forward gives the summed loss.

    DeepSpeed's hooks sit on the module it wraps; with the loss inside, objectives may call parts of the model (the
    decoder without the head) and every ZeRO stage still sees one forward.
    """

    def __init__(self, model: PreTrainedModel, objective: Objective) -> None:
        super().__init__()
        self.model = model
        self._objective = objective
        self.critic: torch.nn.Module | None = getattr(objective, "critic", None)
        self.figures: dict[str, torch.Tensor] = {}
        """The last batch's sums beside the loss (`Loss.figures`)."""
        self.parameter_groups: list[ParameterGroup] = getattr(objective, "parameter_groups", [])
        """The objective's own, before the configuration's."""

    def forward(self, tensors: dict[str, torch.Tensor]) -> torch.Tensor:
        """Summed loss of a batch, a float32 scalar."""
        loss = self._objective.loss(self.model, tensors)
        self.figures = loss.figures
        return loss.total


def settings(config: TrainConfig, workers: int, num_trained: int) -> dict[str, Any]:
    """The DeepSpeed configuration of a training stage.

    Args:
        num_trained: trained parameters; a reduction bucket need not be larger than they are.
    """
    sharding = config.deepspeed
    bucket = min(num_trained, _BUCKET)
    zero: dict[str, Any] = {
        "stage": sharding.stage,
        "reduce_bucket_size": bucket,
        "allgather_bucket_size": bucket,
        "stage3_prefetch_bucket_size": min(bucket, 50_000_000),
    }
    places = {"offload_optimizer": sharding.offload_optimizer, "offload_param": sharding.offload_parameters}
    for key, place in places.items():
        if place != "none":
            zero[key] = {"device": place, "pin_memory": torch.cuda.is_available()}
            if place == "nvme":
                zero[key]["nvme_path"] = str(sharding.nvme)
    return {
        "zero_allow_untested_optimizer": config.paged_optimizer,
        # The loop weighs micro-batches itself; DeepSpeed only counts them.
        "train_micro_batch_size_per_gpu": config.batch.micro,
        "gradient_accumulation_steps": config.accumulation(workers),
        "gradient_clipping": 0.0 if clips_itself(config) else config.clip,
        "bf16": {"enabled": config.dtype == "bfloat16"},
        "fp16": {"enabled": config.dtype == "float16", "initial_scale_power": 16, "loss_scale_window": 500},
        "zero_optimization": zero,
        # torch's fused AdamW runs on CPU and GPU alike; DeepSpeed's own would be compiled at the first start.
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": 1_000_000_000,
        "wall_clock_breakdown": False,
    }


def clips_itself(config: TrainConfig) -> bool:
    """Whether the loop has to clip: DeepSpeed does not tell the gradient norm of unsharded float32."""
    return config.deepspeed.stage == 0 and config.dtype == "float32"


def initialize(module: LossModule, config: TrainConfig, workers: int) -> DeepSpeedEngine:
    """Wrap a module for sharded training; the process group of Ray Train must be up.

    Raises:
        ResourceError: the device cannot compute in the configured type, or offloading to NVMe lacks a library.
    """
    _require_device(config)
    trainable = {
        name.removeprefix("model."): parameter
        for name, parameter in module.named_parameters()
        if parameter.requires_grad
    }
    num_trained = sum(getattr(parameter, "ds_numel", parameter.numel()) for parameter in trainable.values())
    arguments: dict[str, Any] = {"lr": config.learning_rate, "betas": config.betas, "eps": config.epsilon}
    groups = parameter_groups(trainable.items(), config, module.parameter_groups)
    optimizer = _paged(groups, arguments) if config.paged_optimizer else AdamW(groups, fused=True, **arguments)
    engine, *_ = deepspeed.initialize(
        model=module, optimizer=optimizer, config=settings(config, workers, num_trained), dist_init_required=False
    )
    return engine


def _paged(groups: list[dict[str, Any]], arguments: dict[str, Any]) -> torch.optim.Optimizer:
    import bitsandbytes.optim

    owner: Any = bitsandbytes.optim  # without types
    optimizer: torch.optim.Optimizer = owner.PagedAdamW32bit(groups, **arguments)
    return optimizer


def parameter_groups(
    named: Iterable[tuple[str, torch.nn.Parameter]], config: TrainConfig, first: Sequence[ParameterGroup] = ()
) -> list[dict[str, Any]]:
    """Optimizer groups: `rate` is the factor on the learning rate; vectors (biases, norms) are not decayed.

    Args:
        first: the objective's own groups, before the configuration's.
    """
    groups: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
    for name, parameter in named:
        own = _group_of(name, [*first, *config.parameter_groups])
        dimensions = len(getattr(parameter, "ds_shape", parameter.shape))
        decay = config.weight_decay if dimensions > 1 else 0.0
        if own is not None and own.weight_decay is not None:
            decay = own.weight_decay
        groups.setdefault((own.learning_rate if own else 1.0, decay), []).append(parameter)
    return [{"params": members, "rate": rate, "weight_decay": decay} for (rate, decay), members in groups.items()]


def _group_of(name: str, groups: list[ParameterGroup]) -> ParameterGroup | None:
    return next((group for group in groups if re.search(group.match, name)), None)


def _require_device(config: TrainConfig) -> None:
    from deepspeed.accelerator import get_accelerator

    accelerator = get_accelerator()
    if config.dtype == "float16" and not accelerator.is_fp16_supported():
        raise ResourceError(
            "This device cannot train in float16.", field="train.dtype", got="float16", expected="bfloat16 or float32",
            fix="float16 needs a GPU, or a CPU with AVX512-FP16",
        )  # fmt: skip
    if "nvme" in (config.deepspeed.offload_optimizer, config.deepspeed.offload_parameters):
        _require_nvme(config.deepspeed)


def _require_nvme(config: DeepSpeedConfig) -> None:
    from deepspeed.ops.op_builder import AsyncIOBuilder

    if not AsyncIOBuilder().is_compatible(verbose=False):
        raise ResourceError(
            "Offloading to NVMe needs the library libaio and its headers.", field="train.deepspeed",
            got="offload to nvme", expected="libaio", fix="install libaio-dev on every node, or offload to `cpu`",
        )  # fmt: skip
    if config.nvme is None or not config.nvme.is_dir():
        raise ResourceError("There is no such folder on this node.", field="train.deepspeed.nvme", got=config.nvme)


def set_learning_rate(engine: DeepSpeedEngine, rate: float) -> None:
    """Set every group's learning rate: `rate` times the group's factor."""
    for group in engine.optimizer.param_groups:
        group["lr"] = rate * group["rate"]


def learning_rate(config: TrainConfig, step: int) -> float:
    """Learning rate of optimizer step `step` (from 0): linear warm-up, then the schedule."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    progress = (step - config.warmup_steps) / (config.steps - config.warmup_steps)
    factor = {
        "constant": 1.0,
        "linear": 1.0 - progress,
        "cosine": 0.5 * (1.0 + math.cos(math.pi * progress)),
        "wsd": min(1.0, (1.0 - progress) / config.decay_share),
    }[config.schedule]
    floor = 1.0 if config.schedule == "constant" else config.final_rate
    return config.learning_rate * (floor + (1.0 - floor) * factor)
