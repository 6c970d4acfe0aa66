"""Serve the quantized model on Ray Serve, ask it the job's questions as a client would, and keep it up if wanted."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from cluster.artifacts import Manifest
from cluster.errors import EndpointError
from jobs.console import fact, title
from jobs.context import Context
from jobs.endpoint import announce, client_of, withdraw
from jobs.lineage import ancestors
from serving.config import ServeConfig
from serving.deploy import Endpoint, ModelSource, deploy, shutdown
from serving.quantizers.kquants import FILE_NAME
from trainers.config import EvaluateConfig

if TYPE_CHECKING:
    from openai import OpenAI


class Served(NamedTuple):
    """An endpoint that is up, and the key that opens it."""

    endpoint: Endpoint
    api_key: str


@contextmanager
def serving(context: Context, model: Manifest, config: ServeConfig) -> Iterator[Served]:
    """Serve for the length of a `with` block; `raysmith chat` finds the endpoint through `endpoint.json`."""
    title("Serve")
    api_key = secrets.token_urlsafe(32)
    source = ModelSource(model.id, [item.id for item in ancestors(context.store, model)])
    files = context.files(model)
    path = files / FILE_NAME if FILE_NAME in model.files else files
    endpoint = deploy(config, path, context.job.name, source, api_key)
    fact("endpoint", f"{endpoint.url}  (answers after {endpoint.startup_s:.1f} s)")
    try:
        context.report["stages"]["serve"] = {
            "url": endpoint.url, "model": endpoint.model, "artifact": model.id, "startup_s": endpoint.startup_s,
        }  # fmt: skip
        announce(context.run.path, endpoint.url, endpoint.model, api_key)
        yield Served(endpoint, api_key)
    finally:
        withdraw(context.run.path)
        shutdown()


def ask(context: Context, served: Served, config: EvaluateConfig) -> None:
    """Ask through the official OpenAI client, streaming; greedy, so that the answers can be compared."""
    from openai import APIError

    client = client_of(served.endpoint.url, served.api_key)
    answers, tokens, seconds = [], 0, 0.0
    for question in config.questions:
        began = time.perf_counter()
        try:
            text, first_token_s, num_tokens = _stream_answer(client, served.endpoint.model, question, config)
        except APIError as error:
            raise EndpointError("The endpoint did not answer.", field=served.endpoint.url, got=error.message) from None
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
