"""A version's replicas, the places they have, and the queue for them. One queue for all replicas: a request waits for
the next free place, wherever that is, and a replica that starts takes from it at once.
"""

from __future__ import annotations

import asyncio
import logging
import time
import zlib
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from serving.config import LimitConfig
from serving.protocol import RequestError

_log = logging.getLogger(__name__)
BEAT_S = 0.4
SILENT_S = 10.0
"""A replica that has not been heard of for so long is given up, with the requests that it has."""
_RETRY_AFTER_S = 2


class Need(NamedTuple):
    """What a request takes of a replica."""

    choices: int
    tokens: int
    """Of the prompt, about, and at most still to be written."""
    prefix: str
    """How the prompt begins: requests that begin alike go to the same replica, which has read that before."""


class Moved(Exception):  # noqa: N818 no error: another version answers
    """The version that a request waits for is no longer served."""


class Beat(NamedTuple):
    """What a replica tells every now and then."""

    id: str
    url: str
    secret: str
    """What it must be sent as bearer token."""
    slots: int
    """Choices that it writes at the same time."""
    proof: str
    """See `serving.probe`."""
    figures: dict[str, float]
    """CPU, memory and GPU use, by the end of a metric's name."""


class Replica:
    """What the front knows of a replica."""

    def __init__(self, told: Beat) -> None:
        self.told = told
        self.beaten = time.monotonic()
        self.running = 0
        """Choices."""
        self.tokens = 0
        self.lost = False
        """A connection to it broke; a beat brings it back."""
        self.leaving = False
        self.silent: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when it was not heard of for too long: its node may have vanished without a word."""

    @property
    def usable(self) -> bool:
        """Whether it takes new requests."""
        return not (self.lost or self.leaving or self.silent.done())

    def has_room(self, need: Need) -> bool:
        """Whether the request can start now; one that needs more than all places takes all."""
        return self.usable and self.running + min(need.choices, self.told.slots) <= self.told.slots


class _Waiter(NamedTuple):
    need: Need
    place: asyncio.Future[Replica]


class Pool:
    """The replicas of a version.

    Args:
        wake: asks for a replica where there is none, and returns when there is one.
        failed: called when a replica is lost.
    """

    def __init__(self, wake: Callable[[], Awaitable[Any]], failed: Callable[[], None]) -> None:
        self.num_running = 0
        """Choices that are being written, by replicas that take no new ones too."""
        self._known: dict[str, Replica] = {}
        self._wake = wake
        self._failed = failed
        self._waking: asyncio.Future[Any] | None = None
        self._queue: deque[_Waiter] = deque()

    @property
    def replicas(self) -> list[Replica]:
        """Those that take requests."""
        return [one for one in self._known.values() if one.usable]

    @property
    def num_waiting(self) -> int:
        """Choices that wait for a place."""
        return sum(one.need.choices for one in self._queue)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left of the version."""
        return not self._known and not self._queue and not self.num_running

    def waiting_share(self) -> dict[str, float]:
        """What each replica should count as its own of what waits; see `serving.scaling`."""
        parts = max(1, len(self.replicas))
        tokens = sum(one.need.tokens for one in self._queue)
        return {"requests": self.num_waiting / parts, "tokens": tokens / parts}

    def beat(self, told: Beat) -> dict[str, float]:
        """A replica tells that it is there; gives `waiting_share`."""
        known = self._known.get(told.id)
        if known is None:
            known = self._known[told.id] = Replica(told)
        if known.silent.done():
            known.silent = asyncio.get_running_loop().create_future()
        known.beaten, known.told, known.lost = time.monotonic(), told, False
        self._hand_out()
        return self.waiting_share()

    def leave(self, replica_id: str) -> None:
        """A replica gets no new requests any more; those it has go on."""
        if (known := self._known.get(replica_id)) is not None:
            known.leaving = True

    def lost(self, replica: Replica) -> None:
        """A replica's connection broke. Should it live, its next beat brings it back."""
        if replica.usable:  # the first of its requests to notice
            self._failed()
        replica.lost = True

    def look(self) -> None:
        """Give up replicas that have been silent for too long, and forget those that have nothing left."""
        silent = time.monotonic() - SILENT_S
        for key, replica in list(self._known.items()):
            if replica.beaten < silent:
                self.lost(replica)
                if not replica.silent.done():
                    replica.silent.set_result(None)
                if not replica.running:
                    del self._known[key]

    async def acquire(self, need: Need, limits: LimitConfig, *, again: bool = False) -> Replica:
        """Wait for a place; it must be given back by `release`.

        Args:
            again: the request was let in before and lost its replica: it goes to the head of the queue.

        Raises:
            RequestError: 429 if the queue is full, 503 if it takes too long.
            Moved: the version ended while the request waited.
        """
        if (not self._queue or again) and (free := self._choose(need)) is not None:
            return self._take(free, need)
        self._ask_for_replica()
        if not again and self.num_waiting + need.choices > limits.max_queued_requests:
            raise RequestError(
                429, "The queue is full; try again later.", code="queue_full", retry_after_s=_RETRY_AFTER_S
            )
        waiter = _Waiter(need, asyncio.get_running_loop().create_future())
        self._queue.appendleft(waiter) if again else self._queue.append(waiter)
        try:
            async with asyncio.timeout(limits.queue_timeout_s):
                try:
                    return await waiter.place
                except asyncio.CancelledError:
                    self._forget(waiter)
                    raise
        except TimeoutError:
            raise RequestError(
                503, f"No place became free within {limits.queue_timeout_s:g} s.", code="queue_timeout",
                retry_after_s=_RETRY_AFTER_S,
            ) from None  # fmt: skip

    def end(self) -> None:
        """The version is no longer served: those who wait must go elsewhere."""
        while self._queue:
            waiter = self._queue.popleft()
            if not waiter.place.done():
                waiter.place.set_exception(Moved())

    def _forget(self, waiter: _Waiter) -> None:
        if waiter in self._queue:
            self._queue.remove(waiter)
        # A place may have come in the moment in which the client left.
        elif waiter.place.done() and not waiter.place.cancelled() and waiter.place.exception() is None:
            self.release(waiter.place.result(), waiter.need)
        self._hand_out()  # the next one may need less

    def release(self, replica: Replica, need: Need) -> None:
        """Give a place back."""
        replica.running -= min(need.choices, replica.told.slots)
        self.num_running -= need.choices
        replica.tokens -= need.tokens
        self._hand_out()

    def _take(self, replica: Replica, need: Need) -> Replica:
        replica.running += min(need.choices, replica.told.slots)
        self.num_running += need.choices
        replica.tokens += need.tokens
        return replica

    def _hand_out(self) -> None:
        while self._queue and (free := self._choose(self._queue[0].need)) is not None:
            waiter = self._queue.popleft()
            if not waiter.place.done():
                waiter.place.set_result(self._take(free, waiter.need))
        if self._queue:
            self._ask_for_replica()

    def _choose(self, need: Need) -> Replica | None:
        """A replica with room: the one that has read this beginning before, unless it has much more to do."""
        free = [one for one in self._known.values() if one.has_room(need)]
        if len(free) < 2:
            return free[0] if free else None
        least = min(free, key=lambda one: (one.running, one.tokens))
        # Rendezvous hashing: when a replica comes or goes, only its own beginnings move.
        known = max(free, key=lambda one: zlib.crc32(f"{one.told.id}{need.prefix}".encode(errors="replace")))
        return known if known.running <= least.running + least.told.slots // 4 else least

    def _ask_for_replica(self) -> None:
        if self.replicas or (self._waking is not None and not self._waking.done()):
            return
        self._waking = asyncio.ensure_future(self._wake())
        self._waking.add_done_callback(_log_failure)


def _log_failure(waking: asyncio.Future[Any]) -> None:
    if not waking.cancelled() and (error := waking.exception()) is not None:  # it is asked again if need be
        _log.error("No replica could be asked for.", exc_info=error)
