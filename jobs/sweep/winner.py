"""The winner of a sweep: its weights as an artifact with the sweep in its lineage, its values for another job."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from cluster.artifacts import Manifest
from cluster.config import digest
from cluster.errors import ClusterError, ConfigError
from cluster.progress import ProgressFile
from cluster.rundir import RunDirectory, read_metrics
from cluster.storage import write_json
from jobs.console import fact, title
from jobs.context import Context
from jobs.export import made_from
from jobs.stages.train import VERSION as TRAIN_VERSION
from jobs.stages.train import identity, start_of, summary, training_job
from jobs.sweep.record import SweepRecord, Trial
from jobs.sweep.report import write_report
from jobs.sweep.space import Sweep
from jobs.sweep.table import shown
from trainers.checkpoint import checkpoint_folder, list_checkpoints
from trainers.export import export
from trainers.loop import Job
from trainers.outcome import read_outcome


def finish(sweep: Sweep, record: SweepRecord, context: Context) -> None:
    """Publish the best trial's weights, write the report, and remove the other trials' checkpoints."""
    best, before = publishable(sweep, record)[0], record.winner or {}
    title("Winner")
    values = ", ".join(f"{key}={shown(value)}" for key, value in best.values.items())
    fact(f"trial {best.number:03d}", values)
    fact(sweep.config.objective.metric, f"{best.score:.4f} at step {best.score_step}")
    own = Context(
        sweep.trial(best.number, best.values), context.root, RunDirectory(context.root, best.run),
        context.attempt, capacity=context.capacity,
    )  # fmt: skip
    if (before.get("number"), before.get("score")) == (best.number, best.score) and before.get("artifact"):
        artifact = own.store.get(before["artifact"])  # more trials found nothing better
    else:
        artifact = _publish(sweep, record, best, own)
    record.winner = {"number": best.number, "values": best.values, "score": best.score, "artifact": artifact.id}
    record.save()
    fact("published", f"{artifact.name}  ({artifact.id})")
    if not sweep.config.keep_checkpoints:
        _remove_checkpoints(context.root, record, best.number)
    write_report(sweep, record, context.run.path)
    fact("report", str(context.run.path / "report.html"))
    fact("use it", f"raysmith run JOB --winner {sweep.config.name}")


def _publish(sweep: Sweep, record: SweepRecord, best: Trial, own: Context) -> Manifest:
    config = own.job.train
    if config is None:
        raise ConfigError("A sweep needs a job that trains.", field="job")
    base, tokens = made_from(own.store, own.run.path, own.job)
    start = start_of(own, base, config)
    inputs = {"base": base, "tokens": tokens} | ({"start": start} if start is not None else {})
    job = training_job(own, inputs, config)
    kind = "adapter" if config.adapter is not None else "model"
    history = _publish_record(sweep, record, own)
    with own.store.draft() as folder:
        own.remote("export the winner", _export, job._replace(output=folder), job.output, best.score_step or 0)
        artifact = own.store.publish(
            folder, name=f"{sweep.config.name}-winner", kind=kind,
            parents={**{role: one.id for role, one in inputs.items()}, "sweep": history.id},
            config_hash=digest(identity(config)), metrics={"score": best.score or 0.0, "step": best.score_step or 0},
        )  # fmt: skip
    _remember(own, job, inputs, artifact, best)
    return artifact


def _export(progress: ProgressFile, job: Job, written: Path, step: int) -> None:
    """Write the weights that were scored.

    Args:
        written: where an objective that brings its own loop has written its result.
        step: that of the score.
    """
    progress.write(0, 1)
    if written.is_dir() and any(written.iterdir()):
        shutil.copytree(written, job.output, dirs_exist_ok=True)
        return
    folder = checkpoint_folder(job.config, job.folder, job.run, job.name)
    found = [marker for marker in list_checkpoints(folder) if marker.step == step]
    if not found:
        raise ClusterError(
            "The winner's checkpoint is not there.", field=job.run, got=f"no step {step}",
            fix="run the sweep with --resume and a higher budget, or with --fresh",
        )  # fmt: skip
    export(folder, found[0], job.base, job.config, job.base_name, job.output)


def publishable(sweep: Sweep, record: SweepRecord) -> list[Trial]:
    """The trials that have weights to publish, the best first."""
    ranked = record.ranked()
    if sweep.sample.trains_itself:  # its result is written at the end
        ranked = [one for one in ranked if one.status in ("finished", "stopped")]
    return ranked


def _publish_record(sweep: Sweep, record: SweepRecord, own: Context) -> Manifest:
    """The sweep as an artifact: its configuration and what every trial came to."""
    with own.store.draft() as folder:
        trials = [one.model_dump(mode="json") for one in record.trials]
        write_json(folder / "sweep.json", {"sweep": sweep.config.model_dump(mode="json"), "trials": trials})
        (folder / "job.json").write_text(json.dumps(sweep.job.tree, indent=2, default=str))
        return own.store.publish(folder, name=f"{sweep.config.name}-sweep", kind="sweep")


def _remember(own: Context, job: Job, inputs: dict[str, Manifest], artifact: Manifest, best: Trial) -> None:
    """Let `raysmith run` with the winner's values take these weights, if they are a whole training's of its own."""
    outcome, config = read_outcome(job.folder), own.job.train
    if config is None or best.status != "finished" or outcome.get("stopped") or best.moves:
        return
    records = [one for one in read_metrics(job.metrics_file) if one["training"] == job.name]
    report = summary(records) | {key: value for key, value in outcome.items() if value is not None}
    own.remember("train", TRAIN_VERSION, identity(config), inputs, artifact, {**report, "events": []}, best.seconds)


def _remove_checkpoints(root: Path, record: SweepRecord, winner: int) -> None:
    for trial in record.trials:
        if trial.number == winner or trial.status == "waiting":
            continue
        for folder in (root / "runs" / trial.run / "train").glob("train-*"):
            for part in ("checkpoints", "trl", "result"):
                shutil.rmtree(folder / part, ignore_errors=True)
