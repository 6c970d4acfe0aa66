"""What load is put on an endpoint, and the endpoint itself."""

from __future__ import annotations

import secrets
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import Field, JsonValue, model_validator
from yarl import URL

from cluster.addresses import is_loopback
from cluster.config import Config
from cluster.errors import ConfigError, ConfigValueError

Kind = Literal["clients", "rate"]
Clients = Annotated[int, Field(ge=1, le=4096)]
Rate = Annotated[float, Field(gt=0, le=10_000)]
_OWN_FIELDS = frozenset(
    {"model", "messages", "max_tokens", "temperature", "seed", "stream", "stream_options", "n"}
)  # fmt: skip


class LoadConfig(Config):
    """A load in steps: so many clients (closed loop), or so many requests a second (open loop)."""

    clients: list[Clients] | None = Field(default=None, min_length=1, max_length=32)
    """Closed loop, a step each: that many clients, each of which asks again when it was answered. Without `rates` and
    this: 1, 4, 16."""

    rates: list[Rate] | None = Field(default=None, min_length=1, max_length=32)
    """Open loop, a step each: requests a second at random times (Poisson), whether earlier ones are answered or not."""

    seconds: float = Field(default=30.0, gt=0, le=3600)
    """How long each step sends requests; those under way are then waited for."""

    max_requests: int = Field(default=100_000, ge=1, le=1_000_000)
    """Requests of all steps together; when they are sent, the load ends."""

    max_connections: int = Field(default=512, ge=1, le=16_384)
    """Connections open at once. Further requests wait for one, which counts in their latency."""

    warmup_requests: int = Field(default=2, ge=0, le=1000)
    """Requests, one after another, before the first step; they are not counted."""

    prompt_tokens: int = Field(default=128, ge=16, le=1_000_000)
    """About how long a prompt is, tokens. Each has words of its own, so that no cache of prompts helps."""

    shared_prefix_tokens: int = Field(default=0, ge=0, le=1_000_000)
    """About how many tokens stand before that, the same ones in every prompt: what a cache of prompts can help with."""

    max_tokens: int = Field(default=64, ge=1, le=1_000_000)
    """Length of an answer at most, tokens. The model may end sooner: `body` can forbid it where the engine lets it."""

    stream: bool = True
    """Ask for the answer token by token. Without, there is no time to the first token, and none between tokens."""

    temperature: float = Field(default=0.0, ge=0, le=2)
    """Of the sampling; 0 takes the likeliest token."""

    body: dict[str, JsonValue] = Field(default_factory=dict)
    """Further fields of every request, such as `ignore_eos: true`."""

    seed: int = Field(default_factory=lambda: secrets.randbelow(2**31), ge=0, lt=2**31)
    """Of prompts, arrival times and sampling. The same seed asks the same prompts at the same times, which a server
    that has seen them may answer from its cache; unset: a new one, which the results name."""

    timeout_s: float = Field(default=120.0, gt=0, le=3600)
    """How long a request may take from when it is sent, seconds; then it has failed."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.clients is not None and self.rates is not None:
            raise ConfigValueError(
                "A load is either closed or open.", field="clients, rates", got="both", expected="one of them",
                fix="measure one after the other",
            )  # fmt: skip
        if own := sorted(_OWN_FIELDS & self.body.keys()):
            raise ConfigValueError(
                "The load sets these fields itself.", field="body", got=", ".join(own),
                expected="other fields", fix="use the keys of the load: max_tokens, temperature, seed, stream",
            )  # fmt: skip
        return self

    def steps(self) -> list[tuple[Kind, float]]:
        """Kind and size of each step."""
        if self.rates is not None:
            return [("rate", rate) for rate in self.rates]
        return [("clients", clients) for clients in self.clients or (1, 4, 16)]


class Target(NamedTuple):
    """Whom the load is put on."""

    url: str
    """Base URL as an OpenAI client takes it, mostly ending in `/v1`."""
    model: str
    api_key: str


def require_allowed(url: str, *, allow_remote: bool) -> None:
    """Refuse a URL that is none, or that is of another machine without a clear yes.

    Raises:
        ConfigError: it is refused.
    """
    try:
        parsed = URL(url)
    except ValueError:
        parsed = URL()
    if parsed.scheme not in {"http", "https"} or not parsed.host or parsed.user or parsed.password:
        raise ConfigError(
            "That is no endpoint.", field="url", got=str(parsed.with_user(None)) if parsed.host else url,
            expected="http://HOST:PORT/v1, without user and password",
        )  # fmt: skip
    if not allow_remote and not is_loopback(parsed.host):
        raise ConfigError(
            "The endpoint is on another machine: a load test takes it from those who use it.", field="url",
            got=str(parsed.origin()), expected="a loopback address",
            fix="allow it (`--allow-remote`) if you are in charge of that endpoint",
        )  # fmt: skip
