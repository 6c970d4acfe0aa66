"""Several choices of one request (`n`): generations side by side, told as one stream."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any


async def several(open_one: Callable[[int], AsyncGenerator[str, None]], n: int) -> AsyncGenerator[str, None]:
    """Run `n` generations at once; yields their chunks as they come, as those of one answer.

    The last chunk has the usage of all: the prompt counts once. Closing the generator closes all; an error of one
    closes the others and is raised.

    Args:
        open_one: starts the generation of a choice, given its index.
        n: choices.
    """
    if n == 1:
        async with aclosing(open_one(0)) as chunks:
            async for chunk in chunks:
                yield chunk
        return
    arrived: asyncio.Queue[dict[str, Any] | asyncio.Task[None]] = asyncio.Queue()
    tasks = [asyncio.create_task(_pass_on(open_one(index), index, arrived)) for index in range(n)]
    for task in tasks:
        task.add_done_callback(arrived.put_nowait)
    same: dict[str, Any] = {}
    usages: list[dict[str, Any]] = []
    last: dict[str, Any] = {}
    num_ended = 0
    try:
        while num_ended < n:
            one = await arrived.get()
            if isinstance(one, asyncio.Task):
                one.result()  # raises what ended it
                num_ended += 1
                continue
            same = same or {name: one[name] for name in ("id", "created") if name in one}
            if one["choices"]:
                yield _text({**one, **same})
            else:
                last = one
                usages.append(one["usage"])
        yield _text({**last, **same, "usage": _sum(usages)})
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _pass_on(
    chunks: AsyncGenerator[str, None], index: int, arrived: asyncio.Queue[dict[str, Any] | asyncio.Task[None]]
) -> None:
    async with aclosing(chunks):
        async for text in chunks:
            chunk = json.loads(text)
            for choice in chunk["choices"]:
                choice["index"] = index
            arrived.put_nowait(chunk)


def _sum(usages: list[dict[str, Any]]) -> dict[str, Any]:
    written = sum(usage["completion_tokens"] for usage in usages)
    read = usages[0]["prompt_tokens"]
    return {**usages[0], "prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


def _text(chunk: dict[str, Any]) -> str:
    """A chunk as engines write it: `choices` first."""
    return json.dumps({"choices": chunk["choices"], **chunk}, separators=(",", ":"))
