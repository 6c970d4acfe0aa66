"""The admission queue of a running cluster: every driver asks before it allocates (rules: `cluster.line`).

An actor of the cluster keeps the line. It has no state that drivers do not tell it again with every heartbeat: when its
node or the head is restarted, it begins anew and the line forms itself again. A driver that dies stops beating, and
what it held, or its place, is free after `LOST_S`.
"""

from __future__ import annotations

import logging
import secrets
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from cluster import line
from cluster.errors import ClusterError
from cluster.line import LOST_S, Ask, Bundle, Cluster, Line

NAMESPACE, NAME = "raysmith", "admission-queue"
WAITING, LET_IN = "waiting", "let in"
"""How the driver's lines about the queue begin: `raysmith jobs` looks for them at the end of its log."""
_BEAT_S = 2.0
_ANSWER_S = 10.0
_SILENT_S = 120.0
_log = logging.getLogger(__name__)


class Need(NamedTuple):
    """What a job holds while it runs."""

    bundles: list[Bundle]
    copies: tuple[int, int] = (1, 1)
    """See `cluster.line.Ask`."""


class Admission(NamedTuple):
    """What a driver was let in with."""

    copies: int
    waited_s: float


class Keeper:
    """The actor."""

    def __init__(self) -> None:
        import ray

        # After a restart those that were let in must say so before anybody else is.
        restarted = ray.get_runtime_context().was_current_actor_reconstructed
        self._line = Line(closed_until=time.time() + LOST_S if restarted else 0.0)

    def beat(self, ask: tuple[Any, ...]) -> dict[str, Any]:
        """See `Line.beat`."""
        return self._line.beat(Ask(*ask), cluster_now(), time.time())

    def leave(self, key: str) -> None:
        """See `Line.leave`."""
        self._line.leave(key)

    def look(self) -> list[dict[str, Any]]:
        """See `Line.look`."""
        return self._line.look()


def cluster_now() -> Cluster:
    """The nodes that are alive, and what the autoscaler may add to them."""
    import ray
    from ray._private.state import state

    nodes = [dict(node["Resources"]) for node in ray.nodes() if node["Alive"]]
    limit = state.get_max_resources_from_cluster_config()
    return Cluster(nodes, None if not limit else {name: float(amount) for name, amount in limit.items()})


@contextmanager
def admitted(name: str, need: Need, priority: int, tell: Callable[[str], None]) -> Iterator[Admission]:
    """Wait until the cluster that is connected has room for all of `need`, and keep it for the length of the block.

    Ctrl-C while it waits leaves the line.

    Args:
        tell: given a line about the place in the queue whenever that changes.

    Raises:
        ClusterError: the queue does not answer.
    """
    member = _Member(name, need, priority)
    member.start()
    try:
        yield member.wait(tell)
    finally:
        member.leave()


class _Member:
    """A driver in the line: a thread that beats, and what it was last told."""

    def __init__(self, name: str, need: Need, priority: int) -> None:
        key = f"{name}-{secrets.token_hex(4)}"
        self._ask = Ask(key, name, need.bundles, priority, 0.0, need.copies, 0)
        self._standing: dict[str, Any] | None = None
        self._heard = time.monotonic()
        self._news, self._over = threading.Event(), threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._beat, name="queue", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wait(self, tell: Callable[[str], None]) -> Admission:
        began, told = time.monotonic(), ""
        while True:
            self._news.wait(_BEAT_S)
            self._news.clear()
            standing = self._standing
            if standing is not None and standing["admitted"]:
                waited_s = time.monotonic() - began
                if told:
                    tell(f"{LET_IN} after {waited_s:.0f} s")
                return Admission(standing["admitted"], waited_s)
            if self._failure is not None or time.monotonic() - self._heard > _SILENT_S:
                raise ClusterError(
                    "The cluster's queue does not answer.", field="cluster.address", got=repr(self._failure),
                    fix="look at the head with `ray status`; `raysmith cluster status`",
                ) from None  # fmt: skip
            if standing is not None and (text := words(standing)) != told:
                tell(text)
                told = text

    def leave(self) -> None:
        import ray
        from ray.exceptions import RayError

        self._over.set()
        self._thread.join(_ANSWER_S)
        try:
            ray.get(_keeper().leave.remote(self._ask.key), timeout=_ANSWER_S)
        except (RayError, ValueError, OSError) as error:  # it learns it from our silence
            _log.debug("not told that we leave: %s", error)

    def _beat(self) -> None:
        import ray
        from ray.exceptions import RayError

        while not self._over.is_set():
            try:
                standing = ray.get(_keeper().beat.remote(tuple(self._ask)), timeout=_ANSWER_S)
            except (RayError, ValueError, OSError) as error:  # restarted, or its node is gone: it comes back
                _log.debug("the queue does not answer: %s", error)
            except Exception as error:  # Ray was shut down under us: nobody waits for an answer any more
                self._failure = error
                self._news.set()
                return
            else:
                self._heard = time.monotonic()
                self._ask = self._ask._replace(since=standing["since"], admitted=standing["admitted"])
                if standing != self._standing:
                    self._standing = standing
                    self._news.set()
            self._over.wait(_BEAT_S)


def words(standing: dict[str, Any]) -> str:
    """A line about a place in the queue."""
    before = list(dict.fromkeys(standing["before"]))
    names = ", ".join(before[:5]) + (f" and {len(before) - 5} more" if len(before) > 5 else "")
    return f"{WAITING} {standing['place']} of {standing['of']} for room" + (f", behind {names}" if names else "")


def _keeper() -> Any:
    """The actor, started by the first who asks."""
    import ray
    from ray import cloudpickle

    try:
        return ray.get_actor(NAME, NAMESPACE)
    except ValueError:
        pass

    # Its code goes along with it: it outlives the job that started it, and nodes need not have the checkout.
    for module in (line, sys.modules[__name__]):
        cloudpickle.register_pickle_by_value(module)
    made: Any = ray.remote(Keeper)
    return made.options(
        name=NAME, namespace=NAMESPACE, get_if_exists=True, lifetime="detached", max_restarts=-1, num_cpus=0,
        scheduling_strategy=_at_the_head(),
    ).remote()  # fmt: skip


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
    found: list[dict[str, Any]] = ray.get(keeper.look.remote(), timeout=_ANSWER_S)
    return found


def require_possible(need: Need, cluster: Cluster) -> Sequence[str]:
    """Why a cluster can never hold the least of a need; empty when it can."""
    least = need.bundles * need.copies[0]
    if cluster.holds(least):
        return []
    room = cluster.limit if cluster.limit is not None else line.total(cluster.nodes)
    if short := line.missing(least, room):
        return [f"{amount:g} {name} are needed, {room.get(name, 0.0):g} are there" for name, amount in short.items()]
    largest = max(least, key=lambda bundle: (bundle.get("GPU", 0.0), bundle.get("CPU", 0.0)))
    return [
        f"{len(least)} processes, the largest with {_amounts(largest)}, do not fit on {len(cluster.nodes)} nodes "
        f"({'; '.join(_amounts(node) for node in cluster.nodes[:8])})"
    ]


def _amounts(bundle: Bundle) -> str:
    return ", ".join(f"{bundle[name]:g} {name}" for name in ("CPU", "GPU") if bundle.get(name))
