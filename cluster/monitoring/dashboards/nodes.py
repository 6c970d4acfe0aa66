"""Nodes and GPUs, by Ray's own metrics."""

from __future__ import annotations

from cluster.monitoring.dashboard import Dashboard, Panel, Query, Variable
from cluster.monitoring.dashboards.training import chart
from cluster.monitoring.promql import newest, total

_OF_NODE = 'instance=~"$instance"'
# Several raylets of one machine have one address, so `instance` tells nodes apart.
_NODE = ("instance",)
_GPU = ("instance", "GpuIndex")
_INSTANCE = "{{instance}}"
_DEVICE = "{{instance}} GPU {{GpuIndex}}"


def _of_nodes(name: str) -> str:
    return newest(name, _NODE, _OF_NODE)


def _of_gpus(name: str) -> str:
    return newest(name, _GPU, _OF_NODE)


def _held(resource: str) -> str:
    return total("ray_resources", ("State",), f'Name="{resource}",{_OF_NODE}')


_CLUSTER = (
    Panel("Nodes that answer", "short", (Query('sum (up{job="raysmith-ray"})', "up"),), kind="stat", width=6),
    Panel("CPUs", "short", (Query(_held("CPU"), "{{State}}"),), stacked=True, width=9),
    Panel("GPUs", "short", (Query(_held("GPU"), "{{State}}"),), stacked=True, width=9),
)
_MACHINES = (
    chart("CPU", "percent", (_of_nodes("ray_node_cpu_utilization"), _INSTANCE)),
    chart("Memory", "percentunit",
          (f"{_of_nodes('ray_node_mem_used')} / {_of_nodes('ray_node_mem_total')}", _INSTANCE)),
    chart("Disk in use", "percent", (_of_nodes("ray_node_disk_utilization_percentage"), _INSTANCE)),
    chart("Disk left", "bytes", (_of_nodes("ray_node_disk_free"), _INSTANCE)),
    chart("Network", "Bps", (_of_nodes("ray_node_network_send_speed"), "{{instance}} sent"),
          (_of_nodes("ray_node_network_receive_speed"), "{{instance}} received")),
    chart("Cores", "short", (_of_nodes("ray_node_cpu_count"), _INSTANCE)),
)  # fmt: skip
_OBJECTS = (
    chart("Object store", "bytes", (_of_nodes("ray_object_store_used_memory"), "{{instance}} used"),
          (_of_nodes("ray_object_store_available_memory"), "{{instance}} left"), width=12),
    chart("Spilled to disk", "bytes",
          (newest("ray_spill_manager_objects_bytes", _NODE, f'State="Spilled",{_OF_NODE}'), _INSTANCE), width=12),
)  # fmt: skip
_GPUS = (
    chart("GPU", "percent", (_of_gpus("ray_node_gpus_utilization"), _DEVICE)),
    chart("GPU memory", "decmbytes", (_of_gpus("ray_node_gram_used"), f"{_DEVICE} used"),
          (_of_gpus("ray_node_gram_available"), f"{_DEVICE} left")),
    chart("Temperature", "celsius", (_of_gpus("ray_node_gpu_temperature_celsius"), _DEVICE)),
    chart("Power", "watt", (f"{_of_gpus('ray_node_gpu_power_milliwatts')} / 1000", _DEVICE), width=24),
)  # fmt: skip

DASHBOARD = Dashboard(
    uid="raysmith-nodes",
    title="Raysmith: nodes and GPUs",
    variables=(Variable("instance", "label_values(ray_node_cpu_count, instance)"),),
    rows=(("Cluster", _CLUSTER), ("Machines", _MACHINES), ("Objects", _OBJECTS), ("GPUs", _GPUS)),
)
