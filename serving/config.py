"""Configuration of an endpoint: the engine, where it listens, how many replicas, and what a request may ask for."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from cluster.config import Config, FromFolder
from serving.engines.llama_cpp import Config as LlamaCpp
from serving.protocol import EngineConfig


class ReplicaConfig(Config):
    """How many replicas run, and what each is given."""

    min: int = Field(default=1, ge=0)
    """Replicas kept when there is nothing to do. 0: the first request after a pause waits for a replica to start."""

    max: int = Field(default=2, ge=1)
    """Replicas under load."""

    target_ongoing_requests: float = Field(default=4.0, gt=0)
    """Requests, running and waiting, that each replica should have: above it replicas are added."""

    target_ongoing_tokens: int | None = Field(default=None, ge=1)
    """Tokens, of prompts and still to be written, of the requests that each replica should have. Unset: they do not
    count."""

    upscale_delay_s: float = Field(default=5.0, ge=0)
    """How long the load must stay above the target before replicas are added, seconds."""

    downscale_delay_s: float = Field(default=120.0, ge=0)
    """How long the load must stay below the target before replicas are removed, seconds."""

    num_cpus: int = Field(default=1, ge=1)
    """Cores of each replica, and the engine's threads."""

    num_gpus: float = Field(default=0.0, ge=0)
    """GPUs of each replica."""

    shutdown_s: float = Field(default=600.0, ge=0)
    """How long a replica that is removed may finish its requests, seconds; without any it ends at once."""

    @model_validator(mode="after")
    def _max_is_not_below_min(self) -> Self:
        if self.max < self.min:
            raise ValueError(f"max ({self.max}) is below min ({self.min})")
        return self


class LimitConfig(Config):
    """What a request may ask for; more is refused with the field's name, before anything is tokenized."""

    max_body_bytes: int = Field(default=1_000_000, ge=1)
    """Size of a request's body, bytes."""

    max_prompt_chars: int = Field(default=100_000, ge=1)
    """Length of the prompt (all messages and tools together), or of an embedding's texts, characters."""

    max_new_tokens: int = Field(default=1024, ge=1)
    """Tokens of a choice; also what a request gets that names no limit."""

    max_choices: int = Field(default=8, ge=1)
    """Choices (`n`) of a request, and texts of an embedding's."""

    max_queued_requests: int = Field(default=32, ge=0)
    """Choices that may wait at the front for a free place; a request for more is answered with 429."""

    queue_timeout_s: float = Field(default=120.0, gt=0)
    """How long a request may wait for a free place, a replica's start included, seconds; then the answer is 503."""

    request_timeout_s: float = Field(default=600.0, gt=0)
    """How long an answer may take from its start; then it ends with an error, seconds."""

    requests_per_minute: int | None = Field(default=None, ge=1)
    """Requests of a key within a minute, if the key has no limit of its own; unset: as many as there are places."""

    tokens_per_minute: int | None = Field(default=None, ge=1)
    """Tokens, read and written, of a key within a minute, if the key has no limit of its own."""


class ServeConfig(Config):
    """An OpenAI-compatible endpoint."""

    engine: Annotated[EngineConfig, FromFolder("serving.engines")] = LlamaCpp()
    """The engine: a file of `serving/engines`."""

    host: str = "127.0.0.1"
    """Address to listen on. Anything but loopback lets other machines in: put TLS in front."""

    port: int = Field(default=8000, ge=0, le=65535)
    """Port to listen on; 0 takes a free one."""

    startup_timeout_s: float = Field(default=300.0, gt=0)
    """How long the endpoint may take until it answers, seconds."""

    drain_s: float = Field(default=20.0, ge=0)
    """How long running requests may go on when the whole endpoint is stopped, seconds."""

    prove: bool = True
    """Compare each replica's log-probabilities with those of the artifact's weights before it serves. The reference is
    computed once for an artifact, in float32 on the CPU of a node."""

    replicas: ReplicaConfig = ReplicaConfig()
    """How many replicas run, and what each is given."""

    limits: LimitConfig = LimitConfig()
    """What a request may ask for."""
