"""Engines as they are measured: score token ids, continue prompts greedily. One file of weights in, one holder out."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from cluster.errors import HandoffError
from cluster.handoff import TokenScores
from serving.quantizers.kquants import FILE_NAME

_BATCH = 16
"""Prompts that transformers continues at a time."""


class Measured(Protocol):
    """A quantized model in an engine."""

    def score(self, sequences: list[list[int]], top_k: int) -> TokenScores:
        """As `cluster.handoff.Holder`."""
        ...

    def complete(self, prompts: list[list[int]], max_new_tokens: int, *, to_the_end: bool = False) -> list[list[int]]:
        """The most probable continuation of each prompt, up to a token that ends it; or, `to_the_end`, as many tokens
        as asked for, those that end it among them.
        """
        ...

    def close(self) -> None:
        """Free the memory."""
        ...


class InTransformers:
    """A folder in transformers, computed in float32, on a GPU in bfloat16; so is the unquantized model."""

    def __init__(self, folder: Path, context: int, cpus: int, end_ids: tuple[int, ...]) -> None:  # noqa: ARG002
        import torch
        from transformers import AutoModelForCausalLM

        from trainers.scoring import TransformersHolder

        torch.set_num_threads(cpus)
        factory: Any = AutoModelForCausalLM
        self._model = factory.from_pretrained(
            folder, dtype=torch.bfloat16 if torch.cuda.is_available() else torch.float32, trust_remote_code=False,
            local_files_only=True, use_safetensors=True,
        ).eval()  # fmt: skip
        self._scored = TransformersHolder(self._model)
        self._end_ids = end_ids

    def score(self, sequences: list[list[int]], top_k: int) -> TokenScores:
        """As `Measured.score`."""
        return self._scored.score(sequences, top_k)

    def complete(self, prompts: list[list[int]], max_new_tokens: int, *, to_the_end: bool = False) -> list[list[int]]:
        """As `Measured.complete`; prompts are padded on the left, a few at a time."""
        parts = [prompts[at : at + _BATCH] for at in range(0, len(prompts), _BATCH)]
        return [ids for part in parts for ids in self._complete(part, max_new_tokens, to_the_end=to_the_end)]

    def _complete(self, prompts: list[list[int]], max_new_tokens: int, *, to_the_end: bool) -> list[list[int]]:
        import torch

        longest = max(map(len, prompts))
        pad = self._end_ids[0]
        ids = torch.tensor([[pad] * (longest - len(one)) + one for one in prompts], device=self._model.device)
        mask = torch.tensor([[0] * (longest - len(one)) + [1] * len(one) for one in prompts], device=ids.device)
        with torch.inference_mode():
            written = self._model.generate(
                ids, attention_mask=mask, do_sample=False, max_new_tokens=max_new_tokens, pad_token_id=pad,
                min_new_tokens=max_new_tokens if to_the_end else 0, eos_token_id=list(self._end_ids),
            )  # fmt: skip
        rows: list[list[int]] = written[:, longest:].tolist()
        return rows if to_the_end else [until_end(row, self._end_ids) for row in rows]

    def close(self) -> None:
        """As `Measured.close`."""
        del self._model, self._scored


class InVllm:
    """A folder in vLLM, in this process. float16 where there is no GPU: its CPU kernels take no float32, and bfloat16
    is ten times as coarse.
    """

    def __init__(self, folder: Path, context: int, cpus: int, end_ids: tuple[int, ...]) -> None:
        os.environ |= {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_INT4_W4A8": "0", "VLLM_NO_USAGE_STATS": "1"}
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
        import torch
        from vllm import LLM

        torch.set_num_threads(cpus)
        on_gpu = torch.cuda.is_available()
        self._engine = LLM(
            str(folder), skip_tokenizer_init=True, trust_remote_code=False, generation_config="vllm",
            dtype="bfloat16" if on_gpu else "float16", max_model_len=context, max_num_seqs=16, max_logprobs=256,
            kv_cache_memory_bytes=None if on_gpu else 2**29, gpu_memory_utilization=0.6, enforce_eager=True,
            distributed_executor_backend="uni", use_tqdm_on_load=False, enable_prefix_caching=False,
        )  # fmt: skip
        self._end_ids = end_ids

    def score(self, sequences: list[list[int]], top_k: int) -> TokenScores:
        """As `Measured.score`."""
        import numpy as np
        from vllm import SamplingParams, TokensPrompt

        asked = SamplingParams(max_tokens=1, prompt_logprobs=top_k, detokenize=False)
        outputs = self._engine.generate(
            [TokensPrompt(prompt_token_ids=one) for one in sequences], asked, use_tqdm=False
        )
        chosen, ids, values = [], [], []
        for sequence, output in zip(sequences, outputs, strict=True):
            if output.prompt_logprobs is None:
                raise HandoffError("vLLM gave no log-probabilities of a prompt.", got=f"{len(sequence)} tokens")
            for token, told in zip(sequence[1:], output.prompt_logprobs[1:], strict=True):
                if told is None:
                    raise HandoffError("vLLM gave no log-probability of a token.", got=token)
                ranked = sorted(told.items(), key=lambda item: -item[1].logprob)[:top_k]
                chosen.append(told[token].logprob)
                ids.append([one for one, _ in ranked])
                values.append([one.logprob for _, one in ranked])
        return TokenScores(np.array(chosen, np.float32), np.array(ids, np.int64), np.array(values, np.float32))

    def complete(self, prompts: list[list[int]], max_new_tokens: int, *, to_the_end: bool = False) -> list[list[int]]:
        """As `Measured.complete`."""
        from vllm import SamplingParams, TokensPrompt

        asked = SamplingParams(
            max_tokens=max_new_tokens, temperature=0.0, detokenize=False, ignore_eos=to_the_end,
            stop_token_ids=[] if to_the_end else list(self._end_ids),
        )  # fmt: skip
        outputs = self._engine.generate([TokensPrompt(prompt_token_ids=one) for one in prompts], asked, use_tqdm=False)
        rows = [list(one.outputs[0].token_ids) for one in outputs]
        return rows if to_the_end else [until_end(row, self._end_ids) for row in rows]

    def close(self) -> None:
        """As `Measured.close`."""
        self._engine.llm_engine.engine_core.shutdown()
        del self._engine


class InLlamaCpp:
    """A GGUF file in llama.cpp's server."""

    def __init__(self, folder: Path, context: int, cpus: int, end_ids: tuple[int, ...]) -> None:
        from serving.engines.llama_cpp import Config, Engine

        config = Config(context_tokens=context, num_parallel=8)
        self._engine = Engine(config, folder / FILE_NAME, "measured", cpus)
        self._end_ids = end_ids

    def score(self, sequences: list[list[int]], top_k: int) -> TokenScores:
        """As `Measured.score`."""
        return self._engine.score(sequences, top_k)

    def complete(self, prompts: list[list[int]], max_new_tokens: int, *, to_the_end: bool = False) -> list[list[int]]:
        """As `Measured.complete`."""
        written = self._engine.complete(prompts, max_new_tokens, ignore_end=to_the_end)
        return written if to_the_end else [until_end(one, self._end_ids) for one in written]

    def close(self) -> None:
        """As `Measured.close`."""
        self._engine.close()


HOLDERS: dict[str, Callable[[Path, int, int, tuple[int, ...]], Measured]] = {
    "transformers": InTransformers, "vllm": InVllm, "llama_cpp": InLlamaCpp,
}  # fmt: skip
"""By the engine's file name; each is given the folder, tokens of context, cores, and the ids that end an answer."""


def until_end(ids: list[int], end_ids: tuple[int, ...]) -> list[int]:
    """Without the first token that ends an answer, and what comes after."""
    ends = [at for at, token in enumerate(ids) if token in end_ids]
    return ids[: ends[0]] if ends else ids


def tokens_per_s(holder: Measured, prompts: list[list[int]], max_new_tokens: int) -> float:
    """New tokens a second when all prompts are continued at once, to the full length; the first try warms up."""
    holder.complete([one[::-1] for one in prompts], 4, to_the_end=True)  # others: an engine may keep what it has read
    began = time.perf_counter()
    written = holder.complete(prompts, max_new_tokens, to_the_end=True)
    return sum(map(len, written)) / (time.perf_counter() - began)
