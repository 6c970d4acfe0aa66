"""Train on Ray, with checkpoints in the run directory, and publish the adapter (or the whole model)."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from cluster.artifacts import Manifest
from cluster.config import digest
from cluster.rundir import read_metrics
from cluster.storage import read_json
from jobs.console import bar, console, fact, title
from jobs.context import Context, Made, Outcome
from jobs.goodput import Timeline
from jobs.paths import with_absolute_paths
from jobs.stages.evaluate import named_adapters
from jobs.words import batch_words, trained_words
from trainers.checkpoint import checkpoint_folder
from trainers.config import TrainConfig
from trainers.launch import train as launch
from trainers.loop import Job

VERSION = 3
_HELDOUT_FILE = "heldout.json"
# What may be changed between a kill and the resume, and between two runs that are the same training: where and how it
# is computed, watched and saved, not what is computed.
_FREE: dict[str, bool | set[str]] = {
    "checkpoint": True, "trackers": True, "deepspeed": True, "compile": True, "activation_checkpointing": True,
    "divergence": True, "watchdog": True, "batch": {"micro"}, "evaluation": {"batch"}, "paged_optimizer": True,
    "adapter": {"start"},  # its id counts, not its name
}  # fmt: skip
_FREE_OF_OBJECTIVES = {"head_chunk"}


def identity(config: TrainConfig) -> dict[str, Any]:
    """The keys that a training's result depends on: another value is another training, which starts from its beginning.

    The number of workers is none of them: any number shares the same batches.
    """
    settings = config.model_dump(mode="json", exclude=_FREE)
    objective = {key: value for key, value in settings["objective"].items() if key not in _FREE_OF_OBJECTIVES}
    return settings | {"objective": objective}


def named_models(config: TrainConfig) -> list[str]:
    """Published models that the objective names, such as those that reward."""
    return list(getattr(config.objective, "artifacts", []))


def training_name(
    config: TrainConfig, base: str, tokens: str, start: str | None = None, more: Sequence[str] = ()
) -> str:
    """Names a training's folder: checkpoints of another configuration, base or data are never resumed from.

    Args:
        base: the base model's artifact id.
        tokens: the tokens' artifact id.
        start: the id of the adapter that it begins with.
        more: ids of the models that the objective names.
    """
    return f"train-{digest([VERSION, identity(config), base, tokens, start, *more])[:12]}"


def train(context: Context, base: Manifest, tokens: Manifest, config: TrainConfig) -> Manifest:
    """The adapter's artifact, or the tuned model's when no adapter is trained."""
    title("Train")
    return train_once(context, base, tokens, config, start_of(context, base, config)).artifact


def start_of(context: Context, base: Manifest, config: TrainConfig) -> Manifest | None:
    """The adapter that `train.adapter.start` names.

    Raises:
        ArtifactError: there is none, or not of this base.
    """
    names = [config.adapter.start] if config.adapter is not None and config.adapter.start is not None else []
    return next(iter(named_adapters(context.store, base, names)), None)


def train_once(
    context: Context,
    base: Manifest,
    tokens: Manifest,
    config: TrainConfig,
    start: Manifest | None,
    suffix: str = "",
) -> Outcome:
    """One training.

    Args:
        start: the adapter that it begins with.
        suffix: of the stage's and the artifact's name, where a job has several.
    """
    mean_tokens = tokens.metrics["train_tokens"] / tokens.metrics["train_samples"]
    fact("batch", batch_words(config, context.job.cluster, mean_tokens, tokens.metrics["train_samples"]))
    kind = "adapter" if config.adapter is not None else "model"
    inputs = {"base": base, "tokens": tokens} | ({"start": start} if start is not None else {})
    inputs |= {f"model {name}": context.store.get(name) for name in named_models(config)}
    job = training_job(context, inputs, config)
    if context.fresh:
        _remove(context, config, job.folder)
    outcome = context.make(
        f"train{suffix}".replace("-", "_"), VERSION, identity(config), inputs,
        lambda output: _work(context, job._replace(output=output)),
        publish_as=f"{context.job.name}-{kind}{suffix}", kind=kind,
    )  # fmt: skip
    _show(outcome.report, config)
    if not (config.checkpoint.keep_best or config.checkpoint.keep_every_steps):
        _remove(context, config, job.folder)  # the result is published; its checkpoints have served
    return outcome


def training_job(context: Context, inputs: dict[str, Manifest], config: TrainConfig) -> Job:
    """What the workers are given, but for the folder of the result.

    Args:
        inputs: `base`, `tokens`, if it begins with an adapter `start`, and `model NAME` for each of `named_models`.
    """
    base, tokens, start = inputs["base"], inputs["tokens"], inputs.get("start")
    named = {name: inputs[f"model {name}"] for name in named_models(config)}
    more = [manifest.id for manifest in named.values()]
    folder = context.run.path / "train" / training_name(config, base.id, tokens.id, start.id if start else None, more)
    return Job(
        name=folder.name,
        run=context.job.name,
        config=with_absolute_paths(config),
        base=context.files(base),
        base_name=base.id,
        tokens=context.files(tokens),
        dataset=context.files(context.store.get(tokens.parents["dataset"])),
        start=context.files(start) if start is not None else None,
        output=folder / "result",
        metrics_file=context.run.metrics_file,
        folder=folder,
        progress=context.progress("train"),
        attempt=context.attempt.name,
        threads=max(1, int(context.job.cluster.cpus_per_worker)),
        artifacts={name: context.files(manifest) for name, manifest in named.items()},
    )


def _work(context: Context, job: Job) -> Made:
    timeline = Timeline(context.run.path, job.attempt)
    with timeline.training(job.name), bar("train", job.progress):
        result = launch(job, context.job.cluster, lambda text: console.print(f"  {text}", markup=False))
    report = summary(context.run.read_metrics()) | {key: value for key, value in result.items() if value is not None}
    events = read_metrics(job.metrics_file.with_name("events.jsonl"))
    report["events"] = [[one["attempt"], one["event"]] for one in events if one["training"] == job.name]
    if (heldout := read_json(job.metrics_file.with_name(_HELDOUT_FILE))) and context.job.trains_itself:
        report["heldout"] = heldout
    return Made(report, metrics={"final_loss": report["final_loss"], "steps": report["steps"]})


def _remove(context: Context, config: TrainConfig, folder: Path) -> None:
    checkpoints = checkpoint_folder(config, folder, context.job.name, folder.name)
    for step in checkpoints.names():
        checkpoints.remove(step)
    shutil.rmtree(folder, ignore_errors=True)


def summary(metrics: list[dict[str, Any]]) -> dict[str, Any]:
    """The figures of a training, from its lines of metrics.jsonl.

    Args:
        metrics: one record a step; `loss` and `step` are always there, other keys if the training measured them.
    """
    last = metrics[-min(5, len(metrics)) :]
    report: dict[str, Any] = {
        "steps": metrics[-1]["step"],
        "attempts": sorted({record["attempt"] for record in metrics}),
        "first_loss": metrics[0]["loss"],
        "final_loss": sum(record["loss"] for record in last) / len(last),
        "losses": curve(metrics, "loss"),
    }
    for key in ("tokens", "trained_tokens"):
        if any(key in record for record in metrics):
            report[key] = sum(record.get(key, 0) for record in metrics)
    for key in ("tokens_per_s", "mfu", "data_wait_share"):
        if values := [record[key] for record in metrics if record.get(key) is not None]:
            report[key] = median(values)
    for name in ("loss", "accuracy"):
        if points := curve(metrics, f"heldout_{name}"):
            report.setdefault("heldout_curves", {})[name] = points
    if rewards := curve(metrics, "reward"):
        report["rewards"] = rewards
    return report


def curve(metrics: list[dict[str, Any]], key: str) -> list[list[float]]:
    """(step, value) of each step that has the key."""
    return [[record["step"], record[key]] for record in metrics if record.get(key) is not None]


def _show(report: dict[str, Any], config: TrainConfig) -> None:
    if rewards := report.get("rewards"):
        fact("training reward", f"{rewards[0][1]:.3f} → {rewards[-1][1]:.3f} in {report['steps']} steps")
    else:
        fact("training loss", f"{report['first_loss']:.3f} → {report['final_loss']:.3f} in {report['steps']} steps")
    if report.get("tokens_per_s"):
        wait = report.get("data_wait_share")
        beside = "" if wait is None else f", {wait:.0%} of the time waiting for data"
        fact("speed", f"{report['tokens_per_s']:,.0f} tokens/s (median of steps){beside}")
    if report.get("mfu") is not None:
        fact("utilization", f"{report['mfu']:.0%} of the matrix rate measured on the worker (MFU)")
    if parameters := report.get("parameters"):
        fact("trained", trained_words(parameters["trained"], parameters["model"]))
    if report.get("best") and config.evaluation is not None:
        step, loss = report["best"]["step"], report["best"]["heldout_loss"]
        label, value = ("best held-out reward", -loss) if rewards else ("best held-out loss", loss)
        fact(label, f"{value:.3f} at step {step:.0f}; published: the {config.evaluation.publish} step")
    if report.get("stopped"):
        fact("stopped early", report["stopped"])
