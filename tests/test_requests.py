"""What requests may ask for: without an engine."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from openai.types.chat import ChatCompletionMessage

from serving.chat_request import parse_chat
from serving.completion_request import parse_completion
from serving.config import LimitConfig
from serving.embedding_request import parse_embedding
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
        ({"seed": 2**63}, "seed"),
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
    ({"$ref": "#/$defs/a~1b", "$defs": {"a/b": {}, "a~1b": {"$ref": "#/$defs/a~1b"}}}, r"\$ref must lead"),
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


@settings(max_examples=300, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
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


@settings(max_examples=200, derandomize=True, database=None, deadline=None)
@given(parse=some.sampled_from(list(PARSERS)), raw=some.binary(max_size=200) | values.map(json.dumps).map(str.encode))
def test_bytes_are_refused(parse: Parse, raw: bytes) -> None:
    refusal(parse, raw)


def test_an_answer_can_be_sent_back_as_the_client_gave_it() -> None:
    said = ChatCompletionMessage(role="assistant", content="Paris.").model_dump()
    asked = {"model": "m", "messages": [{"role": "user", "content": "Hi"}, said], "seed": -1}
    body = parse_chat(json.dumps(asked).encode(), LimitConfig()).body
    assert body["messages"][1] == {"role": "assistant", "content": "Paris."}
    assert body["seed"] == 2**31 - 1
