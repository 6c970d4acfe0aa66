"""Engines that need a GPU and a package that is not here: what they are given, what is made of their outputs, and how
they are refused. The shapes of outputs are those of their sources (sglang 0.5.23, tensorrt-llm 1.x).
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from openai.types.chat import ChatCompletionChunk
from pydantic import ValidationError

from cluster.errors import HandoffError, ModelError
from serving.config import ServeConfig
from serving.engines import sglang, tensorrt_llm
from serving.engines._chunks import ChatChunks, Prompt, Step, chat_answer
from serving.engines._prompts import load_tokenizer
from serving.engines._text import TextReader, Token, TokenNames
from serving.protocol import RequestError, open_engine
from tests.tiny import make_tiny_model, make_tokenizer

BODY = {
    "messages": [], "max_tokens": 7, "temperature": 0.5, "top_p": 0.9, "seed": 3, "stop": ["end"], "logprobs": True,
    "top_logprobs": 2, "frequency_penalty": 0.1, "presence_penalty": 0.2,
    "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "integer"}}},
}  # fmt: skip


@pytest.mark.parametrize(("kind", "package"), [("sglang", "sglang"), ("tensorrt_llm", "tensorrt-llm")])
def test_a_missing_package_is_named(kind: str, package: str, tmp_path: Path) -> None:
    if importlib.util.find_spec(kind) is not None:
        pytest.skip("the package is here")
    make_tiny_model(tmp_path)
    engine = ServeConfig(engine=kind).engine  # type: ignore[arg-type]
    assert engine.ON_GPU
    assert engine.ADDS_ADAPTERS
    assert set(engine.OPENS) == {"folder"}
    with pytest.raises(ModelError, match="cannot be imported") as refused:
        open_engine(engine, tmp_path, "tiny", 1)
    assert refused.value.field == "serve.engine"
    assert f"pip install {package}" in str(refused.value.fix)


def test_configs_are_strict() -> None:
    config = ServeConfig.model_validate({"engine": {"kind": "sglang", "tensor_parallel": 2, "max_adapters": 3}}).engine
    assert isinstance(config, sglang.Config)
    assert (config.tensor_parallel, config.max_adapters) == (2, 3)
    for engine in ({"kind": "sglang", "mem_fraction": 1.5}, {"kind": "tensorrt_llm", "max_lora_ranks": 8}):
        with pytest.raises(ValidationError):
            ServeConfig.model_validate({"engine": engine})


def test_sglang_server() -> None:
    config = sglang.Config(context_tokens=1024, num_parallel=16, tensor_parallel=2, mem_fraction=0.8)
    assert sglang.server_arguments(config, Path("model")) == {
        "model_path": "model", "trust_remote_code": False, "dtype": "auto", "context_length": 1024,
        "max_running_requests": 16, "tp_size": 2, "enable_deterministic_inference": False,
        "constrained_json_disable_any_whitespace": True, "mem_fraction_static": 0.8,
    }  # fmt: skip
    arguments = sglang.server_arguments(sglang.Config(max_adapters=2, max_lora_rank=16), Path("model"))
    assert arguments["enable_lora"] is True
    assert arguments["lora_target_modules"] == ["all"]
    assert (arguments["max_lora_rank"], arguments["max_loras_per_batch"], arguments["max_loaded_loras"]) == (16, 3, 3)


def test_sglang_request() -> None:
    assert sglang.generate_arguments(BODY, [1, 2], "red") == {
        "input_ids": [1, 2], "return_logprob": True, "top_logprobs_num": 2, "lora_path": "red",
        "sampling_params": {
            "max_new_tokens": 7, "temperature": 0.5, "top_p": 0.9, "skip_special_tokens": False, "sampling_seed": 3,
            "frequency_penalty": 0.1, "presence_penalty": 0.2, "json_schema": '{"type": "integer"}',
        },
    }  # fmt: skip
    plain = sglang.generate_arguments({"prompt": "a", "max_tokens": 5}, [1], None)
    assert plain["sampling_params"]["temperature"] == 1.0  # OpenAI's, whatever the model's own
    assert plain.keys() == {"input_ids", "sampling_params"}


def test_sglang_outputs() -> None:
    def output(ids: list[int], reason: dict[str, Any] | None, **meta: Any) -> dict[str, Any]:
        return {"text": None, "output_ids": ids, "meta_info": {"finish_reason": reason, **meta}}

    assert sglang.read_output(output([5, 6], None), 1, None, [2]) == Step([Token(6)], 2, None)
    ended = output([5, 6, 2], {"type": "stop", "matched": 2})
    assert sglang.read_output(ended, 2, None, [2]) == Step([], 3, "stop")
    full = output(
        [5, 6], {"type": "length", "length": 2}, output_token_logprobs=[(-0.5, 5, None), (-0.25, 6, None)],
        output_top_logprobs=[[(-0.5, 5, None)], [(-0.25, 6, None), (-2.0, 7, None)]],
    )  # fmt: skip
    assert sglang.read_output(full, 1, 2, [2]) == Step([Token(6, -0.25, ((6, -0.25), (7, -2.0)))], 2, "length")
    with pytest.raises(RequestError, match="too long") as refused:
        sglang.read_output(output([], {"type": "abort", "message": "too long", "status_code": 400}), 0, None, [2])
    assert refused.value.status == 400

    meta = {
        "input_token_logprobs": [(None, 1, None), (-0.5, 5, None), (-1.5, 6, None)],
        "input_top_logprobs": [None, [(-0.5, 5, None), (-1.0, 9, None)], [(-0.1, 8, None), (-1.5, 6, None)]],
    }
    scores = sglang.read_prompt_scores(meta, 3)
    np.testing.assert_allclose(scores.chosen, [-0.5, -1.5])
    np.testing.assert_array_equal(scores.top_ids, [[5, 9], [8, 6]])
    with pytest.raises(HandoffError, match="some tokens"):
        sglang.read_prompt_scores(meta, 4)


def test_tensorrt_llm_model() -> None:
    config = tensorrt_llm.Config(context_tokens=1024, num_parallel=16, tensor_parallel=2, max_adapters=2)
    assert tensorrt_llm.llm_arguments(config, Path("model")) == {
        "model": "model", "trust_remote_code": False, "dtype": "auto", "tensor_parallel_size": 2, "max_batch_size": 16,
        "max_seq_len": 1024, "guided_decoding_backend": "xgrammar",
        "kv_cache_config": {"free_gpu_memory_fraction": 0.9},
        "lora_config": {
            "lora_target_modules": tensorrt_llm.MODULES, "max_lora_rank": 64, "max_loras": 2, "max_cpu_loras": 2,
        },
    }  # fmt: skip
    assert "lora_config" not in tensorrt_llm.llm_arguments(tensorrt_llm.Config(), Path("model"))


def test_tensorrt_llm_request() -> None:
    assert tensorrt_llm.sampling_arguments(BODY) == {
        "max_tokens": 7, "detokenize": False, "temperature": 0.5, "top_p": 0.9, "frequency_penalty": 0.1,
        "presence_penalty": 0.2, "seed": 3, "logprobs": 2, "guided_decoding": {"json": {"type": "integer"}},
    }  # fmt: skip
    plain = tensorrt_llm.sampling_arguments({"prompt": "a", "max_tokens": 5})
    assert plain == {"max_tokens": 5, "detokenize": False, "temperature": 1.0, "top_p": 1.0}


@dataclass
class Logprob:
    """As `tensorrt_llm.executor.result.Logprob`."""

    logprob: float
    rank: int | None = None


@dataclass
class CompletionOutput:
    """The fields of TensorRT-LLM's class of that name that are read."""

    token_ids: list[int]
    finish_reason: str | None = None
    logprobs: list[dict[int, Logprob]] = field(default_factory=list)


def test_tensorrt_llm_outputs() -> None:
    assert tensorrt_llm.read_output(CompletionOutput([5, 6]), 1, None, [2]) == Step([Token(6)], 2, None)
    assert tensorrt_llm.read_output(CompletionOutput([5, 2], "stop"), 1, None, [2]) == Step([], 2, "stop")
    logprobs = [{5: Logprob(-0.5)}, {6: Logprob(-3.0), 8: Logprob(-0.1), 9: Logprob(-1.0)}]
    step = tensorrt_llm.read_output(CompletionOutput([5, 6], "length", logprobs), 1, 2, [2])
    assert step == Step([Token(6, -3.0, ((8, -0.1), (9, -1.0)))], 2, "length")
    with pytest.raises(RequestError, match="timeout"):
        tensorrt_llm.read_output(CompletionOutput([], "timeout"), 0, None, [2])

    logits = torch.randn(4, 10)
    scores = tensorrt_llm.score_logits(logits, [1, 2, 3, 4], 3)
    np.testing.assert_allclose(scores.chosen[0], logits[0].log_softmax(-1)[2], rtol=1e-5)
    assert scores.top_ids.shape == (3, 3)
    with pytest.raises(HandoffError, match="some tokens"):
        tensorrt_llm.score_logits(logits[1:], [1, 2, 3, 4], 3)


def test_steps_of_several_tokens_become_chunks_and_a_stop_string_closes_the_engine(tmp_path: Path) -> None:
    make_tokenizer(tmp_path)
    tokenizer = load_tokenizer(tmp_path)
    ids = tokenizer.encode("the cat sees the dog and the tree", add_special_tokens=False)
    closed = []

    async def steps() -> AsyncGenerator[Step, None]:
        try:
            for at in range(0, len(ids), 3):
                yield Step([Token(one) for one in ids[at : at + 3]], min(at + 3, len(ids)))
        finally:
            closed.append(True)

    async def answer() -> list[dict[str, Any]]:
        reader = TextReader(tokenizer, ["dog"])
        chunks = ChatChunks("tiny", TokenNames(tokenizer))
        return [json.loads(one) async for one in chat_answer(steps(), reader, Prompt([1, 2]), chunks, logprobs=False)]

    chunks = asyncio.run(answer())
    assert "".join(one["choices"][0]["delta"].get("content", "") for one in chunks[:-1]) == "the cat sees the "
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-1]["usage"]["completion_tokens"] <= len(ids)
    assert closed == [True]


def test_a_tool_call_becomes_a_chunk(tmp_path: Path) -> None:
    make_tokenizer(tmp_path)
    tokenizer = load_tokenizer(tmp_path)
    written = 'It rains. <tool_call>{"name": "look", "arguments": {"at": "a tree"}}</tool_call>'

    async def steps() -> AsyncGenerator[Step, None]:
        ids = tokenizer.encode(written, add_special_tokens=False)
        for at, one in enumerate(ids):
            yield Step([Token(one)], at + 1)
        yield Step([], len(ids) + 1, "stop")

    async def answer(tools: bool) -> list[dict[str, Any]]:
        chunks, reader = ChatChunks("tiny", TokenNames(tokenizer)), TextReader(tokenizer, [])
        parts = chat_answer(steps(), reader, Prompt([1, 2], tools), chunks, logprobs=False)
        return [json.loads(one) async for one in parts]

    chunks = asyncio.run(answer(True))
    for chunk in chunks:
        ChatCompletionChunk.model_validate(chunk, strict=True)
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks[:-1]]
    assert "".join(delta.get("content", "") for delta in deltas) == "It rains. "
    calls = [call for delta in deltas for call in delta.get("tool_calls", ())]
    assert [(call["index"], call["type"]) for call in calls] == [(0, "function")]
    assert calls[0]["function"] == {"name": "look", "arguments": '{"at": "a tree"}'}
    assert chunks[-2]["choices"][0]["finish_reason"] == "tool_calls"
    # A model that writes a call that nobody asked for just writes.
    plain = asyncio.run(answer(False))
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in plain[:-1]) == written
    assert plain[-2]["choices"][0]["finish_reason"] == "stop"
