"""What a load leaves behind: a table in the terminal, bench.json, requests.jsonl and bench.html."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from cluster.storage import write_atomically
from jobs.bench.client import Record
from jobs.bench.figures import Figures, Percentiles, StepFigures
from jobs.bench.load import Step
from jobs.bench.plots import charts, load_words
from jobs.report_cards import Card, figure
from jobs.report_page import write_page

_ERROR_KINDS = ("refused", "failed")
_BUSY_CLIENT = 0.8
_LATE_CLIENT_S = 0.01
_COLUMNS = (
    "load", "requests/s", "tokens/s", "first token p50", "p90", "p99", "between p50", "p99", "total p50", "p90", "p99",
    "succeeded", "refused", "failed",
)  # fmt: skip


def write_results(figures: Figures, steps: Sequence[Step], folder: Path) -> None:
    """Write the three files; the page opens from disk and needs no network."""
    write_atomically(folder / "bench.json", figures.model_dump_json(indent=2) + "\n")
    began = steps[0].begin
    lines = [_line(number, one, began) for number, step in enumerate(steps) for one in step.records]
    write_atomically(folder / "requests.jsonl", "".join(lines))
    load = figures.load.model_dump(mode="json", exclude_none=True)
    write_page(
        folder / "bench.html", "bench/report.html.j2", figures=figures, cards=_cards(figures), columns=_COLUMNS,
        rows=[_cells(step) for step in figures.steps], charts=list(charts(figures, steps)), warnings=warnings(figures),
        errors=_errors(figures, steps), load=json.dumps(load, indent=2),
    )  # fmt: skip


def table(figures: Figures) -> Table:
    """A row for each step."""
    shown = Table(box=None, header_style="bold", caption="latencies: p50 / p99", caption_justify="left")
    for column in ("load", "requests/s", "tokens/s", "first token", "between tokens", "whole answer", "errors"):
        shown.add_column(column, justify="left" if column == "load" else "right")
    for step in figures.steps:
        latencies = (step.first_token_s, step.between_tokens_s, step.total_s)
        shown.add_row(
            load_words(step.kind, step.asked), figure(step.requests_per_s), figure(step.output_tokens_per_s),
            *(_pair(latency) if latency else "–" for latency in latencies),
            _counts(step.refused | step.failed),
        )  # fmt: skip
    return shown


def warnings(figures: Figures) -> list[str]:
    """What makes the figures less than they seem."""
    found = []
    for step in figures.steps:
        load = load_words(step.kind, step.asked)
        if step.client_cpu >= _BUSY_CLIENT:
            found.append(f"{load}: the client itself used {step.client_cpu:.0%} of a core; it may be what limits")
        if step.client_lag_s is not None and step.client_lag_s.p99 >= _LATE_CLIENT_S:
            late = _time(step.client_lag_s.p99)
            found.append(f"{load}: requests were sent up to {late} late (p99), which their latencies include")
        if step.without_usage:
            found.append(f"{load}: {step.without_usage} answers without usage; their pieces of text count as tokens")
        if step.reconnects:
            found.append(f"{load}: the server closed {step.reconnects} connections that it was to keep open")
        if step.ended_by == "max_requests":
            found.append(f"{load}: ended after {step.seconds:.3g} s, when max_requests were sent")
        if step.unfinished:
            found.append(f"{load}: interrupted with {step.unfinished} requests under way, which are not counted")
    return found


def _line(number: int, record: Record, began: float) -> str:
    line = {
        "step": number, "number": record.number, "due_s": round(record.due - began, 6),
        "lag_s": round(record.lag_s, 6), "first_token_s": _rounded(record.first_token_s),
        "total_s": round(record.total_s, 6), "gaps_s": [round(gap, 6) for gap in record.gaps_s],
        "input_tokens": record.input_tokens, "output_tokens": record.output_tokens, "has_usage": record.has_usage,
        "status": record.status, "failure": record.failure, "message": record.message,
        "retry_after_s": record.retry_after_s, "reconnects": record.reconnects,
    }  # fmt: skip
    return json.dumps(line) + "\n"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


def _cards(figures: Figures) -> list[Card]:
    best = max(figures.steps, key=lambda step: step.requests_per_s)
    fastest = max(figures.steps, key=lambda step: step.output_tokens_per_s)
    refused, failed = (sum(sum(getattr(step, kind).values()) for step in figures.steps) for kind in _ERROR_KINDS)
    sent = sum(step.sent for step in figures.steps)
    cards = [
        Card("Most requests", f"{figure(best.requests_per_s)}/s", f"at {load_words(best.kind, best.asked)}"),
        Card(
            "Most tokens", f"{figure(fastest.output_tokens_per_s)}/s",
            f"written, at {load_words(fastest.kind, fastest.asked)}",
        ),
        Card("Errors", f"{failed:,}", f"of {sent:,} requests; {refused:,} refused beside", "bad" if failed else "good"),
    ]  # fmt: skip
    first = figures.steps[0]
    if first.first_token_s:
        note = f"median; p99 {_time(first.first_token_s.p99)}; at {load_words(first.kind, first.asked)}"
        cards.append(Card("First token", _time(first.first_token_s.p50), note))
    return cards


def _errors(figures: Figures, steps: Sequence[Step]) -> list[dict[str, Any]]:
    """Each kind of error of each step, how often, and what the first one said."""
    rows = []
    for summary, step in zip(figures.steps, steps, strict=True):
        for kind, count in (summary.refused | summary.failed).items():
            message = next(one.message for one in step.records if one.failure == kind)
            rows.append({"load": load_words(step.kind, step.asked), "kind": kind, "count": count, "message": message})
    return rows


def _cells(step: StepFigures) -> list[str]:
    first, between, total = step.first_token_s, step.between_tokens_s, step.total_s
    return [
        load_words(step.kind, step.asked), figure(step.requests_per_s), figure(step.output_tokens_per_s),
        *_times(first, "p50", "p90", "p99"), *_times(between, "p50", "p99"), *_times(total, "p50", "p90", "p99"),
        f"{step.succeeded:,}", _counts(step.refused), _counts(step.failed),
    ]  # fmt: skip


def _counts(errors: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {kind.removeprefix('http_')}" for kind, count in errors.items()) or "0"


def _times(values: Percentiles | None, *names: str) -> list[str]:
    return [_time(getattr(values, name)) if values else "–" for name in names]


def _pair(values: Percentiles) -> str:
    scale, unit = (1, "s") if values.p99 >= 1 else (1000, "ms")
    return f"{scale * values.p50:.3g} / {scale * values.p99:.3g} {unit}"


def _time(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds >= 1 else f"{1000 * seconds:.3g} ms"
