"""One trial as Ray Tune runs it: an ordinary run in its own directory, that waits at each held-out measurement.

Tune's actor prepares the run and follows its metrics; the training is done by Ray Train's workers, which the actor
keeps from one trial to the next (`trainers.launch.Workers`).
"""

from __future__ import annotations

import math
import os
import shutil
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from ray import tune

from cluster.artifacts import Manifest
from cluster.config import digest
from cluster.connect import Capacity
from cluster.errors import ClusterError, ConfigError, RaysmithError, TrainingError
from cluster.rundir import MetricsTail, RunDirectory
from cluster.storage import read_json, write_json
from jobs.config import JobConfig
from jobs.context import Context
from jobs.run import base_and_data
from jobs.stages.train import start_of, summary, training_job
from jobs.summary import recorded
from jobs.sweep.schedulers import OVER, SCORE, STEP
from jobs.sweep.space import Sweep
from trainers.checkpoint import Folder, Marker, checkpoint_folder, list_checkpoints, step_name
from trainers.gate import Gate
from trainers.launch import Workers, result_of_training, wait_of
from trainers.loop import Job

_POLL_S = 0.05
_STOP_S = 1800.0
"""A trial is told to stop at each step, and one of a large model may take minutes."""
_END_S = 120.0
_ORIGIN, _ROLLOUTS = "origin.json", "rollouts"
_WORST = 1e9
"""What schedulers are told of a trial that failed."""


class Given(NamedTuple):
    """What every trial of a sweep is given."""

    sweep: Sweep
    root: Path
    folder: Path
    """The sweep's own, in which the workers' series lie."""
    capacity: Capacity
    working_directory: Path
    """The driver's, which relative paths of the job are meant from."""


class Running(NamedTuple):
    """A trial's training that has begun."""

    job: Job
    gate: Gate
    number: int
    """In the workers' series."""
    context: Context
    end: ExitStack
    """Ends the attempt."""
    metrics: MetricsTail


class TrialRun(tune.Trainable):
    """Tune's trainable: a step of it goes to the next held-out measurement."""

    def setup(self, config: dict[str, Any], given: Given) -> None:  # type: ignore[override]
        """Take a trial; nothing starts before the first step."""
        self._given = given
        self._workers: Workers | None = None
        self._workers_of: Any = None
        self._take(config)

    def _take(self, config: dict[str, Any]) -> None:
        sweep = self._given.sweep
        self._number, self._values = int(config["number"]), sweep.values(config["point"])
        self._config: JobConfig = sweep.trial(self._number, self._values)
        self._reported: int = config["reported"]
        self._counted = -1
        self._score = _WORST
        self._running: Running | None = None
        self._origin: dict[str, Any] | None = None

    def step(self) -> dict[str, Any]:
        """Train to the next measurement; a trial that fails says so in its result, and this process lives on."""
        try:
            if self._running is None:
                self._running = self._start()
            else:
                self._running.gate.allow(self._reported)
            return self._to_the_next_measurement(self._running)
        except RaysmithError as error:
            running, self._running = self._running, None
            costs = {"new_steps": 0, "new_tokens": 0, "new_seconds": 0.0}
            if running is not None:
                running.gate.stop("it has failed")
                running.end.__exit__(type(error), error, error.__traceback__)  # into the run's report
                costs = self._costs(running)
            return {
                **costs, "done": True, OVER: True, "values": self._values, "failed": str(error),
                STEP: self._reported, SCORE: _WORST,
            }  # fmt: skip

    def _to_the_next_measurement(self, running: Running) -> dict[str, Any]:
        record = self._next_measurement(running)
        done = record is None or record["step"] >= self._train.steps
        if done:
            self._finish(running)
        result = {
            **self._costs(running),
            "done": done,
            OVER: done,
            "values": self._values,
        }
        if record is not None:
            self._reported = record["step"]
            result["value"] = value = self._objective_of(record)
            self._score = self._given.sweep.config.objective.sign * value
        result |= {STEP: self._reported, SCORE: self._score}
        if self._origin is not None:
            result["origin"], self._origin = self._origin, None
        return result

    @property
    def _train(self) -> Any:
        return self._config.train

    def _start(self) -> Running:
        self._enter_working_directory()
        directory, end = RunDirectory(self._given.root, self._config.name), ExitStack()
        with ExitStack() as undo:
            attempt = undo.enter_context(directory.attempt(self._config.resolved()))
            context = Context(self._config, self._given.root, directory, attempt, capacity=self._given.capacity)
            context.report["sweep"] = {"name": self._given.sweep.config.name, "values": self._values}
            undo.enter_context(recorded(context))
            self._release_other_workers()
            base, tokens = self._made_from(context)
            job = self._job(context, base, tokens)
            gate = Gate(job.folder / "gate.json")
            gate.allow(self._reported)
            job = job._replace(gate=gate)
            if self._origin is not None:
                _place(Path(self._origin["folder"]), job)
                shutil.rmtree(self._origin["folder"])
            if self._workers is None:
                folder = self._given.folder / "workers" / _unique(self._number)
                self._workers = Workers(self._config.cluster, folder, wait_of(job.config))
            number = self._workers.start(job)
            end = undo.pop_all()
        return Running(job, gate, number, context, end, MetricsTail(job.metrics_file))

    def _enter_working_directory(self) -> None:
        if not self._given.working_directory.is_dir():
            raise ClusterError(
                "The driver's working directory is not on the head node.", field="cluster.address",
                got=str(self._given.working_directory), expected="a folder that both see",
            )  # fmt: skip
        os.chdir(self._given.working_directory)  # Tune gives each trial another one

    def _made_from(self, context: Context) -> tuple[Manifest, Manifest]:
        base, tokens = base_and_data(context)
        if tokens is None:
            raise ConfigError("A sweep needs a job that trains.", field="job", expected="data and train")
        return base, tokens

    def _job(self, context: Context, base: Manifest, tokens: Manifest) -> Job:
        start = start_of(context, base, self._train)
        inputs = {"base": base, "tokens": tokens} | ({"start": start} if start is not None else {})
        job = training_job(context, inputs, self._train)
        output = job.folder / "result"
        output.mkdir(parents=True, exist_ok=True)
        return job._replace(output=output)

    def _release_other_workers(self) -> None:
        """Let the last trial's workers go, unless this trial wants such workers and has its model and data already.

        What prepares these needs the cores that idle workers would hold.
        """
        job, train = self._config, self._train
        new_weights = job.model.scratch is not None or job.head != "causal_lm"
        wanted = (job.cluster, job.model, job.data, job.tokenizer, train.dtype, train.seed if new_weights else None)
        if self._workers is not None and wanted != self._workers_of:
            self._workers.close(_END_S)
            self._workers = None
        self._workers_of = wanted

    def _next_measurement(self, running: Running) -> dict[str, Any] | None:
        """The next record with held-out figures; None when training has ended without one."""
        while True:
            # First this, then the metrics: what is there when it is done was all.
            over = self._is_over(running)
            for record in self._records(running):
                if record["step"] > self._reported and any(key.startswith("heldout_") for key in record):
                    return record
            if over:
                return None
            time.sleep(_POLL_S)

    def _is_over(self, running: Running) -> bool:
        if self._workers is None:
            return True
        try:
            return self._workers.is_done(running.number)
        except ClusterError:
            self._workers = None  # the next trial gets others
            raise

    def _records(self, running: Running) -> list[dict[str, Any]]:
        return [record for record in running.metrics.look() if record["training"] == running.job.name]

    def _objective_of(self, record: dict[str, Any]) -> float:
        metric = self._given.sweep.config.objective.metric
        if metric not in record:
            raise ConfigError(
                "The trials do not measure the objective.", field="objective.metric", got=metric,
                expected=", ".join(sorted(key for key in record if key.startswith("heldout_"))),
            )  # fmt: skip
        value = float(record[metric])
        if not math.isfinite(value):
            raise TrainingError("The objective is not a finite number.", field=metric, got=value)
        return value

    def _costs(self, running: Running) -> dict[str, float]:
        """Steps, tokens and seconds since the last call."""
        records, job = self._records(running), running.job
        if self._counted < 0:  # steps of an earlier attempt were counted then
            first = [record["step"] for record in records if record["attempt"] == job.attempt]
            self._counted = min(first, default=self._reported + 1) - 1
        new = [record for record in records if record["step"] > self._counted]
        self._counted = max([self._counted, *(record["step"] for record in new)])
        return {
            "new_steps": len(new),
            "new_tokens": sum(record.get("tokens", 0) for record in new),
            "new_seconds": sum(record["seconds"] for record in new),
        }

    def _finish(self, running: Running) -> None:
        """Wait for the workers to be through, and write the run's report."""
        while not self._is_over(running):
            time.sleep(_POLL_S)
        with running.end:
            outcome = result_of_training(running.job)
            records = self._records(running)
            if not records:  # it was complete before
                running.context.report["status"] = "done"
                return
            known = {key: value for key, value in outcome.items() if value is not None}
            running.context.report["stages"]["train"] = {
                "reused": False, "seconds": round(sum(record["seconds"] for record in records), 2),
                **summary(records), **known,
            }  # fmt: skip
            running.context.report["status"] = "done"

    def _end(self, reason: str) -> bool:
        """End a training that is under way; whether it did in time."""
        running, self._running = self._running, None
        if running is None:
            return True
        until = time.monotonic() + _STOP_S
        running.gate.stop(reason)
        try:
            while not self._is_over(running):
                if time.monotonic() > until:
                    running.end.close()
                    return False
                time.sleep(_POLL_S)
            self._finish(running)
        except Exception as error:  # it is stopped in any case, and what failed is in its report
            running.context.report["error"] = str(error)
            running.end.close()
        return True

    def save_checkpoint(self, checkpoint_dir: str) -> str:  # type: ignore[override]
        """Copy the newest checkpoint, for another trial to go on with.

        Raises:
            ClusterError: there is none.
        """
        if self._running is None:
            raise ClusterError("A trial has no checkpoint yet.", field=self._config.name)
        job, target = self._running.job, Path(checkpoint_dir)
        folder = _checkpoints(job)
        marker = self._checkpoint_of(folder, self._reported)
        name = step_name(marker.step)
        _copy(Path(folder.path(name)), target / name)
        if (rollouts := _rollouts(job)).is_dir():
            _copy(rollouts, target / _ROLLOUTS)
        write_json(target / _ORIGIN, {
            "source": job.run, "step": marker.step,
            "sha256": digest({file: record.sha256 for file, record in marker.files.items()}),
        })  # fmt: skip
        return checkpoint_dir

    def _checkpoint_of(self, folder: Folder, step: int) -> Marker:
        """The checkpoint of the last measurement, which is written before the trial waits at its gate."""
        until = time.monotonic() + _STOP_S
        while time.monotonic() < until:
            found = [marker for marker in list_checkpoints(folder) if marker.step == step]
            if found:
                return found[0]
            time.sleep(_POLL_S)
        raise ClusterError("A trial's checkpoint was not written.", field=self._config.name, expected=f"step {step}")

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Go on with a checkpoint that `save_checkpoint` copied, perhaps in another trial."""
        folder = Path(str(checkpoint))
        self._end("it goes on with other weights")
        # Tune removes its copy when it likes.
        kept = self._given.folder / "moves" / _unique(self._number)
        _copy(folder, kept)
        self._origin = {**read_json(kept / _ORIGIN), "folder": str(kept)}
        self._reported = self._origin["step"]

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take another trial, or this one with other values."""
        if not self._end("the sweep has stopped it"):
            return False
        self._take(new_config)
        return True

    def cleanup(self) -> None:
        """End what runs."""
        self._end("the sweep has stopped it")
        if self._workers is not None:
            self._workers.close(_END_S)


def _unique(number: int) -> str:
    return f"{number:03d}-{time.time_ns()}"


def _checkpoints(job: Job) -> Folder:
    return checkpoint_folder(job.config, job.folder, job.run, job.name)


def _rollouts(job: Job) -> Path:
    """Where reinforcement learning keeps what it goes on with, beside the checkpoint."""
    return job.metrics_file.parent / _ROLLOUTS / job.name


def _place(source: Path, job: Job) -> None:
    """Let a copied checkpoint be the only one of a training."""
    folder = _checkpoints(job)
    for name in folder.names():
        folder.remove(name)
    for step in source.glob("step-*"):
        _copy(step, Path(folder.path(step.name)))
    if (source / _ROLLOUTS).is_dir():
        shutil.rmtree(_rollouts(job), ignore_errors=True)
        _copy(source / _ROLLOUTS, _rollouts(job))


def _copy(source: Path, target: Path) -> None:
    # Files of a checkpoint are never written to again: a link does where the file system has them.
    def link(one: str, other: str) -> None:
        try:
            Path(other).hardlink_to(one)
        except OSError:
            shutil.copy2(one, other)

    shutil.copytree(source, target, copy_function=link, dirs_exist_ok=True)
