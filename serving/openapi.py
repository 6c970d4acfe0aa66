"""The OpenAPI document of an endpoint; what requests may have comes from the models that check them."""

from __future__ import annotations

from typing import Any, Final

from pydantic.json_schema import models_json_schema

from serving.chat_request import ChatRequest
from serving.completion_request import CompletionRequest
from serving.embedding_request import EmbeddingRequest

_REQUESTS: Final = (ChatRequest, CompletionRequest, EmbeddingRequest)
_ERRORS: Final = {
    400: "The request is malformed, or the engine refuses it; `param` names the field.",
    401: "The API key is missing or wrong.",
    403: "The API key is not for this.",
    404: "There is no such model.",
    405: "The route has no such method.",
    408: "The body did not arrive in time.",
    413: "The body is too large.",
    429: "The key's limits are reached, or the queue is full; see Retry-After.",
    500: "The endpoint failed.",
    502: "The replica that wrote the answer died.",
    503: "No replica was free in time.",
    504: "The answer took too long.",
}
_STRING: Final = {"type": "string"}
_TEXT_OR_NULL: Final = {"type": ["string", "null"]}
_COUNT: Final = {"type": "integer", "minimum": 0}


def document() -> dict[str, Any]:
    """The document, OpenAPI 3.1."""
    _, requests = models_json_schema(
        [(model, "validation") for model in _REQUESTS], ref_template="#/components/schemas/{model}"
    )
    chat = _post("Generate the next message of a conversation.", ChatRequest, "ChatCompletion", streams=True)
    completion = _post("Continue a text.", CompletionRequest, "Completion", streams=True)
    embeddings = _post("Make vectors of texts.", EmbeddingRequest, "Embeddings")
    name = {"name": "model", "in": "path", "required": True, "schema": _STRING}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Raysmith endpoint", "version": "v1"},
        "security": [{"key": []}],
        "paths": {
            "/v1/chat/completions": {"post": chat},
            "/v1/completions": {"post": completion},
            "/v1/embeddings": {"post": embeddings},
            "/v1/models": {"get": _get("The models that are served.", _json(_reference("Models")), 401, 403)},
            "/v1/models/{model}": {
                "get": {
                    **_get("One model.", _json(_reference("Model")), 401, 403, 404), "parameters": [name],
                }
            },
            "/health": {"get": {**_get("Whether the endpoint is alive.", _json({"type": "object"})), "security": []}},
            "/metrics": {
                "get": _get("Metrics, as Prometheus reads them.", {"text/plain": {"schema": _STRING}}, 401, 403)
            },
            "/openapi.json": {"get": _get("This document.", _json({"type": "object"}), 401, 403)},
        },
        "components": {
            "schemas": {**requests["$defs"], **_answers()},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }  # fmt: skip


def _post(summary: str, request: type, answer: str, *, streams: bool = False) -> dict[str, Any]:
    content = _json(_reference(answer))
    if streams:
        content["text/event-stream"] = {}
    body = {"required": True, "content": _json(_reference(request.__name__))}
    return {"summary": summary, "requestBody": body, "responses": _responses(content, *_ERRORS)}


def _get(summary: str, content: dict[str, Any], *errors: int) -> dict[str, Any]:
    return {"summary": summary, "responses": _responses(content, *errors)}


def _responses(content: dict[str, Any], *errors: int) -> dict[str, Any]:
    refusals = {
        str(status): {"description": _ERRORS[status], "content": _json(_reference("Error"))} for status in errors
    }
    return {"200": {"description": "The answer.", "content": content}, **refusals}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _reference(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _answers() -> dict[str, Any]:
    """Schemas of what an endpoint answers."""

    def choices(said: dict[str, Any]) -> dict[str, Any]:
        choice = {"index": _COUNT, **said, "finish_reason": _TEXT_OR_NULL, "logprobs": {"type": ["object", "null"]}}
        return {"type": "array", "items": _object(choice), "minItems": 1}

    def answer(kind: str, said: dict[str, Any]) -> dict[str, Any]:
        usage = _object(dict.fromkeys(("prompt_tokens", "completion_tokens", "total_tokens"), _COUNT))
        return _object({
            "id": _STRING, "object": {"const": kind}, "created": _COUNT, "model": _STRING, "choices": choices(said),
            "usage": usage,
        })  # fmt: skip

    vector = {"anyOf": [{"type": "array", "items": {"type": "number"}}, _STRING]}
    embedding = _object({"object": {"const": "embedding"}, "index": _COUNT, "embedding": vector})
    usage = _object({"prompt_tokens": _COUNT, "total_tokens": _COUNT})
    model = _object({"id": _STRING, "object": {"const": "model"}, "created": _COUNT, "owned_by": _STRING})
    error = {"message": _STRING, "type": _STRING, "param": _TEXT_OR_NULL, "code": _TEXT_OR_NULL}

    def listed(items: dict[str, Any]) -> dict[str, Any]:
        return {"object": {"const": "list"}, "data": {"type": "array", "items": items}}

    message = _object({"role": {"const": "assistant"}, "content": _TEXT_OR_NULL})
    return {
        "ChatCompletion": answer("chat.completion", {"message": message}),
        "Completion": answer("text_completion", {"text": _STRING}),
        "Embeddings": _object({**listed(embedding), "model": _STRING, "usage": usage}),
        "Model": model,
        "Models": _object(listed(_reference("Model"))),
        "Error": _object({"error": _object(error)}),
    }
