"""Alerts of endpoints: errors, latency, queue, replicas, versions."""

from __future__ import annotations

from cluster.monitoring.metrics import TO_FIRST
from cluster.monitoring.promql import increase, quantile, rate, share, total
from cluster.monitoring.rules import Alert

ERROR_SHARE = 0.05
FIRST_TOKEN_S = 5.0
# The goal whose budget LatencyBurn watches: 99% of requests have their first token in time. 14.4 times the budget
# uses up 2% of a month's in an hour (Google's Site Reliability Workbook, chapter 5).
IN_TIME_SHARE = 0.99
BURN = 14.4
QUEUE_FULL_SHARE = 0.01
REFUSED_SHARE = 0.2
MEMORY_SHARE = 0.9
IDLE_GPU_PERCENT = 10
# Two versions are compared when each has answered this many requests within the window.
COMPARED_REQUESTS = 20
COMPARED_WINDOW = "15m"
WORSE_ERROR_SHARE = 0.02
WORSE_FIRST_TOKEN_S = 0.1
WORSE_RATIO = 2

REQUESTS = "raysmith_requests_total"
TTFT = "raysmith_time_to_first_token_seconds"
FAILED = 'code=~"5.."'
REFUSED = 'code="429"'
QUEUE_FULL = 'reason="queue_full"'
ANSWERED = 'version!=""'
FAILURES = "raysmith_replica_failures_total"
MODEL = ("instance", "model")
VERSION = (*MODEL, "version")

_OF_MODEL = "{{ $labels.model }} ({{ $labels.instance }})"
_OF_VERSION = "{{ $labels.model }} version {{ $labels.version }} ({{ $labels.instance }})"


def _late(window: str) -> str:
    """Share of requests whose first token came too late."""
    if FIRST_TOKEN_S not in TO_FIRST:
        raise ValueError(f"FIRST_TOKEN_S ({FIRST_TOKEN_S}) is no bucket of {TTFT}: {TO_FIRST}")
    in_time = rate(f"{TTFT}_bucket", MODEL, window, f'le="{FIRST_TOKEN_S}"')
    return f"1 - {in_time} / {rate(f'{TTFT}_count', MODEL, window)}"


def _worse(measure: str) -> str:
    """Versions whose measure is far above that of the model's best version; each must have had enough requests."""
    enough = f"{increase(REQUESTS, VERSION, COMPARED_WINDOW, ANSWERED)} >= {COMPARED_REQUESTS}"
    compared = f"(({measure}) and {enough})"
    return f"{compared} > on (instance, model) group_left () {WORSE_RATIO} * min by (instance, model) ({compared})"


_late_share = 1 - IN_TIME_SHARE
_waiting = "raysmith_requests_waiting"
_replicas = "raysmith_replicas"
_errors_of_versions = share(REQUESTS, VERSION, COMPARED_WINDOW, FAILED, ANSWERED)
_p95_of_versions = quantile(0.95, TTFT, VERSION, COMPARED_WINDOW, ANSWERED)
# A counter that begins above zero has not grown in Prometheus's eyes; here its first failure counts too, unless the
# endpoint itself is newly watched.
_new_failures = f"({FAILURES} > 0 unless {FAILURES} offset 10m) and on (instance) (up offset 10m == 1)"

ALERTS = (
    Alert(
        "EndpointDown",
        'up{job="raysmith-serving"} == 0',
        "critical", "1m",
        "The endpoint at {{ $labels.instance }} does not answer",
        "Prometheus could not read /metrics for a minute: the endpoint is down, or refuses Prometheus's key.",
        "look at Prometheus's page /targets for the reason; start the endpoint, or renew the key file",
    ),
    Alert(
        "HighErrorRate",
        f"{share(REQUESTS, MODEL, '5m', FAILED)} > {ERROR_SHARE}",
        "critical", "5m",
        f"{_OF_MODEL} fails {{{{ $value | humanizePercentage }}}} of its requests",
        "Requests end with a 5xx status.",
        "read the replicas' logs; if it began with a new version, roll back",
    ),
    Alert(
        "HighTimeToFirstToken",
        f"{quantile(0.95, TTFT, (*MODEL, 'adapter'), '5m')} > {FIRST_TOKEN_S:g}",
        "warning", "10m",
        f"{_OF_MODEL}: first tokens take {{{{ $value | humanizeDuration }}}} (p95)",
        "One request in twenty{{ with $labels.adapter }} of adapter {{ . }}{{ end }} waits that long.",
        "raise replicas.max or lower replicas.target_ongoing_requests; look for long prompts and a full queue",
    ),
    Alert(
        "LatencyBurn",
        f"({_late('1h')} > {BURN * _late_share:.3g}) and ({_late('5m')} > {BURN * _late_share:.3g})",
        "critical", "2m",
        f"{_OF_MODEL}: {{{{ $value | humanizePercentage }}}} of first tokens came late within an hour",
        f"{IN_TIME_SHARE:.0%} of requests should have their first token within {FIRST_TOKEN_S:g} s; at this pace a "
        "month's allowance is gone in two days.",
        "add replicas, or lower limits.max_queued_requests so that the surplus is refused at once",
    ),
    Alert(
        "QueueFull",
        f"{rate('raysmith_refused_total', MODEL, '5m', QUEUE_FULL)} / {rate(REQUESTS, MODEL, '5m')} "
        f"> {QUEUE_FULL_SHARE}",
        "warning", "5m",
        f"{_OF_MODEL} refuses {{{{ $value | humanizePercentage }}}} of its requests: the queue is full",
        "More requests come than the replicas can take.",
        "raise replicas.max, or limits.max_queued_requests if longer waits will do",
    ),
    Alert(
        "ManyRefusals",
        f"{share(REQUESTS, MODEL, '5m', REFUSED)} > {REFUSED_SHARE}",
        "warning", "10m",
        f"{_OF_MODEL} answers {{{{ $value | humanizePercentage }}}} of its requests with 429",
        "The queue is full, or clients ask for more than their keys' rates allow.",
        "see the refusals by reason on the dashboard; add replicas (queue_full) or raise the key's limits (rate)",
    ),
    Alert(
        "NoReplica",
        f"{total(_waiting, MODEL)} > 0 unless {total(_replicas, MODEL)} > 0",
        "critical", "2m",
        f"{_OF_MODEL}: {{{{ $value }}}} requests wait and there is no replica",
        "No replica became ready while requests waited.",
        "see whether the cluster has the CPUs, GPUs and memory that a replica asks for; read the replicas' logs",
    ),
    Alert(
        "ReplicaFailed",
        f"{increase(FAILURES, VERSION, '10m')} > 0 or {total(f'({_new_failures})', VERSION)}",
        "warning", "0s",
        f"A replica of {_OF_VERSION} failed",
        "A replica died or stopped answering within the last ten minutes; another takes its place.",
        "read the replica's log; `dmesg` names a process that was killed for memory",
    ),
    Alert(
        "ReplicaCrashLoop",
        f"{increase(FAILURES, VERSION, '30m')} >= 3",
        "critical", "0s",
        f"Replicas of {_OF_VERSION} fail again and again",
        "{{ $value | humanize }} failures within half an hour.",
        "roll back to the version before; read the replica's log for what its start or a request does",
    ),
    Alert(
        "ReplicaMemoryHigh",
        f"raysmith_replica_memory_bytes / raysmith_replica_memory_limit_bytes > {MEMORY_SHARE}",
        "warning", "10m",
        f"Replica {{{{ $labels.replica }}}} of {_OF_VERSION} uses {{{{ $value | humanizePercentage }}}} of the memory",
        "It is soon killed for want of memory.",
        "lower engine.context_tokens or engine.num_parallel, or give replicas a larger machine",
    ),
    Alert(
        "VersionWithoutReplicas",
        f"({total('raysmith_version_weight', VERSION)} > 0 unless {total(_replicas, VERSION)} > 0) "
        f"and on (instance, model) {rate(REQUESTS, MODEL, '5m')} > 0",
        "warning", "10m",
        f"{_OF_VERSION} should be given requests and has no replica",
        "Requests come, and the version's share of them waits, fails or goes to another version.",
        "read the version's log, or roll back; with replicas.min: 0 and a small weight set replicas.min: 1",
    ),
    Alert(
        "GpuIdle",
        f"max by (instance, model, version) (raysmith_replica_gpu_percent) < {IDLE_GPU_PERCENT} "
        f"and {total(_waiting, VERSION)} > 0",
        "warning", "10m",
        f"{_OF_VERSION}: its GPUs are idle ({{{{ $value | humanize }}}}%) while requests wait",
        "A replica hangs, or something other than the GPU is the bottleneck.",
        "compare the replicas' CPU use; restart a replica that hangs",
    ),
    Alert(
        "CanaryErrors",
        f"{_worse(_errors_of_versions)} and ({_errors_of_versions}) > {WORSE_ERROR_SHARE}",
        "critical", "5m",
        f"{_OF_VERSION} fails {{{{ $value | humanizePercentage }}}} of its requests",
        f"That is more than {WORSE_RATIO} times as many as the model's best version.",
        "roll back; then read the version's log",
    ),
    Alert(
        "CanarySlow",
        f"{_worse(_p95_of_versions)} and {_p95_of_versions} > {WORSE_FIRST_TOKEN_S}",
        "warning", "5m",
        f"{_OF_VERSION}: first tokens take {{{{ $value | humanizeDuration }}}} (p95)",
        f"That is more than {WORSE_RATIO} times as long as with the model's best version.",
        "roll back, or give the version more replicas if its share of requests is greater",
    ),
)  # fmt: skip
"""All alerts of endpoints."""
