"""What the bodies of all routes have in common, and how they are read: strictly, every refusal naming its field."""

from __future__ import annotations

from typing import Annotated, Any, Final, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails, from_json

from serving.config import LimitConfig
from serving.protocol import RequestError

PREFIX_CHARS: Final = 256
_MAX_PARAM_CHARS: Final = 128
_MAX_NAMED_ERRORS: Final = 1000

StopText = Annotated[str, Field(min_length=1, max_length=256)]
TokenBias = Annotated[float, Field(ge=-100, le=100)]


class Wanted(NamedTuple):
    """A request that was checked."""

    model: str
    """The name that was asked for: an endpoint's, or `name:adapter`."""
    body: dict[str, Any]
    """Fields for the engine; of a generation `max_tokens` is always among them."""
    n: int
    """Choices, or an embedding's texts."""
    stream: bool
    """Whether the answer is wanted as server-sent events."""
    with_usage: bool
    """Whether the stream ends with its usage."""
    num_chars: int
    """Length of the prompt, characters; a token id counts as 4."""
    max_tokens: int
    """Tokens of each choice at most; 0 for an embedding."""
    prefix: str
    """The first 256 characters of the prompt: requests that share them are best answered by the same replica."""


class Part(BaseModel):
    """Strict: no key that is not named here, no conversion of types, no NaN."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class StreamOptions(Part):
    """Options of a stream."""

    include_usage: bool = False


class ModelRequest(Part):
    """Fields of every request."""

    model: str = Field(min_length=1, max_length=256)
    user: str | None = None
    """Accepted and dropped, as the two below: they help OpenAI, not an engine."""
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None


class GenerationRequest(ModelRequest):
    """Fields of every request that generates."""

    max_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    stop: StopText | Annotated[list[StopText], Field(max_length=4, fail_fast=True)] | None = None
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)
    n: int | None = Field(default=None, ge=1)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    presence_penalty: float | None = Field(default=None, ge=-2, le=2)
    logit_bias: dict[Annotated[str, Field(pattern="^[0-9]{1,9}$")], TokenBias] | None = Field(
        default=None, max_length=256
    )

    def wanted(self, limits: LimitConfig, changes: dict[str, Any], num_chars: int, prefix: str) -> Wanted:
        """The request as the front passes it on.

        Args:
            limits: what a request may ask for.
            changes: fields of the engine's body that differ from the request's, or are added to them.
            num_chars: length of the prompt, characters.
            prefix: start of the prompt.

        Raises:
            RequestError: 400, it asks for more than the limits.
        """
        at_most("max_tokens", self.max_tokens, limits.max_new_tokens)
        at_most("n", self.n, limits.max_choices)
        own = {*ModelRequest.model_fields, "n", "stream", "stream_options"}
        body = self.model_dump(exclude=own - changes.keys(), exclude_none=True, by_alias=True)
        body = {"max_tokens": limits.max_new_tokens, **body, **changes}
        if self.seed is not None:
            body["seed"] = self.seed % 2**31  # no engine takes all that OpenAI does
        with_usage = bool(self.stream and self.stream_options and self.stream_options.include_usage)
        return Wanted(
            self.model, body, self.n or 1, bool(self.stream), with_usage, num_chars, body["max_tokens"],
            prefix[:PREFIX_CHARS],
        )  # fmt: skip


Read = TypeVar("Read", bound=Part)


def read(kind: type[Read], raw: bytes) -> Read:
    """Check a body against its model.

    Raises:
        RequestError: 400, with the field's name as `param`.
    """
    try:
        return kind.model_validate_json(raw)
    except ValidationError as error:
        raise _refusal(error, raw) from error


def at_most(param: str, got: int | None, limit: int) -> None:
    """Refuse a number above a limit.

    Raises:
        RequestError: 400.
    """
    if (got or 0) > limit:
        raise RequestError(400, f"{param} must be at most {limit}.", param=param, code="integer_above_max_value")


def no_longer(param: str, num_chars: int, limits: LimitConfig) -> None:
    """Refuse a prompt above the limit.

    Raises:
        RequestError: 400.
    """
    if num_chars > limits.max_prompt_chars:
        raise RequestError(
            400, f"{param} must have at most {limits.max_prompt_chars} characters, all together.", param=param,
            code="string_above_max_length",
        )  # fmt: skip


def refused(param: str, message: str) -> RequestError:
    """A field's value that is not accepted."""
    return RequestError(400, f"{param}: {message}.", param=param, code="invalid_value")


def _refusal(error: ValidationError, raw: bytes) -> RequestError:
    if error.error_count() > _MAX_NAMED_ERRORS:
        return RequestError(400, f"The body has {error.error_count()} errors.", code="invalid_value")
    errors = error.errors(include_url=False, include_context=False, include_input=False)
    if errors[0]["type"] == "json_invalid":
        return RequestError(400, f"{errors[0]['msg']}.", code="invalid_json")
    body = from_json(raw)
    # Of a value that may have several types there is an error for each; the deepest belongs to the type that was meant.
    path, deepest = max(((_path(each, body), each) for each in errors), key=lambda pair: len(pair[0]))
    param = ".".join(path)[:_MAX_PARAM_CHARS] or None
    if deepest["type"] == "extra_forbidden":
        return RequestError(400, f"Unknown field: {param}.", param=param, code="unknown_parameter")
    message = deepest["msg"].removeprefix("Value error, ")
    return RequestError(400, f"{param or 'body'}: {message}.", param=param, code="invalid_value")


def _path(error: ErrorDetails, value: Any) -> list[str]:
    """Keys of the body that lead to an error; pydantic's names of the types that it tried are left out."""
    path = []
    for key in error["loc"]:
        here: Any = value if isinstance(value, dict) else dict(enumerate(value)) if isinstance(value, list) else {}
        if key in here:
            value = here[key]
            path.append(str(key))
    if error["type"] == "missing":
        path.append(str(error["loc"][-1]))
    return path
