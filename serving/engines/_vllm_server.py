"""Ray Serve LLM's server with its vLLM engine, as one replica uses it. Importing this module imports vLLM: seconds."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from cluster.errors import ClusterError
from serving.engines._vllm_refusals import require_answer

if TYPE_CHECKING:
    from serving.engines.vllm import Config

from ray.llm._internal.common.callbacks.base import CallbackBase
from ray.llm._internal.serve.core.configs.llm_config import DiskMultiplexConfig
from ray.llm._internal.serve.core.configs.openai_api_models import (
    ChatCompletionRequest,
    CompletionRequest,
    EmbeddingCompletionRequest,
)
from ray.llm._internal.serve.engines.vllm.vllm_engine import VLLMEngine
from ray.serve.llm import LLMConfig
from ray.serve.llm.deployment import LLMServer
from ray.util.placement_group import PlacementGroup, get_current_placement_group
from vllm.entrypoints.serve.lora.protocol import UnloadLoRAAdapterRequest
from vllm.exceptions import VLLMClientError
from vllm.platforms import current_platform

REQUESTS = {
    "chat": ChatCompletionRequest, "completions": CompletionRequest, "embeddings": EmbeddingCompletionRequest,
}  # fmt: skip
"""What each method of the server takes."""

MAX_LOGPROBS = 256
"""Most probable tokens that a request, a probe's among them, can ask for."""


class _NoClientErrors(logging.Filter):
    """vLLM logs a traceback, too, when it refuses a request."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not (record.exc_info and isinstance(record.exc_info[1], VLLMClientError))


for _route in ("chat_completion", "completion"):
    logging.getLogger(f"vllm.entrypoints.openai.{_route}.serving").addFilter(_NoClientErrors())


class _LocalModel(CallbackBase):
    """The model's folder is there: no task has to be started on every node to fetch it."""

    async def on_before_node_init(self) -> None:
        self.ctx.run_init_node = False


class _Engine(VLLMEngine):
    """Ray Serve LLM's engine, and what it keeps to itself: aborting, forgetting an adapter, ending."""

    _engine_client: Any
    _oai_models: Any

    def _start_async_llm_engine(self, vllm_engine_args: Any, vllm_engine_config: Any, placement_group: Any) -> Any:
        parallel = vllm_engine_config.parallel_config
        if current_platform.is_cpu() and parallel.world_size == 1:
            # The engine's process computes itself. Else there is one more, which imports vLLM once more, and both spin
            # while they wait for each other (on two cores 10 to 25% fewer tokens/s, 7 s more to start).
            parallel.distributed_executor_backend = "uni"
        return super()._start_async_llm_engine(vllm_engine_args, vllm_engine_config, placement_group)

    @property
    def embeds(self) -> bool:
        """Whether the model gives embeddings."""
        return self._oai_serving_embedding is not None

    async def abort(self, request_id: str) -> None:
        """Take a request out of the batch."""
        await self._engine_client.abort([f"chatcmpl-{request_id}", f"cmpl-{request_id}-0"])

    async def remove_lora(self, name: str) -> None:
        number = self._oai_models.lora_requests[name].lora_int_id
        await self._oai_models.unload_lora_adapter(UnloadLoRAAdapterRequest(lora_name=name))
        await self._engine_client.remove_lora(number)

    def end(self) -> None:
        """End the engine's processes."""
        if self._engine_client is not None:
            self._engine_client.shutdown()


class Server(LLMServer):
    """Ray Serve LLM's server, in the replica's own process."""

    engine: _Engine

    async def start(self) -> None:
        """Load the model."""
        await super().start()  # type: ignore[no-untyped-call]

    async def _start_engine(self) -> None:
        await self.engine.start()  # and no actor is started that collects usage

    def __del__(self) -> None:  # type: ignore[override]
        """Ray's is a coroutine, which nothing awaits."""

    async def stream(self, method: str, fields: dict[str, Any]) -> AsyncGenerator[str, None]:
        """Answer as a stream: the data of its events, without the last, `[DONE]`.

        Raises:
            RequestError: vLLM refuses.
        """
        request = REQUESTS[method](**fields, stream=True, stream_options={"include_usage": True})
        async for events in await getattr(self, method)(request):
            require_answer(events, method)
            for event in events:
                require_answer(event, method)
                if (data := event.removeprefix("data: ").rstrip()) != "[DONE]":
                    yield data

    async def answer(self, method: str, fields: dict[str, Any]) -> Any:
        """Answer as a whole, with an object of vLLM's.

        Raises:
            RequestError: vLLM refuses.
        """
        async for response in await getattr(self, method)(REQUESTS[method](**fields)):
            require_answer(response, method)
            return response

    async def add_lora(self, name: str, folder: Path) -> None:
        """Load an adapter.

        Raises:
            ValueError: vLLM refuses it.
        """
        await self.engine.resolve_lora(
            DiskMultiplexConfig(model_id=name, local_path=str(folder), max_total_tokens=None, lora_assigned_int_id=0)
        )

    async def remove_lora(self, name: str) -> None:
        """Forget an adapter."""
        await self.engine.remove_lora(name)


def make_server(config: Config, model_path: Path, model_name: str) -> Server:
    """A server that is yet to be started.

    Raises:
        ValueError: vLLM does not take such a setting.
        ClusterError: on a GPU, without a placement group.
    """
    on_cpu = current_platform.is_cpu()
    settings = LLMConfig(
        model_loading_config={"model_id": model_name, "model_source": str(model_path)},
        accelerator_config={"kind": "cpu" if on_cpu else "gpu"},
        placement_group_config=None if on_cpu else {"bundles": _placement_group().bundle_specs},
        engine_kwargs=_engine_arguments(config, on_cpu=on_cpu),
        experimental_configs={"stream_batching_interval_ms": 0},  # 50 unless told otherwise
        callback_config={"callback_class": _LocalModel},
        log_engine_metrics=False,
    )
    if on_cpu:
        # What vLLM needs of the machine this process has. Else Ray Serve LLM reserves CPUs once more, in a placement
        # group that stays when this process dies.
        settings._callback_instance = _LocalModel(settings, ctx_kwargs={"runtime_env": {}})
        # On GPUs, workers on other nodes may have to be reached.
        os.environ |= {"VLLM_HOST_IP": "127.0.0.1", "GLOO_SOCKET_IFNAME": "lo"}
        if settings.engine_kwargs["enforce_eager"]:
            # vLLM compiles a function of the log-probabilities even so: ten seconds in which nobody gets a token.
            os.environ["TORCHDYNAMO_DISABLE"] = "1"
    return cast(Server, Server.sync_init(settings, engine_cls=_Engine))


def _placement_group() -> PlacementGroup:
    group = get_current_placement_group()
    if group is None:
        raise ClusterError(
            "On GPUs, vLLM's workers run in the placement group of the replica, and it has none.",
            field="serve.engine", got="vllm", fix="deploy it with the options that Config.resources gives",
        )  # fmt: skip
    return group


def _engine_arguments(config: Config, *, on_cpu: bool) -> dict[str, Any]:
    cache_gb = config.kv_cache_gb or (1.0 if on_cpu else None)
    eager = on_cpu if config.enforce_eager is None else config.enforce_eager
    lora = {
        "enable_lora": True, "max_lora_rank": config.max_lora_rank, "max_loras": config.max_adapters,
        "max_cpu_loras": config.max_adapters,
    }  # fmt: skip
    tools = {
        "enable_auto_tool_choice": True, "tool_call_parser": config.tool_parser,
        "tool_strict_level": "parameter",  # arguments follow their schema, whether or not a request is strict about it
    }  # fmt: skip
    return {
        "worker_extension_cls": "serving.engines._vllm_worker.Extension",
        "dtype": config.dtype, "max_model_len": config.context_tokens, "max_num_seqs": config.num_parallel,
        "tensor_parallel_size": config.tensor_parallel, "gpu_memory_utilization": config.gpu_memory_utilization,
        "kv_cache_memory_bytes": None if cache_gb is None else int(cache_gb * 2**30), "enforce_eager": eager,
        "enable_prefix_caching": None if config.enable_prefix_caching else False,  # None: where the model can
        "max_logprobs": MAX_LOGPROBS,
        "load_format": "safetensors", "trust_remote_code": False, "disable_log_stats": True,
        "enable_prompt_tokens_details": True,
        # Where JSON may have white space anywhere, small models write nothing else, up to the last token.
        "structured_outputs_config": {"backend": "xgrammar", "disable_any_whitespace": True},
        **(lora if config.max_adapters else {}),
        **(tools if config.tool_parser else {}),
    }  # fmt: skip
