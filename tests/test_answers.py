"""How chunks become answers, and several generations one answer: without an engine."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import jsonschema
import numpy as np
import pytest

from serving.chat_request import parse_chat
from serving.chat_response import embeddings_answer, fold_chat, fold_completion
from serving.choices import several
from serving.completion_request import parse_completion
from serving.embedding_request import parse_embedding
from serving.openapi import document
from serving.protocol import RequestError
from tests.test_requests import PARSERS, parsed


def chunk(*choices: dict[str, Any], **more: Any) -> str:
    base = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 5, "model": "smol"}
    return json.dumps({"choices": list(choices), **base, "system_fingerprint": "b1", **more})


def delta(index: int = 0, finish_reason: str | None = None, logprobs: Any = None, **said: Any) -> dict[str, Any]:
    return {"index": index, "delta": said, "finish_reason": finish_reason, "logprobs": logprobs}


USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
END = chunk(usage=USAGE, timings={"predicted_ms": 1.0})


def test_chunks_become_a_chat_completion() -> None:
    one, two = ({"token": text, "logprob": -0.5, "bytes": [97], "top_logprobs": []} for text in ("Pa", "ris"))
    whole = fold_chat([
        chunk(delta(role="assistant", content=None)), chunk(delta(content="Pa", logprobs={"content": [one]})),
        chunk(delta(1, role="assistant", content="Ro")), chunk(delta(content="ris", logprobs={"content": [two]})),
        chunk(delta(1, "length", content="me")), chunk(delta(finish_reason="stop")), END,
    ])  # fmt: skip
    assert whole == {
        "id": "chatcmpl-1", "object": "chat.completion", "created": 5, "model": "smol", "usage": USAGE,
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "Paris"}, "finish_reason": "stop",
             "logprobs": {"content": [one, two]}},
            {"index": 1, "message": {"role": "assistant", "content": "Rome"}, "finish_reason": "length",
             "logprobs": None},
        ],
    }  # fmt: skip


def test_pieces_of_tool_calls_are_put_together() -> None:
    def piece(index: int, name: str | None = None, arguments: str | None = None, **more: Any) -> dict[str, Any]:
        function = {key: text for key, text in (("name", name), ("arguments", arguments)) if text is not None}
        return delta(tool_calls=[{"index": index, "function": function, **more}])

    whole = fold_chat([
        chunk(piece(0, "weather", "", id="call_1", type="function")), chunk(piece(0, arguments='{"city":')),
        chunk(piece(1, "time", "{}", id="call_2", type="function")), chunk(piece(0, arguments='"Rome"}')),
        chunk(delta(finish_reason="tool_calls")), END,
    ])  # fmt: skip
    said = whole["choices"][0]
    assert said["finish_reason"] == "tool_calls"
    assert said["message"] == {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Rome"}'}},
            {"id": "call_2", "type": "function", "function": {"name": "time", "arguments": "{}"}},
        ],
    }
    assert parsed(parse_chat, {"messages": [said["message"]]}).body["messages"][0]["tool_calls"]


def test_chunks_become_a_completion() -> None:
    scores = [{"tokens": [text], "token_logprobs": [-1.0], "top_logprobs": [{text: -1.0}]} for text in ("a", "b")]
    parts = [
        {"index": 0, "text": text, "finish_reason": end, "logprobs": score}
        for text, end, score in zip(("a", "b"), (None, "stop"), scores, strict=True)
    ]
    whole = fold_completion([chunk(parts[0]), chunk(parts[1]), END])
    assert whole["object"] == "text_completion"
    assert whole["choices"] == [
        {"index": 0, "text": "ab", "finish_reason": "stop",
         "logprobs": {"tokens": ["a", "b"], "token_logprobs": [-1.0, -1.0], "top_logprobs": [{"a": -1.0}, {"b": -1.0}]}}
    ]  # fmt: skip


def test_an_answer_of_no_text_is_empty() -> None:
    whole = fold_chat([chunk(delta(role="assistant", content=None)), chunk(delta(finish_reason="stop")), END])
    assert whole["choices"][0]["message"] == {"role": "assistant", "content": ""}


def test_embeddings_as_numbers_and_as_bytes() -> None:
    vectors = [[0.5, -1.25], [3.0, 1e-3]]
    told = embeddings_answer("smol", vectors, 9, "float")
    assert [one["embedding"] for one in told["data"]] == vectors
    assert told["usage"] == {"prompt_tokens": 9, "total_tokens": 9}
    packed = embeddings_answer("smol", vectors, 9, "base64")["data"][1]["embedding"]
    np.testing.assert_array_equal(np.frombuffer(base64.b64decode(packed), "<f4"), np.array(vectors[1], np.float32))


class Generations:
    """Generations that count who is open; each says its number and ends with a usage chunk."""

    def __init__(self, fails: int | None = None, endless: bool = False) -> None:
        self.fails, self.endless = fails, endless
        self.open: set[int] = set()

    async def start(self, index: int) -> AsyncGenerator[str, None]:
        self.open.add(index)
        try:
            said = 0
            while said < 2 + index or self.endless:
                await asyncio.sleep(0)
                if said == 2 and index == self.fails:
                    raise RequestError(400, "No more.")
                yield chunk(delta(content=f"{index}"), id=f"id-{index}", created=index)
                said += 1
            yield chunk(usage={"prompt_tokens": 7, "completion_tokens": said, "total_tokens": 7 + said})
        finally:
            await asyncio.sleep(0)
            self.open.remove(index)


async def collected(chunks: AsyncGenerator[str, None]) -> list[str]:
    return [one async for one in chunks]


def test_choices_side_by_side() -> None:
    told = asyncio.run(collected(several(Generations().start, 3)))
    assert all(one.startswith('{"choices":[') for one in told)
    assert len({json.loads(one)["id"] for one in told}) == len({json.loads(one)["created"] for one in told}) == 1
    assert [bool(json.loads(one)["choices"]) for one in told] == [True] * 9 + [False]
    whole = fold_chat(told)
    assert [one["message"]["content"] for one in whole["choices"]] == ["00", "111", "2222"]
    assert whole["usage"] == {"prompt_tokens": 7, "completion_tokens": 9, "total_tokens": 16}
    order = [json.loads(one)["choices"][0]["index"] for one in told[:-1]]
    assert order != sorted(order)


def test_one_choice_is_passed_through() -> None:
    alone = Generations().start
    assert asyncio.run(collected(several(alone, 1))) == asyncio.run(collected(alone(0)))


def test_an_error_of_one_choice_ends_all() -> None:
    generations = Generations(fails=1, endless=True)
    with pytest.raises(RequestError, match="No more"):
        asyncio.run(collected(several(generations.start, 3)))
    assert generations.open == set()


@pytest.mark.parametrize("n", [1, 3])
def test_closing_ends_all_choices(n: int) -> None:
    generations = Generations(endless=True)

    async def read_two() -> None:
        async with aclosing(several(generations.start, n)) as chunks:
            for _ in range(2):
                await anext(chunks)
            assert generations.open == set(range(n))
        assert generations.open == set()

    asyncio.run(read_two())


def test_the_document_describes_what_is_accepted() -> None:
    told = json.loads(json.dumps(document()))
    assert told["openapi"].startswith("3.1")
    for route, parse, bad in (
        ("chat/completions", parse_chat, {"messages": []}),
        ("completions", parse_completion, {"prompt": [-1]}),
        ("embeddings", parse_embedding, {"input": []}),
    ):
        post = told["paths"][f"/v1/{route}"]["post"]
        schema = {**post["requestBody"]["content"]["application/json"]["schema"], "components": told["components"]}
        known = jsonschema.Draft202012Validator(schema)
        assert known.is_valid(PARSERS[parse])
        assert not known.is_valid({**PARSERS[parse], **bad})
        assert not known.is_valid({**PARSERS[parse], "grammar": "x"})
        assert {"400", "401", "413", "429", "503"} < post["responses"].keys()
    error = {**told["components"]["schemas"]["Error"], "components": told["components"]}
    jsonschema.validate(RequestError(429, "Later.", code="queue_full").body(), error)
    answer = {**told["components"]["schemas"]["ChatCompletion"], "components": told["components"]}
    jsonschema.validate(fold_chat([chunk(delta(role="assistant", content="a")), END]), answer)
