"""TensorRT-LLM: NVIDIA's kernels, LoRA adapters, on GPUs.

Not run here: no GPU. Written against the LLM API of tensorrt-llm 1.x with its PyTorch backend, which opens folders as
transformers writes them and builds no engine files.
"""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from cluster.errors import HandoffError, ModelError
from cluster.handoff import TokenScores
from serving.engines._chunks import Prompt, Step, Steps
from serving.engines._grammar import asked_schema
from serving.engines._speaks_ids import SpeaksIds, asked_logprobs, missing_package
from serving.engines._text import Token
from serving.protocol import EngineConfig, RequestError

if TYPE_CHECKING:
    import torch

MODULES = ["attn_q", "attn_k", "attn_v", "attn_dense", "mlp_h_to_4h", "mlp_4h_to_h", "mlp_gate"]
"""What TensorRT-LLM calls q_proj, k_proj, v_proj, o_proj, gate_proj, down_proj and up_proj."""


class Config(EngineConfig):
    """TensorRT-LLM, for folders as transformers writes them. Needs a GPU."""

    OPENS: ClassVar[frozenset[str]] = frozenset({"folder"})
    ADDS_ADAPTERS: ClassVar[bool] = True
    ON_GPU: ClassVar[bool] = True

    kind: Literal["tensorrt_llm"] = "tensorrt_llm"

    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    """Type that it computes in. `auto`: the model's own."""

    tensor_parallel: int = Field(default=1, ge=1)
    """GPUs that each layer is divided among; `replicas.num_gpus` must be as many."""

    kv_cache_fraction: float = Field(default=0.9, gt=0, lt=1)
    """Share of the GPU's memory, once the model is there, for the cache of keys and values."""

    max_adapters: int = Field(default=0, ge=0)
    """LoRA adapters that can be added; 0: none. Memory is set aside for them at the start."""

    max_lora_rank: int = Field(default=64, ge=1)
    """Largest rank of an adapter."""


class Engine(SpeaksIds):
    """One folder, opened by TensorRT-LLM. See `serving.protocol.Engine`."""

    def __init__(self, config: Config, model_path: Path, model_name: str, num_cpus: int) -> None:
        """Load the model.

        Raises:
            ModelError: TensorRT-LLM is not installed, or cannot open the model.
        """
        try:
            package, llmapi, executor, lora = (
                importlib.import_module(name)
                for name in ("tensorrt_llm", "tensorrt_llm.llmapi", "tensorrt_llm.executor", "tensorrt_llm.lora_helper")
            )
        except ImportError as error:
            raise missing_package("tensorrt_llm", "tensorrt-llm", error) from error
        super().__init__(config, model_path, model_name)
        self._max_adapters = config.max_adapters
        self._sampling, self._guided, self._lora = (
            package.SamplingParams, llmapi.GuidedDecodingParams, executor.LoRARequest,
        )  # fmt: skip
        self._loras: dict[str, Any] = {}
        self._numbers = itertools.count(1)  # TensorRT-LLM keeps weights by number: one is never used again
        arguments = llm_arguments(config, model_path)
        arguments["kv_cache_config"] = llmapi.KvCacheConfig(**arguments["kv_cache_config"])
        if "lora_config" in arguments:
            arguments["lora_config"] = lora.LoraConfig(**arguments["lora_config"])
        try:
            self._llm: Any = package.LLM(**arguments)
        except (ValueError, RuntimeError, OSError) as error:
            raise ModelError(
                "TensorRT-LLM cannot open the model.", field="model", got=f"{model_path.name}: {error}",
                expected="a folder of an architecture that TensorRT-LLM knows, and GPU memory for it",
                fix="read the replica's log; try a smaller serve.engine.context_tokens or num_parallel",
            ) from error  # fmt: skip

    async def generate(self, body: dict[str, Any], prompt: Prompt, adapter: str | None) -> Steps:
        """See `SpeaksIds.generate`."""
        if body.get("logit_bias"):
            raise RequestError(400, "The engine has no logit_bias.", param="logit_bias", code="unsupported_by_engine")
        arguments = sampling_arguments(body)
        if "guided_decoding" in arguments:
            arguments["guided_decoding"] = self._guided(**arguments["guided_decoding"])
        tops = asked_logprobs(body)
        request = self._submit(prompt.ids, arguments, self._loras.get(adapter or ""), streaming=True)
        seen = 0
        finish = None
        try:
            async for output in request:
                step = read_output(output.outputs[0], seen, tops, self._end_ids)
                seen, finish = step.num_tokens, step.finish
                yield step
                if finish:
                    return
        finally:
            if finish is None:
                request.abort()

    def _submit(self, ids: list[int], arguments: dict[str, Any], lora: Any, *, streaming: bool) -> Any:
        try:
            return self._llm.generate_async(
                ids, sampling_params=self._sampling(**arguments), lora_request=lora, streaming=streaming
            )
        except ValueError as error:  # what TensorRT-LLM's own validation raises
            raise RequestError(400, str(error)) from error

    async def probe(self, sequences: list[list[int]], top_k: int, adapter: str | None = None) -> TokenScores:
        """See `serving.protocol.Engine.probe`."""
        self._check_probe(sequences)
        arguments = {"max_tokens": 1, "temperature": 0.0, "return_context_logits": True, "detokenize": False}
        scores = []
        for sequence in sequences:
            lora = self._loras.get(adapter or "")
            output = await self._submit(sequence, arguments, lora, streaming=False)
            scores.append(score_logits(output.context_logits, sequence, top_k))
        return TokenScores(*(np.concatenate(parts) for parts in zip(*scores, strict=True)))

    async def add_adapter(self, name: str, folder: Path) -> None:
        """See `serving.protocol.Engine.add_adapter`. TensorRT-LLM loads it with the first request, made here."""
        async with self._adapters.changing[name]:
            self._adapters.refuse_twice(name)
            if len(self._loras) >= self._max_adapters:
                raise ModelError(
                    "No memory was set aside for so many adapters.", field="serve.engine.max_adapters",
                    got=len(self._loras) + 1, expected=f"at most {self._max_adapters}",
                )  # fmt: skip
            lora = self._lora(name, next(self._numbers), str(folder))
            self._loras[name] = lora
            try:
                arguments = {"max_tokens": 1, "temperature": 0.0, "detokenize": False}
                await self._submit([self._end_ids[0] if self._end_ids else 0], arguments, lora, streaming=False)
            except Exception as error:
                del self._loras[name]
                raise ModelError(
                    "TensorRT-LLM cannot load the adapter.", field="adapters", got=f"{name}: {error}",
                    expected="a LoRA adapter of this base model, of its attention and MLP layers",
                ) from error  # fmt: skip
            self._adapters.added(name)

    async def remove_adapter(self, name: str) -> None:
        """See `serving.protocol.Engine.remove_adapter`; its weights leave the cache when others need their place."""
        async with self._adapters.changing[name]:
            if await self._adapters.removed(name):
                del self._loras[name]

    async def stop(self) -> None:
        """See `serving.protocol.Engine.stop`."""
        self._prompts.close()
        self._llm.shutdown()


def llm_arguments(config: Config, folder: Path) -> dict[str, Any]:
    """Arguments of `tensorrt_llm.LLM`; `kv_cache_config` and `lora_config` are those of the classes of that name."""
    arguments: dict[str, Any] = {
        "model": str(folder), "trust_remote_code": False, "dtype": config.dtype,
        "tensor_parallel_size": config.tensor_parallel, "max_batch_size": config.num_parallel,
        "max_seq_len": config.context_tokens, "guided_decoding_backend": "xgrammar",
        "kv_cache_config": {"free_gpu_memory_fraction": config.kv_cache_fraction},
    }  # fmt: skip
    if config.max_adapters:
        arguments["lora_config"] = {
            "lora_target_modules": MODULES, "max_lora_rank": config.max_lora_rank, "max_loras": config.max_adapters,
            "max_cpu_loras": config.max_adapters,
        }  # fmt: skip
    return arguments


def sampling_arguments(body: dict[str, Any]) -> dict[str, Any]:
    """Arguments of `SamplingParams`; `guided_decoding` are those of `GuidedDecodingParams`. Stop strings are looked for
    in the text, not by TensorRT-LLM: it compares ids, and the same text can be written with others.
    """
    arguments: dict[str, Any] = {
        "max_tokens": body["max_tokens"], "detokenize": False,
        "temperature": 1.0, "top_p": 1.0,  # without any it would take the most probable token
    }  # fmt: skip
    for name in ("temperature", "top_p", "frequency_penalty", "presence_penalty", "seed"):
        if body.get(name) is not None:
            arguments[name] = body[name]
    tops = asked_logprobs(body)
    if tops is not None:
        arguments["logprobs"] = max(1, tops)
    schema, _ = asked_schema(body)
    if schema is not None:
        arguments["guided_decoding"] = {"json": schema}
    return arguments


def read_output(output: Any, seen: int, tops: int | None, end_ids: Sequence[int]) -> Step:
    """The tokens of a `CompletionOutput`, which holds all of the answer so far, after the first `seen` ones.

    Raises:
        RequestError: TensorRT-LLM gave the request up.
    """
    reason = output.finish_reason
    if reason not in (None, "stop", "length"):
        raise RequestError(500, f"The engine gave the request up: {reason}.", code="engine_error")
    ids = output.token_ids
    last = len(ids) - 1 if reason == "stop" and ids and ids[-1] in end_ids else len(ids)
    if tops is None:
        return Step([Token(token) for token in ids[seen:last]], len(ids), reason)
    tokens = []
    for at in range(seen, last):
        known = {token: one.logprob for token, one in output.logprobs[at].items()}
        ranked = sorted(known.items(), key=lambda item: -item[1])[:tops]
        tokens.append(Token(ids[at], known[ids[at]], tuple(ranked)))
    return Step(tokens, len(ids), reason)


def score_logits(logits: torch.Tensor | None, sequence: list[int], top_k: int) -> TokenScores:
    """Scores of a sequence from the logits [n, v] of its tokens.

    Raises:
        HandoffError: some are missing, as they are of a prompt whose beginning was in the cache.
    """
    import torch

    if logits is None or len(logits) != len(sequence):
        raise HandoffError(
            "TensorRT-LLM gave no logits of some tokens.", got=0 if logits is None else len(logits),
            expected=len(sequence),
        )  # fmt: skip
    logprobs = logits[:-1].float().cpu().log_softmax(-1)
    chosen = logprobs.gather(1, torch.tensor(sequence[1:])[:, None])[:, 0]
    top = logprobs.topk(top_k, dim=-1)
    return TokenScores(chosen.numpy(), top.indices.numpy(), top.values.numpy())
