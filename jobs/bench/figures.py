"""What a load came to: rates, percentiles and errors of each step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal, Self

import numpy as np
import numpy.typing as npt

from cluster.config import Config
from jobs.bench.client import REFUSALS, Record
from jobs.bench.config import Kind, LoadConfig, Target
from jobs.bench.load import Step


class Percentiles(Config):
    """Of a latency, seconds."""

    p50: float
    p90: float
    p99: float
    max: float

    @classmethod
    def of(cls, values: npt.ArrayLike) -> Self | None:
        """Percentiles with linear interpolation; None where nothing was measured."""
        measured = np.asarray(values, dtype=np.float64)
        if not measured.size:
            return None
        p50, p90, p99, most = (round(float(value), 6) for value in np.percentile(measured, (50, 90, 99, 100)))
        return cls(p50=p50, p90=p90, p99=p99, max=most)


class StepFigures(Config):
    """One step. Rates and latencies are those of requests that succeeded."""

    kind: Kind
    """Whether clients (closed loop) or requests a second (open loop) were asked for."""
    asked: float
    """How many of them."""
    seconds: float
    """How long requests were sent."""
    sent: int
    succeeded: int
    refused: dict[str, int]
    """http_429 and http_503 → how many: the endpoint said that it has no room."""
    failed: dict[str, int]
    """Any other error → how many; what each means: docs/bench.md."""
    unfinished: int
    """Requests that Ctrl-C cut off."""
    sent_per_s: float
    requests_per_s: float
    """Requests that succeeded, a second."""
    input_tokens_per_s: float
    output_tokens_per_s: float
    mean_input_tokens: float
    mean_output_tokens: float
    without_usage: int
    """Answers whose tokens the server did not count: each piece of text counts as a token."""
    reconnects: int
    """Requests that were sent again at once, because the server had closed a connection that it was to keep."""
    first_token_s: Percentiles | None
    """Time to the first token. None without streaming, or without success."""
    between_tokens_s: Percentiles | None
    """Between two pieces of text of an answer; pieces that came in one packet are 0 apart."""
    total_s: Percentiles | None
    client_lag_s: Percentiles | None
    """Open loop: how late requests were sent. It is part of their latencies, and the client's fault."""
    client_cpu: float
    """Cores that the client itself used. Near 1, it measures itself."""
    ended_by: Literal["time", "max_requests", "interrupted"]


class Figures(Config):
    """A whole load; `bench.json` holds it."""

    url: str
    model: str
    started: str
    """Date and time, UTC."""
    load: LoadConfig
    steps: list[StepFigures]
    interrupted: bool
    """Whether Ctrl-C ended it."""


def figures_of(target: Target, load: LoadConfig, steps: Iterable[Step], started: str, *, interrupted: bool) -> Figures:
    """The figures of the steps that were begun."""
    return Figures(
        url=target.url, model=target.model, started=started, load=load, steps=[summarize(step) for step in steps],
        interrupted=interrupted,
    )  # fmt: skip


def summarize(step: Step) -> StepFigures:
    """The figures of one step."""
    good = [record for record in step.records if record.failure is None]
    errors = Counter(record.failure for record in step.records if record.failure is not None)
    per_s = _closed_rate(step, good) if step.kind == "clients" else _open_rate(step, good)
    inputs, outputs = (_mean([getattr(one, f"{name}put_tokens") for one in good]) for name in ("in", "out"))
    lags = [record.lag_s for record in step.records] if step.kind == "rate" else []
    seconds = max(step.end - step.begin, 1e-9)
    return StepFigures(
        kind=step.kind, asked=step.asked, seconds=round(seconds, 3), sent=step.sent, succeeded=len(good),
        refused={kind: count for kind, count in sorted(errors.items()) if kind in REFUSALS},
        failed={kind: count for kind, count in sorted(errors.items()) if kind not in REFUSALS},
        unfinished=step.sent - len(step.records), sent_per_s=round(step.sent / seconds, 3),
        requests_per_s=round(per_s, 3), input_tokens_per_s=round(per_s * inputs, 3),
        output_tokens_per_s=round(per_s * outputs, 3), mean_input_tokens=round(inputs, 1),
        mean_output_tokens=round(outputs, 1), without_usage=sum(not one.has_usage for one in good),
        reconnects=sum(one.reconnects for one in step.records),
        first_token_s=Percentiles.of([one.first_token_s for one in good if one.first_token_s is not None]),
        between_tokens_s=Percentiles.of(np.concatenate([one.gaps_s for one in good]) if good else []),
        total_s=Percentiles.of([one.total_s for one in good]), client_lag_s=Percentiles.of(lags),
        client_cpu=round(step.client_cpu, 3), ended_by=step.ended_by,
    )  # fmt: skip


def _closed_rate(step: Step, good: Sequence[Record]) -> float:
    """Requests a second while all clients asked.

    One that went on after that counts by its part before: counted whole, or not at all, a short step would be off by
    up to a request for each client.
    """
    window = step.end - step.begin
    shares = [min(1.0, max(0.0, (step.end - one.due) / one.total_s)) for one in good if one.total_s > 0]
    return sum(shares) / window if window > 0 else 0.0


def _open_rate(step: Step, good: Sequence[Record]) -> float:
    """Requests answered a second: as they arrived if the endpoint kept up, else from the first answer to the last.

    It did not keep up if it took longer to answer them than they took to arrive; then it was busy all that time.
    """
    if not good or step.end <= step.begin:
        return 0.0
    ends = [one.due + one.total_s for one in good]
    as_arrived, span = len(good) / (step.end - step.begin), max(ends) - min(ends)
    return min(as_arrived, (len(good) - 1) / span) if span > 0 else as_arrived


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
