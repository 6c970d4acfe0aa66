"""A model in transformers, with peft adapters: opened, run on a batch, asked for scores and vectors."""

from __future__ import annotations

import inspect
import itertools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cluster.errors import ModelError
from cluster.handoff import TokenScores
from cluster.model_folder import require_safe_folder

if TYPE_CHECKING:
    import torch

BASE = "__base__"
"""What peft calls the model without an adapter, in a batch of several."""


class Model:
    """All calls come from one thread.

    Args:
        folder: as transformers writes it, quantized or not.
        dtype: `auto` is float32 on a CPU, bfloat16 on a GPU.
        decompress: whether weights of compressed-tensors are unpacked at once.
        context_tokens: what a request may have.

    Raises:
        ModelError: transformers cannot open it, or its context is shorter.
    """

    def __init__(self, folder: Path, dtype: str, context_tokens: int, *, decompress: bool = False) -> None:
        import torch

        on_gpu = torch.cuda.is_available()
        name = ("bfloat16" if on_gpu else "float32") if dtype == "auto" else dtype
        self._base = _open(folder, getattr(torch, name), "cuda" if on_gpu else None, decompress=decompress)
        self._packed = _is_packed(self._base.config) and not decompress
        self._model: Any = self._base
        self._names: dict[str, str] = {}  # adapter → the name that peft knows it by
        self._alone: set[str] = set()  # adapters that peft cannot mix with others in a batch
        self._numbers = itertools.count()
        self.device: torch.device = self._base.device
        text_config = self._base.config.get_text_config()
        limit = getattr(text_config, "max_position_embeddings", None)
        if limit is not None and limit < context_tokens:
            raise ModelError(
                "The model's context is shorter.", field="serve.engine.context_tokens", got=context_tokens,
                expected=f"at most {limit}",
            )  # fmt: skip
        self.vocab_size: int = text_config.vocab_size
        known = inspect.signature(self._base.forward).parameters
        self._has_positions = "position_ids" in known
        self._cache_name = next((name for name in ("past_key_values", "cache_params") if name in known), "")
        if not self._cache_name:
            raise ModelError(
                "The model takes no cache: each token would cost as much as the whole text.", field="model",
                got=self._base.config.model_type, expected="an architecture that has one",
            )  # fmt: skip
        self._last_only: dict[str, Any] = {"logits_to_keep": 1} if "logits_to_keep" in known else {}
        self.merges_caches = _merges(self._base.config)
        """Whether caches are nothing but keys and values, so that those of several requests can be put together."""

    def new_cache(self) -> Any:
        """An empty cache. One that can be merged keeps all keys of sliding windows, too: the mask hides them."""
        from transformers import DynamicCache

        return DynamicCache() if self.merges_caches else DynamicCache(config=self._base.config)

    def group(self, adapter: str | None) -> str | None:
        """Requests of the same group may share a batch."""
        return adapter if adapter in self._alone else None

    def next_logits(
        self, ids: torch.Tensor, positions: torch.Tensor, mask: torch.Tensor | None, cache: Any,
        adapters: list[str | None],
    ) -> torch.Tensor:  # fmt: skip
        """Run tokens and extend the cache.

        Args:
            ids: [b, t].
            positions: [b, t], from 0.
            mask: [b, tokens in the cache + t], 0 where a row is padded; None: nowhere.
            cache: of `new_cache`.
            adapters: [b], of one group.

        Returns:
            [b, v] float32, after the last token.
        """
        named = {self._cache_name: cache, **({"position_ids": positions} if self._has_positions else {})}
        output = self._run(adapters, input_ids=ids, attention_mask=mask, use_cache=True, **named, **self._last_only)
        logits: torch.Tensor = output.logits[:, -1].float()
        return logits

    def score(self, sequences: list[list[int]], top_k: int, adapter: str | None) -> TokenScores:
        """See `cluster.handoff.Holder`."""
        import torch

        chosen, ids, values = [], [], []
        for sequence in sequences:
            tokens = torch.tensor([sequence], device=self.device)
            output = self._run([adapter], input_ids=tokens, use_cache=False)
            logprobs = output.logits[0, :-1].float().log_softmax(-1)  # [n-1, v]
            chosen.append(logprobs.gather(1, tokens[0, 1:, None])[:, 0].cpu().numpy())
            top = logprobs.topk(top_k, dim=-1)
            ids.append(top.indices.cpu().numpy())
            values.append(top.values.cpu().numpy())
        return TokenScores(np.concatenate(chosen), np.concatenate(ids), np.concatenate(values))

    def embed(self, ids: list[int]) -> list[float]:
        """The mean of the last hidden states, of length 1."""
        import torch

        tokens = torch.tensor([ids], device=self.device)
        output = self._run([None], input_ids=tokens, use_cache=False, output_hidden_states=True, **self._last_only)
        mean = output.hidden_states[-1][0].float().mean(0)
        vector: list[float] = (mean / mean.norm().clamp(min=1e-12)).tolist()
        return vector

    def add_adapter(self, name: str, folder: Path) -> None:
        """Load a LoRA adapter.

        Raises:
            ModelError: it is none, or does not fit the model.
        """
        from peft import LoraConfig, PeftConfig, PeftModel

        if self._packed:
            raise ModelError(
                "peft adapts no layers whose weights are packed.", field="serve.engine.decompress", got=False,
                expected="true for adapters on a model of the format compressed-tensors",
            )  # fmt: skip
        try:
            config = PeftConfig.from_pretrained(str(folder))
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise _unfit(name, f"adapter_config.json: {error}") from error
        if not isinstance(config, LoraConfig) or not (folder / "adapter_model.safetensors").is_file():
            raise _unfit(name, "no LoRA adapter in safetensors")
        config.inference_mode = True
        inside = f"a{next(self._numbers)}"  # peft's names may have no dots
        try:
            if isinstance(self._model, PeftModel):
                self._model.add_adapter(inside, config)
            else:
                self._model = PeftModel(self._base, config, adapter_name=inside)
            loaded = self._model.load_adapter(str(folder), inside)
            missing = [key for key in loaded.missing_keys if f".{inside}." in key]
            if missing or loaded.unexpected_keys:
                raise ValueError(f"weights do not match: {[*missing, *loaded.unexpected_keys][:3]}")
        except (ValueError, RuntimeError, KeyError, AttributeError) as error:
            self._delete(inside)
            raise _unfit(name, " ".join(line.strip() for line in str(error).splitlines()[:2])) from error
        self._model.eval()
        self._names[name] = inside
        if config.use_dora or getattr(config, "alora_invocation_tokens", None):
            self._alone.add(name)

    def remove_adapter(self, name: str) -> None:
        """Forget an adapter that no request uses."""
        self._delete(self._names.pop(name))
        self._alone.discard(name)

    def _delete(self, inside: str) -> None:
        known = getattr(self._model, "peft_config", {})
        if set(known) == {inside}:  # with none left, peft does not work
            self._model = self._base = self._model.unload()
            vars(self._base).pop("peft_config", None)
        elif inside in known:
            self._model.delete_adapter(inside)

    def _run(self, adapters: list[str | None], **arguments: Any) -> Any:
        if not self._names:
            return self._base(**arguments)
        if adapters[0] in self._alone:
            self._model.set_adapter(self._names[str(adapters[0])], inference_mode=True)
            return self._model(**arguments)
        mixed = [BASE if one is None else self._names[one] for one in adapters]
        return self._model(**arguments, adapter_names=mixed)


def _open(folder: Path, dtype: torch.dtype, device: str | None, *, decompress: bool) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM

    place = {"device_map": {"": device}} if device else {}
    safe = {"trust_remote_code": False, "local_files_only": True}
    factory: Any = AutoModelForCausalLM
    require_safe_folder(folder)
    try:
        config = AutoConfig.from_pretrained(str(folder), **safe)
        if decompress and _is_packed(config):
            config.quantization_config["dequantize"] = True
        model = factory.from_pretrained(str(folder), config=config, dtype=dtype, use_safetensors=True, **place, **safe)
    except (OSError, ValueError, RuntimeError, ImportError, KeyError, json.JSONDecodeError) as error:
        raise ModelError(
            "transformers cannot open the model.", field="model", got=f"{folder.name}: {error}",
            expected="a folder with config.json and *.safetensors of an architecture that transformers knows",
        ) from error  # fmt: skip
    return model.eval().requires_grad_(False)


def _is_packed(config: Any) -> bool:
    section = getattr(config, "quantization_config", None)
    if not isinstance(section, dict):  # of a model that is open it is an object
        section = section.to_dict() if section is not None else {}
    return str(section.get("quant_method", "")).endswith("compressed-tensors")


def _merges(config: Any) -> bool:
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

    layers = DynamicCache(config=config).layers
    return all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in layers)


def _unfit(name: str, got: str) -> ModelError:
    return ModelError(
        "The adapter does not fit the model.", field="adapters", got=f"{name}: {got}",
        expected="a LoRA adapter of this base model, as peft writes it",
    )  # fmt: skip
