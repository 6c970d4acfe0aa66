"""Start the training workers with Ray Train and wait for them. Imports neither torch nor DeepSpeed."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cluster.connect import ClusterConfig
from cluster.errors import ClusterError, RaysmithError
from cluster.storage import read_json
from trainers.loop import Job, worker


def train(job: Job, cluster: ClusterConfig, run_folder: Path) -> dict[str, Any]:
    """Run `trainers.loop.worker` on every worker until all steps are done.

    The run is known to Ray Train by `job.name` under `run_folder`: started again after a kill, it goes on from the
    newest checkpoint that was complete.

    Returns:
        `memory`: what each worker used, in bytes.

    Raises:
        RaysmithError: what a worker raised.
        ClusterError: workers died more often than `train.checkpoint.max_failures`.
    """
    from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
    from ray.train.torch import TorchConfig, TorchTrainer

    use_gpu = cluster.gpus_per_worker > 0
    trainer = TorchTrainer(
        worker,
        train_loop_config={"job": job},
        scaling_config=ScalingConfig(
            num_workers=cluster.workers,
            use_gpu=use_gpu,
            resources_per_worker={"CPU": cluster.cpus_per_worker, "GPU": cluster.gpus_per_worker},
        ),
        torch_config=TorchConfig(backend="nccl" if use_gpu else "gloo"),
        run_config=RunConfig(
            name=job.name,
            storage_path=str(run_folder),
            failure_config=FailureConfig(max_failures=job.config.checkpoint.max_failures),
            checkpoint_config=CheckpointConfig(num_to_keep=job.config.checkpoint.keep),
        ),
    )
    try:
        with _interruptible():
            trainer.fit()
    except TrainingFailedError as error:
        raise _cause(error) from None
    return {"memory": [read_json(job.metrics_file.with_name(f"memory-{rank}.json")) for rank in range(cluster.workers)]}


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
