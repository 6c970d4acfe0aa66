"""What nodes a cluster has, and which an autoscaler may still start.

Ray does not tell how far a cluster may grow (its `get_max_resources_from_cluster_config` reads what nobody writes). So
whoever renders a cluster gives the head's processes `ENVIRONMENT`, and a small task on the head reads it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from cluster.errors import ClusterError
from cluster.line import Cluster
from cluster.packing import Bundle

ENVIRONMENT = "RAYSMITH_NODE_GROUPS"
"""Of the head's Ray: its groups, as `encode` writes them."""
_ANSWER_S = 120.0
_GROUP_LABEL = "ray.io/node-group"
_HEAD = "node:__internal_head__"
_known: dict[str, str] = {}
"""The head → what it said."""


class Group(NamedTuple):
    """Nodes that are alike."""

    name: str
    resources: Mapping[str, float]
    """Of one node."""
    max_nodes: int


def encode(groups: Iterable[Group]) -> str:
    """As `ENVIRONMENT` holds them; the head is none of them."""
    return json.dumps([{**one._asdict(), "resources": _amounts(one.resources)} for one in groups])


def decode(text: str) -> list[Group]:
    """What `encode` wrote; keys that are not known here are passed over."""
    return [Group(one["name"], _amounts(one["resources"]), int(one["max_nodes"])) for one in json.loads(text or "[]")]


def _amounts(resources: Mapping[str, float]) -> Bundle:
    return {name: float(amount) for name, amount in resources.items()}


def cluster_now() -> Cluster:
    """The nodes that are alive in the cluster that is connected, and those that may be added to them.

    Raises:
        ClusterError: the head does not answer.
    """
    from ray.exceptions import RayError

    try:
        return ask_for_cluster()
    except RayError as error:
        raise ClusterError(
            "The cluster's head does not run tasks.", field="cluster.address", got=f"{type(error).__name__}: {error}",
            expected=f"a task without a core ends within {_ANSWER_S:.0f} s", fix="look at the head's raylet.log",
        ) from None  # fmt: skip


def ask_for_cluster(answer_s: float = _ANSWER_S) -> Cluster:
    """As `cluster_now`, with Ray's own errors: it runs where Raysmith need not be installed."""
    import ray

    alive = [node for node in ray.nodes() if node["Alive"]]
    head = next((node["NodeID"] for node in alive if _HEAD in node["Resources"]), None)
    groups = decode(_at(head, answer_s)) if head is not None else []
    workers = [node for node in alive if node["NodeID"] != head]
    return Cluster([{**node["Resources"], itself(node["NodeID"]): 1.0} for node in alive], to_come(groups, workers))


def itself(node: str) -> str:
    """A resource that only this node has, for what must be on it; Ray does not know it."""
    return f"id:{node}"


def to_come(groups: Sequence[Group], workers: Iterable[Mapping[str, Any]]) -> list[Bundle]:
    """Of each node that is not there yet, all that it will have.

    Args:
        workers: the nodes that are there, as `ray.nodes()` tells them. One whose group Ray does not know belongs to the
            first that offers just what it has, and is not full yet.
    """
    left = {group.name: group.max_nodes for group in groups}
    for node in workers:
        named = node.get("Labels", {}).get(_GROUP_LABEL)
        alike = (one.name for one in groups if left[one.name] and _offers(one, node["Resources"]))
        group = named if named in left else next(alike, None)
        if group is not None:
            left[group] -= 1
    return [dict(group.resources) for group in groups for _ in range(left[group.name])]


def _offers(group: Group, resources: Mapping[str, float]) -> bool:
    counted = {name for name in (*group.resources, "CPU", "GPU") if name != "memory"}
    return all(group.resources.get(name, 0.0) == resources.get(name, 0.0) for name in counted)


def _at(head: str, answer_s: float) -> str:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    if head in _known:
        return _known[head]
    context = ray.get_runtime_context()
    if context.get_node_id() == head and context.get_actor_id() is not None:
        return os.environ.get(ENVIRONMENT, "")  # the processes of actors have what the head's Ray has

    def read(name: str) -> str:  # not of the module: it travels with its code, wherever the module is not installed
        return os.environ.get(name, "")

    task: Any = ray.remote(read)
    there = NodeAffinitySchedulingStrategy(head, soft=False)
    _known[head] = ray.get(task.options(num_cpus=0, scheduling_strategy=there).remote(ENVIRONMENT), timeout=answer_s)
    return _known[head]
