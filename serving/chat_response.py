"""An engine's chunks as the two kinds of answer: server-sent events, or one completion."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any


async def events(first: str, rest: AsyncGenerator[str, None], with_usage: bool) -> AsyncIterator[str]:
    """Chunks as server-sent events; the last one, which has the usage and no choice, only for those who asked."""
    async with aclosing(rest):
        yield f"data: {first}\n\n"
        async for chunk in rest:
            if with_usage or not chunk.startswith('{"choices":[]'):
                yield f"data: {chunk}\n\n"
        yield "data: [DONE]\n\n"


def fold(chunks: list[dict[str, Any]]) -> dict[str, Any]:
    """Make one `chat.completion` of all chunks of a stream.

    Both kinds of request stream from the engine: only so can a client that hangs up stop the generation.
    """
    message: dict[str, Any] = {"role": "assistant", "content": ""}
    logprobs: list[dict[str, Any]] = []
    finish_reason = None
    for choice in (choice for chunk in chunks for choice in chunk["choices"]):
        for name, text in choice["delta"].items():
            if name != "role" and text is not None:
                message[name] = message.get(name, "") + text
        logprobs += (choice.get("logprobs") or {}).get("content") or []
        finish_reason = choice["finish_reason"] or finish_reason
    choice = {"index": 0, "message": message, "finish_reason": finish_reason}
    choice["logprobs"] = {"content": logprobs} if logprobs else None
    return {**chunks[-1], "object": "chat.completion", "choices": [choice]}
