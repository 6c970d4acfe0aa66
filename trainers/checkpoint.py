"""Checkpoints: each worker saves its shard, Ray Train gathers them into one folder and registers it when all are there.

What is in one: trained parameters, optimizer states and the step. Sampling order, dropout and learning rate are
functions of the step (`data/sampler.py`, `loop.py`, `engine.learning_rate`), so there is nothing else to save.
DeepSpeed's files are pickles: they are read back from this run's own directory alone, never from an artifact.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cluster.errors import ClusterError

if TYPE_CHECKING:
    from deepspeed import DeepSpeedEngine
    from ray.train import Checkpoint

_TAG = "state"


def save(engine: DeepSpeedEngine, folder: Path, step: int) -> Checkpoint:
    """Save this worker's shard into `folder`; every worker must call it."""
    from ray.train import Checkpoint

    (folder / _TAG).mkdir(parents=True)
    engine.save_checkpoint(
        str(folder), tag=_TAG, client_state={"step": step}, exclude_frozen_parameters=True, save_latest=False
    )
    return Checkpoint.from_directory(folder)


def restore(engine: DeepSpeedEngine, checkpoint: Checkpoint | None) -> int:
    """Load a checkpoint into the engine; gives the number of steps it holds (0 without one).

    Raises:
        ClusterError: the checkpoint is incomplete, or of another number of workers.
    """
    if checkpoint is None:
        return 0
    with checkpoint.as_directory() as folder:
        shards = len(list((Path(folder) / _TAG).glob("*optim_states.pt")))
        path, state = engine.load_checkpoint(folder, tag=_TAG, load_module_strict=False)
    if path is None or "step" not in state:
        raise ClusterError(
            "The newest checkpoint cannot be loaded.", field="train/checkpoints",
            got=f"{checkpoint.path} with {shards} optimizer shards",
            expected=f"a complete checkpoint of {engine.world_size} workers",
            fix="remove that checkpoint's folder to go on from the one before, or run with --fresh",
        )  # fmt: skip
    return int(state["step"])
