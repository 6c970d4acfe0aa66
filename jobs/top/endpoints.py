"""Endpoints that are up, by what their fronts measure."""

from __future__ import annotations

import time
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from cluster.errors import EndpointError
from jobs.endpoints.folder import EndpointFolder, State

_ANSWER_S = 2.0
_TTFT = "raysmith_time_to_first_token_seconds_bucket"
_QUANTILE = 0.95
_WINDOW_S = 60.0


class EndpointView(NamedTuple):
    """An endpoint; figures are None where it did not tell."""

    name: str
    status: str
    url: str
    replicas: float | None
    running: float | None
    waiting: float | None
    requests_per_s: float | None
    """Of the last minute, or since this began to look."""
    tokens_per_s: float | None
    ttft_p95_s: float | None
    """Time to first token of the same requests; of all that were ever answered where there were none."""
    failed: float | None
    """Answers with 5xx, ever."""


class _Sample(NamedTuple):
    when: float
    sums: dict[str, float]
    """Metric → sum over its series."""
    buckets: dict[float, float]
    """Upper bound → requests whose first token came sooner."""
    failed: float


class Fronts:
    """Asks the endpoints under a root again and again."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._samples: dict[str, list[_Sample]] = defaultdict(list)

    def look(self, notes: list[str]) -> list[EndpointView]:
        """Endpoints whose process is there; `notes` takes what could not be read, in words."""
        found = []
        for path in sorted((self._root / "endpoints").glob("*/state.json")):
            folder = EndpointFolder(self._root, path.parent.name)
            try:
                state = folder.state()
                if state is not None:
                    found.append(self._view(folder, state, notes))
            except (OSError, ValueError, ValidationError):
                continue  # it is being written, or gone
        return found

    def _view(self, folder: EndpointFolder, state: State, notes: list[str]) -> EndpointView:
        blank = EndpointView(folder.name, state.status, state.url, *[None] * 7)
        if state.status == "starting":
            return blank
        try:
            text = _metrics(state.url, folder.operator_key())
        except EndpointError:
            notes.append(f"endpoint {folder.name} is another user's")
            return blank
        if text is None:
            return blank._replace(status="does not answer")
        samples = self._samples[folder.name]
        samples.append(_sample(text))
        while len(samples) > 2 and samples[-1].when - samples[1].when > _WINDOW_S:
            samples.pop(0)
        return _figures(blank, samples[0], samples[-1])


def _figures(blank: EndpointView, first: _Sample, last: _Sample) -> EndpointView:
    seconds = last.when - first.when

    def rate(name: str) -> float | None:
        return max(0.0, last.sums[name] - first.sums[name]) / seconds if seconds > 0 else None

    recent = {bound: count - first.buckets.get(bound, 0.0) for bound, count in last.buckets.items()}
    slowest = quantile(_QUANTILE, recent)
    return blank._replace(
        replicas=last.sums["raysmith_replicas"], running=last.sums["raysmith_requests_running"],
        waiting=last.sums["raysmith_requests_waiting"], requests_per_s=rate("raysmith_requests_total"),
        tokens_per_s=rate("raysmith_completion_tokens_total"), failed=last.failed,
        ttft_p95_s=quantile(_QUANTILE, last.buckets) if slowest is None else slowest,
    )  # fmt: skip


def quantile(q: float, buckets: dict[float, float]) -> float | None:
    """As Prometheus reckons it: linear within a bucket; None where nothing was counted."""
    bounds = sorted(buckets)
    if not bounds or buckets[bounds[-1]] <= 0:
        return None
    rank, before, below = q * buckets[bounds[-1]], 0.0, 0.0
    for bound in bounds:
        if buckets[bound] >= rank:
            if bound == float("inf"):
                return below
            inside = buckets[bound] - before
            return below + (bound - below) * ((rank - before) / inside if inside > 0 else 1.0)
        before, below = buckets[bound], bound
    return below


def _sample(text: str) -> _Sample:
    from prometheus_client.parser import text_string_to_metric_families

    sums: dict[str, float] = defaultdict(float)
    buckets: dict[float, float] = defaultdict(float)
    failed = 0.0
    for family in text_string_to_metric_families(text):
        for one in family.samples:
            sums[one.name] += one.value
            if one.name == _TTFT:
                buckets[float(one.labels["le"])] += one.value
            if one.name == "raysmith_requests_total" and one.labels.get("code", "").startswith("5"):
                failed += one.value
    return _Sample(time.monotonic(), sums, dict(buckets), failed)


def _metrics(url: str, key: str) -> str | None:
    import httpx

    try:
        with httpx.Client(headers={"Authorization": f"Bearer {key}"}, trust_env=False, timeout=_ANSWER_S) as client:
            return client.get(f"{url.removesuffix('/v1')}/metrics").raise_for_status().text
    except httpx.HTTPError:
        return None
