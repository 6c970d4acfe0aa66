"""Rollouts in place of a data set's batches: what reinforcement learning adds to the training loop.

A *round* is what is written at once; it is trained on in one optimizer step or several (`updates`). At its beginning:

    weights → samplers → completions → rewards        worker 0 (trainers/rl/controller.py)
    log-probabilities, reference, values              all workers (trainers/rl/scoring.py)
    advantages                                        the algorithm's `credit`
    a parquet file with all of it                     worker 0 (trainers/rl/rollouts.py)

All workers run this in step. A training cut off between two updates of a round reads the round from its file.
"""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch.distributed as dist

from trainers.algorithms import Credit, Round, algorithm_of
from trainers.data.feed import StepData
from trainers.data.sampler import Draw, permute
from trainers.rl.alarm import Alarm
from trainers.rl.controller import Controller
from trainers.rl.rollouts import (
    Rollout,
    flat,
    forget_later,
    heldout_file,
    read_meta,
    read_rollouts,
    round_file,
    write_rollouts,
)
from trainers.rl.scoring import NOT_SCORED, Scorer, example_of
from trainers.rl.weights import num_bytes, trained_weights

if TYPE_CHECKING:
    from trainers.loop import Training

_PERMUTED = 0x5EED


class _Current(NamedTuple):
    """The round that is being trained on."""

    number: int
    rollouts: list[Rollout]
    advantages: list[np.ndarray]
    """Of each completion, [tokens]."""
    returns: list[np.ndarray]
    figures: dict[str, float]
    """Its mean rewards and the like; told with its first update."""


class RolloutFeed:
    """Batches of rollouts from step `training.first` on, in order. Use it in a `with` block."""

    def __init__(self, training: Training) -> None:
        objective: Any = training.config.objective
        self._training, self._objective = training, objective
        self._settings, self._algorithm = objective.settings, algorithm_of(objective.algorithm)
        self._updates = objective.updates(training.config.batch.sequences)
        self._step = training.first
        self._folder = training.job.metrics_file.parent / "rollouts" / training.job.name
        several = self._updates > 1
        self._scores_before = several or self._settings.needs_scores_before
        reference = self._settings.needs_reference
        self._scorer = Scorer(training, reference=reference)
        self._current: _Current | None = None
        self._kl = self._settings.kl
        self._controller: Controller | None = None
        self._alarm = Alarm(objective.alarm)
        self._sync_s, self._sync_bytes = 0.0, 0
        self._training_rewards: list[float] = []
        """Mean reward of each round since the last held-out measurement."""

    def __enter__(self) -> RolloutFeed:
        number, done = divmod(self._step, self._updates)
        begun = number + (done > 0)
        if self._training.rank == 0:
            forget_later(self._folder, begun, self._step)
            metas = [read_meta(round_file(self._folder, at)) for at in range(begun)]
            measured = 0
            for path in sorted(self._folder.glob("heldout-*.parquet")):
                rollouts, meta = read_rollouts(path)
                self._alarm.recall(meta, rollouts)
                measured = max(measured, meta["step"])
            self._training_rewards = [meta["reward"] for meta in metas if meta["step"] >= measured]
            self._controller = Controller(self._training, {draw for meta in metas for draw in meta["draws"]})
            self._kl = metas[-1]["next_kl"] if metas else self._kl
        self._kl = self._shared(self._kl)
        if self._step == 0 and self._training.config.evaluation is not None:
            self.measure(0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._controller is not None:
            self._controller.close()

    def next(self) -> StepData:
        """The next step's batches; the round that they are of begins with its first.

        Raises:
            HandoffError: a sampler does not hold the weights that it was sent.
            ClusterError: samplers or rewards failed too often.
        """
        began = time.perf_counter()
        number, part = divmod(self._step, self._updates)
        if self._current is None or self._current.number != number:
            self._current = self._read(number) if part else self._begin(number)
        data = self._minibatch(self._current, part)
        self._step += 1
        figures = {} if part else self._current.figures
        return StepData(*data, time.perf_counter() - began, figures)

    def measure(self, step: int) -> dict[str, float]:
        """Held-out figures after so many steps: `reward`, its components, and `loss`, the negative of the reward."""
        self._send(step)
        figures: dict[str, float] = {}
        if self._controller is not None:
            rollouts = self._controller.measure()
            figures = means(rollouts)
            figures["win_rate"] = self._alarm.win_rate(rollouts)
            trained = float(np.mean(self._training_rewards)) if self._training_rewards else None
            meta = {"step": step, "figures": figures, "training_reward": trained}
            write_rollouts(heldout_file(self._folder, step), rollouts, meta)
            if (reason := self._alarm.measured(meta, rollouts)) is not None:
                figures["alarm"] = 1.0
                self._training.event(f"suspected reward hacking at step {step}: {reason}")
        self._training_rewards = []
        figures = dict(self._shared(figures))
        return {"loss": -figures["reward"], **figures}

    def learned(self, step: int, figures: dict[str, float]) -> None:
        """Look at a step's figures, on all workers: is what was written what the learner would have written?"""
        limit = self._objective.sync.max_drift
        fresh = self._current is not None and all(
            one.version >= step - step % self._updates for one in self._current.rollouts
        )
        if fresh and figures.get("drift", 0.0) > limit:
            self._training.event(
                f"drift at step {step + 1}: sampler and learner differ by {figures['drift']:.3f} nats a token on the "
                f"same version (bar {limit:g}): another template, type or rounding on one side"
            )

    def _begin(self, number: int) -> _Current:
        self._send(self._step)
        drawn = None
        if self._controller is not None:
            drawn = self._controller.round(number)
        written, draws = self._shared(drawn)
        rollouts = [one for one in written if one.trained]
        self._score(rollouts)
        data = self._round(rollouts)
        current = self._credited(number, rollouts, data, written)
        distance = self._distance(data)
        next_kl = getattr(self._algorithm, "next_kl", None)
        after = self._kl if next_kl is None else next_kl(self._settings, self._kl, distance, len(rollouts))
        if self._controller is not None:
            meta = {
                "round": number, "step": self._step, "draws": draws, "kl": self._kl, "next_kl": after,
                "reward": current.figures["reward"],
            }  # fmt: skip
            write_rollouts(round_file(self._folder, number), written, meta)
            self._training_rewards.append(current.figures["reward"])
            for label, failed in self._controller.failures.items():
                current.figures[f"failed_{label}"] = float(failed)
        self._kl = after
        return current

    def _read(self, number: int) -> _Current:
        read = None
        if self._training.rank == 0:
            read = read_rollouts(round_file(self._folder, number))
        written, meta = self._shared(read)
        rollouts = [one for one in written if one.trained]
        self._kl = meta["kl"]
        current = self._credited(number, rollouts, self._round(rollouts), written)
        self._kl = meta["next_kl"]
        return current

    def _send(self, version: int) -> None:
        began = time.perf_counter()
        weights = trained_weights(self._training.engine)
        if self._controller is not None:
            self._controller.send(version, weights)
        self._sync_s, self._sync_bytes = time.perf_counter() - began, num_bytes(weights)

    def _score(self, rollouts: list[Rollout]) -> None:
        if self._scores_before:
            scores, values = self._scorer.policy(rollouts)
            for rollout, old, value in zip(rollouts, scores, values, strict=True):
                rollout.old, rollout.values = old, value or None
        if self._settings.needs_reference:
            for rollout, reference in zip(rollouts, self._scorer.reference(rollouts), strict=True):
                rollout.reference = reference

    def _round(self, rollouts: list[Rollout]) -> Round:
        return Round(
            groups=np.array([one.group for one in rollouts]),
            rewards=np.array([one.reward for one in rollouts], np.float32),
            lengths=np.array([len(one.completion_ids) for one in rollouts]), old=flat(rollouts, "old"),
            reference=flat(rollouts, "reference"), values=flat(rollouts, "values"), kl=self._kl,
        )  # fmt: skip

    def _credited(self, number: int, rollouts: list[Rollout], data: Round, written: list[Rollout]) -> _Current:
        credit: Credit = self._algorithm.credit(self._settings, data)
        ends = np.cumsum(data.lengths)[:-1]
        advantages = np.split(credit.advantages, ends)
        returns = np.split(credit.returns if credit.returns is not None else np.zeros_like(credit.advantages), ends)
        for rollout, advantage in zip(rollouts, advantages, strict=True):
            rollout.advantage = float(advantage.mean())
        figures = means(written)  # of all: chosen prompts would show neither progress nor hacking
        groups = sorted({one.group for one in written})
        mixed = [len({one.reward for one in written if one.group == group}) > 1 for group in groups]
        figures |= {
            "mixed_groups": float(np.mean(mixed)), "kl_coefficient": self._kl, "sync_s": self._sync_s,
            "sync_bytes": float(self._sync_bytes),
            "staleness": (self._step - float(np.mean([one.version for one in rollouts]))) / self._updates,
        }  # fmt: skip
        if data.reference is not None and data.old is not None:
            figures["kl_completion"] = self._distance(data)
        return _Current(number, rollouts, advantages, returns, figures)

    def _distance(self, data: Round) -> float:
        if data.old is None or data.reference is None:
            return 0.0
        distance = data.old - data.reference
        return float(sum(distance.tolist())) / len(data.lengths)

    def _minibatch(self, current: _Current, part: int) -> tuple[Draw, list[Any]]:
        training = self._training
        config, rollouts = training.config, current.rollouts
        epoch, slot = divmod(part, self._updates // self._settings.epochs)
        size = config.batch.sequences
        order = permute(np.arange(len(rollouts)), len(rollouts), (config.seed, _PERMUTED, current.number, epoch))
        members = order[slot * size : (slot + 1) * size]
        # Completions of a prompt come together, since they share it within a micro-batch.
        members = members[np.argsort([rollouts[index].group for index in members], kind="stable")]
        parts = np.array_split(members, config.accumulation(training.workers) * training.workers)
        batches = [
            training.built.objective.collate([self._example(current, int(index)) for index in part])
            for part in parts[training.rank :: training.workers]
        ]
        chosen = [rollouts[index] for index in members]
        drawn = Draw(np.array([one.example for one in chosen]), np.array([one.epoch for one in chosen]))
        return drawn, batches

    def _example(self, current: _Current, index: int) -> Any:
        rollout = current.rollouts[index]
        old = rollout.old if rollout.old is not None else NOT_SCORED
        reference = rollout.reference if rollout.reference is not None else 0.0
        return example_of(
            rollout, old=old, sampled=rollout.logprobs, reference=reference,
            advantages=current.advantages[index], returns=current.returns[index],
            old_values=rollout.values if rollout.values is not None else 0.0, weights=self._weight(rollout),
        )  # fmt: skip

    def _weight(self, rollout: Rollout) -> float:
        """Of each token of a completion, in the sum that `normalize` divides."""
        settings = self._settings
        if not np.isfinite(rollout.reward) or not (rollout.ended or settings.train_cut_off):
            return 0.0
        of_each: dict[str, float] = {
            "tokens": 1.0, "sequences": 1.0 / len(rollout.completion_ids),
            "length": 1.0 / self._objective.rollouts.max_new_tokens,
        }  # fmt: skip
        return of_each[settings.normalize]

    def _shared(self, value: Any) -> Any:
        """What worker 0 has, on all workers."""
        holder = [value]
        dist.broadcast_object_list(holder, src=0)
        return holder[0]


def means(rollouts: list[Rollout]) -> dict[str, float]:
    """Mean reward and components (of those that did not fail), length in tokens, and share that ended by itself."""

    def mean(values: list[float]) -> float:
        counted = [value for value in values if np.isfinite(value)]
        return float(np.mean(counted)) if counted else float("nan")

    figures = {"reward": mean([one.reward for one in rollouts])}
    for label in rollouts[0].rewards:
        figures[f"reward_{label}"] = mean([one.rewards[label] for one in rollouts])
    return figures | {
        "length": float(np.mean([len(one.completion_ids) for one in rollouts])),
        "ended": float(np.mean([one.ended for one in rollouts])),
    }
