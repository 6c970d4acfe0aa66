"""Serve the quantized model, ask it the job's questions as a client would, and keep it up if wanted."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cluster.artifacts import Manifest
from cluster.errors import EndpointError
from jobs.config import JobConfig
from jobs.console import fact, title
from jobs.context import Context
from jobs.endpoints.config import EndpointConfig
from jobs.endpoints.folder import client_of
from jobs.endpoints.served import Served
from jobs.endpoints.served import serving as serving_endpoint
from serving.config import ServeConfig
from trainers.config import EvaluateConfig

if TYPE_CHECKING:
    from openai import OpenAI


@contextmanager
def serving(context: Context, model: Manifest, config: ServeConfig) -> Iterator[Served]:
    """Serve for the length of a `with` block; other commands find the endpoint by the job's name."""
    title("Serve")
    began = time.monotonic()
    with serving_endpoint(context.root, endpoint_config(context.job, model.id, config)) as served:
        startup_s = time.monotonic() - began
        fact("endpoint", f"{served.endpoint.url}  (answers after {startup_s:.1f} s)")
        context.report["stages"]["serve"] = {
            "url": served.endpoint.url, "model": context.job.name, "artifact": model.id, "startup_s": startup_s,
            "proof": served.endpoint.table.versions[0].proof,
        }  # fmt: skip
        yield served


def endpoint_config(job: JobConfig, model: str, config: ServeConfig) -> EndpointConfig:
    """The job's endpoint as `raysmith serve` would be told of it."""
    given = {name: getattr(config, name) for name in ServeConfig.model_fields}
    return EndpointConfig(name=job.name, cluster=job.cluster, storage=job.storage, model=model, **given)


def ask(context: Context, served: Served, config: EvaluateConfig) -> None:
    """Ask through the official OpenAI client, streaming; greedy, so that the answers can be compared."""
    from httpx import HTTPError
    from openai import APIError

    client = client_of(served.endpoint.url, served.api_key)
    answers, tokens, seconds = [], 0, 0.0
    for question in config.questions:
        began = time.perf_counter()
        try:
            text, first_token_s, num_tokens = _stream_answer(client, context.job.name, question, config)
        except (APIError, HTTPError) as error:
            raise EndpointError("The endpoint did not answer.", field=served.endpoint.url, got=error) from None
        tokens += num_tokens
        seconds += time.perf_counter() - began
        answers.append({"question": question, "answer": text, "first_token_s": first_token_s})
    report = context.report["stages"]["serve"]
    report |= {"answers": answers, "tokens_per_s": tokens / seconds if seconds else None}
    context.save_report()


def _stream_answer(client: OpenAI, model: str, question: str, config: EvaluateConfig) -> tuple[str, float | None, int]:
    """The answer, the seconds to its first token, and its number of tokens."""
    began = time.perf_counter()
    stream = client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": question}],
        max_tokens=config.max_new_tokens,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
    )
    text, first_token_s, num_tokens = "", None, 0
    for chunk in stream:
        if chunk.usage is not None:
            num_tokens = chunk.usage.completion_tokens
        if chunk.choices and chunk.choices[0].delta.content:
            first_token_s = first_token_s or time.perf_counter() - began
            text += chunk.choices[0].delta.content
    return text.strip(), first_token_s, num_tokens
