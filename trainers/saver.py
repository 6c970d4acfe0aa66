"""Saving and restoring a running engine's states: beside training, agreed on by all workers.

A save takes a copy of the worker's fragments, which a thread then writes. The loop sums one vector over all workers at
every step anyway; in it each says whether its thread is done (`Saver.votes`), so that worker 0 marks a checkpoint as
complete as soon as all have written, and all know of a failure, without another message.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist

from cluster.errors import ClusterError, ResourceError
from trainers.checkpoint import (
    Folder,
    Marker,
    Piece,
    Reader,
    damage,
    is_intact,
    list_checkpoints,
    remove_unfinished,
    step_name,
    sweep,
    write_marker,
    write_pieces,
)
from trainers.config import CheckpointConfig
from trainers.states import (
    ROLES,
    fragments,
    optimizer_steps,
    set_optimizer_steps,
    weights_from_masters,
)

if TYPE_CHECKING:
    from deepspeed import DeepSpeedEngine


class Saver:
    """Writes checkpoints of one engine; every worker has one, and they are called in step.

    Args:
        event: told, on worker 0, of what the user should know.
        written: told, on worker 0, the step of a checkpoint that is complete, and the seconds since its save began.
    """

    def __init__(
        self,
        folder: Folder,
        config: CheckpointConfig,
        device: torch.device,
        *,
        keep_best: bool,
        event: Callable[[str], None],
        written: Callable[[int, float], None] = lambda _step, _seconds: None,
    ) -> None:
        self._folder, self._config, self._device, self._keep_best, self._event = (
            folder,
            config,
            device,
            keep_best,
            event,
        )
        self._written, self._began = written, 0.0
        self._rank, self._workers = dist.get_rank(), dist.get_world_size()
        self._marker: Marker | None = None
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None
        self.failure: str | None = None
        """Why the last save failed; None when it did not."""

    def save(self, engine: DeepSpeedEngine, step: int, heldout_loss: float | None, progress: dict[str, Any]) -> None:
        """Copy this worker's fragments and write them, beside training if it is so configured."""
        self.finish()
        self._began = time.perf_counter()
        asynchronous = self._config.asynchronous
        pieces = [_copy(fragment) for fragment in fragments(engine)]
        self._marker = Marker(
            step=step, optimizer_steps=optimizer_steps(engine), loss_scale=_loss_scale(engine), shapes=_shapes(engine),
            files={}, heldout_loss=heldout_loss, progress=progress,
        )  # fmt: skip
        self._error = None
        self._thread = threading.Thread(target=self._write, args=(step, pieces), name="checkpoint")
        self._thread.start()
        if not asynchronous:
            self.finish()

    def _write(self, step: int, pieces: list[Piece]) -> None:
        try:
            write_pieces(self._folder, step, self._rank, pieces)
        except Exception as error:  # the others wait for this worker's vote, whatever went wrong
            self._error = error

    @property
    def votes(self) -> tuple[float, float]:
        """(1 if this worker has written its part, 1 if it failed), to be summed over the workers."""
        if self._marker is None or self._thread is None or self._thread.is_alive():
            return 0.0, 0.0
        return 1.0, float(self._error is not None)

    def count(self, done: float, failed: float) -> None:
        """Take the summed votes: when all are done, mark the checkpoint as complete, or remove it if one failed.

        Raises:
            ClusterError: the workers do not share the folder.
        """
        if self._marker is None or round(done) != self._workers:
            return
        marker, self._marker, self._thread = self._marker, None, None
        if self._rank == 0 and not failed:
            try:
                write_marker(self._folder, marker, self._workers)
            except OSError as error:
                self._error = error
            else:
                self._written(marker.step, time.perf_counter() - self._began)
                self._sweep()
        outcome = [bool(failed) or self._error is not None, str(self._error or "")]
        gathered: list[Any] = [None] * self._workers
        dist.all_gather_object(gathered, outcome)
        reasons = [reason for bad, reason in gathered if bad]
        self.failure = next(filter(None, reasons), "") if reasons else None
        if reasons and self._rank == 0:
            self._event(f"checkpoint at step {marker.step} failed, the one before is kept: {self.failure}")
            with suppress(OSError):  # what is left has no marker, and goes at the next start
                self._folder.remove(step_name(marker.step))

    def _sweep(self) -> None:
        try:
            sweep(self._folder, self._config.keep, self._config.keep_every_steps, self._keep_best)
        except OSError as error:
            self._event(f"old checkpoints could not be removed: {error}")

    def finish(self) -> None:
        """Wait for a save that is still being written, on all workers."""
        if self._thread is not None:
            self._thread.join()
            votes = torch.tensor(self.votes, device=self._device)
            dist.all_reduce(votes)
            self.count(*votes.tolist())

    def require_saved(self) -> None:
        """Refuse to end on a save that failed.

        Raises:
            ResourceError: with the reason.
        """
        self.finish()
        if self.failure is not None:
            raise ResourceError(
                "The last checkpoint cannot be written.", field=self._folder.location, got=self.failure,
                expected="a writable folder with room for the model's states",
                fix="free space and run the same command: it goes on from the last good checkpoint",
            )  # fmt: skip


def _shapes(engine: DeepSpeedEngine) -> dict[str, list[int]]:
    return {
        name.removeprefix("model."): list(getattr(parameter, "ds_shape", parameter.shape))
        for name, parameter in engine.module.named_parameters()
        if parameter.requires_grad
    }


def _copy(fragment: Any) -> Piece:
    tensors = {role: tensor.detach().to("cpu", copy=True) for role, tensor in fragment.tensors.items()}
    return Piece(fragment.name, fragment.start, tensors)


def restore(engine: DeepSpeedEngine, folder: Folder, event: Callable[[str], None]) -> Marker | None:
    """Load the newest checkpoint that is whole; None when there is none at all. All workers call it.

    Raises:
        ClusterError: there are checkpoints, and none is whole or fits the model.
    """
    rank = dist.get_rank()
    if rank == 0:
        remove_unfinished(folder)
    dist.barrier()
    markers = list_checkpoints(folder)
    for marker in reversed(markers):
        problem = damage(folder, marker) or _altered(folder, marker)
        if problem is None:
            _load(engine, folder, marker)
            if rank == 0 and marker is not markers[-1]:
                # They would be taken for newer ones when this training comes to their steps.
                for later in markers[markers.index(marker) + 1 :]:
                    folder.remove(step_name(later.step))
            dist.barrier()
            return marker
        if rank == 0:
            event(f"checkpoint at step {marker.step} is damaged and left out: {problem}")
    if markers:
        raise ClusterError(
            "No checkpoint is whole.", field=folder.location, got=f"{len(markers)} damaged ones",
            expected="one whose files have the sizes and hashes of its complete.json",
            fix="restore the files, or run with --fresh to start again",
        )  # fmt: skip
    return None


def _altered(folder: Folder, marker: Marker) -> str | None:
    """Each worker hashes its share of the files; all learn of one that is not what was written."""
    names = sorted(marker.files)[dist.get_rank() :: dist.get_world_size()]
    bad = [name for name in names if not is_intact(folder, marker, name)]
    gathered: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(gathered, bad)
    found = [name for names in gathered for name in names]
    return f"{step_name(marker.step)}/{found[0]} does not have its hash" if found else None


def _load(engine: DeepSpeedEngine, folder: Folder, marker: Marker) -> None:
    if different := [name for name, shape in _shapes(engine).items() if marker.shapes.get(name) != shape]:
        raise ClusterError(
            "The checkpoint does not hold a parameter as this model has it.",
            field=f"{step_name(marker.step)}: {different[0]}", got=marker.shapes.get(different[0]),
            expected=_shapes(engine)[different[0]], fix="run with --fresh",
        )  # fmt: skip
    reader = Reader(folder, marker)
    try:
        for fragment in fragments(engine):
            targets = {ROLES.index(role): tensor for role, tensor in fragment.tensors.items()}
            reader.fill(fragment.name, fragment.start, targets)
    finally:
        reader.close()
    weights_from_masters(engine)
    set_optimizer_steps(engine, marker.optimizer_steps)
    if marker.loss_scale is not None:
        _set_loss_scale(engine, marker.loss_scale)


def _scaler(engine: DeepSpeedEngine) -> Any:
    return getattr(engine.optimizer, "loss_scale_config", None) or getattr(engine.optimizer, "loss_scaler", None)


def _loss_scale(engine: DeepSpeedEngine) -> float | None:
    return float(_scaler(engine).cur_scale) if engine.fp16_enabled() else None


def _set_loss_scale(engine: DeepSpeedEngine, scale: float) -> None:
    if engine.fp16_enabled():
        _scaler(engine).cur_scale = scale
