"""Where a training's time goes beside its steps: lines of spans.jsonl, which the accounting of goodput reads.

checkpoint  a save held the workers up          written     until that checkpoint was complete, beside training
measure     a held-out measurement              restart     from the last step's end to the next one's beginning
lost        steps that had to be done again     earlier     steps of another training that ran in this directory
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cluster.clock import stamp
from cluster.rundir import read_metrics
from cluster.storage import write_atomically

if TYPE_CHECKING:
    from trainers.loop import Job

SPANS_FILE = "spans.jsonl"


class Spans:
    """Writes spans, on worker 0; each has the time of its end."""

    def __init__(self, job: Job, rank: int) -> None:
        self._job, self._rank = job, rank

    def write(self, what: str, seconds: float, **more: Any) -> None:
        """Record a span that has just ended."""
        if self._rank:
            return
        record = {
            **stamp(), "attempt": self._job.attempt, "training": self._job.name, "what": what,
            "seconds": seconds, **more,
        }  # fmt: skip
        with self._job.metrics_file.with_name(SPANS_FILE).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(record) + "\n")

    @contextmanager
    def of(self, what: str, step: int) -> Iterator[None]:
        """Record what a `with` block takes."""
        began = time.perf_counter()
        yield
        self.write(what, time.perf_counter() - began, step=step)


def keep_lines(job: Job, first_step: int) -> dict[str, Any] | None:
    """Leave in metrics.jsonl the steps that stand, and keep of the others how long they took.

    Steps after the checkpoint are trained again: their old lines go, so that each step stands once. So do the lines of
    another training that ran under this name.

    Returns:
        The newest line of this training, also if it went.
    """
    records = read_metrics(job.metrics_file)
    own = [one for one in records if one["training"] == job.name]
    kept = [one for one in own if one["step"] <= first_step]
    spans = Spans(job, 0)
    gone = [one for one in records if one["training"] != job.name or one["step"] > first_step]
    for name in dict.fromkeys(one["training"] for one in gone):
        lines = [one for one in gone if one["training"] == name]
        attempts = sorted({one["attempt"] for one in lines})
        # `until` tells it from what another attempt at the same has written, and `last` when that was.
        last = {key: lines[-1][key] for key in ("time", "clock", "boot") if key in lines[-1]}
        spans.write(
            "lost" if name == job.name else "earlier", sum(one["seconds"] for one in lines), training=name,
            steps=len(lines), until=last["time"], last=last, attempts=attempts,
        )  # fmt: skip
    write_atomically(job.metrics_file, "".join(json.dumps(record) + "\n" for record in kept))
    return own[-1] if own else None
