"""Qwen3 (Yang et al. 2025, arXiv 2505.09388): Llama's layer with norms on queries and keys."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import PositiveFloat, PositiveInt

from trainers.architectures._size import Dimensions, Proportions, Published, ScratchConfig, sized

HEADS = ("causal_lm", "reward")
# Qwen3-0.6B and Qwen3-8B; heads are hidden / heads wide here, 128 at every width there.
_PROPORTIONS = Proportions(Published(1024, 28, 3072), Published(4096, 36, 12288), grouped=True)
_TIED_UP_TO = 2560


class Config(ScratchConfig):
    """Keys of `model.scratch: {kind: qwen3}`."""

    kind: Literal["qwen3"] = "qwen3"
    kv_heads: PositiveInt | None = None
    """Key and value heads; default: a quarter of the heads, or the largest smaller share that divides them."""
    tie_embeddings: bool | None = None
    """Whether the output head is the embedding; default: up to a width of 2560, as in Qwen3."""
    rope_theta: PositiveFloat = 1_000_000.0
    """Base of the rotary positions' wavelengths; published for 32,768 tokens."""


def transformers_config(config: Config, vocabulary: int, special_ids: dict[str, int | None]) -> dict[str, Any]:
    """The configuration as config.json holds it.

    Args:
        special_ids: `bos_token_id`, `eos_token_id`, `pad_token_id`.

    Raises:
        ConfigValueError: no Qwen3 has that size with this vocabulary.
    """

    def build(dimensions: Dimensions) -> dict[str, Any]:
        tied = config.tie_embeddings if config.tie_embeddings is not None else dimensions.hidden <= _TIED_UP_TO
        return {
            "model_type": "qwen3",
            "vocab_size": vocabulary,
            "hidden_size": dimensions.hidden,
            "num_hidden_layers": dimensions.layers,
            "num_attention_heads": dimensions.heads,
            "num_key_value_heads": dimensions.kv_heads,
            "head_dim": dimensions.hidden // dimensions.heads,
            "intermediate_size": dimensions.intermediate,
            "max_position_embeddings": config.context,
            "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_theta},
            "rms_norm_eps": 1e-6,
            "tie_word_embeddings": tied,
            **{key: special_ids.get(key) for key in ("bos_token_id", "eos_token_id", "pad_token_id")},
        }

    return sized(config, _PROPORTIONS, vocabulary, build)
