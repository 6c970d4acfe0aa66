"""A model folder that is to be quantized: checked before anything is written, and read one tensor at a time."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.errors import ModelError

if TYPE_CHECKING:
    import torch

CARRIED = (
    "generation_config.json", "tokenizer*", "special_tokens_map.json", "added_tokens.json", "chat_template*",
    "vocab.json", "merges.txt",
)  # fmt: skip
"""Files beside the weights that a quantized folder needs, too."""
_FILE_NAME = re.compile(r"[^/\\\0]+\.safetensors")


@dataclass(frozen=True)
class Source:
    """A causal language model on disk, a Hugging Face folder."""

    folder: Path
    raw: dict[str, Any]
    """config.json."""
    config: Any
    """The transformers config."""
    shapes: dict[str, tuple[int, ...]]
    """Parameter name → shape, in the model's order. A tied output head is not listed."""
    files: dict[str, Path]
    """Tensor name → the safetensors file that holds it."""

    @property
    def tied(self) -> bool:
        """The output head is the token embedding."""
        return bool(self.config.tie_word_embeddings)

    @property
    def num_parameters(self) -> int:
        """Tied ones once."""
        import math

        return sum(math.prod(shape) for shape in self.shapes.values())

    @property
    def carried(self) -> list[Path]:
        """Files of tokenizer and generation."""
        return sorted({path for pattern in CARRIED for path in self.folder.glob(pattern) if path.is_file()})

    def skeleton(self) -> Any:
        """The model by transformers, its parameters without numbers; buffers have theirs."""
        from accelerate import init_empty_weights
        from transformers import AutoModelForCausalLM

        factory: Any = AutoModelForCausalLM
        with init_empty_weights(include_buffers=False):
            return factory.from_config(self.config).eval()

    def read(self, name: str) -> torch.Tensor:
        """A parameter in the type it is stored in.

        Raises:
            ModelError: NaN, infinity, or numbers that are not floating point.
        """
        from safetensors import safe_open

        with safe_open(self.files[name], framework="pt") as tensors:
            stored: torch.Tensor = tensors.get_tensor(name)
        if not stored.is_floating_point():
            raise ModelError(
                "Weights are not floating point: the model is quantized already.", field=name, got=stored.dtype
            )
        # NaN passes through min and max, and no array of flags is made.
        if not (stored.min().isfinite() and stored.max().isfinite()):
            bad = stored.numel() - int(stored.isfinite().sum())
            raise ModelError(
                "Weights hold NaN or infinity; what is made of them would be noise.", field=name,
                got=f"{bad} of {stored.numel()} values", fix="take an earlier checkpoint: training diverged",
            )  # fmt: skip
        return stored


def decoder_layers(model: Any) -> tuple[str, Any]:
    """Name and modules of the layers that a model's text runs through.

    Raises:
        ModelError: they are none that are known.
    """
    import torch

    found = getattr(model.get_decoder(), "layers", None)
    linears = 0 if found is None else sum(isinstance(one, torch.nn.Linear) for one in found.modules())
    if not linears:
        raise ModelError(
            "The layers of this architecture are not known.", field="model_type", got=model.config.model_type,
            expected="one whose decoder has `layers` of linear layers, such as llama, mistral, qwen2 or qwen3",
        )  # fmt: skip
    [name] = [name for name, module in model.named_modules() if module is found]
    return name, found


def relative_error(weight: torch.Tensor, found: torch.Tensor) -> float:
    """Squared error against the weight's own squares; 0 for a weight of zeros that stays so."""
    return float((found - weight).square().sum() / weight.square().sum().clamp(min=1e-30))


def open_source(folder: Path) -> Source:
    """Open a folder of config.json and safetensors files, and see that it is a whole, plain causal language model.

    Raises:
        ModelError: files are missing, the model is quantized already, or its tensors are not those that its config
            calls for.
    """
    raw = read_config(folder)
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
            "Only a model that writes text can be quantized.", field="architectures", got=raw["architectures"],
            expected="…ForCausalLM",
        )  # fmt: skip
    from transformers import AutoConfig

    try:
        config: Any = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except (ValueError, KeyError) as error:  # an unknown architecture, or one that brings code of its own
        raise ModelError(
            "transformers cannot read the model's config.json.", field=str(folder), got=error,
            expected="an architecture that is part of transformers",
        ) from None  # fmt: skip
    files = _index_tensors(folder)
    shapes = _expected_shapes(config)
    _check_tensors(shapes, files, tied=config.tie_word_embeddings)
    return Source(folder, raw, config, shapes, files)


def read_config(folder: Path) -> dict[str, Any]:
    """config.json of a model folder.

    Raises:
        ModelError: it is missing, or no JSON object.
    """
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
        for name in weight_map.values():
            if not (isinstance(name, str) and _FILE_NAME.fullmatch(name)):
                raise ModelError(
                    "The index names a file outside the folder.", field=f"{index} weight_map", got=name,
                    expected="names of safetensors files beside it",
                )  # fmt: skip
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
