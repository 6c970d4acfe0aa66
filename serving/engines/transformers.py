"""transformers: every model that it opens, quantized by bitsandbytes or compressed-tensors too, with peft adapters.

Its own continuous batching knows temperature, top-k and top-p of single requests, but no seeds, penalties, schemas or
most probable tokens; and its `generate` no requests that come and go. So the loop is here (`_scheduler`, `_batch`,
`_sampling`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from cluster.handoff import TokenScores
from serving.engines._batch import Row
from serving.engines._chunks import Prompt, Step, Steps
from serving.engines._grammar import Grammars
from serving.engines._model import Model
from serving.engines._sampling import Sampler
from serving.engines._scheduler import Scheduler
from serving.engines._speaks_ids import SpeaksIds
from serving.protocol import Embeddings, EngineConfig, RequestError


class Config(EngineConfig):
    """transformers, for folders that it opens."""

    OPENS: ClassVar[frozenset[str]] = frozenset({"folder"})
    ADDS_ADAPTERS: ClassVar[bool] = True

    kind: Literal["transformers"] = "transformers"

    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Type of the computation and of what is not quantized. `auto`: float32 on a CPU, bfloat16 on a GPU."""

    decompress: bool = False
    """Of a model of the format compressed-tensors: unpack the weights at the start. Then it takes adapters, and as much
    memory as if it were not quantized."""

    batch_tokens: int = Field(default=512, ge=32)
    """Prompt tokens evaluated at a time. Smaller: other requests wait less for a long prompt."""

    embeddings: bool = False
    """Whether it gives embeddings: the mean of the last hidden states. Those of a chat model are of modest use."""


class Engine(SpeaksIds):
    """One folder, opened by transformers. See `serving.protocol.Engine`."""

    def __init__(self, config: Config, model_path: Path, model_name: str, num_cpus: int) -> None:
        """Load the model.

        Raises:
            ModelError: transformers cannot open it.
        """
        super().__init__(config, model_path, model_name)
        self._embeddings = config.embeddings
        self._model = Model(model_path, config.dtype, config.context_tokens, decompress=config.decompress)
        self._grammars = Grammars(self._tokenizer, self._model.vocab_size, self._end_ids)
        self._scheduler = Scheduler(self._model, config.num_parallel, config.batch_tokens, num_cpus)

    async def generate(self, body: dict[str, Any], prompt: Prompt, adapter: str | None) -> Steps:
        """See `SpeaksIds.generate`."""
        loop = asyncio.get_running_loop()
        steps: asyncio.Queue[Step | Exception] = asyncio.Queue()

        def send(step: Step | Exception) -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody listens
                loop.call_soon_threadsafe(steps.put_nowait, step)

        self._check_bias(body)
        grammar = await loop.run_in_executor(None, self._grammars.asked, body)
        row = Row(
            ids=prompt.ids, sampler=Sampler(body, self._model.device, grammar), adapter=adapter,
            max_tokens=body["max_tokens"], end_ids=frozenset(self._end_ids), send=send,
        )  # fmt: skip
        try:
            self._scheduler.submit(row)
            finish = None
            while finish is None:
                step = await steps.get()
                if isinstance(step, Exception):
                    raise step
                finish = step.finish
                yield step
        finally:
            self._scheduler.cancel(row)

    def _check_bias(self, body: dict[str, Any]) -> None:
        if any(int(token) >= self._model.vocab_size for token in body.get("logit_bias") or ()):
            raise RequestError(
                400, f"Token ids are below {self._model.vocab_size}.", param="logit_bias", code="invalid_value"
            )

    async def embed(self, texts: list[str]) -> Embeddings:
        """See `serving.protocol.Engine.embed`."""
        if not self._embeddings:
            raise RequestError(
                400, "This endpoint gives no embeddings: serve.engine.embeddings is off.", code="unsupported_by_engine"
            )
        prompts = [await self._prompts.completion({"prompt": text}, param="input") for text in texts]
        vectors = [await self._call(partial(self._model.embed, prompt.ids)) for prompt in prompts]
        return Embeddings(vectors, sum(len(prompt.ids) for prompt in prompts))

    async def probe(self, sequences: list[list[int]], top_k: int, adapter: str | None = None) -> TokenScores:
        """See `serving.protocol.Engine.probe`."""
        self._check_probe(sequences)
        scores: TokenScores = await self._call(partial(self._model.score, sequences, top_k, adapter))
        return scores

    async def add_adapter(self, name: str, folder: Path) -> None:
        """See `serving.protocol.Engine.add_adapter`."""
        async with self._adapters.changing[name]:
            self._adapters.refuse_twice(name)
            await self._call(partial(self._model.add_adapter, name, folder))
            self._adapters.added(name)

    async def remove_adapter(self, name: str) -> None:
        """See `serving.protocol.Engine.remove_adapter`."""
        async with self._adapters.changing[name]:
            if await self._adapters.removed(name):
                await self._call(partial(self._model.remove_adapter, name))

    async def check(self) -> None:
        """See `serving.protocol.Engine.check`."""
        self._scheduler.check()

    async def stop(self) -> None:
        """See `serving.protocol.Engine.stop`."""
        await asyncio.get_running_loop().run_in_executor(None, self._scheduler.stop)
        self._prompts.close()
        del self._model, self._scheduler, self._grammars

    async def _call(self, job: Callable[[], Any]) -> Any:
        return await asyncio.wrap_future(self._scheduler.call(job))
