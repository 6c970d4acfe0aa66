"""Runs: how far, how fast, how well, and what goes wrong."""

from __future__ import annotations

from cluster.monitoring.dashboard import Dashboard, Panel, Query, Variable
from cluster.monitoring.promql import newest

OF_RUN = 'run=~"$run"'
_BESIDE = "{{run}}"


def trained(name: str) -> str:
    """A figure of the newest step, by run."""
    return newest(f"ray_raysmith_train_{name}", where=OF_RUN)


def told(name: str) -> str:
    """What the run directory tells, by run."""
    return newest(f"raysmith_run_{name}", where=OF_RUN)


def chart(title: str, unit: str, *queries: tuple[str, str], description: str = "", width: int = 8) -> Panel:
    """A chart of expressions and the names of their lines."""
    return Panel(title, unit, tuple(Query(*query) for query in queries), description=description, width=width)


def _figure(title: str, unit: str, expression: str) -> Panel:
    return Panel(title, unit, (Query(expression, _BESIDE),), kind="stat", width=4, height=4)


_FIGURES = (
    _figure("Step", "short", told("step")),
    _figure("Done", "percentunit", f"{told('step')} / {told('steps')}"),
    _figure("Loss", "short", told("loss")),
    _figure("Tokens per second", "short", trained("tokens_per_s")),
    _figure("MFU", "percentunit", trained("mfu")),
    _figure("Since the last sign of life", "s",
            f"(time() - {told('last_sign_timestamp_seconds')}) and on (run) ({told('training')} == 1)"),
)  # fmt: skip
_LEARNING = (
    chart("Loss", "short", (trained("loss"), _BESIDE), (trained("heldout_loss"), "{{run}} held out")),
    chart("Gradient norm", "short", (trained("grad_norm"), _BESIDE), description="Before clipping."),
    chart("Learning rate", "sci", (trained("learning_rate"), _BESIDE)),
)
_SPEED = (
    chart("Tokens per second", "short", (trained("tokens_per_s"), _BESIDE)),
    chart("MFU", "percentunit", (trained("mfu"), _BESIDE),
          description="Of the matrix rate that a worker measured before it began."),
    chart("Waiting for data", "percentunit", (trained("data_wait_share"), _BESIDE),
          description="Share of a step. In reinforcement learning: for rollouts."),
    chart("Outside steps", "percentunit", (told("outside_steps_ratio"), _BESIDE),
          description="Share of the time that goes into checkpoints and held-out measurements."),
    chart("Held up by saves", "s", (trained("checkpoint_s"), _BESIDE),
          description="Since the step before; the rest of a checkpoint is written beside training."),
    chart("Longest step", "s", (told("longest_step_seconds"), _BESIDE),
          description="Between the ends of two steps, of the newest ones: what is normal for this run."),
)  # fmt: skip
_SURVIVAL = (
    chart("Progress", "percentunit", (f"{told('step')} / {told('steps')}", _BESIDE), width=6),
    chart("Goodput", "percentunit", (told("goodput_ratio"), _BESIDE), width=6,
          description="Share of the time since the first start that went into steps that were kept."),
    chart("Events", "short",
          (f"sum by (run, kind) (increase(raysmith_run_events_total{{{OF_RUN}}}[$__rate_interval]))",
           "{{run}} {{kind}}"), width=6),
    chart("Memory of worker 0", "bytes", (trained("memory_bytes"), _BESIDE), width=6),
    Panel("Storage left", "percentunit",
          (Query("raysmith_storage_free_bytes / raysmith_storage_size_bytes", "free"),), kind="stat", width=6),
    Panel("Runs", "short", (Query(f"raysmith_run_status{{{OF_RUN}}}", ""),), kind="table", width=18, height=8,
          description="Live ones, and those that ended within the hour."),
)  # fmt: skip

DASHBOARD = Dashboard(
    uid="raysmith-training",
    title="Raysmith: training",
    variables=(Variable("run", "label_values(raysmith_run_status, run)"),),
    rows=(("Now", _FIGURES), ("Learning", _LEARNING), ("Speed", _SPEED), ("Survival", _SURVIVAL)),
)
