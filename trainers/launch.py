"""Start the training workers with Ray Train, wait for them, export the result. Imports neither torch nor DeepSpeed."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cluster.connect import ClusterConfig, result_of
from cluster.errors import ClusterError, RaysmithError
from trainers.config import TrainConfig
from trainers.loop import Job
from trainers.outcome import read_failure, read_memory, read_outcome
from trainers.watchdog import Watchdog
from trainers.worker import Series, series_worker, worker


def _nothing(_text: str) -> None: ...


def train(job: Job, cluster: ClusterConfig, tell: Callable[[str], None] = _nothing) -> dict[str, Any]:
    """Run a training until its end, restarting workers that die, and write its result to `job.output`.

    The run is known to Ray Train by `job.name`; started again after a kill, it goes on from the newest checkpoint that
    was complete, with as many workers as the cluster now has between `cluster.workers`' bounds. Workers that hang are
    killed and started again (`train.watchdog`).

    Args:
        tell: given a line for the user when workers hung.

    Returns:
        See `result_of_training`.

    Raises:
        RaysmithError: what a worker raised; such errors are not retried.
        ClusterError: workers died more often than `train.checkpoint.max_failures`.
    """
    job.folder.mkdir(parents=True, exist_ok=True)
    try:
        with Watchdog(job.folder, lambda: job, tell):
            _fit(worker, {"job": job}, cluster, job.folder, job.config.checkpoint.max_failures, wait_of(job.config))
    except ClusterError as error:
        raise read_failure(job.folder, job.attempt) or error from None
    found = result_of_training(job)
    if not any(job.output.iterdir()):
        _export(job, cluster)
    return found


def result_of_training(job: Job) -> dict[str, Any]:
    """How a training that is over has ended.

    Returns:
        `memory`: what each worker used, in bytes; `workers`: how many there were at the end; `best`: step and held-out
        loss of the best measurement; `stopped`: why it ended early, if it did; `parameters`: how many are `trained`.

    Raises:
        RaysmithError: what a worker raised.
    """
    if failure := read_failure(job.folder, job.attempt):
        raise failure
    outcome = read_outcome(job.folder)
    return {"memory": read_memory(job.folder, outcome["workers"]), **outcome}


_MAX_RESTARTS = 50
"""Of workers that train a series, in all; a single job has its own bound."""
_COLLECTIVE_S = 1800.0


def wait_of(config: TrainConfig) -> float:
    """Seconds after which a worker that waits for the others takes them for hung: they train, or one of them works
    alone while the rest wait, as long as the objective says (`alone_s`).
    """
    return _COLLECTIVE_S + float(getattr(config.objective, "alone_s", 0.0))


class Workers:
    """Workers that train one job after another (`trainers.worker.Series`); they start with the first and stay.

    Args:
        folder: new or empty; the series and Ray Train's own state lie there.
        wait_s: `wait_of` the jobs.
    """

    def __init__(self, cluster: ClusterConfig, folder: Path, wait_s: float = _COLLECTIVE_S) -> None:
        self._cluster, self._folder, self._wait_s = cluster, folder, wait_s
        self._series = Series(folder / "series")
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def start(self, job: Job) -> int:
        """Give them the next job; gives its number."""
        job.folder.mkdir(parents=True, exist_ok=True)
        number = self._series.add(job)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="workers", daemon=True)
            self._thread.start()
        return number

    def is_done(self, number: int) -> bool:
        """Whether they are through with a job, however it ended.

        Raises:
            ClusterError: there are no workers any more.
        """
        if self._error is not None:
            raise ClusterError("The training workers ended.", got=str(self._error)) from self._error
        return self._series.is_done(number)

    def close(self, timeout_s: float) -> bool:
        """Let them end when they have done what they were given; whether they did in that time."""
        self._series.close()
        if self._thread is not None:
            self._thread.join(timeout_s)
        return self._thread is None or not self._thread.is_alive()

    def _run(self) -> None:
        try:
            arguments = {"folder": self._series.folder}
            with Watchdog(self._series.folder, self._series.current, _nothing):
                _fit(series_worker, arguments, self._cluster, self._folder, _MAX_RESTARTS, self._wait_s)
        except BaseException as error:  # the caller's thread learns of it, whatever it is
            self._error = error


def _fit(
    function: Callable[[dict[str, Any]], None],
    arguments: dict[str, Any],
    cluster: ClusterConfig,
    folder: Path,
    max_failures: int,
    wait_s: float,
) -> None:
    """Run a function in Ray Train's workers, whose state lies in `folder`.

    Raises:
        ClusterError: the workers died too often.
        RaysmithError: what a worker raised.
    """
    from ray.exceptions import RayError
    from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
    from ray.train.torch import TorchTrainer

    from trainers.gloo import GroupConfig

    use_gpu = cluster.gpus_per_worker > 0
    trainer = TorchTrainer(
        function,
        train_loop_config=arguments,
        scaling_config=ScalingConfig(
            num_workers=cluster.worker_range,  # type: ignore[arg-type]  # its base class' annotation is Ray Train v1's
            use_gpu=use_gpu,
            resources_per_worker={"CPU": cluster.cpus_per_worker, "GPU": cluster.gpus_per_worker},
        ),
        torch_config=GroupConfig(backend="nccl" if use_gpu else "gloo", timeout_s=round(wait_s)),
        run_config=RunConfig(
            name=folder.name, storage_path=str(folder.parent), failure_config=FailureConfig(max_failures=max_failures)
        ),
    )
    try:
        with _interruptible():
            trainer.fit()
    except TrainingFailedError as error:
        raise _cause(error) from None
    except RayError as error:  # such as the node that this driver is on
        raise ClusterError(
            "The cluster has lost what leads the training.", got=str(error).strip().splitlines()[0],
            fix="run the same command: it goes on from the last checkpoint",
        ) from None  # fmt: skip


def _export(job: Job, cluster: ClusterConfig) -> None:
    import ray

    task = ray.remote(export_result).options(num_cpus=cluster.cpus_per_worker, max_retries=0)
    result_of(task.remote(job))


def export_result(job: Job) -> None:
    """Write the last, or the best, checkpoint's weights to `job.output`."""
    from trainers.checkpoint import best_of, checkpoint_folder, list_checkpoints
    from trainers.export import export

    folder = checkpoint_folder(job.config, job.folder, job.run, job.name)
    markers = list_checkpoints(folder)
    evaluation = job.config.evaluation
    marker = best_of(markers) if evaluation is not None and evaluation.publish == "best" else None
    if marker is None and not markers:
        raise ClusterError("Training ended without a checkpoint.", field=folder.location, got="none")
    export(folder, marker or markers[-1], job.base, job.config, job.base_name, job.output)


@contextmanager
def _interruptible() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # Ray Train answers Ctrl-C by ending the whole process with exit code 0, and leaves its handler behind.
    previous = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit:
        raise KeyboardInterrupt from None
    finally:
        signal.signal(signal.SIGINT, previous)


def _cause(error: Exception) -> RaysmithError:
    causes: dict[int, Exception] = getattr(error, "worker_failures", {})
    for cause in causes.values():
        root = getattr(cause, "cause", cause)
        if isinstance(root, RaysmithError):
            return root
    return ClusterError(
        "Training failed.", got=str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__,
        fix="the workers' logs are in the attempt's folder; run the same command to resume from the last checkpoint",
    )  # fmt: skip
