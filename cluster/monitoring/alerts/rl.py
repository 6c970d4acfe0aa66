"""Alerts of reinforcement learning: drift between sampler and learner, reward hacking, nothing to learn from."""

from __future__ import annotations

from cluster.monitoring.alerts.training import of_kind
from cluster.monitoring.promql import newest
from cluster.monitoring.rules import Alert

ENTROPY_NATS = 0.02
MIXED_SHARE = 0.05

_RUN = "{{ $labels.run }}"
_OPEN = f"and on (run) ({newest('ray_raysmith_train_open')} == 1)"

ALERTS = (
    Alert(
        "PolicyDrift",
        f"{of_kind('drift', '15m')} > 0",
        "critical", "0s",
        f"Sampler and learner of {_RUN} disagree",
        "On the same weights and tokens their log-probabilities differ by more than train.objective.sync.max_drift.",
        "events.jsonl has the figures; make templates, types and rounding the same on both sides, or stop the run",
    ),
    Alert(
        "RewardHacking",
        f"{newest('ray_raysmith_train_heldout_alarm')} > 0 or {of_kind('reward_hacking', '1h')} > 0",
        "warning", "0s",
        f"{_RUN} may have found a way around its rewards",
        "Its training reward rose while held-out rewards fell.",
        "read rollouts (`raysmith rollouts NAME --sort -reward`); publish the best step, and mend the reward",
    ),
    Alert(
        "PolicyCollapsed",
        f"({newest('ray_raysmith_train_entropy')} < {ENTROPY_NATS:g}) {_OPEN}",
        "warning", "15m",
        f"{_RUN} writes always the same: entropy {{{{ $value | humanize }}}} nats",
        "Nothing new is tried, so nothing more is learnt.",
        "go back to an earlier checkpoint with a lower learning rate, a higher temperature or a KL term",
    ),
    Alert(
        "NothingToLearn",
        f"(max by (run) (avg_over_time(ray_raysmith_train_mixed_groups[15m])) < {MIXED_SHARE}) {_OPEN}",
        "warning", "15m",
        f"Only {{{{ $value | humanizePercentage }}}} of the prompts of {_RUN} teach anything",
        "The completions of nearly every prompt have the same reward: all right, or all wrong.",
        "choose harder or easier prompts, larger groups, or train.objective.rollouts.only_mixed_groups",
    ),
)  # fmt: skip
"""All alerts of reinforcement learning."""
