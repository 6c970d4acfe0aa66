"""What a client may ask for: OpenAI's chat fields that are safe to pass to an engine; others are refused by name."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic_core import from_json

from serving.config import LimitConfig
from serving.json_schema import MAX_CHARS, check_schemas
from serving.request import PREFIX_CHARS, GenerationRequest, Part, Wanted, at_most, no_longer, read, refused

MAX_TOOLS = 64

FunctionName = Annotated[str, Field(pattern="^[a-zA-Z0-9_-]{1,64}$")]
CallId = Annotated[str, Field(min_length=1, max_length=256)]


class TextPart(Part):
    """The only kind of content: an image or file would make the engine open URLs and paths."""

    type: Literal["text"]
    text: str


Content = str | Annotated[list[TextPart], Field(min_length=1, fail_fast=True)]


class FunctionCall(Part):
    """What the model wanted to be called."""

    name: FunctionName
    arguments: str = Field(max_length=MAX_CHARS)

    @field_validator("arguments")
    @classmethod
    def _arguments_are_an_object(cls, arguments: str) -> str:
        # Chat templates read them again: what they could not read would fail in the engine.
        read_again = from_json(arguments, allow_inf_nan=False)
        if not isinstance(read_again, dict):
            raise ValueError("must be the JSON text of an object")  # noqa: TRY004 pydantic takes no TypeError
        return arguments


class ToolCall(Part):
    """A call of a function in an assistant's message."""

    id: CallId
    type: Literal["function"]
    function: FunctionCall


class PromptMessage(Part):
    """A message of the person, or of whom the assistant obeys."""

    role: Literal["system", "developer", "user"]
    content: Content
    name: str | None = Field(default=None, max_length=64)


class AssistantMessage(Part):
    """An earlier answer; one that calls functions may have no text."""

    role: Literal["assistant"]
    content: Content | None = None
    name: str | None = Field(default=None, max_length=64)
    tool_calls: Annotated[list[ToolCall], Field(min_length=1, max_length=MAX_TOOLS, fail_fast=True)] | None = None
    refusal: None = None
    """This and the next three are what a client that sends an answer back as it was given has in it."""
    audio: None = None
    function_call: None = None
    annotations: Annotated[list[None], Field(max_length=0)] | None = Field(default=None, exclude=True)

    @model_validator(mode="after")
    def _it_says_or_calls_something(self) -> Self:
        if self.content is None and self.tool_calls is None:
            raise ValueError("an assistant's message needs content or tool_calls")
        return self


class ToolMessage(Part):
    """What a called function returned."""

    role: Literal["tool"]
    content: Content
    tool_call_id: CallId


Message = Annotated[PromptMessage | AssistantMessage | ToolMessage, Field(discriminator="role")]


class Function(Part):
    """A function that the model may call."""

    name: FunctionName
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(Part):
    """OpenAI knows other kinds of tools; an engine has functions only."""

    type: Literal["function"]
    function: Function


class NamedFunction(Part):
    """A function's name."""

    name: FunctionName


class NamedTool(Part):
    """The function that must be called."""

    type: Literal["function"]
    function: NamedFunction


class JsonSchema(Part):
    """A named JSON schema."""

    name: str = Field(max_length=64)
    schema_: dict[str, Any] = Field(alias="schema")
    description: str | None = None
    strict: bool | None = None

    @field_validator("schema_")
    @classmethod
    def _an_engine_can_keep_to_it(cls, schema: dict[str, Any]) -> dict[str, Any]:
        check_schemas([schema])
        return schema


class ResponseFormat(Part):
    """Free text, any JSON object, or JSON of a schema."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    @model_validator(mode="after")
    def _a_schema_comes_with_its_type(self) -> Self:
        if (self.type == "json_schema") != (self.json_schema is not None):
            raise ValueError("json_schema is needed for the type json_schema, and for no other")
        return self


class ChatRequest(GenerationRequest):
    """The body of `POST /v1/chat/completions`."""

    messages: Annotated[list[Message], Field(min_length=1, fail_fast=True)]
    max_completion_tokens: int | None = Field(default=None, ge=1)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    tools: Annotated[list[Tool], Field(min_length=1, max_length=MAX_TOOLS, fail_fast=True)] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None

    @field_validator("tools")
    @classmethod
    def _functions_can_be_told_apart(cls, tools: list[Tool] | None) -> list[Tool] | None:
        functions = [tool.function for tool in tools or ()]
        if len({function.name for function in functions}) < len(functions):
            raise ValueError("two functions have the same name")
        check_schemas([function.parameters for function in functions if function.parameters is not None])
        return tools


def parse_chat(raw: bytes, limits: LimitConfig) -> Wanted:
    """Check the body of a chat request.

    Raises:
        RequestError: 400, with the field's name as `param`.
    """
    request = read(ChatRequest, raw)
    at_most("max_completion_tokens", request.max_completion_tokens, limits.max_new_tokens)
    if request.top_logprobs is not None and not request.logprobs:
        raise refused("top_logprobs", "needs logprobs to be true")
    _check_tools(request)
    messages = [message.model_dump(exclude_none=True) for message in request.messages]
    changes: dict[str, Any] = {"messages": messages}
    num_chars = 0
    prefix = ""
    for message in messages:
        if message["role"] == "developer":  # OpenAI's newer name; chat templates know the older one
            message["role"] = "system"
        text = _text(message)
        num_chars += len(text)
        if len(prefix) < PREFIX_CHARS:
            prefix += f"{message['role']}: {text[:PREFIX_CHARS]}\n"
    num_chars += sum(len(tool.model_dump_json()) for tool in request.tools or ())
    no_longer("messages", num_chars, limits)
    if request.max_completion_tokens:
        changes["max_tokens"] = request.max_completion_tokens
    if request.logprobs:
        changes["top_logprobs"] = max(1, request.top_logprobs or 0)  # llama.cpp gives no log-probabilities for 0
    wanted = request.wanted(limits, changes, num_chars, prefix)
    wanted.body.pop("max_completion_tokens", None)
    return wanted


def _check_tools(request: ChatRequest) -> None:
    names = [tool.function.name for tool in request.tools or ()]
    if not names and request.tool_choice not in (None, "none"):
        raise refused("tool_choice", "needs tools")
    if isinstance(request.tool_choice, NamedTool) and request.tool_choice.function.name not in names:
        raise refused("tool_choice.function.name", "is not among the tools")


def _text(message: dict[str, Any]) -> str:
    content = message.get("content") or ""
    text = content if isinstance(content, str) else "".join(part["text"] for part in content)
    return text + (json.dumps(message["tool_calls"]) if "tool_calls" in message else "")
