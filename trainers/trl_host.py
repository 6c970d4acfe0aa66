"""TRL's trainers in Ray Train workers, under our configuration, DeepSpeed settings, learning rates, metrics and errors.

What is TRL's own, and differs from `trainers.loop`: the loss, the tokens (it renders the data set itself; the examples
are those of the token store), the order of the examples, and resuming. Its checkpoints hold pickles (DeepSpeed's and
transformers' states): they are read back from this training's own folder alone, by as many workers at the same ZeRO
stage, and the last step makes none. Nothing is sent anywhere: TRL's reports of its use are switched off.

Only worker processes import this file.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import deepspeed
import psutil
import torch
import torch.distributed as dist

from cluster.errors import ConfigError, ModelError, ResourceError
from cluster.storage import write_json
from trainers.adapters import peft_config
from trainers.build import count_parameters
from trainers.config import TrainConfig
from trainers.data.store import tokenizer_digest
from trainers.engine import learning_rate, settings
from trainers.evaluate import spread
from trainers.formats import HELDOUT, TRAIN
from trainers.models import load_model, load_tokenizer, restore_buffers
from trainers.objectives import trl
from trainers.outcome import write_memory, write_outcome
from trainers.trl_data import dataset, longest_conversation
from trainers.trl_log import Checkpoints, HostCallback

if TYPE_CHECKING:
    from transformers import Trainer

    from trainers.loop import Job

_HELDOUT_FILE = "heldout.json"
_LENGTHS = ("attention_mask", "chosen_attention_mask", "rejected_attention_mask")
_BUCKET = 500_000_000  # DeepSpeed's own
_ADDED_TOKENS = 2  # ORPO and CPO put the begin and end tokens around what the template renders


def train(job: Job, rank: int, workers: int) -> None:
    """What one worker does; torch's process group must be up.

    Files: the result in `job.output`; `heldout.json` beside `job.metrics_file`, with TRL's figures of the held-out data
    `before` and `after` training.

    Raises:
        ConfigError: TRL does not do what is configured, or refuses an argument.
        TrainingError: the loss is not a finite number.
        ResourceError: the disk is full.
    """
    trl.refuse_unsupported(job.config, workers)
    torch.set_num_threads(job.threads)
    bytes_before = int(psutil.Process().memory_info().rss)
    checkpoints = Checkpoints(job.folder / "trl", job.config.checkpoint, rank, workers, _stage(job.config))
    first = checkpoints.newest()
    with _refusals():
        trainer = build(job, checkpoints.folder, workers, resumed=first > 0)
        callback = HostCallback(job, trainer, rank, first, checkpoints)
        trainer.add_callback(callback)
        try:
            trainer.train(resume_from_checkpoint=str(checkpoints.path(first)) if first else None)
            after = trainer.evaluate()
        finally:
            callback.close()
    _write_result(trainer, job, rank)
    write_memory(job, rank, bytes_before)
    if rank == 0:
        write_json(job.metrics_file.with_name(_HELDOUT_FILE), callback.heldout(after))
        write_outcome(job, workers, callback.best, callback.stopped, count_parameters(trainer.model))
    dist.barrier()


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except (ValueError, TypeError, NotImplementedError) as error:
        raise ConfigError(
            "TRL refuses to train like that.", field="train.objective", got=str(error).strip() or type(error).__name__,
            expected="arguments that TRL's trainer takes",
        ) from error  # fmt: skip
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise ResourceError(
            "The disk is full.", field="storage.root", got=str(error), expected="room for checkpoints and the result",
            fix="free space and run the same command: it goes on from the last checkpoint",
        ) from error  # fmt: skip


def build(job: Job, folder: Path, workers: int, *, resumed: bool) -> Trainer:
    """The TRL trainer of a job.

    Args:
        folder: where its checkpoints go.
    """
    from datasets import disable_progress_bars
    from transformers.trainer_callback import PrinterCallback
    from transformers.utils import logging as transformers_logging

    disable_progress_bars()
    transformers_logging.disable_progress_bar()
    config, objective = job.config, job.config.objective
    if not isinstance(objective, trl.Config):
        raise ConfigError("Only `train.objective: trl` is hosted.", field="train.objective", got=objective.kind)
    datasets = {part: dataset(job, part, objective.method) for part in (TRAIN, HELDOUT)}
    if config.evaluation is not None:
        datasets[HELDOUT] = datasets[HELDOUT].select(spread(len(datasets[HELDOUT]), config.evaluation.sequences))
    longest = max(longest_conversation(job.tokens / part) for part in datasets) + _ADDED_TOKENS
    # Made before the models: at stage 3 transformers loads each weight into the shard that keeps it.
    arguments = training_arguments(config, folder, workers, longest, evaluate_first=not resumed)
    dtype: torch.dtype = getattr(torch, config.dtype)
    held = config.adapter.base if config.adapter is not None else "full"
    models: dict[str, Any] = {"model": load_model(job.base, dtype, held=held)}
    if objective.teacher is not None:
        models["teacher_model"] = _teacher(objective.teacher, job.base, dtype)
    trainer: Trainer = _hosted(trl.trl_class(objective.method, "Trainer"), config)(
        **models,
        args=arguments,
        train_dataset=datasets[TRAIN],
        eval_dataset=datasets[HELDOUT],
        processing_class=load_tokenizer(job.base),
        peft_config=peft_config(config.adapter.lora) if config.adapter is not None else None,
    )
    for model in (*models.values(), getattr(trainer, "ref_model", None)):
        if model is not None:
            restore_buffers(model)
    trainer.remove_callback(PrinterCallback)
    return trainer


def _stage(config: TrainConfig) -> int:
    # What is not sharded is trained at stage 1, which computes the same: at stage 0 DeepSpeed tells no gradient norm in
    # float32, and its Adam counts one step too many in bfloat16 (docs/decisions/0007).
    return max(config.deepspeed.stage, 1)


def training_arguments(config: TrainConfig, folder: Path, workers: int, longest: int, *, evaluate_first: bool) -> Any:
    """TRL's config of the method, made of a TrainConfig.

    Args:
        longest: tokens of the longest conversation, so that TRL cuts none off.
    """
    objective: Any = config.objective
    owner = trl.trl_class(objective.method, "Config")
    per_worker, accumulation = trl.share(config, workers)
    lengths = {"max_length": longest} if "max_length" in owner.__dataclass_fields__ else {}
    evaluation: dict[str, Any] = {"per_device_eval_batch_size": per_worker}
    if config.evaluation is not None:
        evaluation = {
            "per_device_eval_batch_size": config.evaluation.batch,
            "eval_strategy": "steps",
            "eval_steps": config.evaluation.every_steps,
        }
    _configure_accelerate()
    return owner(
        **evaluation,
        **objective.arguments,
        **lengths,
        output_dir=str(folder),
        max_steps=config.steps,
        per_device_train_batch_size=per_worker,
        gradient_accumulation_steps=accumulation,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        adam_beta1=config.betas[0],
        adam_beta2=config.betas[1],
        adam_epsilon=config.epsilon,
        max_grad_norm=config.clip,
        optim="adamw_torch",
        seed=config.seed,
        bf16=config.dtype == "bfloat16",
        fp16=config.dtype == "float16",
        gradient_checkpointing=config.activation_checkpointing,
        deepspeed=_deepspeed(config, workers),
        use_cpu=not torch.cuda.is_available(),
        dataloader_pin_memory=torch.cuda.is_available(),
        accelerator_config={"use_configured_state": True},
        save_steps=config.checkpoint.every_steps,
        eval_on_start=evaluate_first,
        logging_steps=1,
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=True,
    )


def _configure_accelerate() -> None:
    # Left to itself, accelerate takes no notice of a process group on CPU when it works with DeepSpeed: every worker
    # would train on all of the data, alone.
    from accelerate import PartialState
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)
    os.environ["ACCELERATE_USE_DEEPSPEED"] = "true"
    PartialState(backend=dist.get_backend())
    # On CPU DeepSpeed would compile a shared-memory all-reduce at the first start (`trainers.engine.initialize`).
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False


def _deepspeed(config: TrainConfig, workers: int) -> dict[str, Any]:
    sharding = config.deepspeed.model_copy(update={"stage": _stage(config)})
    made = settings(config.model_copy(update={"deepspeed": sharding}), workers, _BUCKET)
    # transformers fills in what it also knows, and sizes the buckets by the model's width.
    made |= dict.fromkeys(
        ("train_micro_batch_size_per_gpu", "gradient_accumulation_steps", "gradient_clipping"), "auto"
    )
    made["zero_optimization"] |= dict.fromkeys(("reduce_bucket_size", "stage3_prefetch_bucket_size"), "auto")
    return made


def _hosted(base: type[Any], config: TrainConfig) -> type[Any]:
    class Hosted(base):  # type: ignore[misc]  # TRL's classes are known only at run time
        tokens = 0
        """Tokens of the conversations that this worker has taken through the model in training."""

        def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:  # noqa: ARG002
            self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(
                self.optimizer if optimizer is None else optimizer,
                lambda step: learning_rate(config, step) / config.learning_rate,
            )
            self._created_lr_scheduler = True
            return self.lr_scheduler

        def training_step(self, model: Any, inputs: Any, *rest: Any, **more: Any) -> torch.Tensor:
            if isinstance(inputs, dict):
                self.tokens += sum(int(inputs[key].sum()) for key in _LENGTHS if key in inputs)
            loss: torch.Tensor = super().training_step(model, inputs, *rest, **more)
            return loss

        def _send_telemetry(self) -> None: ...

        def create_model_card(self, *_: Any, **__: Any) -> None: ...

    return Hosted


def _teacher(folder: Path, base: Path, dtype: torch.dtype) -> Any:
    if tokenizer_digest(folder) != tokenizer_digest(base):
        raise ModelError(
            "Teacher and student do not share a tokenizer, so their tokens cannot be compared.",
            field="train.objective.teacher", got=str(folder), expected="the student's tokenizer.json",
        )  # fmt: skip
    return load_model(folder, dtype)


def _write_result(trainer: Trainer, job: Job, rank: int) -> None:
    model: Any = trainer.model
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    with deepspeed.zero.GatheredParameters(trained, enabled=_stage(job.config) == 3):
        if rank:
            return
        if job.config.adapter is None:
            load_tokenizer(job.base).save_pretrained(str(job.output))
            model.save_pretrained(str(job.output))
        else:
            model.peft_config["default"].base_model_name_or_path = job.base_name
            # Otherwise peft asks the hub whether the vocabulary has grown.
            model.save_pretrained(str(job.output), save_embedding_layers=False)
            (job.output / "README.md").unlink(missing_ok=True)  # peft's empty model card; the manifest says more
