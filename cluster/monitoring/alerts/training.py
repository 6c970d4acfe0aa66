"""Alerts of runs: stalled, failed, lost, losses that go wrong, time that is wasted, checkpoints that fail."""

from __future__ import annotations

from cluster.monitoring.promql import newest
from cluster.monitoring.rules import Alert

RISEN_NATS = 1.0
WAIT_SHARE = 0.3
OUTSIDE_SHARE = 0.3
RESTARTS = 3
GOODPUT = 0.7
FREE_SHARE = 0.05

TRAINING = f"{newest('raysmith_run_training')} == 1"
LOSS = "ray_raysmith_train_loss"
EVENTS = "raysmith_run_events_total"
_OPEN = f"{newest('ray_raysmith_train_open')} == 1"
_LEARNS = newest("ray_raysmith_train_reward")
_SILENT = f"time() - {newest('raysmith_run_last_sign_timestamp_seconds')}"
_STARTS = newest("raysmith_run_phase", where='phase="start"')
# What the watchdog allows: it acts then, and these alerts tell of a run whose watchdog did not, or is off.
_TOO_LONG = f"({_SILENT} > {newest('raysmith_run_allowed_silence_seconds')}) and on (run) ({TRAINING})"
_RUN = "{{ $labels.run }}"


def of_kind(kind: str, window: str) -> str:
    """Events of a kind within the window, by run."""
    return f'sum by (run) (increase({EVENTS}{{kind="{kind}"}}[{window}]))'


def _status(status: str) -> str:
    selected = f'status="{status}"'
    return f"{newest('raysmith_run_status', where=selected)} == 1"


ALERTS = (
    Alert(
        "RunStalled",
        f"{_TOO_LONG} unless on (run) {_STARTS}",
        "critical", "1m",
        f"{_RUN} has shown no sign of life for {{{{ $value | humanizeDuration }}}}",
        "That is longer than train.watchdog allows; the watchdog is off, or could not start its workers again.",
        "look for stack dumps in the attempt's folder, at the node's CPU and GPU use, and at the workers' logs; stop "
        "the run and run the same command: it goes on from the last checkpoint",
    ),
    Alert(
        "RunNotStarted",
        f"{_TOO_LONG} and on (run) {_STARTS}",
        "critical", "1m",
        f"{_RUN} came to no first step within {{{{ $value | humanizeDuration }}}}",
        "Its workers are there and do not train: they wait for each other, for data, or for a compiler. That is longer "
        "than train.watchdog.other_s allows.",
        "read the workers' logs in the attempt's folder; with several nodes see that they reach each other",
    ),
    Alert(
        "RunFailed",
        _status("failed"),
        "warning", "0s",
        f"{_RUN} failed",
        "Its report.json says why, in `error`.",
        "do what the error says, and run the same command: it goes on from the last checkpoint",
    ),
    Alert(
        "RunLost",
        _status("lost"),
        "critical", "1m",
        f"The driver of {_RUN} is gone",
        "It ended without a word: it was killed, for want of memory perhaps, or its machine went down.",
        "run the same command: it goes on from the last checkpoint",
    ),
    Alert(
        "LossNotFinite",
        f"{of_kind('not_finite', '15m')} > 0",
        "critical", "0s",
        f"{_RUN} came to a loss that is no number",
        "Its loss or its gradient became NaN or infinite; the step was not kept, and the training has ended.",
        "lower train.learning_rate, lengthen train.warmup_steps, or look at the examples in diverged.json; the same "
        "command goes on from the last checkpoint",
    ),
    Alert(
        "LossRising",
        f"(max by (run) (avg_over_time({LOSS}[10m])) - min by (run) (min_over_time(avg_over_time({LOSS}[10m])[6h:5m])) "
        f"> {RISEN_NATS:g}) unless on (run) {_LEARNS}",
        "warning", "10m",
        f"The loss of {_RUN} has risen by {{{{ $value | humanize }}}} nats",
        "Mean of ten minutes, above the lowest such mean of six hours.",
        "compare the gradient norm and the learning rate on the dashboard; go back to a checkpoint from before",
    ),
    Alert(
        "DataWaitHigh",
        f"(max by (run) (avg_over_time(ray_raysmith_train_data_wait_share[10m])) > {WAIT_SHARE}) "
        f"and on (run) ({_OPEN}) unless on (run) {_LEARNS}",
        "warning", "15m",
        f"{_RUN} waits for data {{{{ $value | humanizePercentage }}}} of the time",
        "The workers could train faster than batches come.",
        "put storage.root on a faster disk, or give a worker more cores (cluster.cpus_per_worker)",
    ),
    Alert(
        "TimeOutsideSteps",
        f"({newest('raysmith_run_outside_steps_ratio')} > {OUTSIDE_SHARE}) and on (run) ({TRAINING})",
        "warning", "15m",
        f"{_RUN} spends {{{{ $value | humanizePercentage }}}} of its time on checkpoints and measurements",
        "Training stands still while a checkpoint is copied or held-out data is measured.",
        "raise train.checkpoint.every_steps (`raysmith plan CONFIG --reliability` weighs it), or "
        "train.evaluation.every_steps",
    ),
    Alert(
        "CheckpointFailed",
        f"{of_kind('checkpoint_failed', '15m')} > 0",
        "critical", "0s",
        f"{_RUN} cannot save",
        "A checkpoint failed within the last quarter of an hour; the one before is kept, and training goes on.",
        "free space on the disk of train.checkpoint.folder, or see that every worker can write it",
    ),
    Alert(
        "RunRestarting",
        f"{of_kind('resumed', '1h')} >= {RESTARTS}",
        "warning", "0s",
        f"{_RUN} was restarted {{{{ $value | humanize }}}} times within an hour",
        "Workers die again and again; what was trained since the last checkpoint is trained anew each time.",
        "read the workers' logs: too little memory is the usual reason; move it off a node that fails",
    ),
    Alert(
        "GoodputLow",
        f"({newest('raysmith_run_goodput_ratio')} < {GOODPUT}) and on (run) ({TRAINING})",
        "warning", "1h",
        f"Only {{{{ $value | humanizePercentage }}}} of the time of {_RUN} went into steps that were kept",
        "The rest went into starting, saving, waiting, and steps that were trained twice.",
        "`raysmith plan CONFIG --reliability` gives the checkpoint interval that fits the failures; see its attempts "
        "for what is slow",
    ),
    Alert(
        "StorageFull",
        f"raysmith_storage_free_bytes / raysmith_storage_size_bytes < {FREE_SHARE}",
        "critical", "5m",
        "{{ $value | humanizePercentage }} of the storage's disk is left",
        "Checkpoints and results fail when it is full.",
        "remove runs that are not needed, or set storage.root to a larger disk",
    ),
)  # fmt: skip
"""All alerts of runs."""
