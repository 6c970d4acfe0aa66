"""A peft LoRA adapter as the GGUF file that llama.cpp (and Ollama) adds to a model.

llama.cpp adds `alpha / rank · B·A` to a matrix. Where peft scales otherwise (rslora, a rank or alpha of its own for
some layers) the difference is multiplied into B. The rows of B follow those of the matrix in the base's file: llama's
queries and keys are reordered there (see `serving.quantizers._gguf`).

Legend: r rank, i inputs, o outputs.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from cluster.errors import HandoffError, ModelError
from serving.exports._adapter_proof import prove_adapter
from serving.exports._files import adapter_config
from serving.quantizers._checkpoint import ARCHITECTURES
from serving.quantizers._gguf import pair_neighbours

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from serving.exports._gguf_file import GgufFile

WEIGHTS = "adapter_model.safetensors"
_PAIR = re.compile(r"base_model\.model\.(.+)\.lora_([AB])\.weight")


class Pair(NamedTuple):
    """The two factors of one matrix's update, float32."""

    a: NDArray[np.float32]
    """[r, i]"""
    b: NDArray[np.float32]
    """[o, r], scaled so that `alpha / r · b·a` is the update."""


def export_adapter(folder: Path, base: GgufFile, out_file: Path) -> int:
    """Write a peft folder's adapter for a base model's GGUF file, and see that llama.cpp uses it; how many matrices it
    changes.

    Raises:
        ModelError: it is not a plain LoRA adapter, or does not fit the base.
        HandoffError: it changes nothing.
    """
    num = write_adapter(folder, base, out_file)
    prove_adapter(base.path, out_file)
    return num


def write_adapter(folder: Path, base: GgufFile, out_file: Path) -> int:
    """As `export_adapter`, without the proof."""
    import gguf

    if base.architecture not in ARCHITECTURES.values():
        raise ModelError(
            "Adapters for this architecture cannot be converted.", field="general.architecture",
            got=base.architecture, expected=" or ".join(sorted(set(ARCHITECTURES.values()))),
            fix="merge the adapter and quantize the merged model",
        )  # fmt: skip
    config = adapter_config(folder)
    alpha = float(config["lora_alpha"])
    pairs = {_gguf_name(name, base): (name, pair) for name, pair in _read_pairs(folder, config, alpha).items()}
    if not any(pair.b.any() and pair.a.any() for _, pair in pairs.values()):
        raise HandoffError("The adapter changes nothing: all its updates are zero.", field=str(folder))
    writer = gguf.GGUFWriter(out_file, base.architecture)
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, alpha)
    for name, (source, pair) in sorted(pairs.items()):
        _require_fit(source, pair, base.shapes[name])
        writer.add_tensor(f"{name}.lora_a", pair.a)
        writer.add_tensor(f"{name}.lora_b", _as_in_file(pair.b, name, base))
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()
    return len(pairs)


def _read_pairs(folder: Path, config: dict[str, Any], alpha: float) -> dict[str, Pair]:
    """Module name in the base → its update."""
    from safetensors import SafetensorError, safe_open

    found: dict[str, dict[str, NDArray[np.float32]]] = {}
    try:
        with safe_open(folder / WEIGHTS, framework="pt") as tensors:
            for key in tensors.keys():  # noqa: SIM118 - safetensors' own, not a dictionary
                match = _PAIR.fullmatch(key)
                if match is None:
                    raise ModelError(
                        "The adapter has a tensor that a GGUF adapter has no place for.", field=key,
                        expected="factors of linear layers", fix="merge the adapter and quantize the merged model",
                    )  # fmt: skip
                found.setdefault(match[1], {})[match[2]] = tensors.get_tensor(key).float().numpy()
    except (SafetensorError, OSError) as error:
        raise ModelError("The adapter's weights cannot be read.", field=str(folder / WEIGHTS), got=error) from error
    return {name: Pair(one["A"], one["B"] * _factor(name, config, alpha)) for name, one in found.items()}


def _factor(module: str, config: dict[str, Any], alpha: float) -> float:
    """What peft multiplies a module's update by, over llama.cpp's `alpha / r`."""
    from peft.utils.other import get_pattern_key

    alphas, ranks = config.get("alpha_pattern") or {}, config.get("rank_pattern") or {}
    own_alpha = float(alphas.get(get_pattern_key(list(alphas), module), alpha))
    rank = int(ranks.get(get_pattern_key(list(ranks), module), config["r"]))
    return own_alpha / alpha * (math.sqrt(rank) if config.get("use_rslora") else 1.0)


def _gguf_name(module: str, base: GgufFile) -> str:
    import gguf

    arch = next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == base.architecture)
    names = gguf.get_tensor_name_map(arch, int(base.metadata[f"{base.architecture}.block_count"]))
    name = names.get_name(f"{module}.weight", try_suffixes=(".weight",))
    if name not in base.shapes:
        raise ModelError(
            "The adapter changes a matrix that the GGUF file does not have.", field=module, got=name,
            expected="a matrix of the base model", fix="merge the adapter and quantize the merged model",
        )  # fmt: skip
    return str(name)


def _require_fit(source: str, pair: Pair, shape: tuple[int, ...]) -> None:
    fits = len(pair.a) == pair.b.shape[1] and (pair.b.shape[0], pair.a.shape[1]) == shape
    if not fits:
        raise ModelError(
            "The adapter does not fit the base model.", field=source, got=f"A {pair.a.shape}, B {pair.b.shape}",
            expected=f"a product of shape {shape}", fix="export the base that it was trained on",
        )  # fmt: skip


def _as_in_file(b: NDArray[np.float32], name: str, base: GgufFile) -> NDArray[np.float32]:
    heads = {"attn_q": "head_count", "attn_k": "head_count_kv"}.get(name.split(".")[-2])
    if base.architecture != "llama" or heads is None:
        return b
    return pair_neighbours(b, int(base.metadata[f"llama.attention.{heads}"]))
