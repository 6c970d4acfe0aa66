"""Whole answers: one completion made of an engine's chunks, and embeddings.

All requests stream from the engine: only so can a client that hangs up stop the generation.
"""

from __future__ import annotations

import time
from base64 import b64encode
from typing import Any, Literal

import numpy as np
from pydantic_core import from_json

_CHOICE_TEXTS = ("content", "reasoning_content", "refusal")


def fold_chat(chunks: list[str]) -> dict[str, Any]:
    """Make one `chat.completion` of all chunks of a stream; what OpenAI's has not is left out."""
    parsed = [from_json(chunk) for chunk in chunks]
    messages: dict[int, dict[str, Any]] = {}
    calls: dict[int, dict[int, dict[str, Any]]] = {}
    for choice in _choices(parsed):
        message = messages.setdefault(choice["index"], {"role": "assistant", "content": None})
        for name in _CHOICE_TEXTS:
            if (text := choice["delta"].get(name)) is not None:
                message[name] = (message.get(name) or "") + text
        for call in choice["delta"].get("tool_calls") or ():
            _add_call(calls.setdefault(choice["index"], {}), call)
    ends = _ends(parsed)
    choices = []
    for index, message in sorted(messages.items()):
        if index in calls:
            message["tool_calls"] = [call for _, call in sorted(calls[index].items())]
        elif message["content"] is None:
            message["content"] = ""
        choices.append({"index": index, "message": message, **ends[index]})
    return _answer("chat.completion", parsed, choices)


def fold_completion(chunks: list[str]) -> dict[str, Any]:
    """Make one `text_completion` of all chunks of a stream; what OpenAI's has not is left out."""
    parsed = [from_json(chunk) for chunk in chunks]
    texts: dict[int, str] = {}
    for choice in _choices(parsed):
        texts[choice["index"]] = texts.get(choice["index"], "") + (choice.get("text") or "")
    ends = _ends(parsed)
    choices = [{"index": index, "text": text, **ends[index]} for index, text in sorted(texts.items())]
    return _answer("text_completion", parsed, choices)


def embeddings_answer(
    model: str, vectors: list[list[float]], num_tokens: int, encoding_format: Literal["float", "base64"]
) -> dict[str, Any]:
    """OpenAI's answer to a request for embeddings.

    Args:
        model: the name that was asked for.
        vectors: one for each text.
        num_tokens: tokens of all texts.
        encoding_format: numbers, or little-endian float32 as base64.
    """
    data = [
        {"object": "embedding", "index": index, "embedding": _base64(vector) if encoding_format == "base64" else vector}
        for index, vector in enumerate(vectors)
    ]
    usage = {"prompt_tokens": num_tokens, "total_tokens": num_tokens}
    return {"object": "list", "data": data, "model": model, "usage": usage}


def _choices(chunks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [choice for chunk in chunks for choice in chunk["choices"]]


def _add_call(calls: dict[int, dict[str, Any]], delta: dict[str, Any]) -> None:
    """Add a piece of a tool call to those of its choice: the first piece names it, all have text of its arguments."""
    call = calls.setdefault(
        delta.get("index", 0), {"id": None, "type": "function", "function": {"name": "", "arguments": ""}}
    )
    call["id"] = delta.get("id") or call["id"]
    function = delta.get("function") or {}
    for name in ("name", "arguments"):
        call["function"][name] += function.get(name) or ""


def _ends(chunks: list[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    """Reason to end and log-probabilities of each choice; the lists of the latter are joined."""
    ends: dict[int, dict[str, Any]] = {}
    for choice in _choices(chunks):
        end = ends.setdefault(choice["index"], {"logprobs": None, "finish_reason": None})
        end["finish_reason"] = choice.get("finish_reason") or end["finish_reason"]
        for name, values in (choice.get("logprobs") or {}).items():
            if values is not None:
                end["logprobs"] = end["logprobs"] or {}
                end["logprobs"].setdefault(name, []).extend(values)
    return ends


def _answer(kind: str, chunks: list[dict[str, Any]], choices: list[dict[str, Any]]) -> dict[str, Any]:
    last = chunks[-1]
    return {
        "id": last["id"], "object": kind, "created": last.get("created") or int(time.time()), "model": last["model"],
        "choices": choices, "usage": last["usage"],
    }  # fmt: skip


def _base64(vector: list[float]) -> str:
    return b64encode(np.asarray(vector, dtype="<f4").tobytes()).decode()
