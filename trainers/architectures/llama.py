"""Llama (Touvron et al. 2023, arXiv 2302.13971; Grattafiori et al. 2024, arXiv 2407.21783).

Rotary positions, RMS norms, gated MLP, grouped key heads.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import PositiveFloat, PositiveInt

from trainers.architectures._size import Dimensions, Proportions, Published, ScratchConfig, sized

HEADS = ("causal_lm", "reward")
# SmolLM2-135M and Llama-3.1-8B.
_PROPORTIONS = Proportions(Published(576, 30, 1536), Published(4096, 32, 14336), grouped=True)
_TIED_UP_TO = 3072


class Config(ScratchConfig):
    """Keys of `model.scratch: {kind: llama}`."""

    kind: Literal["llama"] = "llama"
    kv_heads: PositiveInt | None = None
    """Key and value heads; default: a quarter of the heads, or the largest smaller share that divides them."""
    tie_embeddings: bool | None = None
    """Whether the output head is the embedding; default: up to a width of 3072, as in Llama 3."""
    rope_theta: PositiveFloat = 10_000.0
    """Base of the rotary positions' wavelengths; longer contexts want more (Llama 3: 500,000 for 8,192 tokens)."""


def transformers_config(config: Config, vocabulary: int, special_ids: dict[str, int | None]) -> dict[str, Any]:
    """The configuration as config.json holds it.

    Args:
        special_ids: `bos_token_id`, `eos_token_id`, `pad_token_id`.

    Raises:
        ConfigValueError: no Llama has that size with this vocabulary.
    """

    def build(dimensions: Dimensions) -> dict[str, Any]:
        tied = config.tie_embeddings if config.tie_embeddings is not None else dimensions.hidden <= _TIED_UP_TO
        return {
            "model_type": "llama",
            "vocab_size": vocabulary,
            "hidden_size": dimensions.hidden,
            "num_hidden_layers": dimensions.layers,
            "num_attention_heads": dimensions.heads,
            "num_key_value_heads": dimensions.kv_heads,
            "head_dim": dimensions.hidden // dimensions.heads,
            "intermediate_size": dimensions.intermediate,
            "max_position_embeddings": config.context,
            "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_theta},
            "rms_norm_eps": 1e-5,
            "tie_word_embeddings": tied,
            **{key: special_ids.get(key) for key in ("bos_token_id", "eos_token_id", "pad_token_id")},
        }

    return sized(config, _PROPORTIONS, vocabulary, build)
