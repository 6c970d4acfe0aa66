"""One thread that owns the model: it reads prompts, steps the batches, and does what else is asked in between."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from serving.engines._batch import Batch, Row
from serving.protocol import RequestError

if TYPE_CHECKING:
    from serving.engines._model import Model

logger = logging.getLogger(__name__)


class Scheduler:
    """Continuous batching: rows come and go at any step. A long prompt is read in parts, so that the others go on.

    Args:
        model: used by this thread alone.
        num_parallel: rows at a time; further ones wait.
        chunk_tokens: of a prompt that are read between two steps.
        num_cpus: torch's threads.
    """

    def __init__(self, model: Model, num_parallel: int, chunk_tokens: int, num_cpus: int) -> None:
        self._model = model
        self._num_parallel = num_parallel
        self._chunk_tokens = chunk_tokens
        self._num_cpus = num_cpus
        self._changed = threading.Condition()
        self._waiting: deque[Row] = deque()
        self._jobs: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._stopping = False
        self._broken: Exception | None = None
        self._reading: deque[Row] = deque()
        self._batches: list[Batch] = []
        self._thread = threading.Thread(target=self._work, name="transformers", daemon=True)
        self._thread.start()

    def submit(self, row: Row) -> None:
        """Generate a row; it is told each step, or an error.

        Raises:
            RequestError: the engine stops.
        """
        with self._changed:
            if self._stopping:
                raise RequestError(503, "The engine stops.", retry_after_s=1)
            self._waiting.append(row)
            self._changed.notify()

    def cancel(self, row: Row) -> None:
        """Forget a row before its next step."""
        with self._changed:
            row.cancelled = True
            self._changed.notify()

    def call(self, job: Callable[[], Any]) -> Future[Any]:
        """Run something in the thread, between two steps."""
        done: Future[Any] = Future()
        with self._changed:
            if self._stopping:
                done.set_exception(RequestError(503, "The engine stops.", retry_after_s=1))
            else:
                self._jobs.append((job, done))
                self._changed.notify()
        return done

    def check(self) -> None:
        """Raise what makes every further request fail, if anything does."""
        if self._broken is not None:
            raise self._broken

    def stop(self) -> None:
        """End the thread; rows that are left get an error."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        import torch

        torch.set_num_threads(self._num_cpus)
        try:
            with torch.inference_mode():
                while self._admit():
                    self._drop_cancelled()
                    self._run_jobs()
                    self._read()
                    for batch in list(self._batches):
                        self._step(batch)
        except Exception as error:
            logger.exception("the engine has ended")
            self._broken = error
        finally:
            self._end()

    def _end(self) -> None:
        with self._changed:
            self._stopping = True
        for row in (*self._waiting, *self._reading, *(row for batch in self._batches for row in batch.rows)):
            row.send(RequestError(503, "The engine stops.", retry_after_s=1))
        for _, done in self._jobs:
            if done.set_running_or_notify_cancel():
                done.set_exception(RequestError(503, "The engine stops.", retry_after_s=1))

    def _admit(self) -> bool:
        """Wait for work and take what fits; false when there will be none."""
        with self._changed:
            while not (self._stopping or self._waiting or self._jobs or self._reading or self._batches):
                self._changed.wait()
            running = len(self._reading) + sum(len(batch.rows) for batch in self._batches)
            while self._waiting and running < self._num_parallel:
                self._reading.append(self._waiting.popleft())
                running += 1
            return not self._stopping

    def _drop_cancelled(self) -> None:
        with self._changed:
            self._waiting = deque(row for row in self._waiting if not row.cancelled)
        self._reading = deque(row for row in self._reading if not row.cancelled)
        for batch in list(self._batches):
            self._keep(batch, [row for row in batch.rows if not row.cancelled])

    def _run_jobs(self) -> None:
        while self._jobs:
            job, done = self._jobs.popleft()
            if not done.set_running_or_notify_cancel():
                continue
            try:
                done.set_result(job())
            except Exception as error:
                done.set_exception(error)

    def _read(self) -> None:
        if not self._reading:
            return
        row = self._reading.popleft()
        # Caches that hold more than keys and values may not take a prompt in parts.
        size = self._chunk_tokens if self._model.merges_caches else len(row.ids)
        try:
            logits = row.read(self._model, size)
            if logits is None:
                self._reading.append(row)  # the next prompt has its turn
            elif row.write(logits):
                self._batch_for(row).add(row)
        except Exception as error:
            self._fail([row], error)

    def _batch_for(self, row: Row) -> Batch:
        group = self._model.group(row.adapter)
        shared = [batch for batch in self._batches if batch.group == group] if self._model.merges_caches else []
        if shared:
            return shared[0]
        self._batches.append(Batch(self._model, group))
        return self._batches[-1]

    def _step(self, batch: Batch) -> None:
        try:
            logits = batch.step()
        except Exception as error:
            self._fail(batch.rows, error)
            self._batches.remove(batch)
            return
        going: list[Row] = []
        for row, its_logits in zip(batch.rows, logits, strict=True):
            try:
                if row.write(its_logits):
                    going.append(row)
            except Exception as error:
                self._fail([row], error)
        self._keep(batch, going)

    def _keep(self, batch: Batch, rows: list[Row]) -> None:
        batch.keep(rows)
        if not rows:
            self._batches.remove(batch)

    def _fail(self, rows: list[Row], error: Exception) -> None:
        import torch

        if isinstance(error, torch.AcceleratorError):  # such as an assertion on the device: it is lost to the process
            self._broken = error
        told = error
        if not isinstance(error, RequestError):
            logger.error("%d requests failed", len(rows), exc_info=error)
            told = RequestError(500, "The engine failed.", code="engine_error")
        for row in rows:
            row.send(told)
