"""Sweeps: trials by state, the best value, what they cost."""

from __future__ import annotations

from cluster.monitoring.dashboard import Dashboard, Panel, Query, Variable
from cluster.monitoring.dashboards.training import chart
from cluster.monitoring.promql import newest

_OF_SWEEP = 'sweep=~"$sweep"'
_OF_TRIALS = 'run=~"($sweep)-[0-9]+"'
_SWEEP = ("sweep",)


def _told(name: str) -> str:
    return newest(f"raysmith_sweep_{name}", _SWEEP, _OF_SWEEP)


def _trained(name: str) -> str:
    return newest(f"ray_raysmith_train_{name}", where=_OF_TRIALS)


_SWEEPS = (
    Panel("Trials", "short",
          (Query(newest("raysmith_sweep_trials", ("sweep", "status"), _OF_SWEEP), "{{sweep}} {{status}}"),),
          stacked=True, width=12),
    chart("Best objective", "short", (_told("best"), "{{sweep}}"), width=12),
    chart("Tokens trained on", "short", (_told("trained_tokens"), "{{sweep}}"), width=12),
    chart("Time taken", "s", (_told("elapsed_seconds"), "{{sweep}}"), width=12),
)  # fmt: skip
_TRIALS = (
    chart("Loss", "short", (_trained("loss"), "{{run}}")),
    chart("Held-out loss", "short", (_trained("heldout_loss"), "{{run}}")),
    chart("Learning rate", "sci", (_trained("learning_rate"), "{{run}}")),
    chart("Tokens per second", "short", (_trained("tokens_per_s"), "{{run}}"), width=12),
    chart("Done", "percentunit", (f"{_trained('step')} / {_trained('steps')}", "{{run}}"), width=12),
)

DASHBOARD = Dashboard(
    uid="raysmith-sweeps",
    title="Raysmith: sweeps",
    variables=(Variable("sweep", "label_values(raysmith_sweep_trials, sweep)"),),
    rows=(("Sweeps", _SWEEPS), ("Trials", _TRIALS)),
)
