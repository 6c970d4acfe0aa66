"""The batches of each step, made in a thread while the step before is computed."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from trainers.data.sampler import Draw, global_batch, micro_batches

if TYPE_CHECKING:
    from trainers.config import TrainConfig
    from trainers.data.store import TokenData
    from trainers.objectives import Batch, Objective

_AHEAD = 2


class StepData(NamedTuple):
    """What one worker trains on in one step."""

    draw: Draw
    """The examples of all workers together."""
    batches: list[Batch]
    """This worker's micro-batches."""
    waited_s: float
    """How long the step had to wait for them."""
    figures: Mapping[str, float] = MappingProxyType({})
    """What is to be recorded of them beside the loss."""


class Feed:
    """Batches of the steps from `first` on, in order. Use it in a `with` block."""

    def __init__(
        self, config: TrainConfig, data: TokenData, objective: Objective, rank: int, workers: int, first: int
    ) -> None:
        self._config, self._data, self._objective = config, data, objective
        self._rank, self._workers = rank, workers
        self._ready: queue.Queue[tuple[Draw, list[Batch]] | BaseException] = queue.Queue(_AHEAD)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(first,), name="feed", daemon=True)

    def __enter__(self) -> Feed:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        while self._thread.is_alive():
            with suppress(queue.Empty):
                self._ready.get(timeout=0.01)

    def next(self) -> StepData:
        """The next step's batches.

        Raises:
            whatever making them raised.
        """
        began = time.perf_counter()
        item = self._ready.get()
        if isinstance(item, BaseException):
            raise item
        return StepData(*item, time.perf_counter() - began)

    def _run(self, first: int) -> None:
        try:
            for step in range(first, self._config.steps):
                if self._stopped.is_set():
                    return
                self._ready.put(self._make(step))
        except BaseException as error:
            self._ready.put(error)

    def _make(self, step: int) -> tuple[Draw, list[Batch]]:
        from trainers.objectives import Example

        config, data = self._config, self._data
        draw = global_batch(config.seed, step, config.batch.sequences, data.counts, data.weights)
        groups = micro_batches(
            np.arange(config.batch.sequences), data.lengths[draw.indices].astype(np.int64), self._rank, self._workers,
            config.accumulation(self._workers),
        )  # fmt: skip
        batches = []
        for group in groups:
            pairs = zip(draw.indices[group].tolist(), draw.epochs[group].tolist(), strict=True)
            examples = [Example(data[index], (config.seed, epoch, index)) for index, epoch in pairs]
            batches.append(self._objective.collate(examples))
        return draw, batches
