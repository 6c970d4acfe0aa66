"""The configuration of a job: one YAML file. Each section is optional, and runs if it is there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from cluster.config import Config
from cluster.config_file import load_config
from cluster.connect import ClusterConfig
from cluster.storage import StorageConfig
from serving.config import ServeConfig
from serving.quantize import QuantizeConfig
from trainers.config import ConfigValueError, DataConfig, EvaluateConfig, HandoffConfig, ModelConfig, TrainConfig


class JobConfig(Config):
    """A job: model → data → evaluate → train → merge → evaluate → quantize → serve."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,49}$")
    """Names the run directory and what it publishes."""
    cluster: ClusterConfig = ClusterConfig()
    """Where it runs."""
    storage: StorageConfig = StorageConfig()
    """Where runs and artifacts are kept."""
    model: ModelConfig
    """The base model."""
    data: DataConfig | None = None
    """Conversations to train and to measure on."""
    evaluate: EvaluateConfig | None = None
    """What is measured before and after training."""
    train: TrainConfig | None = None
    """Training."""
    handoff: HandoffConfig = HandoffConfig()
    """Bars of the proof that merging keeps the tune."""
    quantize: QuantizeConfig | None = None
    """Quantization of the result."""
    serve: ServeConfig | None = None
    """The endpoint."""

    @model_validator(mode="after")
    def _sections_fit(self) -> JobConfig:
        for section, needs in (("train", "data"), ("evaluate", "train"), ("quantize", "data"), ("serve", "quantize")):
            if getattr(self, section) is not None and getattr(self, needs) is None:
                raise ConfigValueError(
                    f"`{section}` needs a `{needs}` section.", got=f"{section} without {needs}",
                    expected="both, or neither", fix=f"add `{needs}:` or remove `{section}:`",
                )  # fmt: skip
        if self.evaluate is not None and self.serve is not None:
            _require_at_most(
                "evaluate.max_new_tokens", self.evaluate.max_new_tokens,
                "serve.limits.max_new_tokens", self.serve.limits.max_new_tokens,
            )  # fmt: skip
        if self.data is not None and self.quantize is not None:
            # The hand-off proof takes held-out conversations through the engine.
            context_tokens = (self.serve or ServeConfig()).engine.context_tokens
            _require_at_most("data.max_length", self.data.max_length, "serve.engine.context_tokens", context_tokens)
        return self

    def resolved(self) -> dict[str, Any]:
        """The whole configuration with all defaults, as plain data that loads again."""
        return self.model_dump(mode="json")


def _require_at_most(key: str, value: int, limit_key: str, limit: int) -> None:
    if value > limit:
        raise ConfigValueError(
            f"`{key}` is more than `{limit_key}` allows.", got=f"{key}={value}", expected=f"at most {limit}",
            fix=f"lower {key} or raise {limit_key}",
        )  # fmt: skip


def load_job(path: Path, overrides: list[str]) -> JobConfig:
    """Read a job file with overrides; see `cluster.config_file.load_config`."""
    return load_config(JobConfig, path, overrides)
