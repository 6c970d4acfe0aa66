"""GPT-2 (Radford et al. 2019) and GPT-3 (Brown et al. 2020, arXiv 2005.14165): learned positions, layer norms, GELU."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from trainers.architectures._size import Dimensions, Proportions, Published, ScratchConfig, sized

HEADS = ("causal_lm", "reward")
# GPT-2 small and GPT-3 175B (Brown et al. 2020, table 2.1).
_PROPORTIONS = Proportions(Published(768, 12, 3072), Published(12288, 96, 49152))


class Config(ScratchConfig):
    """Keys of `model.scratch: {kind: gpt2}`."""

    kind: Literal["gpt2"] = "gpt2"
    tie_embeddings: bool = True
    """Whether the output head is the embedding."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """On embeddings, attention and residuals; 0.1 as published. Text that is seen once needs none (Geiping & Goldstein
    2022, arXiv 2212.14034), and on a CPU dropout in attention holds all its scores in memory."""


def transformers_config(config: Config, vocabulary: int, special_ids: dict[str, int | None]) -> dict[str, Any]:
    """The configuration as config.json holds it.

    Args:
        special_ids: `bos_token_id`, `eos_token_id`, `pad_token_id`.

    Raises:
        ConfigValueError: no GPT-2 has that size with this vocabulary.
    """

    def build(dimensions: Dimensions) -> dict[str, Any]:
        return {
            "model_type": "gpt2",
            "vocab_size": vocabulary,
            "n_embd": dimensions.hidden,
            "n_layer": dimensions.layers,
            "n_head": dimensions.heads,
            "n_inner": dimensions.intermediate,
            "n_positions": config.context,
            **dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), config.dropout),
            "tie_word_embeddings": config.tie_embeddings,
            **{key: special_ids.get(key) for key in ("bos_token_id", "eos_token_id", "pad_token_id")},
        }

    return sized(config, _PROPORTIONS, vocabulary, build)
