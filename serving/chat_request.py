"""What a client may ask for: OpenAI's chat fields that are safe to pass to an engine; others are refused by name."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from serving.config import LimitConfig
from serving.protocol import RequestError

StopText = Annotated[str, Field(min_length=1, max_length=256)]


class _Part(BaseModel):
    """Strict: no key that is not named here, no conversion of types, no NaN."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class TextPart(_Part):
    """The only kind of content: an image or file would make the engine open URLs and paths."""

    type: Literal["text"]
    text: str


class Message(_Part):
    """One message of the conversation."""

    role: Literal["system", "user", "assistant"]
    content: str | list[TextPart]

    def num_chars(self) -> int:
        """Length of the text, characters."""
        return len(self.content) if isinstance(self.content, str) else sum(len(part.text) for part in self.content)


class StreamOptions(_Part):
    """Options of a stream."""

    include_usage: bool = False


class JsonSchema(_Part):
    """A named JSON schema."""

    name: str = Field(max_length=64)
    schema_: dict[str, Any] = Field(alias="schema")
    description: str | None = None
    strict: bool | None = None


class ResponseFormat(_Part):
    """Free text, any JSON object, or JSON of a schema."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    @model_validator(mode="after")
    def _a_schema_comes_with_its_type(self) -> Self:
        if (self.type == "json_schema") != (self.json_schema is not None):
            raise ValueError("json_schema is needed for the type json_schema, and for no other")
        return self


class ChatRequest(_Part):
    """The body of `POST /v1/chat/completions`."""

    model: str
    messages: list[Message] = Field(min_length=1)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    stop: StopText | Annotated[list[StopText], Field(max_length=4)] | None = None
    seed: int | None = Field(default=None, ge=0, lt=2**31)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Literal[1] | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    presence_penalty: float | None = Field(default=None, ge=-2, le=2)
    response_format: ResponseFormat | None = None
    user: str | None = None

    def engine_body(self, limits: LimitConfig) -> dict[str, Any]:
        """The fields for the engine, `max_tokens` always among them."""
        own = {"model", "n", "user", "stream", "stream_options", "max_tokens", "max_completion_tokens", "top_logprobs"}
        body = self.model_dump(exclude=own, exclude_none=True, by_alias=True)
        body["max_tokens"] = self.max_completion_tokens or self.max_tokens or limits.max_new_tokens
        body["stream_options"] = {"include_usage": True}
        if self.logprobs:
            body["top_logprobs"] = max(1, self.top_logprobs or 0)  # llama.cpp gives no log-probabilities at all for 0
        return body


def parse_chat(raw: bytes, limits: LimitConfig) -> ChatRequest:
    """Check a request's body.

    Raises:
        RequestError: 400, with the field's name as `param`.
    """
    try:
        request = ChatRequest.model_validate_json(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        param = ".".join(map(str, first["loc"])) or None
        if first["type"] == "extra_forbidden":
            raise RequestError(400, f"Unknown field: {param}.", param=param, code="unknown_parameter") from error
        raise RequestError(400, f"{param or 'body'}: {first['msg']}.", param=param, code="invalid_value") from error
    for name in ("max_tokens", "max_completion_tokens"):
        if (getattr(request, name) or 0) > limits.max_new_tokens:
            raise RequestError(
                400, f"{name} must be at most {limits.max_new_tokens}.", param=name, code="integer_above_max_value"
            )
    if sum(message.num_chars() for message in request.messages) > limits.max_prompt_chars:
        raise RequestError(
            400,
            f"All messages together must have at most {limits.max_prompt_chars} characters.",
            param="messages",
            code="string_above_max_length",
        )
    if request.top_logprobs is not None and not request.logprobs:
        raise RequestError(400, "top_logprobs needs logprobs to be true.", param="top_logprobs", code="invalid_value")
    return request
