"""Alerts of nodes: out of reach, memory, disk, spilling, GPUs."""

from __future__ import annotations

from cluster.monitoring.promql import newest, total
from cluster.monitoring.rules import Alert

MEMORY_SHARE = 0.92
DISK_PERCENT = 90
IDLE_GPU_PERCENT = 10
HOT_CELSIUS = 87

_NODE = ("instance", "ip")
_SPILLED = 'Type="Spilled"'
_GPUS_HELD = 'Name="GPU",State="USED"'

ALERTS = (
    Alert(
        "NodeDown",
        'up{job="raysmith-ray"} == 0',
        "critical", "2m",
        "The node at {{ $labels.instance }} does not answer",
        "Prometheus cannot read the metrics of a node that Ray counts as alive.",
        "see `raysmith cluster status`; from another machine, see that this one reaches the node's metrics port",
    ),
    Alert(
        "RunsNotWatched",
        'up{job="raysmith-runs"} == 0',
        "critical", "2m",
        "Nothing is known of the runs any more",
        "`raysmith monitor up` does not answer Prometheus: alerts of runs cannot fire.",
        "start `raysmith monitor up` again, and look at its storage root: a dead network file system blocks it",
    ),
    Alert(
        "NodeMemoryHigh",
        f"{newest('ray_node_mem_used', _NODE)} / {newest('ray_node_mem_total', _NODE)} > {MEMORY_SHARE}",
        "warning", "5m",
        "{{ $labels.ip }} uses {{ $value | humanizePercentage }} of its memory",
        "At 95% Ray kills the newest task.",
        "lower train.batch.micro or the number of workers a node; see which process grows on the dashboard",
    ),
    Alert(
        "NodeDiskFull",
        f"{newest('ray_node_disk_utilization_percentage', _NODE)} > {DISK_PERCENT}",
        "warning", "5m",
        "The disk of {{ $labels.ip }} is {{ $value | humanize }}% full",
        "At 95% Ray spills no object any more, and work that needs it fails.",
        "remove old sessions of Ray under its temporary folder, and checkpoints that are not needed",
    ),
    Alert(
        "ObjectStoreSpilling",
        f"sum by (instance) (delta(ray_spill_manager_request_total{{{_SPILLED}}}[10m])) > 0",
        "warning", "10m",
        "{{ $labels.instance }} writes objects to disk",
        "Its share of memory for objects is full, and what is read back from disk is slow.",
        "give the node a larger object store, or keep fewer rounds or blocks of data in flight",
    ),
    Alert(
        "GpuIdleWhileHeld",
        f"(avg by (instance) (avg_over_time(ray_node_gpus_utilization[15m])) < {IDLE_GPU_PERCENT}) "
        f"and on (instance) ({total('ray_resources', ('instance',), _GPUS_HELD)} > 0)",
        "warning", "15m",
        "GPUs of {{ $labels.instance }} are held and idle ({{ $value | humanize }}%)",
        "A run holds them and does not use them: it hangs, waits for data, or asked for more than it needs.",
        "see the run's data wait and its last step; stop what hangs, or ask for fewer GPUs",
    ),
    Alert(
        "GpuHot",
        f"{newest('ray_node_gpu_temperature_celsius', (*_NODE, 'GpuIndex'))} > {HOT_CELSIUS}",
        "warning", "10m",
        "GPU {{ $labels.GpuIndex }} of {{ $labels.ip }} is at {{ $value | humanize }} °C",
        "It lowers its clock, and every worker of the run waits for it.",
        "look after the node's cooling; take it out of the cluster until then",
    ),
)  # fmt: skip
"""All alerts of nodes."""
