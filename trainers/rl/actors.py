"""Ray actors that may die: a pool starts each anew, in the state it had, and counts how often.

An actor here is a process that holds a sampler or reward functions. Its calls are asked for, then awaited; a call whose
actor died in between is asked for again of the one that took its place.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

from cluster.errors import ClusterError, RaysmithError

R = TypeVar("R")
_ERROR = re.compile(r"[\w.]+(Error|Exception)\b")


class Lost(Exception):  # noqa: N818 - what happened, not an error of ours
    """A call has no answer: its actor was too slow or died, and was replaced."""


class Call(NamedTuple):
    """A call that is under way."""

    number: int
    """Which actor of the pool."""
    actor: Any
    method: str
    arguments: tuple[Any, ...]
    future: Any


class Pool(Generic[R]):
    """Actors of one class.

    Args:
        make: starts actor number i.
        revived: brings a new actor into the state of the others; called with its number.
        what: how errors call one.
        max_failures: deaths and timeouts survived, until `forgive`; None: all.
    """

    def __init__(
        self,
        make: Callable[[int], Any],
        number: int,
        what: str,
        max_failures: int | None,
        revived: Callable[[int], None],
    ) -> None:
        self._make, self._what, self._max_failures, self._revived = make, what, max_failures, revived
        self.actors = [make(index) for index in range(number)]
        self.failures = 0
        """Deaths and timeouts since `forgive`."""

    def __len__(self) -> int:
        return len(self.actors)

    def forgive(self) -> None:
        """Count failures from zero again."""
        self.failures = 0

    def ask(self, index: int, method: str, *arguments: Any) -> Call:
        """Begin a call."""
        actor = self.actors[index]
        return Call(index, actor, method, arguments, getattr(actor, method).remote(*arguments))

    def answer(self, call: Call, timeout_s: float, *, again: bool = True) -> Any:
        """What a call gives.

        Args:
            again: ask again if the actor died.

        Raises:
            ClusterError: they died too often, or cannot start.
            Lost: the actor was too slow, or died and is not asked again; `replace` has another one take its place.
        """
        import ray
        from ray.exceptions import GetTimeoutError, RayActorError, RayTaskError

        until = time.monotonic() + timeout_s
        while True:
            try:
                return ray.get(call.future, timeout=max(0.0, until - time.monotonic()))
            except GetTimeoutError:
                raise Lost(f"no answer in {timeout_s:g} s") from None
            except RayTaskError as error:
                if isinstance(error.cause, RaysmithError):
                    raise error.cause from None
                raise  # a bug of ours, or the engine's: its traceback is wanted
            except RayActorError as error:
                if error.actor_init_failed:
                    raise ClusterError(
                        f"A {self._what} cannot start.", field="train.objective", got=_cause(str(error)),
                        fix="correct what it names; the run goes on from its last checkpoint",
                    ) from None  # fmt: skip
                self.replace(call, str(error).strip().splitlines()[0])
                if not again:
                    raise Lost("its process died") from None
                call = self.ask(call.number, call.method, *call.arguments)

    def replace(self, call: Call, reason: str) -> None:
        """Start another actor in place of the one that a call was made to, unless that was done before.

        Raises:
            ClusterError: that happened too often.
        """
        import ray

        if call.actor is not self.actors[call.number]:
            return  # another call has seen it before
        self.failures += 1
        if self._max_failures is not None and self.failures > self._max_failures:
            raise ClusterError(
                f"A {self._what} died again and again.", field="train.objective.sync.max_sampler_failures",
                got=f"{self.failures} times; last: {reason}",
                fix="usually too little memory: see the workers' logs, and lower the sampler's batch or number",
            )  # fmt: skip
        ray.kill(call.actor)
        self.actors[call.number] = self._make(call.number)
        self._revived(call.number)

    def close(self) -> None:
        """End all of them."""
        import ray

        for actor in self.actors:
            ray.kill(actor)


def _cause(traceback: str) -> str:
    """The error that a traceback ends with, without the way there."""
    lines = traceback.strip().splitlines()
    begins = [at for at, line in enumerate(lines) if _ERROR.match(line)]
    return "\n".join(lines[begins[-1] if begins else -1 :])
