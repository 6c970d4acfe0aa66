"""A model folder that can become GGUF: one whose architecture llama.cpp knows, with options that it computes alike."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.errors import ModelError
from serving.quantizers._source import Source, open_source, read_config

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ARCHITECTURES = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}
"""Hugging Face `model_type` → GGUF architecture."""


class Checkpoint(Source):
    """A source with what GGUF calls things."""

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
        """The weights of parameter `name`, in float32.

        Raises:
            ModelError: NaN, infinity, or numbers that are not floating point.
        """
        weights: NDArray[np.float32] = self.read(name).float().numpy()
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
    """Open a model folder.

    Raises:
        ModelError: as `open_source`, and where the architecture or an option of it has no place in GGUF.
    """
    if (found := read_config(folder).get("model_type")) not in ARCHITECTURES:
        raise ModelError(
            "This architecture cannot be written as GGUF here.", field="model_type", got=found,
            expected=", ".join(ARCHITECTURES),
            fix="choose another quantizer, or convert with llama.cpp's convert_hf_to_gguf.py",
        )  # fmt: skip
    source = open_source(folder)
    _check_options(source.config)
    return Checkpoint(**{field.name: getattr(source, field.name) for field in fields(source)})


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
