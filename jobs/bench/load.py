"""Load in a closed loop and in an open one. What was measured stays in the `Step`, however the loop ends.

A closed loop of N clients never has more than N requests under way: a slow server is asked less, as by a program that
calls in sequence. An open loop is asked at its rate whatever happens, as by many people who know nothing of each other;
a latency counts from when the request was due, so that one stall is felt by all that should have been sent meanwhile.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter, process_time
from typing import Literal

from jobs.bench.client import REFUSALS, Client, Record
from jobs.bench.config import Kind

_REFUSED_PAUSE_S = 1.0
_FAILED_PAUSE_S = 0.1


@dataclass
class Step:
    """One step of a load. Times are seconds of the monotonic clock."""

    kind: Kind
    asked: float
    """Clients, or requests a second."""
    records: list[Record] = field(default_factory=list)
    """Of the requests that ended, in that order."""
    begin: float = 0.0
    end: float = 0.0
    """When the last request might be sent; those under way ended later."""
    ended_by: Literal["time", "max_requests", "interrupted"] = "time"
    client_cpu: float = 0.0
    """Cores that this process used in the step."""
    sent: int = 0


async def closed_loop(client: Client, step: Step) -> Step:
    """Let `step.asked` clients ask, each again when it was answered, for the load's `seconds`.

    A client that was refused waits as long as `Retry-After` says (1 s where it does not), one that failed 0.1 s.
    """

    async def ask_on() -> None:
        while perf_counter() < step.end and _may_ask(client, step):
            record = await client.ask()
            step.records.append(record)
            if record.failure is None:
                continue
            pause_s = _pause_s(record)
            if perf_counter() + pause_s >= step.end:
                return
            await asyncio.sleep(pause_s)

    with _measured(client, step):
        async with asyncio.TaskGroup() as group:
            for _ in range(int(step.asked)):
                group.create_task(ask_on())
    return step


async def open_loop(client: Client, step: Step) -> Step:
    """Send `step.asked` requests a second at the times of a Poisson process, for the load's `seconds`.

    The times follow from the load's seed and the rate.
    """
    times = random.Random(f"{client.load.seed} {step.asked}")  # noqa: S311

    async def ask(due: float) -> None:
        step.records.append(await client.ask(due))

    with _measured(client, step):
        due = step.begin + times.expovariate(step.asked)
        async with asyncio.TaskGroup() as group:
            while due < step.end:
                await asyncio.sleep(max(0.0, due - perf_counter()))
                if not _may_ask(client, step):
                    break
                group.create_task(ask(due))
                due += times.expovariate(step.asked)
    return step


@contextmanager
def _measured(client: Client, step: Step) -> Iterator[None]:
    step.begin, cpu = perf_counter(), process_time()
    step.end = step.begin + client.load.seconds
    try:
        yield
    except BaseException:
        step.ended_by, step.end = "interrupted", min(step.end, perf_counter())
        raise
    finally:
        step.client_cpu = (process_time() - cpu) / max(perf_counter() - step.begin, 1e-9)


def _may_ask(client: Client, step: Step) -> bool:
    """Whether a request is left of the load's; then it is taken."""
    if step.ended_by == "max_requests":
        return False
    if client.num_left <= 0:
        step.ended_by, step.end = "max_requests", min(step.end, perf_counter())
        return False
    client.num_left -= 1
    step.sent += 1
    return True


def _pause_s(record: Record) -> float:
    if record.failure not in REFUSALS:
        return _FAILED_PAUSE_S
    return _REFUSED_PAUSE_S if record.retry_after_s is None else record.retry_after_s
