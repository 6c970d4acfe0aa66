"""What is kept of a running TRL trainer (`trainers/trl_host.py`): metrics, held-out figures, checkpoints."""

from __future__ import annotations

import json
import math
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from transformers import TrainerCallback

from cluster.clock import stamp
from cluster.errors import ConfigError, TrainingError
from cluster.ownership import require_own
from cluster.preemption import watcher
from cluster.storage import read_json, write_json
from trainers.config import CheckpointConfig
from trainers.heartbeat import MEASURE, SAVE, STEP, WAIT, Heartbeat
from trainers.metrics import Events
from trainers.notices import settle
from trainers.spans import Spans, keep_lines
from trainers.trackers import tracker_of

if TYPE_CHECKING:
    from transformers import TrainerControl, TrainerState

    from trainers.loop import Job

_BEFORE, _COMPLETE = "before.json", "complete.json"
_TIMINGS = {"runtime", "samples_per_second", "steps_per_second", "epoch", "num_tokens"}


class Checkpoints:
    """The folders that transformers' Trainer writes, each complete when its marker is there. All workers call it.

    Args:
        stage: ZeRO stage of the training.
    """

    def __init__(self, folder: Path, config: CheckpointConfig, rank: int, workers: int, stage: int) -> None:
        self.folder = folder
        self._config, self._rank = config, rank
        self._shape = {"workers": workers, "stage": stage}

    def path(self, step: int) -> Path:
        """The folder of a step's checkpoint, as the Trainer names it."""
        return self.folder / f"checkpoint-{step}"

    def _steps(self) -> list[int]:
        return sorted(int(path.name.split("-")[1]) for path in self.folder.glob("checkpoint-*"))

    def newest(self) -> int:
        """The step of the newest complete checkpoint, 0 without one; what a kill left half written is removed.

        Raises:
            ConfigError: it was written by another number of workers or at another ZeRO stage.
            ResourceError: somebody else may have altered it; it holds pickles.
        """
        steps = self._steps()
        complete = [step for step in steps if (self.path(step) / _COMPLETE).is_file()]
        dist.barrier()
        if self._rank == 0:
            for step in set(steps) - set(complete):
                shutil.rmtree(self.path(step))
        if not complete:
            return 0
        written = read_json(self.path(complete[-1]) / _COMPLETE)
        if written != self._shape:
            words = "{workers} workers at stage {stage}"
            raise ConfigError(
                "TRL's checkpoints can only be resumed as they were written.",
                field="cluster.workers, train.deepspeed.stage", got=words.format(**self._shape),
                expected=words.format(**written), fix="set these, or run with --fresh to start again",
            )  # fmt: skip
        require_own(self.path(complete[-1]))
        return complete[-1]

    def complete(self, step: int) -> None:
        """Mark a checkpoint when all workers have written it, and remove those that are not kept any more."""
        dist.barrier()
        if self._rank:
            return
        write_json(self.path(step) / _COMPLETE, self._shape)
        every = self._config.keep_every_steps
        for old in self._steps()[: -self._config.keep]:
            if not every or old % every:
                shutil.rmtree(self.path(old))


class HostCallback(TrainerCallback):
    """Follows a trainer on every worker; worker 0 writes.

    Args:
        first: steps that an earlier attempt has done.
    """

    def __init__(self, job: Job, trainer: Any, rank: int, first: int, checkpoints: Checkpoints) -> None:
        self._job, self._trainer, self._rank, self._checkpoints = job, trainer, rank, checkpoints
        self._began, self._seconds, self._tokens = 0.0, 0.0, 0
        self._log = _StepFile(job, first) if rank == 0 else None
        self._notices = watcher()
        self._heart, self._spans = Heartbeat(job.folder, rank), Spans(job, rank)
        self.best: dict[str, float] | None = None
        """Step and held-out loss of the best measurement; of worker 0."""
        self.stopped: str | None = None
        """Why training ended before its last step."""
        if first:
            Events(job, rank).write(f"resumed at step {first}")

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Start the clock."""
        if self._seconds:  # the first step compiles, and fills caches
            self._heart.enter(STEP)
        self._began, self._trainer.tokens = time.perf_counter(), 0

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:  # noqa: ARG002
        """Stop the clock; the result is saved after the last step, so that step needs no checkpoint."""
        gate = self._job.gate
        told = gate.told_to_stop() if gate is not None and self._rank == 0 else None
        said = [self._trainer.tokens, int(told is not None), int(self._notices.pending)]
        sums = torch.tensor(said, device=self._trainer.args.device)
        dist.all_reduce(sums)
        self._seconds, self._tokens = time.perf_counter() - self._began, int(sums[0])
        if int(sums[2]):
            control.should_save = True
            Events(self._job, self._rank).write(f"{settle(self._notices)}; saving at step {state.global_step}")
        self._heart.enter(SAVE if control.should_save else STEP)
        if int(sums[1]):
            self.stopped = told or "told to stop; worker 0 knows why"
            control.should_training_stop = True
        if state.global_step >= self._job.config.steps:
            control.should_save = False

    def on_log(self, args: Any, state: TrainerState, control: TrainerControl, **given: Any) -> None:  # noqa: ARG002
        """Record a step.

        Raises:
            TrainingError: the loss, or outside float16 the gradient norm, is not a finite number.
        """
        logs = given["logs"]
        if "loss" not in logs:
            return  # of the held-out data, or the summary at the end
        figures = {name: float(value) for name, value in logs.items() if name != "epoch"}
        # float16 overflows now and then: its loss scale is lowered, and the step left out.
        checked = ("loss",) if self._job.config.dtype == "float16" else ("loss", "grad_norm")
        if not all(math.isfinite(figures.get(name, 0.0)) for name in checked):
            got = ", ".join(f"{name} {figures.get(name)}" for name in checked)
            Events(self._job, self._rank).write(f"diverged at step {state.global_step}: {got}")
            raise TrainingError(
                f"Training diverged at step {state.global_step}; nothing was saved after it.", field="loss",
                got=got, expected="finite numbers",
                fix="lower train.learning_rate or lengthen train.warmup_steps; the last checkpoint is from before",
            )  # fmt: skip
        if self._log is not None:
            self._log.write(state.global_step, figures, self._tokens, self._seconds)

    def on_prediction_step(self, *_: Any, **__: Any) -> None:
        """Say that a measurement goes on."""
        self._heart.beat(MEASURE)

    def on_evaluate(self, args: Any, state: TrainerState, control: TrainerControl, **given: Any) -> None:  # noqa: ARG002
        """Keep what was measured, that before training also for a later attempt; wait at the gate."""
        step, figures = state.global_step, _figures(given["metrics"])
        self._spans.write("measure", float(given["metrics"].get("eval_runtime", 0.0)), step=step)
        if step == 0:
            if self._rank == 0:
                write_json(self._job.folder / _BEFORE, figures)
            return
        if self._log is not None:
            self._log.measured(figures)
            if self.best is None or figures["heldout_loss"] < self.best["heldout_loss"]:
                self.best = {"step": step, "heldout_loss": figures["heldout_loss"]}
        if self._job.gate is not None and step < self._job.config.steps:
            self._heart.beat(WAIT)
            reason = self._job.gate.wait(step) if self._rank == 0 else None
            said: list[str | None] = [reason]
            dist.broadcast_object_list(said, src=0)
            self.stopped = said[0]
            control.should_training_stop = control.should_training_stop or self.stopped is not None

    def on_save(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:  # noqa: ARG002
        """Mark the checkpoint as complete."""
        self._checkpoints.complete(state.global_step)

    def heldout(self, after: dict[str, float]) -> dict[str, Any]:
        """The figures `before` and `after` training, `heldout_loss` and TRL's own."""
        return {"before": read_json(self._job.folder / _BEFORE), "after": _figures(after)}

    def close(self) -> None:
        """Close files and trackers."""
        if self._log is not None:
            self._log.close()


def _figures(metrics: dict[str, float]) -> dict[str, float]:
    plain = {name.removeprefix("eval_"): float(value) for name, value in metrics.items()}
    figures = {"heldout_loss": plain.pop("loss")}
    if "rewards/accuracies" in plain:
        figures["accuracy"] = plain["rewards/accuracies"]
    return figures | {name: value for name, value in plain.items() if name not in _TIMINGS and math.isfinite(value)}


class _StepFile:
    """metrics.jsonl, the trackers and the progress file."""

    def __init__(self, job: Job, first: int) -> None:
        keep_lines(job, first)
        self._job = job
        self._file = job.metrics_file.open("a", encoding="utf-8")
        resolved, run_folder = job.config.model_dump(mode="json"), job.metrics_file.parent
        self._trackers = [
            tracker_of(config, job.run, run_folder / config.kind, resolved, first) for config in job.config.trackers
        ]
        self._pending: dict[str, Any] | None = None
        job.progress.write(first, job.config.steps, f"resumed at step {first}" if first else "")

    def write(self, step: int, figures: dict[str, float], tokens: int, seconds: float) -> None:
        """Record a step.

        Args:
            figures: TRL's, under their names.
            tokens: of the conversations that all workers trained on; 0 when they are not known.
        """
        names = ("loss", "learning_rate", "grad_norm")
        ours = {name: figures[name] for name in names if name in figures}
        own = {name: value for name, value in figures.items() if name not in names and math.isfinite(value)}
        speed = {"tokens_per_s": tokens / seconds} if tokens else {}
        record = {"training": self._job.name, "step": step, "attempt": self._job.attempt, **ours, **speed, **own}
        record |= {"tokens": tokens} if tokens else {}
        self._flush()
        self._pending = record | {"seconds": seconds, **stamp()}
        if not self._measured_at(step):
            self._flush()
        for tracker in self._trackers:
            tracker.step(step, {**ours, **speed, **own})
        words = f", {speed['tokens_per_s']:,.0f} tokens/s" if speed else ""
        self._job.progress.write(step, self._job.config.steps, f"loss {ours['loss']:.3f}{words}")

    def _measured_at(self, step: int) -> bool:
        evaluation = self._job.config.evaluation
        return step >= self._job.config.steps or (evaluation is not None and step % evaluation.every_steps == 0)

    def measured(self, figures: dict[str, float]) -> None:
        """Add held-out figures to the step that they were measured after."""
        if self._pending is not None:
            names = {name if name.startswith("heldout_") else f"heldout_{name}": name for name in figures}
            self._pending |= {name: figures[own] for name, own in names.items()}
            self._flush()

    def _flush(self) -> None:
        if self._pending is not None:
            self._file.write(json.dumps(self._pending) + "\n")
            self._file.flush()
            self._pending = None

    def close(self) -> None:
        """Close the file and the trackers."""
        self._flush()
        self._file.close()
        for tracker in self._trackers:
            tracker.close()
