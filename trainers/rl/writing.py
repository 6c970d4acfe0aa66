"""Sampler actors as the controller sees them: give them weights, prove that they hold them, have prompts completed."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from cluster.errors import ClusterError, HandoffError
from trainers.rl.actors import Call, Lost, Pool
from trainers.rl.config import SyncConfig
from trainers.rl.weights import Weights, weights_digest
from trainers.samplers import Completion, Prompt, SamplerConfig, Sampling, Setup, sampler_of

if TYPE_CHECKING:
    from trainers.config import WatchdogConfig


class Written(NamedTuple):
    """What a sampler gives."""

    version: int
    """Of the weights that wrote."""
    completions: list[list[Completion]]
    """Of each prompt."""
    seconds: float


class SamplerActor:
    """The process of one sampler."""

    def __init__(self, config: SamplerConfig, setup: Setup) -> None:
        self._sampler = sampler_of(config, setup)
        self._version = -1

    def load(self, version: int, weights: Weights) -> str:
        """Take over weights; gives the digest of what the engine then holds."""
        self._sampler.load(weights)
        self._version = version
        return weights_digest(self._sampler.held())

    def generate(self, prompts: list[Prompt], sampling: Sampling) -> Written:
        """Each prompt's completions."""
        began = time.monotonic()
        completions = self._sampler.generate(prompts, sampling)
        return Written(self._version, completions, time.monotonic() - began)


class Sent(NamedTuple):
    """Weights on their way."""

    version: int
    digest: str
    calls: list[Call]


class Writing(NamedTuple):
    """Prompts that are being completed."""

    sent: Sent
    """The weights that were sent last before."""
    shares: list[list[int]]
    """Places of the prompts that each call has."""
    calls: list[Call]


class Samplers:
    """The sampler actors of one learner.

    Args:
        watchdog: how much longer than usual they may write, as for steps.
    """

    def __init__(self, config: SamplerConfig, setup: Setup, sync: SyncConfig, watchdog: WatchdogConfig) -> None:
        import ray

        remote: Any = ray.remote(SamplerActor)
        options = {"num_cpus": config.cpus, "num_gpus": config.gpus, "max_restarts": 0}
        self._sync, self._watchdog = sync, watchdog
        self._reference: Any = None
        self._sent: Sent | None = None
        self._slowest_s: float | None = None
        """Most seconds that a completion took, of those that were written together."""
        self._pool: Pool[Any] = Pool(
            lambda _: remote.options(**options).remote(config, setup), config.number, "sampler",
            sync.max_sampler_failures, self._revive,
        )  # fmt: skip

    @property
    def version(self) -> int | None:
        """That of the weights that were sent last."""
        return None if self._sent is None else self._sent.version

    def send(self, version: int, weights: Weights) -> Sent:
        """Send weights to all; they take them over when what they write is done. Does not wait."""
        import ray

        self._pool.forgive()
        self._reference = ray.put(weights)
        calls = [self._pool.ask(index, "load", version, self._reference) for index in range(len(self._pool))]
        self._sent = Sent(version, weights_digest(weights), calls)
        return self._sent

    def prove(self, sent: Sent, *, replace: bool = True) -> None:
        """Wait until all hold the weights.

        Args:
            replace: end one that hangs, and give the weights to another in its place.

        Raises:
            HandoffError: one holds something else.
            ClusterError: one did not answer in time, and where it was to be replaced, nor did the other.
        """
        for call in sent.calls:
            try:
                held = self._pool.answer(call, self._sync.timeout_s)
            except Lost as lost:
                if replace:
                    self._pool.replace(call, str(lost))  # which proves that the new one holds them
                    continue
                raise ClusterError(
                    "A sampler did not take over new weights in time.", field="train.objective.sync.timeout_s",
                    got=f"version {sent.version}, {self._sync.timeout_s:g} s", expected="an answer",
                    fix="raise it if writing a round takes longer; else see the sampler's log",
                ) from None  # fmt: skip
            if held != sent.digest:
                raise HandoffError(
                    "Weight sync: a sampler does not hold the weights that were sent; it would write with others.",
                    field="weights", got=f"digest {held[:12]} at version {sent.version}",
                    expected=f"digest {sent.digest[:12]}, the learner's",
                    fix="the sampler's engine ignores or changes what it is given: report it with the sampler's name",
                )  # fmt: skip

    def begin(self, prompts: list[Prompt], sampling: Sampling) -> Writing:
        """Have prompts completed, shared out among the samplers. Does not wait.

        Raises:
            RuntimeError: no weights were sent yet.
        """
        if self._sent is None:
            raise RuntimeError("samplers were given no weights")
        count = min(len(self._pool), len(prompts))
        shares = [list(range(start, len(prompts), count)) for start in range(count)]
        calls = [
            self._pool.ask(index, "generate", [prompts[at] for at in share], sampling)
            for index, share in enumerate(shares)
        ]
        return Writing(self._sent, shares, calls)

    def finish(self, writing: Writing) -> list[tuple[int, list[Completion]]]:
        """(version, completions) of each prompt.

        Raises:
            HandoffError, ClusterError: as `prove`.
        """
        self.prove(writing.sent)
        found: dict[int, tuple[int, list[Completion]]] = {}
        for share, call in zip(writing.shares, writing.calls, strict=True):
            written = self._answer(call)
            found |= {at: (written.version, one) for at, one in zip(share, written.completions, strict=True)}
        return [found[at] for at in range(len(found))]

    def _answer(self, call: Call) -> Written:
        completions = sum(len(prompt.seeds) for prompt in call.arguments[0])
        limit_s = self._limit_s(completions)
        while True:
            try:
                written: Written = self._pool.answer(call, limit_s)
            except Lost as lost:
                self._pool.replace(call, str(lost))
                call = self._pool.ask(call.number, call.method, *call.arguments)
                limit_s = self._sync.writing_timeout_s  # it may have been slow, after all
            else:
                self._slowest_s = max(self._slowest_s or 0.0, written.seconds / max(1, completions))
                return written

    def _limit_s(self, completions: int) -> float:
        """Seconds after which a sampler that writes counts as hung: no engine tells how far it is."""
        if self._slowest_s is None or not self._watchdog.enabled:
            return self._sync.writing_timeout_s
        long_s = max(self._watchdog.least_s, self._watchdog.factor * self._slowest_s * completions)
        return min(self._sync.writing_timeout_s, long_s)

    def _revive(self, index: int) -> None:
        if self._sent is not None:
            call = self._pool.ask(index, "load", self._sent.version, self._reference)
            self.prove(self._sent._replace(calls=[call]), replace=False)

    def close(self) -> None:
        """End the actors."""
        self._pool.close()


def setup_of(base: Path, config: Any, tokenizer: Any, threads: int, max_length: int) -> Setup:
    """What samplers are built from.

    Args:
        config: the `TrainConfig`.
        threads: the learner's.
    """
    sampling = config.objective.sampling
    return Setup(
        base=base, dtype=config.dtype, adapter=config.adapter, pad_id=int(tokenizer.pad_token_id),
        end_ids=end_ids(base, tokenizer), threads=sampling.threads or max(1, int(sampling.cpus)) or threads,
        max_length=max_length,
    )  # fmt: skip


def end_ids(base: Path, tokenizer: Any) -> tuple[int, ...]:
    """Tokens that end a completion: the tokenizer's, and those of the model's generation settings."""
    from cluster.storage import read_json

    settings = read_json(base / "generation_config.json") or {}
    more = settings.get("eos_token_id")
    return tuple(sorted({int(tokenizer.eos_token_id), *(more if isinstance(more, list) else [more] if more else [])}))
