"""How far a cluster may grow: groups of nodes that an autoscaler starts on demand.

Ray's drivers are not told (its `get_max_resources_from_cluster_config` reads what nobody writes). So whoever renders a
cluster gives the head's processes `ENVIRONMENT`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from cluster.line import Bundle

ENVIRONMENT = "RAYSMITH_NODE_GROUPS"
"""Of the head's Ray: its groups, as `encode` writes them."""


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
