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

_RUN = ("run",)
_SWEEP = ("sweep",)

# What `raysmith monitor up` tells of the run directories that it sees. It does not come from the workers: they may be
# stopped or gone, Ray forgets a gauge 20 s after its process's last word, and it drops NaN.
# fmt: off
RUNS: tuple[Metric, ...] = (
    Metric("raysmith_run_status", "gauge", ("run", "status"),
           "1 for the status of a run that is live or has ended within the hour: running, done, failed, interrupted, "
           "lost (its driver is gone without a word)."),
    Metric("raysmith_run_training", "gauge", _RUN,
           "1 while a live run has workers that train, and a sign of life is to be expected, otherwise 0."),
    Metric("raysmith_run_phase", "gauge", ("run", "phase"),
           "1 for the phase of a run whose training has workers: start (with the first step), step, measure, save, "
           "round (of reinforcement learning), wait (for its sweep), over."),
    Metric("raysmith_run_step", "gauge", _RUN, "Training steps that are done."),
    Metric("raysmith_run_steps", "gauge", _RUN, "Training steps in all."),
    Metric("raysmith_run_loss", "gauge", _RUN, "Loss of the newest step."),
    Metric("raysmith_run_last_sign_timestamp_seconds", "gauge", _RUN,
           "When training last gave a sign of life (a step, a measurement that began), Unix time."),
    Metric("raysmith_run_allowed_silence_seconds", "gauge", _RUN,
           "How long training may be without a sign of life in its phase (train.watchdog), seconds."),
    Metric("raysmith_run_longest_step_seconds", "gauge", _RUN,
           "Longest time between the ends of two of the newest steps, measurements and checkpoints included, seconds."),
    Metric("raysmith_run_outside_steps_ratio", "gauge", _RUN,
           "Share of the time of the newest steps that went into checkpoints and held-out measurements."),
    Metric("raysmith_run_events_total", "counter", ("run", "kind"),
           "Events of a run: checkpoint_failed, drift, not_finite, reward_hacking, hang, preemption, resumed."),
    Metric("raysmith_run_goodput_ratio", "gauge", _RUN,
           "Share of training's time, restarts and pauses included, that went into steps that were kept."),
    Metric("raysmith_sweep_trials", "gauge", ("sweep", "status"),
           "Trials of a sweep: waiting, running, finished, stopped, failed."),
    Metric("raysmith_sweep_best", "gauge", _SWEEP, "The objective of the best trial so far."),
    Metric("raysmith_sweep_trained_tokens", "gauge", _SWEEP, "Tokens that all trials together were trained on."),
    Metric("raysmith_sweep_elapsed_seconds", "gauge", _SWEEP, "Time that a sweep has taken, seconds."),
    Metric("raysmith_storage_free_bytes", "gauge", (), "Free space of the disk that holds the storage root, bytes."),
    Metric("raysmith_storage_size_bytes", "gauge", (), "Size of the disk that holds the storage root, bytes."),
)
# fmt: on

_TRAINED = {
    "open": "1 while the training goes on, 0 when it has ended in a process that trains another.",
    "step": "The newest step.",
    "steps": "Steps in all.",
    "loss": "Mean loss of its terms.",
    "learning_rate": "Learning rate.",
    "grad_norm": "Norm of the gradient before clipping.",
    "tokens_per_s": "Tokens a second, all workers.",
    "mfu": "Share of the matrix rate that a worker measured before it began.",
    "data_wait_share": "Share of the step in which data was waited for; of reinforcement learning: rollouts.",
    "checkpoint_s": "Seconds that saves have held training up since the step before.",
    "memory_bytes": "Peak memory of worker 0.",
    "heldout_loss": "Held-out loss, when it was last measured.",
}
_LEARNT = {
    "reward": "Mean reward of a round.",
    "heldout_reward": "Mean reward of held-out prompts, when it was last measured.",
    "heldout_win_rate": "Share of held-out prompts answered better than before training.",
    "heldout_alarm": "1 once training reward and held-out reward have parted.",
    "kl": "KL from the reference model, nats a token.",
    "kl_completion": "The same, nats a completion.",
    "kl_coefficient": "KL coefficient in force.",
    "entropy": "Of the next token, nats.",
    "drift": "Mean difference of log-probabilities between sampler and learner, nats a token.",
    "staleness": "Rounds by which the weights that wrote were older than those trained.",
    "clip_share": "Share of tokens whose gradient was cut off.",
    "mixed_groups": "Share of prompts whose completions differ in reward.",
    "length": "Tokens of a completion.",
    "ended": "Share of completions that ended by themselves.",
    "sync_s": "Time to send the weights to the samplers, seconds.",
    "sync_bytes": "Size of what was sent.",
}


def _gauges(figures: dict[str, str]) -> tuple[Metric, ...]:
    return tuple(Metric(f"ray_raysmith_train_{name}", "gauge", _RUN, text) for name, text in figures.items())


# Gauges of `trainers.trackers.prometheus`, on the metrics port of the node where worker 0 is. Every figure of
# metrics.jsonl is one; these are those that rules and dashboards use.
TRAINING = _gauges(_TRAINED)
LEARNING = _gauges(_LEARNT)

_NODE = ("ip", "IsHeadNode", "RayNodeType", "SessionName")
_GPU = (*_NODE, "GpuDeviceName", "GpuIndex")
_CORE = ("NodeAddress", "SessionName", "Component")
# Of Ray's own metrics, those that rules and dashboards use.
# fmt: off
NODES: tuple[Metric, ...] = (
    Metric("ray_node_cpu_utilization", "gauge", _NODE, "CPU use, percent of all cores."),
    Metric("ray_node_cpu_count", "gauge", _NODE, "Cores."),
    Metric("ray_node_mem_used", "gauge", _NODE, "Memory in use, bytes."),
    Metric("ray_node_mem_total", "gauge", _NODE, "Memory, bytes."),
    Metric("ray_node_disk_utilization_percentage", "gauge", _NODE, "Disk in use, percent."),
    Metric("ray_node_disk_free", "gauge", _NODE, "Free disk, bytes."),
    Metric("ray_node_network_send_speed", "gauge", _NODE, "Sent, bytes a second."),
    Metric("ray_node_network_receive_speed", "gauge", _NODE, "Received, bytes a second."),
    Metric("ray_node_gpus_utilization", "gauge", _GPU, "GPU use, percent."),
    Metric("ray_node_gram_used", "gauge", _GPU, "GPU memory in use, MB whatever Ray's own help says."),
    Metric("ray_node_gram_available", "gauge", _GPU, "Free GPU memory, MB."),
    Metric("ray_node_gpu_temperature_celsius", "gauge", _GPU, "Temperature of a GPU."),
    Metric("ray_node_gpu_power_milliwatts", "gauge", _GPU, "Power draw of a GPU."),
    Metric("ray_resources", "gauge", (*_CORE, "Name", "State"), "A node's resources: AVAILABLE and USED."),
    Metric("ray_object_store_used_memory", "gauge", _CORE, "Shared memory that objects take, bytes."),
    Metric("ray_object_store_available_memory", "gauge", _CORE, "Shared memory that is left for objects, bytes."),
    Metric("ray_spill_manager_objects_bytes", "gauge", (*_CORE, "State"), "Objects, by whether they were spilled."),
    Metric("ray_spill_manager_request_total", "gauge", (*_CORE, "Type"), "Objects spilled and restored, counted."),
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
