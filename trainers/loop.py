"""The training loop, run by every Ray Train worker. It knows no objective: `trainers.objectives` has those.

Legend: a *micro-batch* is what one worker takes through the model at once; a *step* is one optimizer step over
workers × accumulation micro-batches. The loss of a step is the mean over all its trained tokens.
"""

from __future__ import annotations

import json
import resource
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from cluster.progress import ProgressFile
from cluster.rundir import read_metrics
from cluster.storage import write_atomically
from trainers.config import TrainConfig
from trainers.data.sampler import global_batch, micro_batches
from trainers.data.tokens import TokenFile

if TYPE_CHECKING:
    import numpy as np
    from deepspeed import DeepSpeedEngine
    from numpy.typing import NDArray
    from peft import PeftModel
    from transformers import PreTrainedModel

    from trainers.objectives import Objective


class Job(NamedTuple):
    """What a training worker is given; paths lie on storage that every worker sees."""

    name: str
    """Identifies the training: configuration, base and data. One run directory may hold several, one after another."""
    config: TrainConfig
    base: Path
    base_name: str
    """What the adapter records as its base model: an artifact's id, never a path."""
    tokens: Path
    output: Path
    """Folder for the result: an adapter, or the whole model when no adapter is trained."""
    metrics_file: Path
    tensorboard: Path
    progress: ProgressFile
    attempt: str
    """Which start of the driver this is; each step's metrics say in which it was trained."""


def worker(arguments: dict[str, Any]) -> None:
    """Train, from the newest checkpoint if there is one, and write the result."""
    import ray.train
    import torch

    from trainers.checkpoint import restore, save
    from trainers.engine import learning_rate
    from trainers.objectives import objective_of

    job: Job = arguments["job"]
    config = job.config
    context = ray.train.get_context()
    rank, workers = context.get_world_rank(), context.get_world_size()
    torch.manual_seed(config.seed)
    objective = objective_of(config.objective)
    before_model = _resident_bytes()
    engine, holder, pad_id = _build(job, objective, workers)
    first = restore(engine, ray.train.get_checkpoint())
    tokens = TokenFile(job.tokens)
    log = _Log(job, first) if rank == 0 else None

    for step in range(first, config.steps):
        began = time.perf_counter()
        indices = global_batch(config.seed, step, config.sequences_per_step(workers), len(tokens))
        terms = sum(objective.weight(tokens[index]) for index in indices)
        for group in engine.optimizer.param_groups:
            group["lr"] = learning_rate(config, step)
        nats = torch.zeros((), device=engine.device)
        # Dropout is a function of (seed, step, worker), so that a resumed run draws what the cut-off one would have.
        torch.manual_seed(hash((config.seed, step, rank)))
        for micro in micro_batches(indices, tokens.lengths, rank, workers, config.batch.accumulation):
            batch = objective.collate([tokens[index] for index in micro], pad_id)
            loss = engine({key: value.to(engine.device) for key, value in batch.items()})
            nats += loss.detach()
            # DeepSpeed averages over workers and micro-batches; this makes the average the mean over the step's terms.
            engine.backward(loss * (workers * config.batch.accumulation / terms))
            engine.step()
        torch.distributed.all_reduce(nats)
        if log is not None:
            batch_of_step = _Batch(indices, tokens.lengths[indices])
            log.step(step, nats.item() / terms, terms, engine, batch_of_step, time.perf_counter() - began)
        if (step + 1) % config.checkpoint.every_steps == 0 or step + 1 == config.steps:
            with tempfile.TemporaryDirectory() as folder:
                checkpoint = save(engine, Path(folder), step + 1)
                ray.train.report({"step": step + 1}, checkpoint=checkpoint)

    _write_result(engine, holder, job, rank)
    _write_memory(job, rank, before_model)
    torch.distributed.barrier()


def _build(job: Job, objective: Objective, workers: int) -> tuple[DeepSpeedEngine, PeftModel | PreTrainedModel, int]:
    """Engine, what to save at the end, and the padding id."""
    import torch
    from transformers.utils import logging as transformers_logging

    from trainers.adapters import add_lora
    from trainers.engine import LossModule, initialize
    from trainers.models import load_model, load_tokenizer

    transformers_logging.disable_progress_bar()
    model = load_model(job.base, getattr(torch, job.config.dtype)).train()
    holder: PeftModel | PreTrainedModel = model
    if job.config.adapter is not None:
        # peft keeps new adapter weights in float32; DeepSpeed wants one dtype and holds the float32 master copy itself.
        holder = add_lora(model, job.config.adapter).to(model.dtype)  # its layers now sit inside `model`
    engine = initialize(LossModule(model, objective), job.config, workers)
    return engine, holder, load_tokenizer(job.base).pad_token_id


def _write_result(engine: DeepSpeedEngine, holder: PeftModel | PreTrainedModel, job: Job, rank: int) -> None:
    import deepspeed

    from trainers.models import load_tokenizer

    trainable = [parameter for parameter in engine.module.parameters() if parameter.requires_grad]
    with deepspeed.zero.GatheredParameters(trainable, modifier_rank=None, enabled=job.config.deepspeed.stage == 3):
        if rank == 0:
            if job.config.adapter is not None:
                holder.peft_config["default"].base_model_name_or_path = job.base_name
            else:
                load_tokenizer(job.base).save_pretrained(str(job.output))
            holder.save_pretrained(str(job.output))
            (job.output / "README.md").unlink(missing_ok=True)  # peft's empty model card; the manifest says more


def _write_memory(job: Job, rank: int, before_model: int) -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    record = {"rank": rank, "peak_bytes": peak, "before_model_bytes": before_model}
    write_atomically(job.metrics_file.with_name(f"memory-{rank}.json"), json.dumps(record))


def _resident_bytes() -> int:
    import psutil

    return int(psutil.Process().memory_info().rss)


class _Batch(NamedTuple):
    indices: NDArray[np.int64]
    lengths: NDArray[np.int64]


class _Log:
    """Metrics of rank 0: JSONL, TensorBoard and the progress file."""

    def __init__(self, job: Job, first_step: int) -> None:
        from tensorboardX import SummaryWriter

        # Steps after the checkpoint are trained again: their old lines go, so that each step stands once. So do the
        # lines of another training that ran under this name.
        records = read_metrics(job.metrics_file)
        kept = [one for one in records if one["training"] == job.name and one["step"] <= first_step]
        write_atomically(job.metrics_file, "".join(json.dumps(record) + "\n" for record in kept))
        self._job = job
        self._file = job.metrics_file.open("a", encoding="utf-8")
        self._tensorboard = SummaryWriter(str(job.tensorboard), purge_step=first_step + 1)
        job.progress.write(first_step, job.config.steps, f"resumed at step {first_step}" if first_step else "")

    def step(self, step: int, loss: float, terms: int, engine: DeepSpeedEngine, batch: _Batch, seconds: float) -> None:
        num_tokens = int(batch.lengths.sum())
        record = {
            "training": self._job.name,
            "step": step + 1,
            "attempt": self._job.attempt,
            "loss": loss,
            "learning_rate": engine.optimizer.param_groups[0]["lr"],
            "grad_norm": float(engine.get_global_grad_norm() or 0.0),
            "tokens": num_tokens,
            "trained_tokens": terms,
            "seconds": seconds,
            "tokens_per_s": num_tokens / seconds,
            "samples": batch.indices.tolist(),
            "time": time.time(),
        }
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()
        for key in ("loss", "learning_rate", "grad_norm", "tokens_per_s"):
            self._tensorboard.add_scalar(f"train/{key}", record[key], step + 1)
        self._tensorboard.flush()
        text = f"loss {loss:.3f}, {num_tokens / seconds:.0f} tokens/s"
        self._job.progress.write(step + 1, self._job.config.steps, text)
