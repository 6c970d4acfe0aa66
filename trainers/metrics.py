"""What rank 0 writes of each step: metrics.jsonl, the trackers, the progress file; and events worth telling."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from cluster.clock import stamp
from cluster.errors import ResourceError
from trainers.spans import keep_lines

if TYPE_CHECKING:
    import torch

    from trainers.data.feed import StepData
    from trainers.loop import Job

_MATRIX = 1024
_MEASURE_S = 0.2


class Events:
    """What happened beside the steps (resumed, a checkpoint failed …): lines of events.jsonl, and the bar's text."""

    def __init__(self, job: Job, rank: int) -> None:
        self._job, self._rank = job, rank

    def write(self, text: str) -> None:
        """Record an event, on worker 0."""
        if self._rank:
            return
        record = {**stamp(), "attempt": self._job.attempt, "training": self._job.name, "event": text}
        with self._job.metrics_file.with_name("events.jsonl").open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(record) + "\n")


# Of a step; which they are is a function of seed and step anyway (`trainers.data.sampler.global_batch`).
_LOGGED_SAMPLES = 128


# What `trainers.loop` sums beside the objective's own figures.
_KNOWN = {"loss", "terms", "tokens", "padded_tokens", "waited_s", "grad_norm", "learning_rate", "workers"}


class StepLog:
    """Metrics of every step.

    Raises:
        ResourceError: the disk is full.
    """

    def __init__(self, job: Job, first_step: int, device: torch.device, dtype: torch.dtype) -> None:
        from trainers.trackers import tracker_of

        self._job, self._device = job, device
        self._rate = matrix_rate(device, dtype)
        self.before = keep_lines(job, first_step)
        """The newest line that was there."""
        self._file = job.metrics_file.open("a", encoding="utf-8")
        resolved = job.config.model_dump(mode="json")
        run_folder = job.metrics_file.parent
        self._trackers = [
            tracker_of(config, job.run, run_folder / config.kind, resolved, first_step)
            for config in job.config.trackers
        ]
        job.progress.write(first_step, job.config.steps, f"resumed at step {first_step}" if first_step else "")

    def step(
        self,
        step: int,
        sums: dict[str, float],
        data: StepData,
        measured: dict[str, float],
        seconds: float,
        flops: float,
    ) -> None:
        """Record a step.

        Args:
            sums: what `trainers.loop` sums over the workers.
            measured: held-out figures, if they were due.
            flops: floating-point operations of all workers together.
        """
        figures = {
            "loss": sums["loss"],
            "learning_rate": sums["learning_rate"],
            "grad_norm": sums["grad_norm"],
            "tokens_per_s": sums["tokens"] / seconds,
            "mfu": flops / seconds / (self._rate * sums["workers"]),
            "data_wait_share": sums["waited_s"] / seconds,
            "memory_bytes": float(_memory(self._device)),
            **{name: value for name, value in sums.items() if name not in _KNOWN},
            **{f"heldout_{name}": value for name, value in measured.items()},
        }
        record: dict[str, Any] = {
            "training": self._job.name,
            "step": step + 1,
            "attempt": self._job.attempt,
            **figures,
            "tokens": int(sums["tokens"]),
            "trained_tokens": int(sums["terms"]),
            "padding_share": 1.0 - sums["tokens"] / sums["padded_tokens"],
            "seconds": seconds,
            **stamp(),
        }
        if len(data.draw.indices) <= _LOGGED_SAMPLES:
            record["samples"] = data.draw.indices.tolist()
        try:
            self._file.write(json.dumps(record) + "\n")
            self._file.flush()
        except OSError as error:
            raise ResourceError(
                "The metrics of a step cannot be written.", field=str(self._job.metrics_file), got=error.strerror,
                fix="free space and run the same command: it goes on from the last checkpoint",
            ) from None  # fmt: skip
        for tracker in self._trackers:
            tracker.step(step + 1, figures)
        text = f"loss {sums['loss']:.3f}, {figures['tokens_per_s']:,.0f} tokens/s"
        if "reward" in sums:
            text = f"reward {sums['reward']:.3f}, {figures['tokens_per_s']:,.0f} tokens/s"
        if "loss" in measured:
            text += f", held-out {measured.get('reward', measured['loss']):.3f}"
        self._job.progress.write(step + 1, self._job.config.steps, text)

    def close(self) -> None:
        """Close the file and the trackers."""
        self._file.close()
        for tracker in self._trackers:
            tracker.close()


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second that this worker reaches in a plain matrix product of that type: what MFU is a share of."""
    import torch

    one = torch.randn(_MATRIX, _MATRIX, device=device).to(dtype)
    torch.mm(one, one)
    _synchronize(device)
    count, began = 0, time.perf_counter()
    while time.perf_counter() - began < _MEASURE_S:
        for _ in range(4):
            torch.mm(one, one)
        _synchronize(device)
        count += 4
    return count * 2 * _MATRIX**3 / (time.perf_counter() - began)


def _synchronize(device: torch.device) -> None:
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _memory(device: torch.device) -> int:
    import psutil
    import torch

    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return int(psutil.Process().memory_info().rss)
