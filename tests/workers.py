"""Training workers without Ray: processes with a gloo group, in which a test calls the loop itself.

A start of Ray Train costs ten seconds; here processes are forked from one that has imported everything.
"""

from __future__ import annotations

import gc
import os
import traceback
import warnings
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any

from cluster.progress import ProgressFile
from tests.conftest import REPOSITORY
from trainers.config import TrainConfig
from trainers.loop import Job

_TIMEOUT_S = 300


def training_job(folder: Path, config: TrainConfig, base: Path, tokens: Path) -> Job:
    """A job that keeps everything in `folder`; the same folder again is a resume."""
    (folder / "out").mkdir(parents=True, exist_ok=True)
    return Job(
        name="run", run="test", config=config, base=base, base_name="tiny", tokens=tokens, dataset=tokens,
        output=folder / "out", metrics_file=folder / "metrics.jsonl", folder=folder,
        progress=ProgressFile(folder / "progress.json"), attempt="001", threads=1,
    )  # fmt: skip


def run_workers(count: int, rendezvous: Path, function: Callable[..., Any], *arguments: Any) -> list[Any]:
    """Call `function(rank, count, *arguments)` in `count` processes of one gloo group; gives what each returned."""
    context = get_context("forkserver")
    started = [worker_process(context, rank, count, rendezvous, function, arguments) for rank in range(count)]
    try:
        return [_receive(pipe) for _, pipe in started]
    finally:
        for process, _ in started:
            process.join(5)
            if process.is_alive():
                process.kill()


def worker_process(
    context: ForkServerContext,
    rank: int,
    count: int,
    rendezvous: Path,
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
) -> tuple[ForkServerProcess, Connection]:
    """Start one worker; gives the process and the pipe on which it answers."""
    # The fork server looks for what it imports in PYTHONPATH alone.
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
    context.set_forkserver_preload(["tests.workers_preload"])
    ours, theirs = context.Pipe()
    process = context.Process(target=_run, args=(theirs, rank, count, str(rendezvous), function, arguments))
    process.start()
    theirs.close()
    return process, ours


def _receive(pipe: Connection) -> Any:
    if not pipe.poll(_TIMEOUT_S):
        raise TimeoutError("a worker did not answer")
    good, value = pipe.recv()
    if not good:
        raise RuntimeError(value)
    return value


def _run(
    pipe: Connection, rank: int, count: int, rendezvous: str, function: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
    warnings.simplefilter("ignore")
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(count), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1"}
    try:
        import torch.distributed as dist

        dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=count)
        result = function(rank, count, *arguments)
        pipe.send((True, result))
        dist.destroy_process_group()
    except BaseException:
        pipe.send((False, traceback.format_exc()))


def train_all(rank: int, count: int, jobs: list[Job]) -> None:
    """Train several jobs, one after the other."""
    from trainers.loop import Training

    for job in jobs:
        Training(job, rank, count).run()


def held_before_the_step(rank: int, count: int, job: Job) -> int:
    """Train; gives the bytes of all tensors that were there when the optimizer stepped for the last time."""
    import torch

    from trainers.loop import Training

    loop = Training(job, rank, count)
    step, held = loop.engine.step, 0

    def measured_step() -> None:
        nonlocal held
        gc.collect()
        storages = [thing.untyped_storage() for thing in gc.get_objects() if isinstance(thing, torch.Tensor)]
        held = sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())
        step()

    loop.engine.step = measured_step
    loop.run()
    return held
