"""Train on Ray, with checkpoints in the run directory, and publish the adapter (or the whole model)."""

from __future__ import annotations

import shutil
from pathlib import Path
from statistics import median
from typing import Any

from cluster.artifacts import Manifest
from cluster.config import digest
from jobs.console import bar, fact, title
from jobs.context import Context, Made
from jobs.stages.data import TRAIN
from jobs.words import batch_words
from trainers.config import TrainConfig
from trainers.launch import train as launch
from trainers.loop import Job

VERSION = 1


def train(context: Context, base: Manifest, tokens: Manifest, config: TrainConfig) -> Manifest:
    """The adapter's artifact, or the tuned model's when no adapter is trained."""
    title("Train")
    workers = context.job.cluster.workers
    fact("batch", batch_words(config, workers, tokens.metrics["train_tokens"], tokens.metrics["train_samples"]))
    # Checkpoints of another configuration or other data must not be resumed from: they lie in another folder.
    settings = config.model_dump(mode="json", exclude={"checkpoint"}) | {"workers": workers}
    name = f"train-{digest([VERSION, settings, base.id, tokens.id])[:12]}"
    folder = context.run.path / "train"
    if context.fresh:
        shutil.rmtree(folder / name, ignore_errors=True)

    def work(output: Path) -> Made:
        progress = context.progress("train")
        job = Job(
            name=name,
            config=config,
            base=context.files(base),
            base_name=base.id,
            tokens=context.files(tokens) / TRAIN,
            output=output,
            metrics_file=context.run.metrics_file,
            tensorboard=context.run.path / "tensorboard",
            progress=progress,
            attempt=context.attempt.name,
        )
        with bar("train", progress):
            result = launch(job, context.job.cluster, folder)
        report = _summary(context.run.read_metrics()) | result
        return Made(report, metrics={"final_loss": report["final_loss"], "steps": config.steps})

    kind = "adapter" if config.adapter is not None else "model"
    outcome = context.make(
        "train", VERSION, settings, {"base": base, "tokens": tokens}, work,
        publish_as=f"{context.job.name}-{kind}", kind=kind,
    )  # fmt: skip
    report = outcome.report
    fact("training loss", f"{report['first_loss']:.3f} → {report['final_loss']:.3f} in {report['steps']} steps")
    fact("speed", f"{report['tokens_per_s']:.0f} tokens/s (median of steps)")
    shutil.rmtree(folder / name, ignore_errors=True)  # the artifact is published; its checkpoints have served
    return outcome.artifact


def _summary(metrics: list[dict[str, Any]]) -> dict[str, Any]:
    last = metrics[-min(5, len(metrics)) :]
    return {
        "steps": metrics[-1]["step"],
        "attempts": sorted({record["attempt"] for record in metrics}),
        "first_loss": metrics[0]["loss"],
        "final_loss": sum(record["loss"] for record in last) / len(last),
        "tokens": sum(record["tokens"] for record in metrics),
        "trained_tokens": sum(record["trained_tokens"] for record in metrics),
        "tokens_per_s": median(record["tokens_per_s"] for record in metrics),
        "losses": [[record["step"], record["loss"]] for record in metrics],
    }
