"""The training loop, run by every worker. It knows no objective: `trainers.objectives` has those.

Legend: a *micro-batch* is what one worker takes through the model at once; a *step* is one optimizer step over
`batch.sequences` examples, however many workers share them. The loss of a step is the mean over all its terms (tokens,
pairs …), whichever worker and micro-batch they came in.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from cluster.clock import seconds_since
from cluster.errors import TrainingError
from cluster.progress import ProgressFile
from cluster.words import counted
from trainers.config import TrainConfig
from trainers.gate import Gate
from trainers.heartbeat import MEASURE, ROUND, SAVE, STEP, WAIT

if TYPE_CHECKING:
    from deepspeed import DeepSpeedEngine

    from trainers.data.feed import StepData
    from trainers.metrics import StepLog
    from trainers.saver import Saver


_TOLD = "told to stop; worker 0 knows why"


class Job(NamedTuple):
    """What a training worker is given; paths lie on storage that every worker sees."""

    name: str
    """Identifies the training: configuration, base and data. One run directory may hold several, one after another."""
    run: str
    """The job's name."""
    config: TrainConfig
    base: Path
    base_name: str
    """What an adapter records as its base model: an artifact's id, never a path."""
    tokens: Path
    """Folder with the token stores `train` and `heldout`."""
    dataset: Path
    """Folder with the data set that the tokens were made of."""
    output: Path
    """Folder for the result: an adapter, or the whole model when no adapter is trained."""
    metrics_file: Path
    folder: Path
    """Folder of this training in the run directory: checkpoints, failure, result."""
    progress: ProgressFile
    attempt: str
    """Which start of the driver this is; each step's metrics say in which it was trained."""
    threads: int
    """Compute threads of a worker."""
    start: Path | None = None
    """Folder of the adapter that a new one begins with (`train.adapter.start`)."""
    gate: Gate | None = None
    """Where it waits after each held-out measurement, if it is a trial of a sweep."""
    artifacts: Mapping[str, Path] = {}
    """Folders of the published models that the objective names."""


def train(job: Job, rank: int, workers: int) -> None:
    """One worker's part: train, from the newest checkpoint if there is one, until all steps are done or it stops early.

    torch's process group must be up.
    """
    training = Training(job, rank, workers)
    try:
        training.run()
    finally:
        training.engine.destroy()  # the process may train another


@dataclass
class _State:
    """What the loop carries from step to step, and through checkpoints."""

    best: dict[str, float] | None = None
    """`step` and `heldout_loss` of the best measurement."""
    gained: float | None = None
    """The last held-out loss that was lower than the one before by `min_gain`."""
    without_gain: int = 0
    """Measurements since then."""
    stopped: str | None = None
    """Why training ended before its last step."""
    recent: list[float] = field(default_factory=list)
    """The last ten losses."""
    best_mean: float = math.inf
    """The lowest mean of ten losses on end."""
    diverged_for: int = 0
    """Steps on end whose loss was far above that."""

    @property
    def best_step(self) -> int | None:
        """The step of the best measurement."""
        return None if self.best is None else int(self.best["step"])

    def kept(self) -> dict[str, Any]:
        """What a checkpoint keeps of it."""
        return {"best": self.best, "gained": self.gained, "without_gain": self.without_gain, "stopped": self.stopped}


class Training:
    """One worker's training; what objectives that bring their own batches see of it (`trainers.objectives`)."""

    def __init__(self, job: Job, rank: int, workers: int) -> None:
        import torch

        from cluster.preemption import watcher
        from trainers.build import build
        from trainers.checkpoint import checkpoint_folder
        from trainers.data.store import TokenData
        from trainers.formats import HELDOUT, TRAIN
        from trainers.heartbeat import Heartbeat
        from trainers.metrics import Events
        from trainers.saver import Saver, restore
        from trainers.spans import Spans
        from trainers.states import forget_dummy_step

        self.job, self.config, self.rank, self.workers = job, job.config, rank, workers
        self.heart, self.spans = Heartbeat(job.folder, rank), Spans(job, rank)
        self.notices, self._warned = watcher(), False
        self._stalled_s = 0.0
        """Seconds that saves have held up since the last step's figures."""
        torch.set_num_threads(job.threads)
        torch.manual_seed(job.config.seed)
        self.data = TokenData(job.tokens / TRAIN)
        self.data.require_tokenizer(job.base)
        self.heldout = TokenData(job.tokens / HELDOUT) if job.config.evaluation else None
        self.built = build(job, workers)
        self.feed: Any = None
        self.engine: DeepSpeedEngine = self.built.engine
        forget_dummy_step(self.engine)
        folder = checkpoint_folder(job.config, job.folder, job.run, job.name)
        self.event = Events(job, rank).write
        """Tells the user of something, once, from worker 0."""
        marker = restore(self.engine, folder, self.event)
        self.first = marker.step if marker else 0
        self.state = _State(**marker.progress) if marker else _State()
        if job.gate is not None:
            self.state.stopped = None  # the sweep that stopped it goes on
        evaluation = job.config.evaluation
        self.keep_best = job.config.checkpoint.keep_best or bool(evaluation and evaluation.publish == "best")
        self.saver: Saver = Saver(
            folder, job.config.checkpoint, self.engine.device, keep_best=self.keep_best, event=self.event,
            written=lambda step, seconds: self.spans.write("written", seconds, step=step),
        )  # fmt: skip
        if self.first:
            self.event(f"resumed at step {self.first} with {counted(workers, 'worker')}")

    def run(self) -> None:
        """All steps, and the record of how it ended."""
        from trainers.metrics import StepLog
        from trainers.outcome import write_memory, write_outcome

        log = None
        if self.rank == 0:
            log = StepLog(self.job, self.first, self.engine.device, self.built.dtype)
        try:
            self._all_steps(log)
        finally:
            if log is not None:
                log.close()
        self.heart.enter(SAVE)
        with self.spans.of("checkpoint", self.config.steps):
            self.saver.require_saved()
        write_memory(self.job, self.rank, self.built.bytes_before)
        if self.rank == 0:
            write_outcome(self.job, self.workers, self.state.best, self.state.stopped, self.built.parameters)

    def _all_steps(self, log: StepLog | None) -> None:
        with self._feed() as feed:
            self.feed = feed
            alone = hasattr(self.config.objective, "alone_s")
            for step in range(self.first, self.config.steps):
                if self.state.stopped:
                    break
                if alone:
                    self.heart.enter(ROUND)
                data = feed.next()
                if step > self.first:  # the first compiles, and fills caches
                    self.heart.enter(STEP)
                elif log is not None and log.before is not None:
                    seconds = max(0.0, seconds_since(log.before) - data.waited_s)
                    self.spans.write("restart", seconds, step=step, after=log.before["attempt"])
                self._step(step, data, log)

    def _feed(self) -> Any:
        from trainers.data.feed import Feed
        from trainers.objectives import module_of

        own = getattr(module_of(self.config.objective), "feed", None)
        if own is not None:
            return own(self)
        return Feed(self.config, self.data, self.built.objective, self.rank, self.workers, self.first)

    def _step(self, step: int, data: StepData, log: StepLog | None) -> None:
        began = time.perf_counter() - data.waited_s
        sums = self._forward_backward(step, data)
        self._require_finite(step, sums, data)
        seconds = time.perf_counter() - began  # without held-out measurements, which are not training
        last, saved = step + 1 == self.config.steps, False
        measured = self._measure(step, last)
        sums["checkpoint_s"], self._stalled_s = self._stalled_s, 0.0
        self._guard(step, sums["loss"], data)
        if log is not None:
            log.step(step, sums, data, measured, seconds, self.built.flops(sums))
        due = (step + 1) % self.config.checkpoint.every_steps == 0 or last or self.state.stopped or self._warned
        if due or (self.keep_best and self.state.best_step == step + 1):
            self._save(step + 1, measured.get("loss"))
            saved = True
            if self._warned:
                self._answer_notices(step + 1)
        if measured and self.job.gate is not None and not last:
            self.saver.finish()
            self._wait_at(self.job.gate, step + 1)
            if self.state.stopped and not saved:
                self._save(step + 1, measured["loss"])

    def _answer_notices(self, step: int) -> None:
        """A machine will be taken away: what was just saved must be complete before it is."""
        from trainers.notices import settle

        with self.spans.of("checkpoint", step):
            self.saver.finish()
        saved = f"; checkpoint at step {step}" if self.saver.failure is None else ""
        self.event(f"{settle(self.notices)}{saved}")

    def _save(self, step: int, heldout_loss: float | None) -> None:
        self.heart.enter(SAVE)
        began = time.perf_counter()
        self.saver.save(self.engine, step, heldout_loss, self.state.kept())
        seconds = time.perf_counter() - began
        self._stalled_s += seconds
        self.spans.write("checkpoint", seconds, step=step)

    def _wait_at(self, gate: Gate, step: int) -> None:
        self.heart.beat(WAIT)
        reason = gate.wait(step) if self.rank == 0 else None
        if self._sum([float(reason is not None)])[0]:
            self.state.stopped = reason or _TOLD

    def _forward_backward(self, step: int, data: StepData) -> dict[str, float]:
        """One optimizer step; gives the mean loss, the objective's figures, the norm before clipping, and sums.

        All are over all workers.
        """
        import torch

        from trainers.engine import learning_rate, set_learning_rate

        engine = self.engine
        set_learning_rate(engine, learning_rate(self.config, step))
        terms = self._sum([float(sum(batch.terms for batch in data.batches))])[0]
        # Dropout is a function of (seed, step, worker), so that a resumed run draws what the cut-off one would have.
        torch.manual_seed(hash((self.config.seed, step, self.rank)))
        nats, norm = torch.zeros((), device=engine.device), None
        figures: dict[str, torch.Tensor] = {}
        for index, batch in enumerate(data.batches):
            tensors = {key: value.to(engine.device, non_blocking=True) for key, value in batch.tensors.items()}
            loss = engine(tensors)
            nats += loss.detach()
            for name, value in engine.module.figures.items():
                figures[name] = figures.get(name, torch.zeros_like(nats)) + value.detach()
            # DeepSpeed averages over workers; this makes the average the mean over the step's terms.
            engine.backward(loss * (self.workers / max(terms, 1.0)), scale_wrt_gas=False)
            if index + 1 == len(data.batches):
                norm = self._clip()
            engine.step()
        if norm is None:
            norm = float(engine.get_global_grad_norm() or 0.0)
        tokens = float(sum(batch.tokens for batch in data.batches))
        padded = float(sum(batch.tensors["input_ids"].numel() for batch in data.batches))
        told = self.job.gate.told_to_stop() if self.job.gate is not None and self.rank == 0 else None
        told_one = float(told is not None)
        names, votes = sorted(figures), self.saver.votes
        own = [float(figures[name]) for name in names]
        warned = float(self.notices.pending)
        sums = self._sum([float(nats), tokens, padded, data.waited_s, told_one, warned, *votes, *own])
        self.saver.count(*sums[6 : 6 + len(votes)])
        if sums[4]:
            self.state.stopped = told or _TOLD
        self._warned = bool(sums[5])
        means = {name: value / max(terms, 1.0) for name, value in zip(names, sums[6 + len(votes) :], strict=True)}
        if hasattr(self.feed, "learned"):
            self.feed.learned(step, means)
        return {
            **data.figures, **means,
            "loss": sums[0] / max(terms, 1.0), "terms": terms, "tokens": sums[1], "padded_tokens": sums[2],
            "waited_s": sums[3] / self.workers, "grad_norm": norm,
            "learning_rate": learning_rate(self.config, step), "workers": self.workers,
        }  # fmt: skip

    def _clip(self) -> float | None:
        """Clip where DeepSpeed does not tell the norm; None where it does."""
        import torch

        from trainers.engine import clips_itself

        if not clips_itself(self.config):
            return None
        parameters = [parameter for parameter in self.engine.module.parameters() if parameter.requires_grad]
        return float(torch.nn.utils.clip_grad_norm_(parameters, self.config.clip))

    def _sum(self, values: list[float]) -> list[float]:
        """Sums over the workers."""
        import torch
        import torch.distributed as dist

        vector = torch.tensor(values, dtype=torch.float64, device=self.engine.device)
        dist.all_reduce(vector)
        found: list[float] = vector.tolist()
        return found

    def _measure(self, step: int, last: bool) -> dict[str, float]:
        """Held-out figures at the steps where they are due; `loss` and the objective's own."""
        evaluation = self.config.evaluation
        if evaluation is None or self.heldout is None or ((step + 1) % evaluation.every_steps and not last):
            return {}
        from trainers.evaluate import measure_sharded

        self.heart.enter(MEASURE)
        with self.spans.of("measure", step + 1):
            if hasattr(self.feed, "measure"):
                figures: dict[str, float] = self.feed.measure(step + 1)
            else:
                alive = partial(self.heart.beat, MEASURE)
                figures = measure_sharded(self.engine, self.built.objective, self.heldout, evaluation, self._sum, alive)
        state = self.state
        if state.best is None or figures["loss"] < state.best["heldout_loss"]:
            state.best = {"step": step + 1, "heldout_loss": figures["loss"]}
        if state.gained is None or figures["loss"] < state.gained - evaluation.min_gain:
            state.gained, state.without_gain = figures["loss"], 0
        else:
            state.without_gain += 1
        if evaluation.patience is not None and state.without_gain >= evaluation.patience and not last:
            state.stopped = (
                f"the held-out loss did not fall by {evaluation.min_gain:g} nats in {state.without_gain} measurements; "
                f"the best is step {state.best['step']:.0f}"
            )
        return figures

    def _require_finite(self, step: int, sums: dict[str, float], data: StepData) -> None:
        # float16 overflows now and then: its loss scale is lowered, and the step left out.
        checked = [sums["loss"]] if self.config.dtype == "float16" else [sums["loss"], sums["grad_norm"]]
        if not all(math.isfinite(value) for value in checked):
            raise self._divergence(step, f"loss {sums['loss']}, gradient norm {sums['grad_norm']}", data)

    def _guard(self, step: int, loss: float, data: StepData) -> None:
        """Stop a training whose loss has stayed far above what it was."""
        from trainers.objectives import module_of

        if getattr(module_of(self.config.objective), "MEASURES_ITSELF", False):
            return  # a surrogate, in units of the rewards: neither falls as the policy gets better
        state, guard = self.state, self.config.divergence
        state.diverged_for = state.diverged_for + 1 if loss > state.best_mean + guard.nats_above_best else 0
        if state.diverged_for >= guard.steps:
            raise self._divergence(step, f"loss {loss:.3f} for {guard.steps} steps, {state.best_mean:.3f} before", data)
        state.recent = [*state.recent[-9:], loss]
        if len(state.recent) == 10:
            state.best_mean = min(state.best_mean, sum(state.recent) / 10)

    def _divergence(self, step: int, got: str, data: StepData) -> TrainingError:
        from trainers.outcome import write_bad_batch

        self.event(f"diverged at step {step + 1}: {got}")
        path = write_bad_batch(self.job, self.rank, step, got, data.draw.indices.tolist())
        return TrainingError(
            f"Training diverged at step {step + 1}; nothing was saved after it.", field="loss", got=got,
            expected="finite numbers near those before",
            fix=f"the batch is described in {path}; lower train.learning_rate, lengthen train.warmup_steps, or look at "
            "those examples; the last checkpoint is from before",
        )  # fmt: skip
