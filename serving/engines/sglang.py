"""SGLang: prefix caching by a radix tree, LoRA adapters, on GPUs.

Not run here: no GPU. Written against sglang 0.5.23, `sglang.Engine` in this process; its scheduler and detokenizer are
processes beside it. Ray Serve LLM's SGLang server is built on the same class, but passes on neither log-probabilities,
seeds, penalties, schemas, tool calls nor adapters.
"""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from cluster.errors import HandoffError, ModelError
from cluster.handoff import TokenScores
from serving.engines._chunks import Prompt, Step, Steps
from serving.engines._grammar import asked_schema
from serving.engines._speaks_ids import SpeaksIds, asked_logprobs, missing_package
from serving.engines._text import Token
from serving.protocol import Embeddings, EngineConfig, RequestError


class Config(EngineConfig):
    """SGLang, for folders as transformers writes them: full precision or compressed-tensors (GPTQ, AWQ). Needs a GPU,
    and an environment of its own: its torch is another one.
    """

    OPENS: ClassVar[frozenset[str]] = frozenset({"folder"})
    ADDS_ADAPTERS: ClassVar[bool] = True
    ON_GPU: ClassVar[bool] = True

    kind: Literal["sglang"] = "sglang"

    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    """Type that it computes in. `auto`: the model's own, and one of 16 bits for float32."""

    tensor_parallel: int = Field(default=1, ge=1)
    """GPUs that each layer is divided among; `replicas.num_gpus` must be as many."""

    mem_fraction: float | None = Field(default=None, gt=0, lt=1)
    """Share of a GPU's memory for model and cache. Unset: SGLang's choice."""

    max_adapters: int = Field(default=0, ge=0)
    """LoRA adapters that can be added; 0: none. Memory is set aside for them at the start."""

    max_lora_rank: int = Field(default=64, ge=1)
    """Largest rank of an adapter."""

    deterministic: bool = False
    """The same seed gives the same answer whatever else is in the batch; slower. Without it seeds have no effect."""


class Engine(SpeaksIds):
    """One folder, opened by SGLang. See `serving.protocol.Engine`."""

    def __init__(self, config: Config, model_path: Path, model_name: str, num_cpus: int) -> None:
        """Load the model.

        Raises:
            ModelError: SGLang is not installed, or cannot open the model.
        """
        # Read when SGLang is imported: log-probabilities before temperature and top-p, as OpenAI's are.
        os.environ.setdefault("SGLANG_RETURN_ORIGINAL_LOGPROB", "1")
        try:
            sglang = importlib.import_module("sglang")
        except ImportError as error:
            raise missing_package("sglang", "sglang", error) from error
        super().__init__(config, model_path, model_name)
        self._max_adapters = config.max_adapters
        try:
            self._engine: Any = sglang.Engine(**server_arguments(config, model_path))
        except (ValueError, RuntimeError, OSError) as error:
            raise ModelError(
                "SGLang cannot open the model.", field="model", got=f"{model_path.name}: {error}",
                expected="a folder of an architecture that SGLang knows, and GPU memory for it",
                fix="read the replica's log; try a smaller serve.engine.context_tokens or num_parallel",
            ) from error  # fmt: skip

    async def generate(self, body: dict[str, Any], prompt: Prompt, adapter: str | None) -> Steps:
        """See `SpeaksIds.generate`."""
        tops = asked_logprobs(body)
        seen = 0
        async with aclosing(await self._stream(generate_arguments(body, prompt.ids, adapter))) as outputs:
            async for output in outputs:
                step = read_output(output, seen, tops, self._end_ids)
                seen = len(output["output_ids"])
                yield step
                if step.finish:
                    return

    async def _stream(self, arguments: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        # Closing SGLang's generator before its end aborts the request.
        outputs: AsyncGenerator[dict[str, Any], None] = await self._engine.async_generate(**arguments, stream=True)
        return _refusing(outputs)

    async def embed(self, texts: list[str]) -> Embeddings:
        """Refuse: SGLang opens a model either for embeddings or for generation."""
        raise self._lacks("embeddings")

    async def probe(self, sequences: list[list[int]], top_k: int, adapter: str | None = None) -> TokenScores:
        """See `serving.protocol.Engine.probe`."""
        self._check_probe(sequences)
        scores = []
        for sequence in sequences:
            output = await self._engine.async_generate(
                input_ids=sequence, sampling_params={"max_new_tokens": 1, "temperature": 0.0}, lora_path=adapter,
                return_logprob=True, logprob_start_len=0, top_logprobs_num=top_k,
            )  # fmt: skip
            scores.append(read_prompt_scores(output["meta_info"], len(sequence)))
        return TokenScores(*(np.concatenate(parts) for parts in zip(*scores, strict=True)))

    async def add_adapter(self, name: str, folder: Path) -> None:
        """See `serving.protocol.Engine.add_adapter`."""
        async with self._adapters.changing[name]:
            self._adapters.refuse_twice(name)
            if not self._max_adapters:
                raise ModelError(
                    "No memory was set aside for adapters.", field="serve.engine.max_adapters", got=0,
                    expected="as many as are added",
                )  # fmt: skip
            told = await self._engine.async_load_lora_adapter(name, str(folder))
            if not told.success:
                raise ModelError(
                    "SGLang cannot load the adapter.", field="adapters", got=f"{name}: {told.error_message}",
                    expected=f"a LoRA adapter of this base model, at most {self._max_adapters} at a time",
                )  # fmt: skip
            self._adapters.added(name)

    async def remove_adapter(self, name: str) -> None:
        """See `serving.protocol.Engine.remove_adapter`."""
        async with self._adapters.changing[name]:
            if await self._adapters.removed(name):
                await self._engine.async_unload_lora_adapter(name)

    async def stop(self) -> None:
        """See `serving.protocol.Engine.stop`."""
        self._prompts.close()
        self._engine.shutdown()


def server_arguments(config: Config, folder: Path) -> dict[str, Any]:
    """Arguments of `sglang.Engine` (its `ServerArgs`)."""
    arguments: dict[str, Any] = {
        "model_path": str(folder), "trust_remote_code": False, "dtype": config.dtype,
        "context_length": config.context_tokens, "max_running_requests": config.num_parallel,
        "tp_size": config.tensor_parallel, "enable_deterministic_inference": config.deterministic,
        "constrained_json_disable_any_whitespace": True,  # or a model may write spaces for ever
    }  # fmt: skip
    if config.mem_fraction is not None:
        arguments["mem_fraction_static"] = config.mem_fraction
    if config.max_adapters:
        arguments |= {
            "enable_lora": True, "max_lora_rank": config.max_lora_rank, "lora_target_modules": ["all"],
            "max_loras_per_batch": config.max_adapters + 1,  # the base model counts as one
            "max_loaded_loras": config.max_adapters + 1,
        }  # fmt: skip
    return arguments


def generate_arguments(body: dict[str, Any], ids: list[int], adapter: str | None) -> dict[str, Any]:
    """Arguments of `Engine.async_generate`, without `stream`. Stop strings are looked for in the text, not by SGLang:
    then what ends an answer is the same for every engine.
    """
    sampling: dict[str, Any] = {
        "max_new_tokens": body["max_tokens"], "temperature": 1.0, "top_p": 1.0, "skip_special_tokens": False,
    }  # fmt: skip
    for name in ("temperature", "top_p", "frequency_penalty", "presence_penalty", "logit_bias"):
        if body.get(name) is not None:
            sampling[name] = body[name]
    if body.get("seed") is not None:
        sampling["sampling_seed"] = body["seed"]
    schema, _ = asked_schema(body)
    if schema is not None:
        sampling["json_schema"] = json.dumps(schema)
    arguments: dict[str, Any] = {"input_ids": ids, "sampling_params": sampling}
    tops = asked_logprobs(body)
    if tops is not None:
        arguments |= {"return_logprob": True, "top_logprobs_num": tops}
    if adapter is not None:
        arguments["lora_path"] = adapter
    return arguments


def read_output(output: dict[str, Any], seen: int, tops: int | None, end_ids: list[int]) -> Step:
    """The tokens of one of SGLang's outputs, which hold all of the answer so far, after the first `seen` ones.

    Raises:
        RequestError: SGLang gave the request up.
    """
    meta = output["meta_info"]
    reason = meta.get("finish_reason") or {}
    if reason.get("type") == "abort":
        status = reason.get("status_code") or 500
        raise RequestError(int(status), reason.get("message") or "The engine gave the request up.", code="engine_error")
    ids = output["output_ids"]
    finish = reason.get("type")
    last = len(ids) - 1 if finish == "stop" and ids and ids[-1] in end_ids else len(ids)
    if tops is None:
        tokens = [Token(token) for token in ids[seen:last]]
    else:
        chosen, likely = meta["output_token_logprobs"], meta.get("output_top_logprobs") or [None] * len(ids)
        tokens = [
            Token(ids[at], float(chosen[at][0]), tuple((int(top[1]), float(top[0])) for top in likely[at] or ()))
            for at in range(seen, last)
        ]
    return Step(tokens, len(ids), finish)


def read_prompt_scores(meta: dict[str, Any], num_tokens: int) -> TokenScores:
    """Log-probabilities of a prompt's tokens; those of the first one are missing.

    Raises:
        HandoffError: others are missing, too.
    """
    chosen, tops = meta["input_token_logprobs"][1:], meta["input_top_logprobs"][1:]
    if len(chosen) != num_tokens - 1 or len(tops) != num_tokens - 1 or any(top is None for top in tops):
        raise HandoffError("SGLang gave no log-probabilities of some tokens.", got=len(chosen), expected=num_tokens - 1)
    return TokenScores(
        np.array([one[0] for one in chosen], np.float32),
        np.array([[one[1] for one in top] for top in tops], np.int64),
        np.array([[one[0] for one in top] for top in tops], np.float32),
    )


async def _refusing(outputs: AsyncGenerator[dict[str, Any], None]) -> AsyncGenerator[dict[str, Any], None]:
    async with aclosing(outputs):
        try:
            async for output in outputs:
                yield output
        except ValueError as error:  # what SGLang's own validation raises
            raise RequestError(400, str(error)) from error
