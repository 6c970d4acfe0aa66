"""The actor that keeps the line of a cluster's admission queue (`cluster.queue`).

Drivers of several releases may meet one actor, which has the code of whoever started it. So what they say are plain
dictionaries, of which each side reads what it knows, and a newer driver replaces an older actor that keeps nobody.
"""

from __future__ import annotations

import logging
import math
import sys
import time
from collections.abc import Mapping
from typing import Any

from cluster import growth, line, packing
from cluster.errors import ClusterError
from cluster.growth import ask_for_cluster
from cluster.line import LOST_S, Ask, Cluster, Line

NAMESPACE, NAME = "raysmith", "admission-queue"
VERSION = 3
"""Of the actor's code: raise it with every change of what it says, or of the rules."""
ANSWER_S = 10.0
_LOOKS_EVERY_S, _HEAD_S = 1.0, 5.0


class Keeper:
    """The actor."""

    def __init__(self, lost_s: float, *, follows: bool = False) -> None:
        """`follows`: it takes the place of another one."""
        import ray

        # Those that were let in by another, or before a restart, must say so before anybody else is: from when we hear.
        self._closed = follows or ray.get_runtime_context().was_current_actor_reconstructed
        self._line, self._lost_s = Line(math.inf if self._closed else 0.0, lost_s), lost_s
        self._cluster, self._look_at = Cluster([]), 0.0
        self._clock = time.time() - time.monotonic()
        """What makes a time of day of a clock that nobody sets."""

    def version(self) -> int:
        """Of its code."""
        return VERSION

    def hear(self, ask: Mapping[str, Any]) -> dict[str, Any]:
        """See `Line.beat`; what a newer driver says beside it is passed over."""
        if time.monotonic() >= self._look_at:
            self._look()
        now = self._clock + time.monotonic()
        if self._closed:
            self._closed = False
            self._line.close(now + self._lost_s)
        known = Ask(**{key: value for key, value in ask.items() if key in Ask._fields})
        return self._line.beat(known, self._cluster, now)

    def _look(self) -> None:
        from ray.exceptions import RayError

        try:
            self._cluster = ask_for_cluster(_HEAD_S)
        except RayError as error:  # a busy head: what was known of the cluster stands, and drivers are heard
            logging.getLogger(__name__).warning("the head does not tell its groups: %s", error)
            self._look_at = time.monotonic() + 2 * _HEAD_S
        else:
            self._look_at = time.monotonic() + _LOOKS_EVERY_S

    def leave(self, key: str) -> None:
        """See `Line.leave`."""
        self._line.leave(key)

    def look(self) -> list[dict[str, Any]]:
        """See `Line.look`."""
        return self._line.look()


def keeper() -> Any:
    """The actor, started by the first who asks; one of an older release is replaced when nobody is in its line.

    Raises:
        ClusterError: it is of an older release, which does not understand this one, and keeps others.
    """
    import ray
    from ray import cloudpickle

    follows = False
    try:
        found = ray.get_actor(NAME, NAMESPACE)
    except ValueError:
        pass
    else:
        if found._actor_id in _looked_at or not _is_outdated(found):
            _looked_at.add(found._actor_id)
            return found
        ray.kill(found)
        follows = True

    # Its code goes along with it: it outlives the job that started it, and nodes need not have the checkout.
    for module in (packing, line, growth, sys.modules[__name__]):
        cloudpickle.register_pickle_by_value(module)
    made: Any = ray.remote(Keeper)
    return made.options(
        name=NAME, namespace=NAMESPACE, get_if_exists=True, lifetime="detached", max_restarts=-1, num_cpus=0,
        scheduling_strategy=_at_the_head(),
    ).remote(LOST_S, follows=follows)  # fmt: skip


_looked_at: set[Any] = set()
"""Actors that are of this release, or must be left to others."""


def _is_outdated(found: Any) -> bool:
    """Whether it is of an older release, and in nobody's use: those who are in its line would not know another."""
    import ray

    speaks = hasattr(found, "hear")
    version: int = ray.get(found.version.remote(), timeout=ANSWER_S) if speaks else 1
    if version >= VERSION:
        return False
    others = ray.get(found.look.remote(), timeout=ANSWER_S)
    if others and not speaks:
        raise ClusterError(
            "The cluster's queue is of an older release.", field="cluster.address", got=f"version {version}",
            fix="wait until these have ended: " + ", ".join(one["name"] for one in others[:5]),
        )  # fmt: skip
    return not others


def _at_the_head() -> Any:
    """Where it lives longest; elsewhere if that node is gone when it is restarted."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    alive = [node for node in ray.nodes() if node["Alive"]]
    head = next((node["NodeID"] for node in alive if "node:__internal_head__" in node["Resources"]), None)
    return "DEFAULT" if head is None else NodeAffinitySchedulingStrategy(head, soft=True)


def look() -> list[dict[str, Any]]:
    """Who was let in and who waits; empty when nobody ever asked."""
    import ray

    try:
        keeper = ray.get_actor(NAME, NAMESPACE)
    except ValueError:
        return []
    found: list[dict[str, Any]] = ray.get(keeper.look.remote(), timeout=ANSWER_S)
    return found
