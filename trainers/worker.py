"""What Ray Train's workers run: one training; or one after another in the same processes, for the trials of a sweep.

A worker's start (processes, imports, process group) takes longer than many a trial trains. So a sweep keeps its
workers: a *series* is a folder in which the driver lays jobs, and in which worker 0 notes which are done. It outlives
the workers: after a crash Ray Train starts new ones, which find their place in it.
"""

from __future__ import annotations

import gc
import time
from pathlib import Path
from typing import Any

from cluster.errors import ClusterError, RaysmithError, TrainingError
from cluster.progress import ProgressFile
from cluster.storage import read_json, write_json
from trainers.config import TrainConfig
from trainers.gate import Gate
from trainers.heartbeat import OVER, START, Heartbeat, register
from trainers.loop import Job
from trainers.objectives import module_of
from trainers.outcome import failed_before, write_failure

_POLL_S = 0.05
_PATHS = ("base", "tokens", "dataset", "start", "output", "metrics_file", "folder")


def worker(arguments: dict[str, Any]) -> None:
    """Train `arguments["job"]`, from the newest checkpoint if there is one, until it ends or stops early."""
    import ray.train

    context, job = ray.train.get_context(), arguments["job"]
    rank, workers = context.get_world_rank(), context.get_world_size()
    register(job.folder, rank, workers)
    train(job, rank, workers)


def train(job: Job, rank: int, workers: int) -> None:
    """One worker's part of a training, by the objective's own loop if it brings one (`trl`)."""
    from trainers import loop

    if failed_before(job.folder, job.attempt):
        return  # restarting does not cure what failed: the driver raises it
    heart = Heartbeat(job.folder, rank)
    heart.beat(START)
    try:
        getattr(module_of(job.config.objective), "train", loop.train)(job, rank, workers)
    except RaysmithError as error:
        write_failure(job.folder, job.attempt, error)
        raise
    heart.beat(OVER)


def series_worker(arguments: dict[str, Any]) -> None:
    """Train the jobs of the series `arguments["folder"]`, one after another, until it is closed."""
    import ray.train
    import torch
    import torch.distributed as dist

    context, series = ray.train.get_context(), Series(arguments["folder"])
    rank, number = context.get_world_rank(), series.first_open()
    register(series.folder, rank, context.get_world_size())
    dist.barrier()
    while (job := series.wait_for(number)) is not None:
        if rank == 0:
            series.count_start(number, job)
        dist.barrier()
        # A divergence is seen by all workers at once. Another error of ours ends them, since the others may wait for
        # this one; those that come after them see that the job failed.
        try:
            train(job, rank, context.get_world_size())
        except TrainingError:
            pass
        except Exception as error:
            series.note_death(number, f"{type(error).__name__}: {error}")
            raise
        dist.barrier()
        if rank == 0:
            series.mark_done(number)
        number += 1
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


class Series:
    """Jobs that the same workers train one after another; a folder that driver and workers share."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def _file(self, number: int, what: str) -> Path:
        return self.folder / f"{number:05d}-{what}.json"

    def add(self, job: Job) -> int:
        """Lay down the next job; gives its number."""
        number = len(list(self.folder.glob("*-job.json")))
        write_json(self._file(number, "job"), encode(job))
        return number

    def close(self) -> None:
        """Let the workers end when they have done what is there."""
        write_json(self.folder / "closed.json", True)

    def is_done(self, number: int) -> bool:
        """Whether the workers are through with a job, however it ended."""
        return self._file(number, "done").exists()

    def mark_done(self, number: int) -> None:
        """Say that a job is trained, or has failed for good."""
        write_json(self._file(number, "done"), True)

    def first_open(self) -> int:
        """The first job that is not done."""
        number = 0
        while self.is_done(number):
            number += 1
        return number

    def current(self) -> Job | None:
        """The job that the workers have begun and are not through with."""
        number = self.first_open()
        return decode(read_json(self._file(number, "job"))) if self._file(number, "starts").exists() else None

    def wait_for(self, number: int) -> Job | None:
        """The job of a number, as soon as there is one; None when there will be none."""
        while True:
            if (values := read_json(self._file(number, "job"))) is not None:
                return decode(values)
            if (self.folder / "closed.json").exists():
                return None
            time.sleep(_POLL_S)

    def note_death(self, number: int, cause: str) -> None:
        """Keep what ended a worker; a killed one says nothing."""
        write_json(self._file(number, "death"), cause)

    def _last_death(self, number: int) -> str:
        cause = read_json(self._file(number, "death"))
        return "" if cause is None else f"; last: {cause.strip().splitlines()[0]}"

    def count_start(self, number: int, job: Job) -> None:
        """Note that workers begin with a job; one whose workers died too often fails."""
        starts = (read_json(self._file(number, "starts")) or 0) + 1
        write_json(self._file(number, "starts"), starts)
        if starts > job.config.checkpoint.max_failures + 1:
            error = ClusterError(
                "The training's workers died again and again.", field="train.checkpoint.max_failures",
                got=f"{starts - 1} times{self._last_death(number)}",
                fix="usually too little memory: see `raysmith plan` and the workers' logs",
            )  # fmt: skip
            write_failure(job.folder, job.attempt, error)


def encode(job: Job) -> dict[str, Any]:
    """A job as plain data."""
    paths = {name: None if getattr(job, name) is None else str(getattr(job, name)) for name in _PATHS}
    return {
        **job._asdict(), **paths, "config": job.config.model_dump(mode="json"), "progress": str(job.progress.path),
        "gate": None if job.gate is None else str(job.gate.path),
        "artifacts": {name: str(path) for name, path in job.artifacts.items()},
    }  # fmt: skip


def decode(values: dict[str, Any]) -> Job:
    """The job that `encode` described."""
    paths = {name: None if values[name] is None else Path(values[name]) for name in _PATHS}
    return Job(**{
        **values, **paths, "config": TrainConfig.model_validate(values["config"]),
        "progress": ProgressFile(Path(values["progress"])),
        "gate": None if values["gate"] is None else Gate(Path(values["gate"])),
        "artifacts": {name: Path(path) for name, path in values["artifacts"].items()},
    })  # fmt: skip
