"""What an endpoint may report, and the alerts that must fire then, and no others.

Series are in promtool's notation, a value every 30 s: `0+30x200` grows by 30 each time, 200 times, `_` is a gap.
"""

from __future__ import annotations

from cluster.monitoring.metrics import TO_FIRST

Series = dict[str, str]
STEPS = 200
FAST = 0.25  # seconds
EVALUATED_AT = "90m"  # step 180

ENDPOINT = {"job": "raysmith-serving", "instance": "127.0.0.1:8000"}
V1, V2 = {"version": "1"}, {"version": "2"}


def series(name: str, value: str | float, **labels: str) -> Series:
    """One series of the endpoint's model; a number stays what it is."""
    labels = {**ENDPOINT, "model": "support", **labels}
    values = value if isinstance(value, str) else f"{value}+0x{STEPS}"
    selected = ",".join(f'{key}="{text}"' for key, text in labels.items())
    return {f"{name}{{{selected}}}": values}


def growing(per_step: float) -> str:
    return f"0+{per_step}x{STEPS}"


def requests(per_step: float, code: str = "200", version: str = "1") -> Series:
    route = {"route": "/v1/chat/completions"}
    return series("raysmith_requests_total", growing(per_step), code=code, version=version, **route)


def first_tokens(within: dict[float, float], version: str = "1", until: int = STEPS) -> Series:
    """Requests of each step by the bucket that their first token falls into, named by its upper bound.

    After step `until` all of them are as fast as a healthy endpoint's.
    """
    name, per_step = "raysmith_time_to_first_token_seconds", sum(within.values())
    found = series(f"{name}_count", growing(per_step), version=version)
    for bound in [*TO_FIRST, float("inf")]:
        reached = sum(part for limit, part in within.items() if limit <= bound)
        values = f"0+{reached}x{until}"
        if until < STEPS:
            values += f" {reached * (until + 1)}+{per_step if bound >= FAST else 0}x{STEPS - until - 1}"
        le = "+Inf" if bound == float("inf") else str(bound)
        found |= series(f"{name}_bucket", values, version=version, le=le)
    return found


def version(number: str, weight: float, replicas: float) -> Series:
    return series("raysmith_version_weight", weight, version=number) | series(
        "raysmith_replicas", replicas, version=number
    )


HEALTHY = {
    **series("up", 1, model=""),
    **requests(30),
    **requests(0, "500"),
    **first_tokens({FAST: 30}),
    **version("1", 1, 2),
    **series("raysmith_requests_running", 3, **V1),
    **series("raysmith_requests_waiting", 0, **V1),
    **series("raysmith_replica_failures_total", 0, **V1),
    **series("raysmith_replica_memory_bytes", 4e9, replica="a", **V1),
    **series("raysmith_replica_memory_limit_bytes", 16e9, replica="a", **V1),
    **series("raysmith_replica_gpu_percent", 80, replica="a", **V1),
}
CANARY = version("2", 0.1, 1)


def _waiting(value: str | float) -> Series:
    return series("raysmith_requests_waiting", value, **V1)


def _failures(values: str) -> Series:
    return series("raysmith_replica_failures_total", values, **V1)


def _refused(per_step: float, reason: str) -> Series:
    return series("raysmith_refused_total", growing(per_step), reason=reason)


def _memory(value: float) -> Series:
    return series("raysmith_replica_memory_bytes", value, replica="a", **V1)


def _gpu(value: float) -> Series:
    return series("raysmith_replica_gpu_percent", value, replica="a", **V1)


_CHANGES: dict[str, tuple[Series, set[str]]] = {
    "healthy": ({}, set()),
    "down": (series("up", 0, model=""), {"EndpointDown"}),
    "down for a moment": (series("up", "1+0x178 0+0x20", model=""), set()),
    "other jobs are not ours": (series("up", 0, model="", job="node"), set()),
    "10% errors": (requests(3.4, "500"), {"HighErrorRate"}),
    "4% errors": (requests(1.2, "503"), set()),
    "10% of another code": (requests(3.4, "400"), set()),
    "errors of a minute": (series("raysmith_requests_total", "0+0x177 0+30x20", code="502", **V1), set()),
    "all first tokens late": (first_tokens({10: 30}), {"HighTimeToFirstToken", "LatencyBurn"}),
    "20% late": (first_tokens({FAST: 24, 10: 6}), {"HighTimeToFirstToken", "LatencyBurn"}),
    "all in time, barely": (first_tokens({5: 30}), set()),
    "8% late": (first_tokens({FAST: 27.6, 10: 2.4}), {"HighTimeToFirstToken"}),
    "3% late": (first_tokens({FAST: 29.1, 10: 0.9}), set()),
    "late for an hour, no longer": (first_tokens({FAST: 15, 10: 15}, until=160), set()),
    "queue full": (_refused(0.5, "queue_full"), {"QueueFull"}),
    "queue full, rarely": (_refused(0.2, "queue_full"), set()),
    "refused for another reason": (_refused(1, "key"), set()),
    "a third refused": (requests(15, "429", "") | _refused(15, "rate"), {"ManyRefusals"}),
    "a tenth refused": (requests(3, "429", "") | _refused(3, "rate"), set()),
    "no replica": (version("1", 1, 0) | _waiting(3), {"NoReplica", "VersionWithoutReplicas"}),
    "no replica for a minute": (
        series("raysmith_replicas", "2+0x177 0+0x21", **V1) | _waiting("0+0x177 3+0x21"), set()
    ),
    "asleep": (version("1", 1, 0) | requests(0), set()),
    "waiting, with replicas": (_waiting(3), set()),
    "a replica failed": (_failures("0+0x170 1+0x29"), {"ReplicaFailed"}),
    "a replica failed, the first ever": (_failures("_x170 1+0x29"), {"ReplicaFailed"}),
    "a replica failed an hour ago": (_failures("0+0x60 1+0x139"), set()),
    "failures before Prometheus began": (_failures("_x175 4+0x24") | series("up", "_x175 1+0x24", model=""), set()),
    "replicas fail again and again": (
        _failures("0+0x140 1+0x14 2+0x14 3+0x30"), {"ReplicaFailed", "ReplicaCrashLoop"}
    ),
    "94% of the memory": (_memory(15e9), {"ReplicaMemoryHigh"}),
    "87% of the memory": (_memory(14e9), set()),
    "a version without replicas": (version("2", 0.1, 0), {"VersionWithoutReplicas"}),
    "a version without replicas or weight": (version("2", 0, 0), set()),
    "idle GPU": (_gpu(7) | _waiting(2), {"GpuIdle"}),
    "GPU at 12%": (_gpu(12) | _waiting(2), set()),
    "idle GPU, nothing to do": (_gpu(3), set()),
    "canary fails": (CANARY | requests(2.7, version="2") | requests(0.3, "500", "2"), {"CanaryErrors"}),
    "canary fails 4%": (CANARY | requests(1.15, version="2") | requests(0.05, "500", "2"), {"CanaryErrors"}),
    "canary fails 1%": (CANARY | requests(2.97, version="2") | requests(0.03, "500", "2"), set()),
    "canary fails a few requests": (CANARY | requests(0.3, "500", "2"), set()),
    "both fail": (
        CANARY | requests(1, "500") | requests(2.9, version="2") | requests(0.1, "500", "2"), set()
    ),
    "refused before a version was chosen": (requests(1, "503", ""), set()),
    "canary slow": (CANARY | requests(3, version="2") | first_tokens({1: 3}, "2"), {"CanarySlow"}),
    "canary slow, the other very fast": (
        CANARY | requests(3, version="2") | first_tokens({0.005: 30}) | first_tokens({FAST: 3}, "2"), {"CanarySlow"}
    ),
    "canary as fast": (CANARY | requests(3, version="2") | first_tokens({FAST: 3}, "2"), set()),
    "canary slower, both fast": (
        CANARY | requests(3, version="2") | first_tokens({0.005: 30}) | first_tokens({0.05: 3}, "2"), set()
    ),
}  # fmt: skip
CASES = {name: (HEALTHY | changes, firing) for name, (changes, firing) in _CHANGES.items()}
"""Series of a healthy endpoint with what is different, and the alerts that fire after 90 minutes."""
