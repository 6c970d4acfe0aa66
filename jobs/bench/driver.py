"""`raysmith bench`: the steps of a load one after another, with progress and results."""

from __future__ import annotations

import asyncio
import math
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter

import uvloop
from rich.console import Console

from cluster.errors import EndpointError, ResourceError
from cluster.progress import ProgressFile
from jobs.bench.client import Client
from jobs.bench.config import LoadConfig, Target, require_allowed
from jobs.bench.figures import Figures, figures_of
from jobs.bench.load import Step, closed_loop, open_loop
from jobs.bench.plots import load_words
from jobs.bench.report import table, warnings, write_results
from jobs.console import bar, console, fact, title

_PROGRESS_S = 0.5
_WIDTH = 120  # where another program reads


def bench(
    url: str, model: str, api_key: str, load: LoadConfig, to: Path | None, *, allow_remote: bool = False
) -> Figures:
    """Put the load on an endpoint and show what it came to. Ctrl-C ends it and keeps what was measured.

    Args:
        url: base URL as an OpenAI client takes it.
        to: folder for bench.json, requests.jsonl and bench.html.
        allow_remote: let the endpoint be on another machine.

    Raises:
        ConfigError: the URL is none, or of another machine without `allow_remote`.
        EndpointError: the endpoint answered none of the warm-up's requests.
        ResourceError: the folder cannot be written.
        KeyboardInterrupt: interrupted before anything was measured.
    """
    require_allowed(url, allow_remote=allow_remote)
    if to is not None:
        _make_folder(to)
    target, started = Target(url, model, api_key), datetime.now(UTC).isoformat(timespec="seconds")
    title("Bench")
    fact("endpoint", f"{model} at {url}")
    fact("load", f"{', '.join(load_words(*step) for step in load.steps())}; {load.seconds:g} s each, seed {load.seed}")
    steps: list[Step] = []
    interrupted = False
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_measure(target, load, steps))
    except KeyboardInterrupt:
        interrupted = True
        if not any(step.records for step in steps):
            raise
    figures = figures_of(target, load, steps, started, interrupted=interrupted)
    Console(highlight=False, width=None if console.is_terminal else _WIDTH).print(table(figures))
    for warning in warnings(figures):
        fact("note", warning)
    if to is not None:
        write_results(figures, steps, to)
        fact("results", str(to / "bench.html"))
    return figures


async def _measure(target: Target, load: LoadConfig, steps: list[Step]) -> None:
    async with Client(target, load) as client:
        await warm_up(client)
        for kind, asked in load.steps():
            if client.num_left <= 0:
                break
            steps.append(Step(kind, asked))
            async with _shown(steps[-1], load):
                await (closed_loop if kind == "clients" else open_loop)(client, steps[-1])


async def warm_up(client: Client) -> None:
    """Send the requests that are not counted.

    Raises:
        EndpointError: none succeeded.
    """
    records = [await client.ask() for _ in range(client.load.warmup_requests)]
    if records and all(record.failure is not None for record in records):
        last = records[-1]
        raise EndpointError(
            "The endpoint answers no request.", field=client.target.url, got=f"{last.failure}: {last.message}",
            expected=f"an answer of model {client.target.model!r}", fix="check the URL, the key and the model's name",
        )  # fmt: skip


@asynccontextmanager
async def _shown(step: Step, load: LoadConfig) -> AsyncIterator[None]:
    """Show the step's progress, in seconds."""
    with tempfile.TemporaryDirectory() as folder:
        progress = ProgressFile(Path(folder) / "progress.json")
        with bar(load_words(step.kind, step.asked), progress):
            task = asyncio.create_task(_report(step, load, progress))
            try:
                yield
            finally:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task


async def _report(step: Step, load: LoadConfig, progress: ProgressFile) -> None:
    while True:
        await asyncio.sleep(_PROGRESS_S)
        seconds, under_way = perf_counter() - step.begin, step.sent - len(step.records)
        errors = sum(record.failure is not None for record in step.records)
        text = f"{len(step.records):,} answered, {under_way} under way" + (f", {errors:,} errors" if errors else "")
        # In a thread: it waits for the disk, and the requests must not.
        await asyncio.to_thread(
            progress.write, min(int(seconds), math.ceil(load.seconds)), math.ceil(load.seconds), text
        )


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ResourceError(
            "The folder for the results cannot be made.", field="to", got=f"{folder} ({error})",
            expected="a folder that can be written",
        ) from None  # fmt: skip
