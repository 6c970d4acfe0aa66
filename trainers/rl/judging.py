"""Reward workers as the controller sees them: completions in, components out; what raises or hangs has failed.

Completions are judged in processes of their own, since reward functions are anybody's code: one that raises costs one
reward, one that hangs is interrupted by a timer, and one that cannot be interrupted takes its process with it.
"""

from __future__ import annotations

import math
import signal
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from cluster.errors import ClusterError, DataError, ResourceError
from trainers.rewards import Sample, is_plain, scorer_of
from trainers.rl.actors import Lost, Pool
from trainers.rl.config import RewardConfig

_CHUNK = 16
"""Completions that a call judges."""
_GRACE_S = 30.0
"""How much longer than its functions' limits a call may take."""
_START_S = 300.0
"""How long a process may take to import and load what it needs."""
_MAX_STARTS = 3
FAILED = math.nan


class Judged(NamedTuple):
    """What a call gives."""

    rewards: list[dict[str, float]]
    """Component → value of each completion; not a number where it failed."""
    reasons: dict[str, str]
    """Component → why it failed last."""


class RewardActor:
    """The process that holds the reward functions."""

    def __init__(self, configs: list[RewardConfig], artifacts: Mapping[str, Path]) -> None:
        self._configs = configs
        self._scorers = [scorer_of(config, artifacts) for config in configs]

    def ready(self) -> bool:
        """Whether everything is loaded."""
        return True

    def judge(self, samples: list[Sample]) -> Judged:
        """All components of all completions.

        Raises:
            DataError: the prompts lack what a reward needs.
            ResourceError: this machine does.
        """
        rewards: list[dict[str, float]] = [{} for _ in samples]
        reasons: dict[str, str] = {}
        for config, scorer in zip(self._configs, self._scorers, strict=True):
            parts = [[sample] for sample in samples] if is_plain(config) else [samples]
            values: list[float] = []
            for part in parts:
                try:
                    with _limited(config.timeout_s * len(part)):
                        values += [float(value) for value in scorer(part)]
                except (DataError, ResourceError):
                    raise  # the data or the machine is wrong, not the completion
                except Exception as error:
                    values += [FAILED] * len(part)
                    reasons[config.label] = f"{type(error).__name__}: {error}"[:200]
            for found, value in zip(rewards, values, strict=True):
                found[config.label] = value if math.isfinite(value) else FAILED
        return Judged(rewards, reasons)


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """Interrupt what takes longer, where the process's main thread runs it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: object) -> None:
        raise TimeoutError(f"no answer in {seconds:g} s")

    previous = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


class Judges:
    """Reward workers for one set of components.

    Args:
        max_failed: share of the completions whose reward may fail.
    """

    def __init__(
        self, configs: list[RewardConfig], artifacts: Mapping[str, Path], number: int, max_failed: float
    ) -> None:
        import ray

        remote: Any = ray.remote(RewardActor)
        self._configs, self._max_failed = configs, max_failed
        self._pool: Pool[Any] = Pool(
            lambda _: remote.options(num_cpus=0, max_restarts=0).remote(configs, artifacts), number, "reward worker",
            None, self._require_ready,
        )  # fmt: skip
        self._starts = 0  # on end that led to nothing
        for index in range(number):
            self._require_ready(index)
        self.failed: Counter[str] = Counter()
        """Component → failures so far."""
        self.reasons: dict[str, str] = {}
        """Component → why it failed last."""

    def _require_ready(self, index: int) -> None:
        self._starts += 1
        try:
            if self._starts > _MAX_STARTS:
                raise Lost(f"its process died {_MAX_STARTS} times on end")
            self._pool.answer(self._pool.ask(index, "ready"), _START_S)
        except Lost as error:
            raise ClusterError(
                "A reward worker does not start.", field="train.objective.rewards", got=str(error),
                fix="usually too little memory for its models: see the workers' logs",
            ) from None  # fmt: skip
        self._starts = 0

    def judge(self, samples: list[Sample]) -> list[dict[str, float]]:
        """Components of each completion.

        Raises:
            ClusterError: too many failed.
            DataError: the prompts lack what a reward needs.
        """
        chunks = [samples[start : start + _CHUNK] for start in range(0, len(samples), _CHUNK)]
        workers = len(self._pool)
        found = [
            rewards
            for start in range(0, len(chunks), workers)
            for rewards in self._judge(chunks[start : start + workers])
        ]
        self._count(found)
        return found

    def _judge(self, chunks: list[list[Sample]]) -> list[dict[str, float]]:
        """One chunk a worker; one whose worker died or hung is judged again piece by piece."""
        calls = [self._pool.ask(at, "judge", chunk) for at, chunk in enumerate(chunks)]
        found: list[dict[str, float]] = []
        for chunk, call in zip(chunks, calls, strict=True):
            limit = _GRACE_S + sum(config.timeout_s for config in self._configs) * len(chunk)
            try:
                judged = self._pool.answer(call, limit, again=False)
            except Lost as error:
                self._pool.replace(call, str(error))
                if len(chunk) > 1:
                    found += [rewards for sample in chunk for rewards in self._judge([[sample]])]
                    continue
                failed = dict.fromkeys((config.label for config in self._configs), FAILED)
                judged = Judged([failed], dict.fromkeys(failed, str(error)))
            found += judged.rewards
            self.reasons |= judged.reasons
        return found

    def _count(self, found: list[dict[str, float]]) -> None:
        for config in self._configs:
            failed = sum(math.isnan(rewards[config.label]) for rewards in found)
            self.failed[config.label] += failed
            if failed > self._max_failed * len(found):
                raise ClusterError(
                    "A reward function fails too often to train on what is left.", field=f"rewards: {config.label}",
                    got=f"{failed} of {len(found)} completions; last: {self.reasons.get(config.label, 'not a number')}",
                    expected=f"at most {self._max_failed:.0%} (scoring.max_failed)",
                    fix="correct the function or its settings; the run goes on from its last checkpoint",
                )  # fmt: skip

    def total(self, rewards: Mapping[str, float]) -> float:
        """Weighted sum; not a number where a component failed."""
        return sum(config.weight * rewards[config.label] for config in self._configs)

    def close(self) -> None:
        """End the actors."""
        self._pool.close()
