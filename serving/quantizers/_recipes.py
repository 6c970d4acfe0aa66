"""Which type each tensor gets under a recipe: llama.cpp's own mix (`llama_tensor_get_type` in its llama-quant.cpp).

A recipe names a base type. Some tensors hurt more than others when they lose bits: the output head, the value
projection and the down projection of the first and last layers. These get a wider type.

Rows that are no multiple of 32 columns become F16 wherever llama.cpp's quantizer would refuse the model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gguf import GGMLQuantizationType


@dataclass(frozen=True)
class ModelShape:
    """What the mix depends on, besides the tensor itself."""

    architecture: str
    """What GGUF calls it."""
    num_layers: int
    queries_per_kv_head: int
    tied: bool
    """The token embedding is the output head as well."""
    has_importance: bool = False
    """Quantized with an importance matrix."""

    @property
    def is_70b(self) -> bool:
        """Whether llama.cpp calls the model "70B": it counts layers, and in a Llama asks for shared values too."""
        return self.num_layers == 80 and (
            self.architecture == "qwen2" or (self.architecture == "llama" and self.queries_per_kv_head > 1)
        )


Applies = Callable[[int, ModelShape], bool]
"""(layer index, model) → whether a rule applies."""


def _always(layer: int, model: ModelShape) -> bool:
    return True


def _first(count: int) -> Applies:
    return lambda layer, model: layer < count


def _first_share(denominator: int) -> Applies:
    return lambda layer, model: layer < model.num_layers // denominator


def _sensitive(layer: int, model: ModelShape) -> bool:
    """The first and last eighth of the layers, and each third one between."""
    eighth = model.num_layers // 8
    return layer < eighth or layer >= 7 * model.num_layers // 8 or (layer - eighth) % 3 == 2


def _first_eighth_by_importance(layer: int, model: ModelShape) -> bool:
    """Some of the first down projections go astray in 4 bits without an offset when importance guides them."""
    return model.has_importance and layer < model.num_layers // 8


def _shared_values(layer: int, model: ModelShape) -> bool:
    """Values so widely shared that their projection is small, and precious."""
    return model.queries_per_kv_head >= 4


BASE_TYPE = {
    "F16": "F16",
    "BF16": "BF16",
    "Q8_0": "Q8_0",
    "Q6_K": "Q6_K",
    "Q5_K_M": "Q5_K",
    "Q5_K_S": "Q5_K",
    "Q4_K_M": "Q4_K",
    "Q4_K_S": "Q4_K",
    "Q4_0": "Q4_0",
    "Q3_K_L": "Q3_K",
    "Q3_K_M": "Q3_K",
    "Q3_K_S": "Q3_K",
    "Q2_K": "Q2_K",
}

# recipe → part of a layer → rules, of which the first that applies decides; else the base type.
_MIX: dict[str, dict[str, list[tuple[Applies, str]]]] = {
    "Q5_K_M": {"attn_v": [(_sensitive, "Q6_K")], "ffn_down": [(_sensitive, "Q6_K")]},
    "Q4_K_M": {"attn_v": [(_sensitive, "Q6_K")], "ffn_down": [(_sensitive, "Q6_K")]},
    "Q4_K_S": {"attn_v": [(_first(4), "Q5_K")], "ffn_down": [(_first_share(8), "Q5_K")]},
    "Q4_0": {"ffn_down": [(_first_eighth_by_importance, "Q4_1")]},
    "Q3_K_L": {"attn_v": [(_always, "Q5_K")], "ffn_down": [(_always, "Q5_K")], "attn_output": [(_always, "Q5_K")]},
    "Q3_K_M": {
        "attn_v": [(_first(2), "Q5_K"), (_always, "Q4_K")],
        "ffn_down": [(_first_share(16), "Q5_K"), (_always, "Q4_K")],
        "attn_output": [(_always, "Q4_K")],
    },
    "Q2_K": {
        "attn_v": [(_shared_values, "Q4_K"), (_always, "Q3_K")],
        "ffn_down": [(_always, "Q3_K")],
        "attn_output": [(_always, "Q3_K")],
    },
}

# For rows that are no whole number of 256-weight blocks: the nearest type with blocks of 32, a little wider.
_NARROW_BLOCKS = {"Q2_K": "Q4_0", "Q3_K": "Q4_0", "Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"}


def tensor_type(recipe: str, name: str, shape: tuple[int, ...], model: ModelShape) -> GGMLQuantizationType:
    """The type of tensor `name` (as GGUF calls it) of `shape` ([n_rows, n_cols], or [n] for norms and biases)."""
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    if len(shape) < 2:
        return GGMLQuantizationType.F32
    chosen = GGMLQuantizationType[_mixed(recipe, name, model)]
    n_cols = shape[-1]
    if n_cols % GGML_QUANT_SIZES[chosen][0]:
        chosen = GGMLQuantizationType[_NARROW_BLOCKS.get(chosen.name, "F16")]
    if n_cols % GGML_QUANT_SIZES[chosen][0]:
        return GGMLQuantizationType.F16
    return chosen


def _mixed(recipe: str, name: str, model: ModelShape) -> str:
    base = BASE_TYPE[recipe]
    if base in ("F16", "BF16", "Q8_0"):
        return base
    if name == "output.weight" or (model.tied and name == "token_embd.weight"):
        return "Q6_K"
    if not name.startswith("blk."):
        return base
    _, layer, part, _ = name.split(".")
    chosen = next((type_ for applies, type_ in _MIX.get(recipe, {}).get(part, []) if applies(int(layer), model)), base)
    # In 70B eight heads share each value projection: it is small, so more bits are cheap.
    return "Q5_K" if part == "attn_v" and model.is_70b and chosen in ("Q3_K", "Q4_K") else chosen
