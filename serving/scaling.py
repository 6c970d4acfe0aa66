"""How many replicas a version should have: requests and tokens, running and waiting, over their targets."""

from __future__ import annotations

import math
from typing import Any

from serving.config import ReplicaConfig

LOOK_BACK_S = 2.0
INTERVAL_S = 0.4


class ReplicasWanted:
    """A policy for Ray Serve's autoscaler, which adds the delays and the bounds.

    Requests reach replicas directly from the front, past Serve's handles: so replicas report what they run and their
    share of what waits at the front (`Replica.record_autoscaling_stats`). Only a version without a replica is asked
    for one through its handle.

    Args:
        targets: what replicas report → how much of it each should have.
    """

    def __init__(self, targets: dict[str, float]) -> None:
        self._targets = targets

    def __call__(self, context: Any) -> tuple[int, dict[str, Any]]:
        """Replicas wanted; the second is a state that Serve would keep."""
        if context.current_num_replicas == 0:
            # One that is on its way must not be called off.
            return max(context.target_num_replicas, 1 if context.total_num_requests > 0 else 0), {}
        reported = context.aggregated_metrics  # means of the last seconds: a moment must not reset Serve's delays
        if not reported.get("requests"):
            return context.target_num_replicas, {}
        wanted = max(sum(reported.get(name, {}).values()) / target for name, target in self._targets.items())
        return math.ceil(wanted - 1e-9), {}


def autoscaling(config: ReplicaConfig) -> dict[str, Any]:
    """`autoscaling_config` of a deployment."""
    targets = {"requests": config.target_ongoing_requests}
    if config.target_ongoing_tokens is not None:
        targets["tokens"] = float(config.target_ongoing_tokens)
    return {
        "min_replicas": config.min,
        "max_replicas": config.max,
        "initial_replicas": max(1, config.min),
        "target_ongoing_requests": config.target_ongoing_requests,
        "upscale_delay_s": config.upscale_delay_s,
        "downscale_delay_s": config.downscale_delay_s,
        "look_back_period_s": LOOK_BACK_S,
        "metrics_interval_s": INTERVAL_S,
        "policy": {"policy_function": ReplicasWanted, "policy_kwargs": {"targets": targets}},
    }
