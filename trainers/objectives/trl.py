"""Methods that TRL trains: DPO and its variants, KTO, ORPO, CPO, distillation; run by TRL's own trainers.

`trainers/trl_host.py` runs them in the Ray Train workers instead of `trainers.loop`; this file says what may be
configured. A method's classes are found by their names, `trl.DPOTrainer` or `trl.experimental.orpo.ORPOTrainer`.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from cluster.config import PluginConfig
from cluster.errors import ConfigError, ConfigValueError
from trainers.config import TrainConfig
from trainers.objectives._trl_arguments import argument_types, fits

if TYPE_CHECKING:
    from trainers.loop import Job

FORMATS = ("chat", "labelled", "pairs")
HEAD = "causal_lm"

METHODS = {
    "dpo": "pairs", "orpo": "pairs", "cpo": "pairs", "kto": "labelled", "distillation": "chat", "gkd": "chat",
}  # fmt: skip
"""Method → the kind of data that it trains on."""
_TAUGHT = ("distillation", "gkd")

# TRL's arguments that a key of ours sets already.
_OURS = {
    "adam_beta1": "train.betas",
    "adam_beta2": "train.betas",
    "adam_epsilon": "train.epsilon",
    "bf16": "train.dtype",
    "deepspeed": "train.deepspeed",
    "fp16": "train.dtype",
    "gradient_accumulation_steps": "train.batch",
    "gradient_checkpointing": "train.activation_checkpointing",
    "learning_rate": "train.learning_rate",
    "lr_scheduler_type": "train.schedule",
    "max_grad_norm": "train.clip",
    "max_length": "data.max_length",
    "max_steps": "train.steps",
    "num_train_epochs": "train.steps",
    "per_device_eval_batch_size": "train.batch",
    "per_device_train_batch_size": "train.batch",
    "report_to": "train.trackers",
    "save_steps": "train.checkpoint.every_steps",
    "save_total_limit": "train.checkpoint.keep",
    "seed": "train.seed",
    "teacher_model_name_or_path": "train.objective.teacher",
    "warmup_steps": "train.warmup_steps",
    "weight_decay": "train.weight_decay",
}
# Of TRL's own: other code or models, and another text than the one that was tokenized and checked.
_WITHHELD = {
    "chat_template_path", "dataset_kwargs", "dataset_text_field", "eos_token", "generate_during_eval",
    "is_encoder_decoder", "model_init_kwargs", "pad_token", "padding_value", "remove_unused_columns",
    "teacher_model_init_kwargs", "teacher_model_revision", "train_sampling_strategy", "trust_remote_code",
}  # fmt: skip


class Config(PluginConfig):
    """Keys of `train.objective: trl`."""

    kind: Literal["trl"] = "trl"
    method: str
    """TRL's name of the method: `dpo`, `kto`, `orpo`, `cpo`, `distillation` or `gkd`; many variants are a `loss_type`
    among its arguments."""
    arguments: dict[str, Any] = Field(default_factory=dict)
    """What the method's TRL config (`DPOConfig`, `KTOConfig` …) adds to transformers' TrainingArguments: `beta`,
    `loss_type` and so on. The rest is set by the keys of `train`."""
    teacher: Path | None = None
    """For distillation: the teacher's folder, with config.json, safetensors and the student's tokenizer."""

    @model_validator(mode="after")
    def _method_and_arguments_fit(self) -> Config:
        if self.method not in METHODS:
            raise ConfigValueError(
                "That method is not hosted.", got=f"method: {self.method}", expected=f"one of {', '.join(METHODS)}",
                fix=_meant(self.method, METHODS),
            )  # fmt: skip
        if (self.teacher is not None) != (self.method in _TAUGHT):
            raise ConfigValueError(
                "A teacher is for distillation, and distillation needs one.",
                got=f"method: {self.method}, teacher: {self.teacher}", expected=f"both, for {' or '.join(_TAUGHT)}",
            )  # fmt: skip
        for name, value in self.arguments.items():
            _require_argument(self.method, name, value)
        return self


def _require_argument(method: str, name: str, value: Any) -> None:
    types = {name: kind for name, kind in argument_types(method).items() if name not in _OURS and name not in _WITHHELD}
    if name not in types:
        raise ConfigValueError(
            f"`{name}` is not an argument of TRL's {method} that can be set here.", got=f"{name}={value!r}",
            expected=", ".join(sorted(types)), fix=f"set {_OURS[name]}" if name in _OURS else _meant(name, types),
        )  # fmt: skip
    if not fits(value, types[name]):
        raise ConfigValueError(
            f"TRL's {method} does not take that value.", got=f"{name}={value!r}",
            expected=f"{name}: {ast.unparse(types[name])}",
        )  # fmt: skip


def _meant(name: str, known: Iterable[str]) -> str | None:
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.8)
    return f"did you mean `{near[0]}`?" if near else None


def trl_class(method: str, suffix: str) -> type[Any]:
    """A method's `Config` or `Trainer` class, the stable one if there is one."""
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    wanted = f"{method}{suffix}".replace("_", "").lower()
    for module in ("trl", f"trl.experimental.{method}"):
        loaded = importlib.import_module(module)
        for name in dir(loaded):
            if name.lower() == wanted:
                found: type[Any] = getattr(loaded, name)
                return found
    raise ConfigError(
        "TRL has no such class.", field="train.objective.method", got=method, expected=f"{method}{suffix}"
    )


def refuse_unsupported(config: TrainConfig, workers: int) -> None:
    """Refuse settings of a training that TRL's trainers do not carry out.

    Raises:
        ConfigError: naming the keys; or the batch cannot be shared out evenly.
    """
    refused = {
        "train.evaluation.patience": config.evaluation is not None and config.evaluation.patience is not None,
        "train.evaluation.publish": config.evaluation is not None and config.evaluation.publish != "last",
        "train.parameter_groups": bool(config.parameter_groups),
        "train.compile": config.compile,
        "train.checkpoint.folder": config.checkpoint.folder is not None,
        "train.checkpoint.keep_best": config.checkpoint.keep_best,
        "train.paged_optimizer": config.paged_optimizer,
        "train.adapter.start": config.adapter is not None and config.adapter.start is not None,
        "train.adapter.lora.rank: escalate": config.adapter is not None and config.adapter.lora.escalates,
    }
    if keys := [key for key, is_set in refused.items() if is_set]:
        raise ConfigError(
            "TRL's trainers do not carry that out here.", field=keys[0], got=", ".join(keys), expected="not set",
            fix="remove the key; the held-out data is measured before and after training in any case",
        )  # fmt: skip
    share(config, workers)


def share(config: TrainConfig, workers: int) -> tuple[int, int]:
    """How the batch is shared out: examples that a worker takes at once, and how often before the optimizer steps.

    Raises:
        ConfigError: the shares would not be equal, which TRL's trainers need.
    """
    accumulation = config.accumulation(workers)
    per_worker, rest = divmod(config.batch.sequences, workers * accumulation)
    if rest:
        raise ConfigError(
            "The batch cannot be shared out evenly, as TRL's trainers need it.", field="train.batch.sequences",
            got=f"{config.batch.sequences} among {workers} workers × {accumulation} micro-batches",
            expected=f"a multiple of {workers * accumulation}", fix="change train.batch.sequences or train.batch.micro",
        )  # fmt: skip
    return per_worker, accumulation


def train(job: Job, rank: int, workers: int) -> None:
    """One worker's part of a training."""
    from trainers.trl_host import train as host

    host(job, rank, workers)
