"""A job that was let in, and whose processes Ray does not place: it leaves, and asks again.

The queue places jobs in a model of the cluster; Ray may place them otherwise. Of two jobs of mixed shapes each may then
hold what the other one still waits for. So whoever has part of its processes without a node for minutes, although the
nodes that are there have room for it and others hold some of them, gives all back.
"""

from __future__ import annotations

import logging
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from cluster.errors import ClusterError
from cluster.growth import cluster_now
from cluster.keeper import look
from cluster.queue import Need

_LOOKS_EVERY_S = 10.0
_LIMIT_S = (180.0, 270.0)
"""Chosen between these, so that not both leave. A sampler that does not answer for longer counts as lost."""
_PAUSES_S = (60.0, 300.0, 900.0)
_LONG_S = 3600.0
_log = logging.getLogger(__name__)


class NotPlacedError(ClusterError):
    """What was let in found no place on the nodes."""


def until_placed(attempt: Callable[[], None], tell: Callable[[str], None]) -> None:
    """Try again after a pause while there is no place.

    Raises:
        NotPlacedError: there was none time and again.
    """
    pauses = iter(_PAUSES_S)
    while True:
        began = time.monotonic()
        try:
            return attempt()
        except NotPlacedError as error:
            if time.monotonic() - began > _LONG_S:
                pauses = iter(_PAUSES_S)  # it had its place, and lost a node much later
            if (pause_s := next(pauses, None)) is None:
                raise
            tell(f"{error.message} It gave back what it held, and asks again in {pause_s:.0f} s")
            time.sleep(pause_s)


@contextmanager
def placed_in_time(need: Need) -> Iterator[None]:
    """Interrupt the block, which the main thread runs, when processes of this job find no node.

    Raises:
        NotPlacedError: they found none.
    """
    over, overdue, stopped = threading.Event(), threading.Event(), threading.Event()
    limit_s = random.uniform(*_LIMIT_S)  # noqa: S311 no secret

    def watch() -> None:
        since: float | None = None
        while not over.wait(_LOOKS_EVERY_S):
            since = (since or time.monotonic()) if _is_stuck(need) else None
            if since is not None and time.monotonic() - since >= limit_s and not over.is_set():
                overdue.set()
                os.kill(os.getpid(), signal.SIGINT)
                return

    watcher = threading.Thread(target=watch, name="placing", daemon=True)
    watcher.start()
    try:
        with _told_of_sigterm(stopped):
            yield
    except KeyboardInterrupt:
        if not overdue.is_set() or stopped.is_set():  # who stops a job while it gives back means it
            raise
        raise NotPlacedError(
            "Part of the job found no node, while others hold what it needs.", field="cluster.address",
            got=f"{', '.join(unplaced())} for {limit_s:.0f} s", expected="all that the queue let in placed by Ray",
            fix="run the same command when less is running; workers and samplers of one shape (CPUs, GPUs) fit better",
        ) from None  # fmt: skip
    finally:
        over.set()


@contextmanager
def _told_of_sigterm(arrived: threading.Event) -> Iterator[None]:
    """Set the event when the process is told to end; it is answered as before."""
    before = signal.getsignal(signal.SIGTERM)

    def tell(signum: int, frame: FrameType | None) -> None:
        arrived.set()
        if callable(before):
            before(signum, frame)

    if callable(before):  # else the signal ends the process
        signal.signal(signal.SIGTERM, tell)
    try:
        yield
    finally:
        if callable(before):
            signal.signal(signal.SIGTERM, before)


def _is_stuck(need: Need) -> bool:
    from ray.exceptions import RayError

    try:
        if not unplaced():
            return False
        others = sum(bool(one["admitted"]) for one in look()) > 1
        now = cluster_now()  # where nodes may still come, what waits makes them come
        return others and not now.to_come and now.holds(need.least())
    except (RayError, ClusterError, OSError) as error:
        _log.debug("not known who waits: %s", error)
        return False


def unplaced() -> list[str]:
    """Classes of this job's actors that no node was found for."""
    import ray
    from ray._private.state import actors

    if ray.util.client.ray.is_connected():  # Ray's client does not tell
        return []
    own = actors(job_id=ray.JobID.from_hex(ray.get_runtime_context().get_job_id()), actor_state_name="PENDING_CREATION")
    return sorted(one["ActorClassName"] for one in own.values() if not one["Address"]["IPAddress"])
