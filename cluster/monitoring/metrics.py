"""The tables of metrics, each the one place where its names, labels and buckets stand.

Who measures creates the metrics from the table (`make`); alert rules and dashboards may ask for nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

Kind = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True)
class Metric:
    """One metric, as Prometheus sees it."""

    name: str
    """With `_total` at the end of a counter, and the unit before it."""

    kind: Kind
    labels: tuple[str, ...]
    help: str

    buckets: tuple[float, ...] = ()
    """Upper bounds of a histogram, in the metric's unit."""

    @property
    def series(self) -> tuple[str, ...]:
        """Names under which Prometheus stores it."""
        if self.kind != "histogram":
            return (self.name,)
        return tuple(f"{self.name}_{part}" for part in ("bucket", "sum", "count"))


TO_FIRST = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
BETWEEN = (0.001, 0.0025, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1.0, 2.0)
TOTAL = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0)

_MODEL = ("model", "adapter")
_VERSION = ("model", "version")
_REPLICA = ("model", "version", "replica")

# `adapter` is "" without one. `version` is "" for a request that was refused before a version was chosen; without it
# a canary could not be compared with the version it is to replace.
# fmt: off
SERVING: tuple[Metric, ...] = (
    Metric("raysmith_requests_total", "counter", ("model", "adapter", "version", "route", "code"),
           "Requests answered, by HTTP status code."),
    Metric("raysmith_time_to_first_token_seconds", "histogram", ("model", "adapter", "version"),
           "Time from a request's arrival to its first token, seconds.", TO_FIRST),
    Metric("raysmith_time_between_tokens_seconds", "histogram", _MODEL,
           "Time between two tokens of an answer, seconds.", BETWEEN),
    Metric("raysmith_request_seconds", "histogram", _MODEL,
           "Time from a request's arrival to the end of its answer, seconds.", TOTAL),
    Metric("raysmith_prompt_tokens_total", "counter", _MODEL, "Tokens read."),
    Metric("raysmith_completion_tokens_total", "counter", _MODEL, "Tokens written."),
    Metric("raysmith_refused_total", "counter", ("model", "reason"),
           "Requests refused by the front, by reason: queue_full, rate, body, key, timeout."),
    Metric("raysmith_replica_failures_total", "counter", _VERSION,
           "Replicas that died or stopped answering; starts at 0 when a version is deployed."),
    Metric("raysmith_requests_running", "gauge", _VERSION, "Requests that a replica works on."),
    Metric("raysmith_requests_waiting", "gauge", _VERSION, "Requests that wait for a free place."),
    Metric("raysmith_replicas", "gauge", _VERSION, "Replicas that are ready."),
    Metric("raysmith_version_weight", "gauge", _VERSION, "Share of new requests that a version is given."),
    Metric("raysmith_replica_cpu_percent", "gauge", _REPLICA, "CPU use of a replica; 100 is one core."),
    Metric("raysmith_replica_memory_bytes", "gauge", _REPLICA, "Resident memory of a replica, bytes."),
    Metric("raysmith_replica_memory_limit_bytes", "gauge", _REPLICA,
           "Memory of the machine or container that a replica runs in, bytes."),
    Metric("raysmith_replica_gpu_percent", "gauge", _REPLICA, "GPU use of a replica, percent; absent without a GPU."),
    Metric("raysmith_replica_gpu_memory_bytes", "gauge", _REPLICA,
           "GPU memory of a replica, bytes; absent without a GPU."),
    Metric("raysmith_endpoint_info", "gauge", ("model", "version", "artifact", "engine"),
           "Always 1: the artifact that a version serves, and its engine."),
)
# fmt: on


def make(registry: CollectorRegistry, metrics: Iterable[Metric]) -> dict[str, Counter | Gauge | Histogram]:
    """Create the metrics in a registry; the result is keyed by their names in the table."""
    return {metric.name: _make(registry, metric) for metric in metrics}


def _make(registry: CollectorRegistry, metric: Metric) -> Counter | Gauge | Histogram:
    match metric.kind:
        case "counter":
            return Counter(metric.name, metric.help, metric.labels, registry=registry)
        case "gauge":
            return Gauge(metric.name, metric.help, metric.labels, registry=registry)
        case "histogram":
            return Histogram(metric.name, metric.help, metric.labels, registry=registry, buckets=metric.buckets)
