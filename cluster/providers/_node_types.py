"""Node types of Ray's cluster launcher, one for each group of a description."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cluster.description import ClusterFile, HeadConfig, NodeGroup
from cluster.growth import Group

HEAD = "head"
_MARKET_LABEL, _GPU_LABEL = "ray.io/market-type", "ray.io/accelerator-type"


def resources_of(group: NodeGroup | HeadConfig) -> dict[str, int]:
    """What a node offers, which the autoscaler must know before there is one."""
    found: dict[str, int] = {"CPU": group.cpus}
    if group.memory_gb is not None:
        # Ray keeps about 30% for its object store, as on a node that it counts itself.
        found["memory"] = int(group.memory_gb * 0.7 * 2**30)
    if isinstance(group, NodeGroup) and group.gpu is not None:
        found |= {"GPU": group.gpu.count, f"accelerator_type:{group.gpu.kind}": 1}
    return found


def growth_of(file: ClusterFile) -> list[Group]:
    """How far the cluster may grow: the autoscaler gives each node what `resources_of` says, whatever it counts."""
    return [Group(name, resources_of(group), group.max_nodes) for name, group in file.nodes.items()]


def labels_of(group: NodeGroup) -> dict[str, str]:
    """Ray's own labels of a node, which jobs can ask for."""
    found = {_MARKET_LABEL: "spot" if group.spot else "on-demand"}
    return found if group.gpu is None else {**found, _GPU_LABEL: group.gpu.kind}


def worker_types(file: ClusterFile, node_config: Callable[[str, NodeGroup], dict[str, Any]]) -> dict[str, Any]:
    """`available_node_types` but the head's."""
    return {
        name: {
            "resources": resources_of(group),
            "labels": labels_of(group),
            "node_config": node_config(name, group),
            "min_workers": group.min_nodes,
            "max_workers": group.max_nodes,
        }
        for name, group in file.nodes.items()
    }
