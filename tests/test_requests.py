"""What requests may ask for, and how chunks become answers: without an engine."""

from __future__ import annotations

import asyncio
import base64
import json
import math
import re
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from serving.chat_request import parse_chat
from serving.chat_response import embeddings_answer, fold_chat, fold_completion
from serving.choices import several
from serving.completion_request import parse_completion
from serving.config import LimitConfig
from serving.embedding_request import parse_embedding
from serving.openapi import document
from serving.protocol import RequestError
from serving.request import Wanted

LIMITS = LimitConfig(max_prompt_chars=20_000, max_new_tokens=64, max_choices=4)
ASK: Any = [{"role": "user", "content": "Name the capital of France."}]
CHAT = {"model": "smol", "messages": ASK}
COMPLETION = {"model": "smol", "prompt": "The capital"}
EMBEDDING = {"model": "smol", "input": "The capital"}
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": ["string", "null"], "enum": ["Rome", None]}}},
    },
}
NAMED = {"type": "function", "function": {"name": "weather"}}
CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Rome"}'}}
Parse = Callable[[bytes, LimitConfig], Wanted]
PARSERS: dict[Parse, dict[str, Any]] = {parse_chat: CHAT, parse_completion: COMPLETION, parse_embedding: EMBEDDING}


def parsed(parse: Parse, change: dict[str, Any] | None = None) -> Wanted:
    return parse(json.dumps({**PARSERS[parse], **(change or {})}).encode(), LIMITS)


def refusal(parse: Parse, change: dict[str, Any] | bytes) -> RequestError:
    raw = change if isinstance(change, bytes) else json.dumps({**PARSERS[parse], **change}).encode()
    with pytest.raises(RequestError) as refused:
        parse(raw, LIMITS)
    assert refused.value.status == 400
    assert len(refused.value.message) < 1000
    json.dumps(refused.value.body()).encode()
    return refused.value


def schema_of(schema: dict[str, Any]) -> dict[str, Any]:
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "some", "schema": schema}}}


def parameters_of(schema: dict[str, Any]) -> dict[str, Any]:
    return {"tools": [{"type": "function", "function": {"name": "some", "parameters": schema}}]}


def message(role: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content, **more}]}


def test_a_chat_with_everything() -> None:
    messages = [
        message("developer", "Be brief.")["messages"][0],
        message("user", [{"type": "text", "text": "The weather "}, {"type": "text", "text": "in Rome?"}])["messages"][
            0
        ],
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "content": "sunny", "tool_call_id": "call_1"},
    ]
    wanted = parsed(
        parse_chat,
        {
            "model": "smol:polite", "messages": messages, "n": 2, "stream": True, "max_completion_tokens": 9,
            "stream_options": {"include_usage": True}, "tools": [WEATHER], "parallel_tool_calls": False,
            "tool_choice": NAMED, "logit_bias": {"17": -100, "4": 2.5},
            "user": "someone", "safety_identifier": "x", "prompt_cache_key": "y", "temperature": 1, "top_p": 0.5,
            "stop": ["\n"], "seed": 0, "logprobs": True, "top_logprobs": 2, "presence_penalty": None,
        },
    )  # fmt: skip
    assert wanted.model == "smol:polite"
    assert (wanted.n, wanted.stream, wanted.with_usage, wanted.max_tokens) == (2, True, True, 9)
    assert wanted.prefix.startswith("system: Be brief.\nuser: The weather in Rome?\n")
    assert wanted.num_chars > len("Be brief.The weather in Rome?sunny") + len(json.dumps(WEATHER["function"])) - 50
    assert wanted.body == {
        "messages": [{"role": "system", "content": "Be brief."}, messages[1],
                     {"role": "assistant", "tool_calls": [CALL]}, messages[3]],
        "max_tokens": 9, "tools": [WEATHER], "parallel_tool_calls": False, "logit_bias": {"17": -100, "4": 2.5},
        "tool_choice": NAMED, "temperature": 1, "top_p": 0.5,
        "stop": ["\n"], "seed": 0, "logprobs": True, "top_logprobs": 2,
    }  # fmt: skip


def test_what_is_not_named_gets_the_limit() -> None:
    wanted = parsed(parse_chat)
    assert wanted == Wanted("smol", {"messages": ASK, "max_tokens": 64}, 1, False, False, 27, 64, wanted.prefix)
    assert not parsed(parse_chat, {"stream_options": {"include_usage": True}}).with_usage


def test_a_schema_reaches_the_engine_as_it_is() -> None:
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$defs": {"node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}, "v": {"const": None}}}},
        "$ref": "#/$defs/node",
        "default": None,
    }
    assert parsed(parse_chat, schema_of(schema)).body["response_format"]["json_schema"]["schema"] == schema
    assert parsed(parse_chat, parameters_of(schema)).body["tools"][0]["function"]["parameters"] == schema


def test_completions() -> None:
    asked = {"echo": True, "logprobs": 5, "n": 4, "stop": "x", "seed": 3, "max_tokens": 1, "user": "u"}
    wanted = parsed(parse_completion, asked)
    del asked["user"], asked["n"]
    body = {"prompt": "The capital", **asked}
    assert wanted == Wanted("smol", body, 4, False, False, 11, 1, "The capital")
    ids = parsed(parse_completion, {"prompt": list(range(1000))})
    assert ids.body["prompt"] == list(range(1000))
    assert (ids.num_chars, len(ids.prefix)) == (4000, 256)
    assert parsed(parse_completion, {"prompt": ["one"]}).body["prompt"] == "one"
    assert parsed(parse_completion, {"prompt": [[1, 2]]}).body["prompt"] == [1, 2]


def test_embeddings() -> None:
    assert parsed(parse_embedding) == Wanted(
        "smol", {"input": ["The capital"], "encoding_format": "float"}, 1, False, False, 11, 0, "The capital"
    )
    two = parsed(parse_embedding, {"input": ["a", "bc"], "encoding_format": "base64", "user": "u"})
    assert (two.n, two.num_chars, two.body) == (2, 3, {"input": ["a", "bc"], "encoding_format": "base64"})


IMAGE = [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"temperature": "0.5"}, "temperature"),
        ({"temperature": math.nan}, "temperature"),
        ({"temperature": math.inf}, "temperature"),
        ({"n": 5}, "n"),
        ({"n": 0}, "n"),
        ({"n": True}, "n"),
        ({"max_tokens": 65}, "max_tokens"),
        ({"max_tokens": 10**400}, "max_tokens"),
        ({"max_completion_tokens": 65}, "max_completion_tokens"),
        ({"lora": []}, "lora"),
        ({"id_slot": 0}, "id_slot"),
        ({"grammar": "root ::= [a-z]"}, "grammar"),
        ({"chat_template": "{{ 1 }}"}, "chat_template"),
        ({"top_k": 5}, "top_k"),
        ({"min_p": 0.1}, "min_p"),
        ({"repetition_penalty": 1.1}, "repetition_penalty"),
        ({"metadata": {}}, "metadata"),
        ({"store": True}, "store"),
        ({"service_tier": "auto"}, "service_tier"),
        ({"x" * 10_000: 1}, "x" * 128),
        ({"model": ""}, "model"),
        ({"model": None}, "model"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
        ({"stop": ["a", 1]}, "stop.1"),
        ({"seed": 2**31}, "seed"),
        ({"logit_bias": {"cat": 5}}, "logit_bias.cat"),
        ({"logit_bias": {"1": 101}}, "logit_bias.1"),
        ({"logit_bias": {str(i): 0 for i in range(257)}}, "logit_bias"),
        ({"messages": []}, "messages"),
        ({"messages": [1]}, "messages.0"),
        ({"messages": [{"role": "user"}]}, "messages.0.content"),
        (message("user", "x" * 20_001), "messages"),
        (message("user", None), "messages.0.content"),
        (message("user", IMAGE), "messages.0.content.0.type"),
        (message("user", []), "messages.0.content"),
        (message("user", "x", tool_calls=[]), "messages.0.tool_calls"),
        (message("assistant", None), "messages.0"),
        (message("assistant", None, tool_calls=[]), "messages.0.tool_calls"),
        (message("tool", "x"), "messages.0.tool_call_id"),
        (message("moderator", "x"), "messages.0"),
        ({"tools": []}, "tools"),
        ({"tools": [WEATHER, WEATHER]}, "tools"),
        ({"tools": [{"type": "web_search"}]}, "tools.0.type"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools.0.function.name"),
        ({"tools": [{"type": "function", "function": {"name": f"f{i}"}} for i in range(65)]}, "tools"),
        ({"tools": [WEATHER], **message("user", "x" * 19_900)}, "messages"),
        ({"tool_choice": "auto"}, "tool_choice"),
        ({"tool_choice": NAMED, "tools": None}, "tool_choice"),
        ({"tools": [{**WEATHER, "function": {"name": "x"}}], "tool_choice": NAMED}, "tool_choice.function.name"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
        ({"response_format": {"type": "text", "json_schema": {"name": "a", "schema": {}}}}, "response_format"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
    ],
)
def test_only_known_fields_reach_the_engine(change: dict[str, Any], param: str) -> None:
    assert refusal(parse_chat, change).param == param


@pytest.mark.parametrize("arguments", ["", "[]", "{", "null", '{"a": NaN}', '{"a":' * 5000])
def test_arguments_of_a_call_are_json(arguments: str) -> None:
    call = {**CALL, "function": {"name": "weather", "arguments": arguments}}
    told = refusal(parse_chat, message("assistant", None, tool_calls=[call]))
    assert told.param == "messages.0.tool_calls.0.function.arguments"


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"prompt": []}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": ["one", "two"]}, "prompt"),
        ({"prompt": [[1], [2]]}, "prompt"),
        ({"prompt": [-1]}, "prompt.0"),
        ({"prompt": [1, True]}, "prompt.1"),
        ({"prompt": [2**31]}, "prompt.0"),
        ({"prompt": [1] * 5001}, "prompt"),
        ({"suffix": "x"}, "suffix"),
        ({"best_of": 2}, "best_of"),
        ({"logprobs": 6}, "logprobs"),
        ({"messages": ASK}, "messages"),
    ],
)
def test_completions_refuse(change: dict[str, Any], param: str) -> None:
    assert refusal(parse_completion, change).param == param


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"input": []}, "input"),
        ({"input": [""]}, "input.0"),
        ({"input": [[1, 2]]}, "input.0"),
        ({"input": ["x"] * 5}, "input"),
        ({"input": "x" * 20_001}, "input"),
        ({"dimensions": 4}, "dimensions"),
        ({"encoding_format": "int8"}, "encoding_format"),
        ({"stream": True}, "stream"),
    ],
)
def test_embeddings_refuse(change: dict[str, Any], param: str) -> None:
    assert refusal(parse_embedding, change).param == param


def nested(levels: int) -> dict[str, Any]:
    return {"type": "array", "items": nested(levels - 1)} if levels else {}


BAD_SCHEMAS: list[tuple[dict[str, Any], str]] = [
    ({"type": "objekt"}, "no JSON schema"),
    ({"minLength": -1}, "no JSON schema"),
    ({"pattern": "("}, "no JSON schema"),
    ({"$ref": "https://example.org/schema.json"}, r"\$ref must lead"),
    ({"$ref": "file:///etc/passwd"}, r"\$ref must lead"),
    ({"$ref": "#/$defs/a"}, r"\$ref must lead"),
    ({"properties": {"$ref": {"type": "string"}}}, r"\$ref must lead"),
    ({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}, "leads to itself"),
    ({"$id": "https://example.org/"}, "not supported"),
    ({"$dynamicRef": "#a"}, "not supported"),
    ({"type": "array", "minItems": 10_001}, "minItems must be at most"),
    ({"items": {"maxLength": 1e300}}, "maxLength must be at most"),
    ({"pattern": "a" * 513}, "512 characters"),
    ({"patternProperties": {"a" * 513: {}}}, "512 characters"),
    ({"pattern": "((a{100}){100}){2,100}"}, "repetitions"),
    ({"pattern": "(" * 512}, "nested too deep"),
    ({"pattern": "a{" + "9" * 400 + "}"}, "repetitions"),
    ({"const": 10**400}, "2\\*\\*53"),
    ({"const": math.nan}, "finite"),
    (nested(32), "32 levels"),
    (nested(150), "32 levels"),
    ({"description": "x" * 65_536}, "65536 characters"),
    ({"required": [str(i) for i in range(4096)]}, "4096 values"),
    ({"enum": list(range(1001))}, "1000 values"),
    ({"enum": ["x" * 200] * 90}, "1000 values"),
]


@pytest.mark.parametrize(("schema", "message"), BAD_SCHEMAS)
def test_schemas_that_no_engine_sees(schema: dict[str, Any], message: str) -> None:
    told = refusal(parse_chat, schema_of(schema))
    assert told.param == "response_format.json_schema.schema"
    assert re.search(message, told.message)
    assert refusal(parse_chat, parameters_of(schema)).param == "tools"


def with_strings(text: bytes) -> bytes:
    return b'{"model":"smol","messages":[{"role":"user","content":"' + text + b'"}]}'


HOSTILE = {
    "nothing": b"",
    "not UTF-8": b"\xff",
    "UTF-16": json.dumps(CHAT).encode("utf-16"),
    "byte order mark": b"\xef\xbb\xbf" + json.dumps(CHAT).encode(),
    "array": b"[]",
    "null": b"null",
    "number": b"1e999",
    "open": b"{",
    "two values": b"{}{}",
    "single quotes": b"{'model':1}",
    "comment": b'{"model":/**/"smol"}',
    "arrays in arrays": b"[" * 100_000,
    "objects in objects": b'{"a":' * 100_000,
    "closed arrays": b'{"model":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "nested schema": b'{"response_format":{"type":"json_schema","json_schema":{"name":"a","schema":'
    + b'{"items":' * 50_000
    + b"{}"
    + b"}" * 50_000
    + b"}}}",
    "endless number": b'{"seed":' + b"9" * 900_000 + b"}",
    "endless fraction": b'{"temperature":0.' + b"9" * 900_000 + b"}",
    "endless exponent": b'{"temperature":1e' + b"9" * 100_000 + b"}",
    "high surrogate": with_strings(rb"\ud800"),
    "low surrogate": with_strings(rb"\udc00"),
    "surrogates the wrong way round": with_strings(rb"\ude00\ud83d"),
    "surrogate in UTF-8": with_strings(b"\xed\xa0\x80"),
    "overlong UTF-8": with_strings(b"\xc0\xaf"),
    "surrogate as a key": b'{"\\ud800":1}',
    "raw control character": with_strings(b"\x00"),
    "bad escape": with_strings(rb"\x00"),
    "many unknown fields": json.dumps({f"k{i}": i for i in range(50_000)}).encode(),
    "many wrong items": json.dumps({**CHAT, "messages": [1] * 200_000}).encode(),
    "many wrong ids": json.dumps({**COMPLETION, "prompt": [1, "a"] * 100_000}).encode(),
}


@pytest.mark.parametrize("raw", HOSTILE.values(), ids=HOSTILE.keys())
@pytest.mark.parametrize("parse", PARSERS)
def test_what_is_no_request_is_refused(parse: Parse, raw: bytes) -> None:
    refusal(parse, raw)


def test_odd_but_harmless() -> None:
    emoji = parse_chat(with_strings("\\ud83d\\ude00 \\u0000 \u202e".encode()), LIMITS)
    assert emoji.body["messages"][0]["content"] == "\U0001f600 \x00 \u202e"
    twice = parse_chat(b'{"model":"a","model":"smol","messages":[{"role":"user","content":"x"}]}', LIMITS)
    assert twice.model == "smol"
    assert parsed(parse_chat, {"model": "../../etc/passwd"}).model == "../../etc/passwd"  # known models are looked up


values = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | some.text(max_size=20),
    lambda inner: some.lists(inner, max_size=4) | some.dictionaries(some.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
EVERYTHING = {
    **CHAT, **schema_of({"type": "object"}), "tools": [WEATHER], "tool_choice": NAMED, "stop": ["a"], "logit_bias": {},
    "prompt": "x", "input": "x", "n": 1, "stream_options": {}, "logprobs": True, "encoding_format": "float",
}  # fmt: skip


@settings(max_examples=300, database=None, deadline=None, suppress_health_check=list(HealthCheck))
@given(parse=some.sampled_from(list(PARSERS)), data=some.data())
def test_anything_is_parsed_or_refused(parse: Parse, data: some.DataObject) -> None:
    body = json.loads(json.dumps({**PARSERS[parse], "n": 1} if parse is not parse_embedding else EMBEDDING))
    for _ in range(data.draw(some.integers(0, 3))):  # replace, add or remove somewhere inside
        place, name = body, data.draw(some.sampled_from(sorted(EVERYTHING)))
        place[name] = json.loads(json.dumps(EVERYTHING[name]))
        while isinstance(place[name], dict | list) and place[name] and data.draw(some.booleans()):
            place = place[name]
            name = data.draw(some.sampled_from(list(place) if isinstance(place, dict) else range(len(place))))
        place[name] = data.draw(values)
    raw = json.dumps(body).encode()
    cut = data.draw(some.integers(0, 20))
    raw = raw[: len(raw) - cut] if cut < 5 else raw
    try:
        wanted = parse(raw, LIMITS)
    except RequestError as error:
        assert error.status == 400
        json.dumps(error.body()).encode()
        return
    json.dumps(wanted.body, allow_nan=False, ensure_ascii=False).encode()  # what the front sends to a replica
    wanted.prefix.encode()
    assert wanted.n <= LIMITS.max_choices
    assert wanted.max_tokens <= LIMITS.max_new_tokens
    assert not {"model", "n", "stream", "stream_options", "user", "max_completion_tokens"} & wanted.body.keys()


@settings(max_examples=200, database=None, deadline=None)
@given(parse=some.sampled_from(list(PARSERS)), raw=some.binary(max_size=200) | values.map(json.dumps).map(str.encode))
def test_bytes_are_refused(parse: Parse, raw: bytes) -> None:
    refusal(parse, raw)


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
