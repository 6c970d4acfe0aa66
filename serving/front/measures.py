"""What the front counts, in Prometheus' form (`cluster.monitoring.metrics` has the names)."""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from prometheus_client import CollectorRegistry, disable_created_metrics, generate_latest

from cluster.monitoring.metrics import SERVING, make
from serving.front.pool import Pool
from serving.table import Table

_GAUGES = {one.name for one in SERVING if one.kind == "gauge"}
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Measures:
    """All metrics of an endpoint."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a series more for each, that nobody reads
        self._registry = CollectorRegistry()
        self._metrics: dict[str, Any] = make(self._registry, SERVING)
        # Finding a labelled child takes longer than counting.
        self._child = lru_cache(maxsize=1024)(lambda name, *labels: self._metrics[name].labels(*labels))

    def count(self, model: str, adapter: str, version: str, route: str, code: int) -> None:
        """A request that ended."""
        self._child("raysmith_requests_total", model, adapter, version, route, str(code)).inc()

    def refuse(self, model: str, reason: str) -> None:
        """A request that was refused."""
        self._child("raysmith_refused_total", model, reason).inc()

    def fail(self, model: str, version: str) -> None:
        """A replica was lost."""
        self._child("raysmith_replica_failures_total", model, version).inc()

    def tokens(self, model: str, adapter: str, num_prompt: int, num_written: int) -> None:
        """What a request read and wrote."""
        self._child("raysmith_prompt_tokens_total", model, adapter).inc(num_prompt)
        self._child("raysmith_completion_tokens_total", model, adapter).inc(num_written)

    def timing(self, model: str, adapter: str, version: str, began: float) -> Timing:
        """The times of an answer."""
        return Timing(
            began,
            self._child("raysmith_time_to_first_token_seconds", model, adapter, version),
            self._child("raysmith_time_between_tokens_seconds", model, adapter),
            self._child("raysmith_request_seconds", model, adapter),
        )

    def text(self, table: Table, pools: dict[str, Pool]) -> bytes:
        """Everything, as Prometheus reads it."""
        self._set_gauges(table, pools)
        return generate_latest(self._registry)

    def _set_gauges(self, table: Table, pools: dict[str, Pool]) -> None:
        for name, metric in self._metrics.items():  # what is no longer there must not stay
            if name in _GAUGES:
                metric.clear()
        for version in table.versions:
            self._gauge("raysmith_version_weight", (table.name, version.name), version.weight)
            info = (table.name, version.name, version.origin.artifact, version.engine)
            self._gauge("raysmith_endpoint_info", info, 1)
        for name, pool in pools.items():
            labels = (table.name, name)
            self._gauge("raysmith_requests_running", labels, pool.num_running)
            self._gauge("raysmith_requests_waiting", labels, pool.num_waiting)
            self._gauge("raysmith_replicas", labels, len(pool.replicas))
            self._child("raysmith_replica_failures_total", *labels).inc(0)
            for replica in pool.replicas:
                for figure, value in replica.told.figures.items():
                    self._gauge(f"raysmith_replica_{figure}", (*labels, replica.told.id), value)

    def _gauge(self, name: str, labels: Iterable[str], value: float) -> None:
        self._metrics[name].labels(*labels).set(value)


class Timing:
    """Times of one answer: to the first token, between tokens, in all."""

    def __init__(self, began: float, first: Any, between: Any, total: Any) -> None:
        self._began, self._last = began, 0.0
        self._first, self._between, self._total = first, between, total

    def first_after(self, seconds: float) -> None:
        """The time to the first token, where somebody else measured it."""
        self._first.observe(seconds)

    def pieces(self, count: int) -> None:
        """So many tokens came now."""
        now = time.perf_counter()
        if not self._last:
            self._first.observe(now - self._began)
            count -= 1
        if count > 0:
            gap = (now - (self._last or now)) / count
            for _ in range(count):
                self._between.observe(gap)
        self._last = now

    def end(self) -> None:
        """The answer is whole."""
        self._total.observe(time.perf_counter() - self._began)
