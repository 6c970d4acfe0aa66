"""Endpoints: latency, load, versions and replicas."""

from __future__ import annotations

from cluster.monitoring.dashboard import Dashboard, Panel, Query, Variable
from cluster.monitoring.promql import increase, quantile, rate, share, total

WINDOW = "$__rate_interval"
OF_MODEL = 'model=~"$model"'
OF_ADAPTER = f'{OF_MODEL},adapter=~"$adapter"'
ALL = ("model",)
ADAPTER = ("model", "adapter")
VERSION = ("model", "version")
REPLICA = ("model", "version", "replica")

REQUESTS = "raysmith_requests_total"
FAILED = 'code=~"5.."'
TTFT = "raysmith_time_to_first_token_seconds"
WEIGHT = "raysmith_version_weight"
PROMPT_TOKENS = "raysmith_prompt_tokens_total"
FAILURES = "raysmith_replica_failures_total"
COMPLETION_TOKENS = "raysmith_completion_tokens_total"


def _latency(title: str, name: str, description: str) -> Panel:
    queries = tuple(
        Query(quantile(q, name, ADAPTER, WINDOW, OF_ADAPTER), f"{{{{model}}}} {{{{adapter}}}} p{q * 100:g}")
        for q in (0.5, 0.95, 0.99)
    )
    return Panel(title, "s", queries, description=description)


def _figure(title: str, unit: str, expression: str) -> Panel:
    return Panel(title, unit, (Query(expression, "{{model}}"),), kind="stat", width=4, height=4)


def _of_versions(title: str, unit: str, expression: str, width: int = 6) -> Panel:
    return Panel(title, unit, (Query(expression, "{{model}} version {{version}}"),), width=width)


def _of_replicas(title: str, unit: str, name: str) -> Panel:
    query = Query(total(name, REPLICA, OF_MODEL), "{{model}} version {{version}} {{replica}}")
    return Panel(title, unit, (query,), width=6)


_FIGURES = (
    _figure("Requests", "reqps", rate(REQUESTS, ALL, WINDOW, OF_ADAPTER)),
    _figure("Failed (5xx)", "percentunit", share(REQUESTS, ALL, WINDOW, FAILED, OF_ADAPTER)),
    _figure("First token, p95", "s", quantile(0.95, TTFT, ALL, WINDOW, OF_ADAPTER)),
    _figure("Tokens written per second", "short", rate(COMPLETION_TOKENS, ALL, WINDOW, OF_ADAPTER)),
    _figure("Requests waiting", "short", total("raysmith_requests_waiting", ALL, OF_MODEL)),
    _figure("Replicas", "short", total("raysmith_replicas", ALL, OF_MODEL)),
)
_LATENCY = (
    _latency("Time to first token", TTFT, "From a request's arrival, its wait in the queue among it."),
    _latency("Time between tokens", "raysmith_time_between_tokens_seconds", "Between two tokens of an answer."),
    _latency("Total time", "raysmith_request_seconds", "From a request's arrival to the end of its answer."),
)
_LOAD = (
    Panel("Requests by code", "reqps",
          (Query(rate(REQUESTS, ("model", "code"), WINDOW, OF_ADAPTER), "{{model}} {{code}}"),), stacked=True),
    Panel("Tokens per second", "short",
          (Query(rate(PROMPT_TOKENS, ADAPTER, WINDOW, OF_ADAPTER), "{{model}} {{adapter}} in"),
           Query(rate(COMPLETION_TOKENS, ADAPTER, WINDOW, OF_ADAPTER), "{{model}} {{adapter}} out"))),
    Panel("Requests running and waiting", "short",
          (Query(total("raysmith_requests_running", VERSION, OF_MODEL), "{{model}} version {{version}} running"),
           Query(total("raysmith_requests_waiting", VERSION, OF_MODEL), "{{model}} version {{version}} waiting"))),
    Panel("Refusals by reason", "reqps",
          (Query(rate("raysmith_refused_total", ("model", "reason"), WINDOW, OF_MODEL), "{{model}} {{reason}}"),),
          stacked=True, width=12),
    _of_versions("Replica failures", "short", increase(FAILURES, VERSION, WINDOW, OF_MODEL), 12),
)  # fmt: skip
_VERSIONS = (
    Panel("Served", "short", (Query(f"raysmith_endpoint_info{{{OF_MODEL}}}", ""),), kind="table", width=24, height=6,
          description="The artifact behind each version; raysmith trace follows it back to the data."),
    _of_versions("Share of new requests", "percentunit",
                 f"{total(WEIGHT, VERSION, OF_MODEL)} / on (model) group_left () {total(WEIGHT, ALL, OF_MODEL)}"),
    _of_versions("Replicas", "short", total("raysmith_replicas", VERSION, OF_MODEL)),
    _of_versions("Failed (5xx) by version", "percentunit", share(REQUESTS, VERSION, WINDOW, FAILED, OF_ADAPTER)),
    _of_versions("First token by version, p95", "s", quantile(0.95, TTFT, VERSION, WINDOW, OF_ADAPTER)),
)  # fmt: skip
_REPLICAS = (
    _of_replicas("CPU (100% is a core)", "percent", "raysmith_replica_cpu_percent"),
    _of_replicas("Memory", "bytes", "raysmith_replica_memory_bytes"),
    _of_replicas("GPU", "percent", "raysmith_replica_gpu_percent"),
    _of_replicas("GPU memory", "bytes", "raysmith_replica_gpu_memory_bytes"),
)

DASHBOARD = Dashboard(
    uid="raysmith-serving",
    title="Raysmith: serving",
    variables=(
        Variable("model", f"label_values({WEIGHT}, model)"),
        Variable("adapter", f"label_values({REQUESTS}{{{OF_MODEL}}}, adapter)"),
    ),
    rows=(
        ("Now", _FIGURES),
        ("Latency", _LATENCY),
        ("Load", _LOAD),
        ("Versions", _VERSIONS),
        ("Replicas", _REPLICAS),
    ),
)
