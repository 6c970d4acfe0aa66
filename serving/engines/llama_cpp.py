"""llama.cpp: one GGUF file, llama.cpp's own server in this process (package `xllamacpp`, a prebuilt wheel).

Continuous batching, chat templates and JSON schemas are llama.cpp's; its OpenAI chunks are passed through unchanged.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import shutil
import tempfile
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from functools import cached_property
from pathlib import Path
from queue import SimpleQueue
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from cluster.errors import HandoffError, ModelError
from cluster.gguf_header import require_sound
from cluster.handoff import TokenScores
from serving.engines._base import EngineBase
from serving.protocol import EngineConfig, RequestError

FORCED = 1e6  # logit bias: far above any logit, still exact enough in float32 to be the only choice
WHOLE_VOCABULARY = 2**24


class Config(EngineConfig):
    """llama.cpp, for GGUF files."""

    OPENS: ClassVar[frozenset[str]] = frozenset({"gguf"})

    kind: Literal["llama_cpp"] = "llama_cpp"

    num_threads: int | None = Field(default=None, ge=1)
    """Threads of a replica; unset: the cores given to it. More threads than free cores are very slow: llama.cpp's
    threads wait for each other by spinning."""

    batch_tokens: int = Field(default=512, ge=32)
    """Prompt tokens evaluated at a time. Smaller: other requests wait less for a long prompt."""


class Engine(EngineBase):
    """One GGUF file, opened by llama.cpp's server. See `serving.protocol.Engine`."""

    def __init__(self, config: Config, model_path: Path, model_name: str, num_cpus: int) -> None:
        """Load the file (memory-mapped: about a second).

        Raises:
            ModelError: there is no such file, or llama.cpp cannot read it.
        """
        super().__init__(config)
        import xllamacpp

        if not model_path.is_file():
            raise ModelError("The model's file is not there.", field="model", got=model_path, expected="a GGUF file")
        require_sound(model_path)
        # llama.cpp's server always listens. Here it listens on a socket that only this user can reach, with a key
        # that nobody knows: requests come through the application alone.
        self._folder = Path(tempfile.mkdtemp(prefix="raysmith-"))
        params = _server_params(config, model_path, model_name, num_cpus)
        params.hostnames = [str(self._folder / "llama.sock")]
        params.api_keys = [secrets.token_hex()]
        try:
            self._server = xllamacpp.Server(params)
        except RuntimeError as error:
            shutil.rmtree(self._folder)
            raise ModelError(
                "llama.cpp cannot open the model.",
                field="model",
                got=model_path,
                expected="a GGUF file of an architecture that llama.cpp knows, and memory for it",
                fix=f"read the replica's log; see that serve.engine.context_tokens ({config.context_tokens}) × "
                f"num_parallel ({config.num_parallel}) fits into memory",
            ) from error
        self._model_path = model_path
        self._context_tokens = config.context_tokens
        self._num_parallel = config.num_parallel
        self._pool = ThreadPoolExecutor(config.num_parallel, thread_name_prefix="llama_cpp")

    async def chat(self, body: dict[str, Any], adapter: str | None = None) -> AsyncGenerator[str, None]:
        """Generate; yields llama.cpp's own OpenAI chunks as JSON text. See `serving.protocol.Engine.chat`."""
        if "tools" in body and not await asyncio.to_thread(self._knows_tools):
            raise RequestError(
                400, "The model's chat template knows no tools.", param="tools", code="unsupported_by_model"
            )
        async with aclosing(self._stream(self._server.handle_chat_completions, body, "messages")) as chunks:
            async for chunk in chunks:
                yield chunk

    async def completion(self, body: dict[str, Any], adapter: str | None = None) -> AsyncGenerator[str, None]:
        """Generate; llama.cpp's chunks differ a little from OpenAI's. See `serving.protocol.Engine.completion`."""
        if body.get("echo"):
            raise RequestError(400, "llama.cpp does not echo prompts.", param="echo", code="unsupported_by_engine")
        async with aclosing(self._stream(self._server.handle_completions, body, "prompt")) as chunks:
            async for chunk in chunks:
                for one in _text_chunks(json.loads(chunk)):
                    yield json.dumps(one, separators=(",", ":"))

    async def _stream(
        self, handle: Callable[[str, Callable[[str], bool]], Any], body: dict[str, Any], prompt: str
    ) -> AsyncGenerator[str, None]:
        loop = asyncio.get_running_loop()
        chunks: asyncio.Queue[str | None] = asyncio.Queue()
        cancelled = threading.Event()

        def on_chunk(chunk: str) -> bool:
            loop.call_soon_threadsafe(chunks.put_nowait, chunk)
            return cancelled.is_set()  # True makes llama.cpp cancel its task and free the slot

        request = json.dumps({**body, "stream": True, "stream_options": {"include_usage": True}})
        work = loop.run_in_executor(self._pool, handle, request, on_chunk)
        work.add_done_callback(lambda _: chunks.put_nowait(None))
        try:
            while (chunk := await chunks.get()) is not None:
                if chunk.startswith('{"error"'):
                    raise _refusal(json.loads(chunk)["error"], prompt)
                yield chunk
            work.result()
        except ValueError as error:  # what llama.cpp's own validation raises
            raise RequestError(400, str(error)) from error
        finally:
            cancelled.set()
            await asyncio.wait([work])  # the place in the batch is free only when llama.cpp has let go of it

    async def probe(self, sequences: list[list[int]], top_k: int, adapter: str | None = None) -> TokenScores:
        """See `serving.protocol.Engine.probe`."""
        return await asyncio.to_thread(self.score, sequences, top_k)

    async def stop(self) -> None:
        """See `serving.protocol.Engine.stop`."""
        await asyncio.to_thread(self.close)

    @cached_property
    def _template(self) -> str:
        import gguf

        field = gguf.GGUFReader(self._model_path).fields.get("tokenizer.chat_template")
        return str(field.contents()) if field is not None else ""

    def _knows_tools(self) -> bool:
        # llama.cpp itself ignores tools that the template does not name.
        return "tools" in self._template

    def score(self, sequences: list[list[int]], top_k: int) -> TokenScores:
        """Score token ids by teacher forcing: see `cluster.handoff.Holder`.

        llama.cpp's server has no log-probabilities of prompts. So each token is generated: the prompt is the ids
        before it (only the newest is evaluated, the others are in the cache) and a logit bias forces it. What
        llama.cpp reports is the softmax of the raw logits, before bias and sampling. Ids go in and out as they are,
        never through text. Sequences run in parallel, one in each slot of the batch.

        Raises:
            HandoffError: a sequence is longer than the context.
        """
        longest = max(map(len, sequences))
        if longest > self._context_tokens:
            raise HandoffError(
                "A sequence is too long to be scored by the engine.",
                field="serve.engine.context_tokens",
                got=f"{longest} tokens",
                expected=f"at most {self._context_tokens}",
            )
        free_slots: SimpleQueue[int] = SimpleQueue()
        for slot in range(self._num_parallel):
            free_slots.put(slot)

        def score_one(ids: list[int]) -> list[dict[str, Any]]:
            slot = free_slots.get()
            try:
                return [self._force(ids[:i], ids[i], top_k, slot) for i in range(1, len(ids))]
            finally:
                free_slots.put(slot)

        scored = [token for tokens in self._pool.map(score_one, sequences) for token in tokens]
        return TokenScores(
            chosen=np.array([token["logprob"] for token in scored], dtype=np.float32),
            top_ids=np.array([[top["id"] for top in token["top_logprobs"]] for token in scored], dtype=np.int64),
            top_logprobs=np.array(
                [[top["logprob"] for top in token["top_logprobs"]] for token in scored], dtype=np.float32
            ),
        )

    def complete(self, prompts: list[list[int]], max_new_tokens: int, *, ignore_end: bool = False) -> list[list[int]]:
        """The most probable continuation of each prompt, token ids in and out; as many at a time as there are slots.

        Raises:
            HandoffError: llama.cpp refuses a prompt.
        """

        def complete_one(ids: list[int]) -> list[int]:
            answer = self._server.handle_completions({
                "prompt": ids, "max_tokens": max_new_tokens, "n_probs": 1, "temperature": 0.0, "cache_prompt": True,
                "ignore_eos": ignore_end,
            })  # fmt: skip
            if "error" in answer:
                raise HandoffError(f"llama.cpp refuses to complete: {answer['error'].get('message')}")
            logprobs = answer["choices"][0]["logprobs"]
            return [int(token["id"]) for token in logprobs["content"]] if logprobs else []

        return list(self._pool.map(complete_one, prompts))

    def _force(self, prompt: list[int], token: int, top_k: int, slot: int) -> dict[str, Any]:
        scores = self._next_token(prompt, token, top_k, slot)
        if scores is not None:
            return scores
        # A token that ends inside a UTF-8 character: llama.cpp holds it back, and its scores too. Let it say the letter
        # "a" instead, and look the token up among the most probable ones, or (a second or so) among all.
        for depth in (1024, WHOLE_VOCABULARY):
            scores = self._next_token(prompt, "a", depth, slot)
            tops = scores["top_logprobs"] if scores else []
            for top in tops:
                if top["id"] == token:
                    return {"logprob": top["logprob"], "top_logprobs": tops[:top_k]}
        raise HandoffError("llama.cpp gave no log-probability of a token.", got=token, expected="a token id")

    def _next_token(self, prompt: list[int], forced: int | str, top_k: int, slot: int) -> dict[str, Any] | None:
        answer = self._server.handle_completions(
            {
                "prompt": prompt,
                "max_tokens": 1,
                "n_probs": top_k,
                "logit_bias": [[forced, FORCED]],
                "temperature": 0.0,
                "cache_prompt": True,
                "id_slot": slot,
            }
        )
        if "error" in answer:
            raise HandoffError(f"llama.cpp refuses to score: {answer['error'].get('message')}")
        logprobs = answer["choices"][0]["logprobs"]
        return logprobs["content"][0] if logprobs else None

    def close(self) -> None:
        """Free the model's memory; running requests end first."""
        self._pool.shutdown()
        del self._server
        shutil.rmtree(self._folder)


def _server_params(config: Config, model_path: Path, model_name: str, num_cpus: int) -> Any:
    import xllamacpp

    num_threads = config.num_threads or num_cpus
    params = xllamacpp.CommonParams()
    params.model.path = str(model_path)
    params.model_alias = {model_name}
    params.n_parallel = config.num_parallel
    params.n_ctx = config.context_tokens * config.num_parallel  # llama.cpp divides it among the slots
    params.n_batch = config.batch_tokens
    params.cpuparams.n_threads = num_threads
    params.cpuparams_batch.n_threads = num_threads
    params.cache_ram_mib = 0  # the default keeps up to 8 GiB of old prompts
    params.use_jinja = True  # tools are a matter of the template
    params.endpoint_slots = False
    params.ui = False
    params.offline = True
    params.verbosity = -1
    return params


def _text_chunks(chunk: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """OpenAI's older form: log-probabilities in lists, and the usage in a chunk of its own."""
    usage = chunk.pop("usage", None)
    for choice in chunk["choices"]:
        tokens = (choice.get("logprobs") or {}).get("content")
        choice["logprobs"] = None if tokens is None else {
            "tokens": [one["token"] for one in tokens],
            "token_logprobs": [one["logprob"] for one in tokens],
            "top_logprobs": [{top["token"]: top["logprob"] for top in one["top_logprobs"]} for one in tokens],
        }  # fmt: skip
    yield chunk
    if usage is not None:
        yield {**chunk, "choices": [], "usage": usage}


def _refusal(error: dict[str, Any], prompt: str) -> RequestError:
    too_long = error.get("type") == "exceed_context_size_error"
    return RequestError(
        int(error.get("code", 500)),
        str(error.get("message")),
        param=prompt if too_long else None,
        code="context_length_exceeded" if too_long else None,
    )
