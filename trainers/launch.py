"""Start the training workers with Ray Train, wait for them, export the result. Imports neither torch nor DeepSpeed."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from cluster.config import PluginConfig
from cluster.connect import ClusterConfig, result_of
from cluster.errors import ClusterError, RaysmithError
from trainers.loop import Job, worker
from trainers.objectives import module_of
from trainers.outcome import read_failure, read_memory, read_outcome


def train(job: Job, cluster: ClusterConfig) -> dict[str, Any]:
    """Run a training until its end, restarting workers that die, and write its result to `job.output`.

    The run is known to Ray Train by `job.name`; started again after a kill, it goes on from the newest checkpoint that
    was complete, with as many workers as the cluster now has between `cluster.workers`' bounds.

    Returns:
        `memory`: what each worker used, in bytes; `workers`: how many there were at the end; `best`: step and held-out
        loss of the best measurement; `stopped`: why it ended early, if it did.

    Raises:
        RaysmithError: what a worker raised; such errors are not retried.
        ClusterError: workers died more often than `train.checkpoint.max_failures`.
    """
    from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
    from ray.train.torch import TorchConfig, TorchTrainer

    job.folder.mkdir(parents=True, exist_ok=True)
    use_gpu = cluster.gpus_per_worker > 0
    trainer = TorchTrainer(
        _worker_of(job.config.objective),
        train_loop_config={"job": job},
        scaling_config=ScalingConfig(
            num_workers=cluster.worker_range,  # type: ignore[arg-type]  # its base class' annotation is Ray Train v1's
            use_gpu=use_gpu,
            resources_per_worker={"CPU": cluster.cpus_per_worker, "GPU": cluster.gpus_per_worker},
        ),
        torch_config=TorchConfig(backend="nccl" if use_gpu else "gloo"),
        run_config=RunConfig(
            name=job.name,
            storage_path=str(job.folder.parent),
            failure_config=FailureConfig(max_failures=job.config.checkpoint.max_failures),
        ),
    )
    try:
        with _interruptible():
            trainer.fit()
    except TrainingFailedError as error:
        raise read_failure(job.folder, job.attempt) or _cause(error) from None
    if failure := read_failure(job.folder, job.attempt):
        raise failure
    outcome = read_outcome(job.folder)
    if not any(job.output.iterdir()):
        _export(job, cluster)
    return {"memory": read_memory(job.folder, outcome["workers"]), **outcome}


def _worker_of(objective: PluginConfig) -> Callable[[dict[str, Any]], None]:
    # An objective that brings its own loop (trl) says so.
    found: Callable[[dict[str, Any]], None] = getattr(module_of(objective), "worker", worker)
    return found


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
