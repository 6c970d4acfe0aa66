"""Replicas that come, go and are killed, with llama.cpp and SmolLM2: steps in the load, waking, SIGKILL."""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import psutil
from _endpoint_common import NAME, Up, asked, asked_engine, endpoint_up, figures, load_of, run, smol_file, wait_until

from jobs.bench.client import Client, Record
from jobs.bench.load import Step, closed_loop

CONTEXT, SLOTS, LOW, HIGH, KILL_CLIENTS = 512, 4, 1, 16, 4
_POLL_S, _PATIENCE_S = 0.05, 120.0
_REPLICA = "ray::ServeReplica"


def settings(**replicas: Any) -> Any:
    from serving.config import ReplicaConfig, ServeConfig
    from serving.engines.llama_cpp import Config

    engine = Config(context_tokens=CONTEXT, num_parallel=SLOTS)
    return ServeConfig(engine=engine, port=0, replicas=ReplicaConfig(**replicas))


@dataclass
class Watch:
    """How many replicas the front knew, and since when (seconds of `perf_counter`, as a step's)."""

    changes: list[tuple[float, int]] = field(default_factory=list)

    def first(self, count: int, since: float) -> float | None:
        """When there were so many for the first time since then."""
        return next((at for at, there in self.changes if there == count and at >= since), None)

    async def wait_for(self, count: int, since: float, within_s: float) -> float:
        """Wait until there are so many; gives the seconds since then."""
        await wait_until(lambda: self.first(count, since) is not None, within_s, f"{count} replicas")
        return (self.first(count, since) or since) - since


@asynccontextmanager
async def watched(up: Up) -> AsyncIterator[Watch]:
    watch = Watch()

    async def look() -> None:
        while True:
            there = await asyncio.to_thread(up.replicas)
            if not watch.changes or watch.changes[-1][1] != there:
                watch.changes.append((time.perf_counter(), there))
            await asyncio.sleep(_POLL_S)

    looking = asyncio.create_task(look())
    try:
        yield watch
    finally:
        looking.cancel()
        with suppress(asyncio.CancelledError):
            await looking


def step(options: argparse.Namespace) -> dict[str, Any]:
    """One client, then many, then one: when the second replica is there, and when it is gone."""
    delays = {"upscale_delay_s": options.upscale, "downscale_delay_s": options.downscale}
    with endpoint_up(settings(min=1, max=2, **delays), smol_file()) as up:
        return dict(run(_steps(up, options)))


async def _steps(up: Up, options: argparse.Namespace) -> dict[str, Any]:
    async def loaded(clients: int, seconds: float) -> Step:
        return await asked(
            up.target, load_of(seconds, clients, max_tokens=options.max_tokens, warmup_requests=0), clients
        )

    async with watched(up) as watch:
        low = await loaded(LOW, options.seconds)
        began = time.perf_counter()
        many = loaded(HIGH, options.seconds + options.upscale)
        task = asyncio.create_task(many)
        second_s = await watch.wait_for(2, began, _PATIENCE_S)
        high = await task
        both = await loaded(HIGH, options.seconds)
        ended = both.end
        rest = await loaded(LOW, options.seconds)
        one_s = await watch.wait_for(1, ended, options.downscale + _PATIENCE_S)
        await asyncio.sleep(2 * _POLL_S)
    events = len(watch.changes) - 1
    found: dict[str, Any] = {
        "second_replica_s": second_s, "one_again_s": one_s,
        "scale_events": events, "more_than_needed": events - 2,
    }  # fmt: skip
    parts = {"low": low, "rising": high, "high": both, "falling": rest}
    for name, made in parts.items():
        found |= figures(name, [made])
    return found | {"failed": sum(found[f"{name}_failed"] for name in parts)}


def wake(options: argparse.Namespace) -> dict[str, Any]:
    """From no replica to the answer's first token."""
    with endpoint_up(settings(min=0, max=1, upscale_delay_s=0, downscale_delay_s=1), smol_file()) as up:
        run(wait_until(lambda: up.replicas() == 0, _PATIENCE_S, "no replica"))
        load = load_of(0.01, 0, max_tokens=2, warmup_requests=0, max_requests=1, prompt_tokens=16)
        made = run(asked(up.target, load, 1))
        again = run(asked(up.target, load.model_copy(update={"seed": 1}), 1))
    found = figures("wake", [made]) | figures("awake", [again])
    return {
        "first_token_s": found["wake_first_token_p50_ms"] / 1000,
        "awake_first_token_s": found["awake_first_token_p50_ms"] / 1000, "failed": found["wake_failed"],
    }  # fmt: skip


def load(options: argparse.Namespace) -> dict[str, Any]:
    """The engine alone in this process: its constructor, and all from the imports to the first token."""
    began = time.perf_counter()
    from serving.protocol import open_engine

    config, path = settings(min=1, max=1), smol_file()
    found = time.perf_counter()
    engine = open_engine(config.engine, path, NAME, 1)
    opened = time.perf_counter()
    one = load_of(0.01, 0, max_tokens=2, warmup_requests=0, max_requests=1, prompt_tokens=16)
    made = figures("engine", [run(asked_engine(engine, one, 1))])
    run(engine.stop())
    seconds = time.perf_counter() - found
    first = opened - found + made["engine_first_token_p50_ms"] / 1000
    return {"constructor_s": opened - found, "first_token_s": first, "imports_s": found - began, "all_s": seconds}


def replica_pids() -> list[int]:
    """Processes of replicas among those that this process's own Ray started."""
    pids = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if process.cmdline() and process.cmdline()[0].startswith(_REPLICA):
                pids.append(process.pid)
    return pids


def kill(options: argparse.Namespace) -> dict[str, Any]:
    """Two replicas under load, one of which is killed every now and then."""
    with endpoint_up(settings(min=2, max=2), smol_file()) as up:
        run(wait_until(lambda: up.replicas() == 2, _PATIENCE_S, "two replicas"))
        return dict(run(_kills(up, options)))


async def _kills(up: Up, options: argparse.Namespace) -> dict[str, Any]:
    recoveries: list[float] = []
    async with watched(up) as watch:
        asking = [asyncio.create_task(_ask(up, options, number)) for number in range(KILL_CLIENTS)]
        began, kills = time.perf_counter(), 0
        while (kills + 1) * options.every < options.seconds:
            kills += 1
            await asyncio.sleep(max(0.0, began + kills * options.every - time.perf_counter()))
            if pids := await asyncio.to_thread(replica_pids):
                recoveries.append(await _recovered(watch, random.choice(pids)))
        await asyncio.sleep(max(0.0, began + options.seconds - time.perf_counter()))
        records = [record for made in await asyncio.gather(*asking) for record in made]
    return {**_fates(records), "kills": len(recoveries), "seconds": time.perf_counter() - began, **_spread(recoveries)}


async def _ask(up: Up, options: argparse.Namespace, number: int) -> list[Record]:
    """One client; every other one streams."""
    load = load_of(options.seconds, number, stream=number % 2 == 0, max_tokens=options.max_tokens)
    async with Client(up.target, load) as client:
        made = await closed_loop(client, Step("clients", 1))
        return made.records


async def _recovered(watch: Watch, pid: int) -> float:
    """Kill it; seconds until two replicas serve again. The front must have noticed first that one is gone."""
    began = time.perf_counter()
    psutil.Process(pid).kill()
    noticed_s = await watch.wait_for(1, began, _PATIENCE_S)
    return noticed_s + await watch.wait_for(2, began + noticed_s, _PATIENCE_S)


def _fates(records: list[Record]) -> dict[str, Any]:
    """A failure with another status than 200, or with none, came before the first byte of an answer."""
    failed = [one for one in records if one.failure is not None]
    begun = [one for one in failed if one.status == 200]
    typed = sum(one.failure == "error_event" for one in begun)
    return {
        "requests": len(records), "succeeded": len(records) - len(failed),
        "failed_before_first_byte": len(failed) - len(begun), "cut_streams": len(begun), "cut_with_typed_error": typed,
        "cut_without": len(begun) - typed, "longest_s": max((one.total_s for one in records), default=0.0),
        "failures": Counter(f"{one.failure}, status {one.status}: {one.message}" for one in failed),
    }  # fmt: skip


def _spread(seconds: list[float]) -> dict[str, float]:
    if not seconds:
        return {}
    return {"recovery_median_s": statistics.median(seconds), "recovery_least_s": min(seconds),
            "recovery_most_s": max(seconds)}  # fmt: skip


STEP, WAKE, KILL = {"raysmith": step}, {"wake": wake, "load": load}, {"raysmith": kill}
