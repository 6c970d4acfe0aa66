"""Low-rank adapters through peft: add, load, pad to a higher rank, merge.

Merging goes into the full-precision base, whatever the adapter was trained on: B·A is added in float32 and rounded to
the base's dtype once. An adapter merged into 4 bits would be rounded with them, and much of the tune lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from cluster.errors import ModelError
from cluster.progress import ProgressFile
from trainers.adapter_config import LoraConfig
from trainers.models import Held, copy_tokenizer, load_model

if TYPE_CHECKING:
    import torch
    from peft import LoraConfig as PeftLoraConfig
    from peft import PeftModel
    from transformers import PreTrainedModel


_TASKS = {"causal_lm": "CAUSAL_LM", "reward": "SEQ_CLS"}
_WEIGHTS = "adapter_model.safetensors"
_OWN, _START = "default", "start"  # names of adapters within a model; the first is peft's own


def peft_config(config: LoraConfig, head: str = "causal_lm") -> PeftLoraConfig:
    """The adapter's settings as peft names them; see `add_lora`."""
    import peft

    return peft.LoraConfig(
        r=config.top_rank,
        lora_alpha=cast("int", _whole(config.alpha)),
        use_rslora=config.variant == "rslora",
        use_dora=config.variant == "dora",
        lora_dropout=config.dropout,
        target_modules=config.targets,
        rank_pattern=dict(config.rank_pattern),
        alpha_pattern={name: _whole(alpha) for name, alpha in config.alpha_pattern.items()},
        task_type=_TASKS.get(head),
    )


def _whole(number: float) -> float:
    return int(number) if number == int(number) else number


def add_lora(
    model: PreTrainedModel, config: LoraConfig, dtype: torch.dtype, head: str = "causal_lm", start: Path | None = None
) -> PeftModel:
    """Wrap a model with a fresh adapter (B = 0, so it computes the same function); only the adapter is trainable.

    Args:
        dtype: of the adapter's weights. DeepSpeed wants one dtype, and holds a float32 master copy itself.
        head: a key of `trainers.models.HEADS`; a reward model's scalar head is trained too.
        start: folder of an adapter to begin with instead, of no higher rank.

    Raises:
        ModelError: `start` is not an adapter that this one can begin with.
    """
    import peft

    adapted: PeftModel = peft.get_peft_model(model, peft_config(config, head))
    if start is not None:
        _fill(adapted, start)
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(dtype)
    return adapted


def _fill(adapted: PeftModel, folder: Path) -> None:
    """Give a fresh adapter the weights of one of the same or a lower rank, so that it computes the same function.

    The new rows of A stay random and the new columns of B zero, as in a fresh adapter: they add nothing yet, and learn
    at once. B takes up the ratio of the two scales.
    """
    import torch

    _require_weights(folder)
    adapted.load_adapter(str(folder), _START)
    with torch.no_grad():
        for name, layer in adapted.named_modules():
            if _START in (getattr(layer, "lora_A", None) or ()):
                _fill_layer(name.removeprefix("base_model.model."), layer)
            elif _START in (getattr(layer, "modules_to_save", None) or ()):
                layer.modules_to_save[_OWN].load_state_dict(layer.modules_to_save[_START].state_dict())
    adapted.delete_adapter(_START)
    adapted.set_adapter(_OWN)


def _fill_layer(name: str, layer: Any) -> None:
    def refusal(message: str, got: object, expected: str) -> ModelError:
        return ModelError(message, field=f"train.adapter.start: {name}", got=got, expected=expected)

    if _OWN not in layer.lora_A:
        raise refusal("The adapter to begin with has a layer more.", "no such target", "all of its layers")
    if (_START in layer.lora_magnitude_vector) != (_OWN in layer.lora_magnitude_vector):
        raise refusal("An adapter cannot begin with one of another variant.", "DoRA and not DoRA", "the same variant")
    low, rank = layer.r[_START], layer.r[_OWN]
    if low > rank:
        raise refusal("The adapter to begin with has a higher rank.", f"{low}", f"at most {rank}")
    layer.lora_A[_OWN].weight[:low] = layer.lora_A[_START].weight
    layer.lora_B[_OWN].weight.zero_()
    ratio = layer.scaling[_START] / layer.scaling[_OWN]
    layer.lora_B[_OWN].weight[:, :low] = layer.lora_B[_START].weight * ratio
    if _OWN in layer.lora_magnitude_vector:
        layer.lora_magnitude_vector[_OWN].weight.copy_(layer.lora_magnitude_vector[_START].weight)


def load_adapted(base: Path, adapters: Mapping[str, Path], held: Held = "full") -> PreTrainedModel:
    """A base model in float32 with adapters laid over it, the first of them active; without adapters, the base.

    Args:
        adapters: name → folder; `set_adapter` of the model chooses among them.
        held: how the base is held: in full, or quantized as an adapter was trained on.

    Raises:
        ModelError: a weight of an adapter has no place in the base model: it would be left out without a word.
    """
    import torch
    from peft import PeftModel

    model = load_model(base, torch.float32, held=held)
    adapted: Any = model
    for name, folder in adapters.items():
        _require_weights(folder)
        if adapted is model:
            adapted = PeftModel.from_pretrained(model, str(folder), adapter_name=name)
        else:
            adapted.load_adapter(str(folder), name)
        _require_all_placed(adapted, name, folder)
    if adapters:
        adapted.set_adapter(next(iter(adapters)))
    return adapted.eval()  # type: ignore[no-any-return]


def _require_weights(folder: Path) -> None:
    """Without safetensors peft would read a pickle."""
    if not (folder / _WEIGHTS).is_file():
        raise ModelError(
            "The adapter has no weights in safetensors.", field=str(folder), got=f"no {_WEIGHTS}",
            expected="an adapter as peft saves it", fix="pickled weights (*.bin) are not read: convert them",
        )  # fmt: skip


def _require_all_placed(adapted: PeftModel, name: str, folder: Path) -> None:
    from peft import get_peft_model_state_dict
    from safetensors import safe_open

    there = get_peft_model_state_dict(adapted, adapter_name=name, save_embedding_layers=False)
    with safe_open(folder / _WEIGHTS, framework="pt") as file:
        lost = sorted(name for name in set(file.keys()) - set(there) if ".lora_" in name)
    if lost:
        raise ModelError(
            "An adapter's weight has no place in the base model.", field=lost[0], got=f"{len(lost)} such weights",
            expected="an adapter that was trained on this base",
        )  # fmt: skip


def merge(progress: ProgressFile, base: Path, adapter: Path, folder: Path) -> None:
    """Write base + adapter as an ordinary model folder, in the dtype of the base's weights.

    Raises:
        ModelError: the base is quantized.
    """
    import torch
    from transformers import AutoConfig

    settings = AutoConfig.from_pretrained(str(base), local_files_only=True, trust_remote_code=False)
    if getattr(settings, "quantization_config", None) is not None:
        raise ModelError(
            "An adapter is not merged into a quantized base: it would be rounded with it, and much of the tune lost.",
            field="model", got=str(settings.quantization_config)[:80], expected="the full-precision base",
            fix="give the original model; `adapter.base` quantizes it for training alone, `quantize:` the result",
        )  # fmt: skip
    dtype = settings.dtype or torch.float32
    progress.write(0, 2, "adding")
    adapted: Any = load_adapted(base, {_OWN: adapter})
    _untie_adapted_head(adapted)
    merged = adapted.merge_and_unload(safe_merge=True)
    progress.write(1, 2, "writing")
    merged.to(dtype).save_pretrained(folder)
    copy_tokenizer(base, folder)


def _untie_adapted_head(adapted: PeftModel) -> None:
    """Give an output head that has an adapter weights of its own: merged into the embedding's, it would change both."""
    import torch

    model: Any = adapted.get_base_model()
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    if not hasattr(head, "lora_A") or head.base_layer.weight is not embedding.weight:
        return
    head.base_layer.weight = torch.nn.Parameter(embedding.weight.detach().clone())
    model.config.tie_word_embeddings = False
