"""The admission queue of a running cluster: every driver asks before it allocates (rules: `cluster.line`).

An actor of the cluster keeps the line (`cluster.keeper`). It has no state that drivers do not tell it again with every
heartbeat: when its node or the head is restarted, it begins anew and the line forms itself again. A driver that dies
stops beating, and what it held, or its place, is free after `LOST_S`.
"""

from __future__ import annotations

import logging
import os
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from cluster import packing
from cluster.errors import ClusterError, ResourceError
from cluster.growth import itself
from cluster.keeper import ANSWER_S, keeper
from cluster.line import Ask, Cluster
from cluster.packing import Bundle, amounts

MAKE_ROOM = "lower cluster.workers or what a worker gets, or take a larger cluster"
DRIVER_CPUS = "RAYSMITH_DRIVER_CPUS"
"""In a driver's environment: cores that Ray keeps for it (`raysmith submit --entrypoint-cpus`)."""
WAITING, LET_IN = "waiting", "let in"
"""How the driver's lines about the queue begin: `raysmith jobs` looks for them at the end of its log."""
_BEAT_S = 2.0
_SILENT_S = 120.0
_log = logging.getLogger(__name__)


class Need(NamedTuple):
    """What a job holds while it runs."""

    bundles: list[Bundle]
    copies: tuple[int, int] = (1, 1)
    """See `cluster.line.Ask`."""
    driver: Bundle | None = None
    """See `cluster.line.Ask`; `driver_bundle`."""

    def least(self) -> list[Bundle]:
        """All that is held with the fewest copies."""
        return [*self.bundles * self.copies[0], *([self.driver] if self.driver else [])]


def driver_bundle() -> Bundle | None:
    """What Ray keeps for this process, on the node that it runs on; None when nothing."""
    import ray

    cores = float(os.environ.get(DRIVER_CPUS) or 0.0)
    return {"CPU": cores, itself(ray.get_runtime_context().get_node_id()): 0.01} if cores else None


class Admission(NamedTuple):
    """What a driver was let in with."""

    copies: int
    waited_s: float


@contextmanager
def admitted(name: str, need: Need, priority: int, tell: Callable[[str], None]) -> Iterator[Admission]:
    """Wait until the cluster that is connected has room for all of `need`, and keep it for the length of the block.

    Ctrl-C while it waits leaves the line.

    Args:
        tell: given a line about the place in the queue whenever that changes.

    Raises:
        ClusterError: the queue does not answer, or the driver must not wait.
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
        self._ask = Ask(key, name, need.bundles, priority, copies=need.copies, driver=need.driver)
        self._standing: dict[str, Any] | None = None
        self._heard = time.monotonic()
        self._news, self._over = threading.Event(), threading.Event()
        self._failure: BaseException | None = None
        """Why the thread ended."""
        self._trouble: BaseException | None = None
        """Why the last beat was not answered."""
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
                    "The cluster's queue does not answer.", field="cluster.address",
                    got=_last_line(self._failure or self._trouble),
                    fix="look at the head with `ray status`; `raysmith cluster status`",
                ) from None  # fmt: skip
            if standing is not None and standing.get("crowds"):
                raise ClusterError(
                    "The drivers of the jobs that wait hold too many cores: one more, and none could begin.",
                    field="--entrypoint-cpus", got=f"{(self._ask.driver or {}).get('CPU', 0.0):g}",
                    expected="so few that the jobs before this one have room beside all drivers",
                    fix="submit without --entrypoint-cpus, or later",
                )  # fmt: skip
            if standing is not None and (text := words(standing)) != told:
                tell(text)
                told = text

    def leave(self) -> None:
        import ray
        from ray.exceptions import RayError

        self._over.set()
        self._thread.join(ANSWER_S)
        try:
            ray.get(keeper().leave.remote(self._ask.key), timeout=ANSWER_S)
        except (RayError, ValueError, OSError) as error:  # it learns it from our silence
            _log.debug("not told that we leave: %s", error)

    def _beat(self) -> None:
        import ray
        from ray.exceptions import RayError

        while not self._over.is_set():
            try:
                standing = ray.get(keeper().hear.remote(self._ask._asdict()), timeout=ANSWER_S)
            except (
                Exception
            ) as error:  # most likely it is being restarted; whatever it is, silence would cost our place
                if not ray.is_initialized():  # Ray was shut down under us: nobody waits for an answer any more
                    self._failure = error
                    self._news.set()
                    return
                expected = isinstance(error, (RayError, ValueError, OSError, ClusterError))
                _log.log(logging.DEBUG if expected else logging.WARNING, "the queue does not answer: %s", error)
                self._trouble = error
            else:
                self._heard = time.monotonic()
                told = {key: standing[key] for key in ("since", "admitted", "let_in") if key in standing}
                self._ask = self._ask._replace(**told)
                if standing != self._standing:
                    self._standing = standing
                    self._news.set()
            self._over.wait(_BEAT_S)


def _last_line(error: BaseException | None) -> str | None:
    """What an error says; of one that was raised in the actor, that one's."""
    said = (str(error).strip().splitlines() or [""])[-1]
    return None if error is None else f"{type(error).__name__}: {said[:500]}"


def words(standing: dict[str, Any]) -> str:
    """A line about a place in the queue."""
    before = list(dict.fromkeys(standing["before"]))
    names = ", ".join(before[:5]) + (f" and {len(before) - 5} more" if len(before) > 5 else "")
    return f"{WAITING} {standing['place']} of {standing['of']} for room" + (f", behind {names}" if names else "")


def require_possible(need: Need, cluster: Cluster) -> Sequence[str]:
    """Why a cluster can never hold the least of a need; empty when it can."""
    least = need.least()
    if cluster.holds(least):
        return []
    room = packing.total(cluster.most)
    if short := packing.missing(least, room):
        return [f"{amount:g} {name} are needed, {room.get(name, 0.0):g} are there" for name, amount in short.items()]
    largest = max(least, key=lambda bundle: (bundle.get("GPU", 0.0), bundle.get("CPU", 0.0)))
    kinds = Counter(amounts(node) for node in cluster.most)
    to_come = f", {len(cluster.to_come)} of them not started yet" if cluster.to_come else ""
    return [
        f"{len(least)} processes, the largest with {amounts(largest)}, do not fit on {len(cluster.most)} nodes"
        f"{to_come} ({'; '.join(f'{number} × {kind}' for kind, number in kinds.most_common(8))})"
    ]


def require_place(need: Need, cluster: Cluster) -> None:
    """Refuse a need that a cluster can never hold.

    Raises:
        ResourceError: with the figures.
    """
    if reasons := require_possible(need, cluster):
        raise ResourceError(
            f"The cluster can never hold this job: {'; '.join(reasons)}.", field="cluster.address",
            expected="room for all its processes at once", fix=MAKE_ROOM,
        )  # fmt: skip
