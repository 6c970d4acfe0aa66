"""A Hugging Face folder, checked before anything is written, and read one tensor at a time."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.errors import ModelError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ARCHITECTURES = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}
"""Hugging Face `model_type` → GGUF architecture."""


@dataclass(frozen=True)
class Checkpoint:
    """A causal language model on disk."""

    folder: Path
    config: Any
    """The transformers config."""
    shapes: dict[str, tuple[int, ...]]
    """Parameter name → shape, in the model's order. A tied output head is not listed."""
    files: dict[str, Path]
    """Tensor name → the safetensors file that holds it."""

    @property
    def architecture(self) -> str:
        """What GGUF calls the architecture."""
        return ARCHITECTURES[self.config.model_type]

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return int(getattr(self.config, "head_dim", None) or self.config.hidden_size // self.config.num_attention_heads)

    @property
    def context_length(self) -> int:
        """Tokens within which llama.cpp equals transformers: it applies no sliding window to these architectures."""
        limits = self.config.max_position_embeddings, getattr(self.config, "sliding_window", None)
        return min(int(limit) for limit in limits if limit)

    def load(self, name: str) -> NDArray[np.float32]:
        """The weights of parameter `name`.

        Raises:
            ModelError: NaN, infinity, or numbers that are not floating point.
        """
        import numpy as np
        from safetensors import safe_open

        with safe_open(self.files[name], framework="pt") as tensors:
            stored = tensors.get_tensor(name)
        if not stored.is_floating_point():
            raise ModelError(
                "Weights are not floating point: the model is quantized already.", field=name, got=stored.dtype
            )
        weights: NDArray[np.float32] = stored.float().numpy()
        # NaN passes through min and max, and no array of flags is made.
        if not (np.isfinite(weights.min()) and np.isfinite(weights.max())):
            bad = weights.size - int(np.isfinite(weights).sum())
            raise ModelError(
                "Weights hold NaN or infinity; llama.cpp would serve them as noise.",
                field=name,
                got=f"{bad} of {weights.size} values",
                fix="take an earlier checkpoint: training diverged",
            )
        return weights


def unsupported_tokenizer(field: str, got: object, expected: object) -> ModelError:
    """The error for a rule of tokenizer.json that llama.cpp has in no form, or in another one."""
    return ModelError(
        "llama.cpp has no equal of this tokenizer: the served model would see other token ids.",
        field=f"tokenizer.json {field}",
        got=got,
        expected=expected,
        fix="choose another quantizer for this model",
    )


def open_checkpoint(folder: Path) -> Checkpoint:
    """Open a folder of config.json and safetensors files, and see that it is a whole, plain causal language model.

    Raises:
        ModelError: files are missing, the architecture or an option of it has no place in GGUF, the model is
            quantized already, or its tensors are not those that its config calls for.
    """
    raw = _read_config(folder)
    model_type = raw.get("model_type")
    if model_type not in ARCHITECTURES:
        raise ModelError(
            "This architecture cannot be written as GGUF here.",
            field="model_type",
            got=model_type,
            expected=", ".join(ARCHITECTURES),
            fix="choose another quantizer, or convert with llama.cpp's convert_hf_to_gguf.py",
        )
    if quantized := raw.get("quantization_config"):
        raise ModelError(
            "The model is quantized already.",
            field="quantization_config",
            got=quantized.get("quant_method"),
            expected="a model without quantization_config",
            fix="quantize the 16 or 32 bit model it was made from",
        )
    if not all(name.endswith("ForCausalLM") for name in raw.get("architectures") or []):
        raise ModelError(
            "Only language models can be served from GGUF here.", field="architectures", got=raw["architectures"]
        )
    from transformers import AutoConfig

    config: Any = AutoConfig.from_pretrained(folder)
    _check_options(config)
    files = _index_tensors(folder)
    shapes = _expected_shapes(config)
    _check_tensors(shapes, files, tied=config.tie_word_embeddings)
    return Checkpoint(folder, config, shapes, files)


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if not path.is_file():
        adapter = (folder / "adapter_config.json").is_file()
        raise ModelError(
            "The folder holds an adapter, not a model." if adapter else "No model here: config.json is missing.",
            field=str(folder),
            fix="merge the adapter into its base first" if adapter else "give a folder made by save_pretrained",
        )
    return read_json(path)


def read_json(path: Path) -> dict[str, Any]:
    """The object of a JSON file of the model.

    Raises:
        ModelError: it is not JSON, or not an object.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{path.name} is not JSON.", field=str(path), got=error, fix="copy the model again") from error
    if not isinstance(found, dict):
        raise ModelError(f"{path.name} is not a JSON object.", field=str(path), got=type(found).__name__)
    return found


def _check_options(config: Any) -> None:
    """Refuse what llama.cpp would silently compute in another way."""
    rope = config.rope_parameters
    supported_rope = ("default", "linear") + (("llama3",) if ARCHITECTURES[config.model_type] == "llama" else ())
    for field, got, expected in (
        ("hidden_act", config.hidden_act, ("silu",)),
        ("rope_parameters.rope_type", rope["rope_type"], supported_rope),
        ("rope_parameters.partial_rotary_factor", rope.get("partial_rotary_factor", 1.0), (1.0,)),
    ):
        if got not in expected:
            raise ModelError(
                f"llama.cpp's {ARCHITECTURES[config.model_type]} architecture has no such option.",
                field=field,
                got=got,
                expected=" or ".join(map(str, expected)),
            )


def _index_tensors(folder: Path) -> dict[str, Path]:
    from safetensors import SafetensorError, safe_open

    files: dict[str, Path] = {}
    for path in _weight_files(folder):
        try:
            with safe_open(path, framework="pt") as tensors:
                files.update(dict.fromkeys(tensors.keys(), path))
        except (SafetensorError, FileNotFoundError) as error:
            raise ModelError(
                "A weight file is missing, damaged or cut short.",
                field=str(path),
                got=error,
                fix="copy the model again",
            ) from error
    return files


def _weight_files(folder: Path) -> list[Path]:
    """The files transformers would load; others, such as Mistral's consolidated copy, hold the model a second time."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        weight_map = read_json(index).get("weight_map")
        if not isinstance(weight_map, dict):
            raise ModelError("The index names no weights.", field=f"{index} weight_map", got=weight_map)
        return [folder / name for name in sorted(set(weight_map.values()))]
    path = folder / "model.safetensors"
    if not path.is_file():
        raise ModelError(
            "No weights here: there is neither model.safetensors nor its index.",
            field=str(folder),
            fix="save the model with save_pretrained, which writes safetensors",
        )
    return [path]


def _expected_shapes(config: Any) -> dict[str, tuple[int, ...]]:
    """Parameter names and shapes, from an instance that holds no numbers; tied parameters once."""
    import torch
    from transformers import AutoModelForCausalLM

    factory: Any = AutoModelForCausalLM
    with torch.device("meta"):
        model = factory.from_config(config)
    return {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}


def _check_tensors(shapes: dict[str, tuple[int, ...]], files: dict[str, Path], *, tied: bool) -> None:
    from safetensors import safe_open

    missing = [name for name in shapes if name not in files]
    unknown = [name for name in files if name not in shapes and not name.endswith("rotary_emb.inv_freq")]
    if tied and "lm_head.weight" in unknown:
        unknown.remove("lm_head.weight")
    if missing or unknown:
        raise ModelError(
            "The weight files do not hold the tensors that config.json calls for.",
            field=f"missing {missing[:3]}" if missing else f"not in the model {unknown[:3]}",
            got=f"{len(missing)} missing, {len(unknown)} unknown, of {len(shapes)}",
            fix="complete the download, or merge adapters before quantizing",
        )
    for name, shape in shapes.items():
        with safe_open(files[name], framework="pt") as tensors:
            stored = tuple(tensors.get_slice(name).get_shape())
        if stored != shape:
            raise ModelError("A tensor's shape differs from config.json.", field=name, got=stored, expected=shape)
