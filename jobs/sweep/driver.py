"""The driver of a sweep: prepare what all trials share, let Ray Tune run them, publish the winner."""

from __future__ import annotations

import logging
import math
import os
import re
import shutil
from pathlib import Path
from typing import Any

import yaml

from cluster.connect import Capacity, ClusterConfig, connected, embedded_capacity
from cluster.errors import ClusterError, ConfigError, ResourceError
from cluster.monitoring import targets
from cluster.queue import Need
from cluster.rundir import RunDirectory
from cluster.storage import read_json, require_free_space
from jobs.admission import Wanted, place_for, training_bundles
from jobs.config import SWEEP_RECORD, JobConfig
from jobs.console import fact, title
from jobs.context import Context
from jobs.paths import named_paths
from jobs.plan import checkpoint_bytes, make_plan, require_job_fits, require_room
from jobs.plan import show_plan as show_job_plan
from jobs.run import base_and_data
from jobs.summary import recorded
from jobs.sweep.config import BudgetConfig
from jobs.sweep.record import SweepRecord, spent
from jobs.sweep.space import Sweep, grid_size
from jobs.sweep.table import Live, describe
from jobs.sweep.winner import finish, publishable
from jobs.words import duration

_TUNE = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # a trial's metrics are in its own run directory
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",  # a resumed sweep does not read Tune's state
    "TUNE_RESULT_BUFFER_LENGTH": "0",
}


_MOST = 1000
"""Trials at a time, where the queue of a running cluster says how many there is room for."""
_WHILE_IT_RUNS = ("tune", "workers", "moves")


def run_sweep(sweep: Sweep, *, resume: bool = False, fresh: bool = False) -> SweepRecord:
    """Run a sweep's trials, and publish the winner's weights.

    Args:
        resume: go on with a sweep that was cut off, or whose budget was raised.
        fresh: forget an earlier sweep of this name.

    Raises:
        RaysmithError: the sweep cannot run; a trial that fails does not end it.
    """
    job = sweep.sample
    _require_room(sweep, job)
    root = job.storage.path()
    directory = RunDirectory(root, sweep.config.name)
    record = open_record(sweep, directory.path / SWEEP_RECORD)
    _require_intent(sweep, directory.path / SWEEP_RECORD, record, resume=resume, fresh=fresh)
    with directory.attempt(_resolved(sweep)) as attempt:
        if fresh:
            _forget(root, directory.path, sweep.config.name)
        record.load()
        title(f"{sweep.config.name}: {describe(sweep)}")
        fact("run directory", str(directory.path))
        context = Context(job, root, directory, attempt)
        told = targets.recorded(directory.path)
        with recorded(context, html=False), connected(job.cluster, keep_logs=attempt / "logs") as capacity, told:
            require_job_fits(job, capacity)
            with place_for(_wanted(sweep, job, capacity), capacity) as given:
                context.capacity = given.capacity
                search(sweep, record, context, given.copies)
            context.report["status"] = "done"
    return record


def _wanted(sweep: Sweep, job: JobConfig, capacity: Capacity) -> Wanted:
    """One trial at least, or as many as `concurrency` says; and as many at a time as there is room for."""
    local, wanted = job.cluster.address == "local", sweep.config.concurrency
    most = slots(sweep, job.cluster, capacity) if local else wanted or _MOST
    need = Need(training_bundles(job, job.cluster.max_workers), (wanted or 1, most))
    return Wanted(sweep.config.name, job.cluster, need, job.storage.location(), named_paths(job))


def search(sweep: Sweep, record: SweepRecord, context: Context, at_a_time: int | None = None) -> None:
    """Run the trials on the cluster that is connected, and publish the winner.

    Args:
        context: of the sweep's own directory; model and data are prepared in it, once for all trials.
        at_a_time: the most trials; default: as many as the cluster has room for.

    Raises:
        ClusterError: no trial came to a measurement.
    """
    os.environ |= _TUNE
    title("Shared by the trials")
    base_and_data(context)
    _tune(sweep, record, context, at_a_time or slots(sweep, context.job.cluster, context.capacity))
    finish(sweep, record, context)
    for folder in _WHILE_IT_RUNS:
        shutil.rmtree(context.run.path / folder, ignore_errors=True)


def _require_room(sweep: Sweep, job: JobConfig) -> None:
    """Refuse a sweep that this machine cannot hold: its trials at a time, and the checkpoints of all.

    Raises:
        ResourceError: with the figures.
    """
    local, plan = job.cluster.address == "local", make_plan(job)
    require_room(job, plan, slots(sweep, job.cluster, embedded_capacity(job.cluster)) if local else 1)
    trials = sweep.config.budget.trials or grid_size(sweep.config.space) or 1
    if job.train is not None:
        copies = 2 if getattr(sweep.scheduler, "MOVES_WEIGHTS", False) else 1  # Tune holds some that may be moved
        checkpoints = (copies * trials - 1) * checkpoint_bytes(job.train, plan.shape)
        require_free_space(job.storage.location(), plan.disk_bytes + checkpoints, f"for {trials} trials")


def open_record(sweep: Sweep, path: Path) -> SweepRecord:
    """The record of a sweep, empty yet."""
    train = sweep.sample.train
    best = bool(train and train.evaluation and train.evaluation.publish == "best")
    return SweepRecord(path, identity(sweep), sweep.config.objective, best_counts=best)


def identity(sweep: Sweep) -> dict[str, Any]:
    """What must be the same for trials to be compared: everything but budget and concurrency."""
    config = sweep.config.model_dump(mode="json", exclude={"budget", "concurrency", "keep_checkpoints", "job", "set"})
    cluster = {"cluster", "storage"}
    return config | {"job": {key: value for key, value in sweep.job.tree.items() if key not in cluster}}


def _resolved(sweep: Sweep) -> dict[str, Any]:
    return {"sweep": sweep.config.model_dump(mode="json"), "job": sweep.job.tree}


def _require_intent(sweep: Sweep, path: Path, record: SweepRecord, *, resume: bool, fresh: bool) -> None:
    """Refuse to mix two sweeps of one name, or to lose one."""
    there, config_file = SweepRecord.identity_of(path), path.with_name("config.yaml")
    if there is None and config_file.is_file() and "sweep" not in yaml.safe_load(config_file.read_text("utf-8")):
        raise ConfigError(
            "There is a run of that name, which is no sweep.", field="name", got=sweep.config.name,
            expected="a name of its own",
        )  # fmt: skip
    if fresh:
        return
    if there is None and resume:
        raise ConfigError("There is no sweep to resume.", field="--resume", got=sweep.config.name, fix="leave it out")
    if there is not None and there != record.identity:
        raise ConfigError(
            "A sweep of that name had another space, job or search.", field="name", got=sweep.config.name,
            expected="the same configuration but for budget and concurrency",
            fix="give this one another name, or run it with --fresh, which forgets the other",
        )  # fmt: skip
    if there is not None and not resume:
        raise ConfigError(
            "There is a sweep of that name already.", field="name", got=sweep.config.name,
            fix="--resume goes on with it (with more trials, if budget.trials was raised); --fresh forgets it",
        )  # fmt: skip


def _forget(root: Path, folder: Path, name: str) -> None:
    recorded_runs = [one.get("run", "") for one in (read_json(folder / SWEEP_RECORD) or {}).get("trials", [])]
    for run in recorded_runs:
        if re.fullmatch(rf"{re.escape(name)}-\d{{3,}}", run):
            shutil.rmtree(root / "runs" / run, ignore_errors=True)
    for part in _WHILE_IT_RUNS:
        shutil.rmtree(folder / part, ignore_errors=True)
    (folder / SWEEP_RECORD).unlink(missing_ok=True)


def slots(sweep: Sweep, cluster: ClusterConfig, capacity: Capacity) -> int:
    """How many trials an embedded cluster has room for at a time.

    Raises:
        ResourceError: fewer than are asked for.
    """
    room = int(capacity.cpus // (cluster.max_workers * cluster.cpus_per_worker))
    if cluster.gpus_per_worker:
        room = min(room, int(capacity.gpus // (cluster.max_workers * cluster.gpus_per_worker)))
    wanted = sweep.config.concurrency
    if wanted is not None and wanted > room:
        raise ResourceError(
            "The cluster has no room for so many trials at a time.", field="concurrency", got=wanted,
            expected=f"at most {room}: {capacity.cpus:g} CPUs and {capacity.gpus:g} GPUs for trials of "
            f"{cluster.max_workers} workers", fix="lower concurrency, or cluster.workers in the sweep's `set`",
        )  # fmt: skip
    return wanted or max(1, room)


def _tune(sweep: Sweep, record: SweepRecord, context: Context, parallel: int) -> None:
    from ray import tune

    from jobs.sweep.search import Follow, Proposals, Spent
    from jobs.sweep.trial import Given, TrialRun

    config, train = sweep.config, context.job.train
    if train is None:
        raise ConfigError("A sweep needs a job that trains.", field="job")
    fact("at a time", f"{parallel} trials")
    scheduler = sweep.scheduler.build(config.scheduler, config, train.steps)
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # what fails is told in the table
    numbers: dict[str, int] = {}
    proposals = Proposals(sweep, record, scheduler, numbers)
    for folder in _WHILE_IT_RUNS:
        shutil.rmtree(context.run.path / folder, ignore_errors=True)
    # A trial's own process needs next to nothing, its workers ask Ray for what they take. A share of the head is what
    # limits how many run (a tenth is Ray Train's); Tune's own limit would count trials that PBT has paused.
    share = tune.PlacementGroupFactory([{"node:__internal_head__": math.floor(9e3 / parallel) / 1e4}])
    given = Given(sweep, context.root, context.run.path, context.capacity, Path.cwd())
    with Live(sweep, record) as live:
        tuner = tune.Tuner(
            tune.with_resources(tune.with_parameters(TrialRun, given=given), share),
            tune_config=tune.TuneConfig(
                search_alg=proposals, scheduler=scheduler, num_samples=-1, 
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name="tune", storage_path=str(context.run.path), verbose=0, stop=Spent(config.budget, record),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False, num_to_keep=3),
                callbacks=[Follow(record, numbers, live.show)],
            ),
        )  # fmt: skip
        tuner.fit()
    _mark_cut_off(config.budget, record)
    if not publishable(sweep, record):
        reasons = {one.reason for one in record.trials if one.reason}
        raise ClusterError(
            "No trial came to a measurement.", field=config.name, got="; ".join(sorted(reasons)) or "no trial was run",
            fix="the reasons are in sweep.json and in the trials' run directories",
        )  # fmt: skip
    fact("time", duration(record.seconds))


def _mark_cut_off(budget: BudgetConfig, record: SweepRecord) -> None:
    """Tune tells nobody of trials that it ends with the budget; with a higher one they go on."""
    reason = spent(budget, record)
    for trial in record.trials:
        if trial.status == "running":
            record.update(trial.number, status="waiting", reason=f"the budget is spent: {reason}" if reason else None)


def show_plan(sweep: Sweep) -> None:
    """Print what a sweep would do, without allocating anything."""
    job = sweep.sample
    title(f"Plan of {sweep.config.name}: {describe(sweep)}")
    for name, dimension in sweep.config.space.items():
        fact(name, ", ".join(f"{kind} {value}" for kind, value in dimension.model_dump(exclude_none=True).items()))
    if job.train is not None:
        size = grid_size(sweep.config.space)
        fact("a trial", f"{job.train.steps:,} steps")
        if size is not None:
            fact("the full grid", f"{size} trials, {size * job.train.steps:,} steps")
    show_job_plan(job)
