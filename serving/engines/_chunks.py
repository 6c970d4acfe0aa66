"""OpenAI's chunks of an answer, made of the tokens of an engine that speaks in ids."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Any, Literal, NamedTuple

from serving.engines._text import Piece, TextReader, Token, TokenNames
from serving.engines._tools import ToolCallReader


class Step(NamedTuple):
    """What an engine says of an answer each time."""

    tokens: list[Token]
    """New ones, without the one that ends the answer."""
    num_tokens: int
    """Written so far, the one that ends the answer among them."""
    finish: Literal["stop", "length"] | None = None


Steps = AsyncGenerator[Step, None]
"""Closing it stops the engine."""


class Prompt(NamedTuple):
    """A request as an engine reads it."""

    ids: list[int]
    tools: bool = False
    """Whether tool calls are looked for in the answer."""
    begun: str = ""
    """The end of the prompt that is the beginning of the answer."""


class ChatChunks:
    """`chat.completion.chunk` objects as JSON text."""

    def __init__(self, model: str, names: TokenNames) -> None:
        self._common = _common("chatcmpl", "chat.completion.chunk", model)
        self._names = names

    def first(self) -> str:
        """Who speaks."""
        return self.delta({"role": "assistant", "content": ""})

    def piece(self, text: str, tokens: list[tuple[int, Token]], *, logprobs: bool) -> str:
        """Text, and the log-probabilities if they were asked for."""
        return self.delta({"content": text}, logprobs=self._logprobs(tokens) if logprobs else None)

    def delta(self, delta: dict[str, Any], logprobs: Any = None, finish: str | None = None) -> str:
        """Anything that is added to the message."""
        choice = {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        return _dump([choice], self._common)

    def end(self, finish: str) -> str:
        """Why the answer ends."""
        return self.delta({}, finish=finish)

    def usage(self, num_prompt: int, num_written: int) -> str:
        """Tokens read and written."""
        return _usage(self._common, num_prompt, num_written)

    def _logprobs(self, tokens: list[tuple[int, Token]]) -> dict[str, Any]:
        def named(token: int, logprob: float) -> dict[str, Any]:
            return {"token": self._names.text(token), "logprob": logprob, "bytes": list(self._names.bytes(token))}

        return {
            "content": [
                named(token.id, token.logprob) | {"top_logprobs": [named(*top) for top in token.tops]}
                for _, token in tokens
            ]
        }


class TextChunks:
    """`text_completion` objects as JSON text."""

    def __init__(self, model: str, names: TokenNames) -> None:
        self._common = _common("cmpl", "text_completion", model)
        self._names = names

    def piece(self, text: str, tokens: list[tuple[int, Token]], *, logprobs: bool) -> str:
        """Text, and the log-probabilities if they were asked for."""
        return self._chunk(text, self._logprobs(tokens) if logprobs else None, None)

    def end(self, finish: str) -> str:
        """Why the answer ends."""
        return self._chunk("", None, finish)

    def usage(self, num_prompt: int, num_written: int) -> str:
        """Tokens read and written."""
        return _usage(self._common, num_prompt, num_written)

    def _chunk(self, text: str, logprobs: Any, finish: str | None) -> str:
        return _dump([{"index": 0, "text": text, "logprobs": logprobs, "finish_reason": finish}], self._common)

    def _logprobs(self, tokens: list[tuple[int, Token]]) -> dict[str, Any]:
        text = self._names.text
        return {
            "tokens": [text(token.id) for _, token in tokens],
            "token_logprobs": [token.logprob for _, token in tokens],
            "top_logprobs": [{text(top): value for top, value in token.tops} for _, token in tokens],
            "text_offset": [at for at, _ in tokens],
        }


async def chat_answer(
    steps: Steps, reader: TextReader, prompt: Prompt, chunks: ChatChunks, *, logprobs: bool
) -> AsyncGenerator[str, None]:
    """All chunks of a chat's answer, none before the engine has accepted the request; closing it closes `steps`."""
    calls = ToolCallReader() if prompt.tools else None
    if calls:
        calls.read(prompt.begun)
    finish, num_written, silent = "length", 0, True
    async with aclosing(_pieces(steps, reader)) as pieces:
        async for piece, finish, num_written in pieces:  # noqa: B007 - the last ones count
            if silent:
                silent = False
                yield chunks.first()
            for chunk in _chat_piece(piece, calls, chunks, logprobs=logprobs):
                yield chunk
    if calls:
        content, found = calls.end()
        for chunk in _calls_chunks(content, found, calls.num_calls, chunks):
            yield chunk
    yield chunks.end("tool_calls" if calls and calls.num_calls and finish == "stop" else finish)
    yield chunks.usage(len(prompt.ids), num_written)


async def text_answer(
    steps: Steps, reader: TextReader, prompt: Prompt, chunks: TextChunks, *, logprobs: bool, echo: str = ""
) -> AsyncGenerator[str, None]:
    """All chunks of a completion, none before the engine has accepted the request; closing it closes `steps`.

    Args:
        echo: text that comes first.
    """
    finish, num_written = "length", 0
    async with aclosing(_pieces(steps, reader)) as pieces:
        async for piece, finish, num_written in pieces:  # noqa: B007
            if echo:
                yield chunks.piece(echo, [], logprobs=False)
                echo = ""
            if piece.text or (logprobs and piece.tokens):
                yield chunks.piece(*piece, logprobs=logprobs)
    yield chunks.end(finish)
    yield chunks.usage(len(prompt.ids), num_written)


async def _pieces(steps: Steps, reader: TextReader) -> AsyncGenerator[tuple[Piece, str, int], None]:
    """Pieces of text, with the reason for which the answer would end after each, and the tokens written so far."""
    step = Step([], 0)
    async with aclosing(steps):
        async for step in steps:
            for at, token in enumerate(step.tokens):
                piece = reader.read(token)
                if reader.stopped:
                    yield piece, "stop", step.num_tokens - len(step.tokens) + at + 1
                    return
                yield piece, "length", step.num_tokens
    yield reader.end(), "stop" if reader.stopped else step.finish or "length", step.num_tokens


def _chat_piece(piece: Piece, calls: ToolCallReader | None, chunks: ChatChunks, *, logprobs: bool) -> Iterator[str]:
    if calls is None:
        if piece.text or (logprobs and piece.tokens):
            yield chunks.piece(*piece, logprobs=logprobs)
        return
    content, found = calls.read(piece.text)
    if content or (logprobs and piece.tokens):
        yield chunks.piece(content, piece.tokens, logprobs=logprobs)
    yield from _calls_chunks("", found, calls.num_calls, chunks)


def _calls_chunks(content: str, found: list[dict[str, Any]], num_calls: int, chunks: ChatChunks) -> Iterator[str]:
    if content:
        yield chunks.delta({"content": content})
    for at, call in enumerate(found, num_calls - len(found)):
        yield chunks.delta({"tool_calls": [{"index": at, **call}]})


def _common(prefix: str, kind: str, model: str) -> dict[str, Any]:
    return {"id": f"{prefix}-{secrets.token_hex(12)}", "object": kind, "created": int(time.time()), "model": model}


def _usage(common: dict[str, Any], num_prompt: int, num_written: int) -> str:
    usage = {"prompt_tokens": num_prompt, "completion_tokens": num_written, "total_tokens": num_prompt + num_written}
    return _dump([], common, usage=usage)


def _dump(choices: list[dict[str, Any]], common: dict[str, Any], **more: Any) -> str:
    return json.dumps({"choices": choices, **common, **more}, ensure_ascii=False, separators=(",", ":"))
