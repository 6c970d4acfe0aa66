"""BERT (Devlin et al. 2018, arXiv 1810.04805): a bidirectional encoder with learned positions, norms after each part.

Trained on masked words alone: predicting the next sentence helps nothing (Liu et al. 2019, arXiv 1907.11692).
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, PositiveInt

from trainers.architectures._size import Dimensions, Proportions, Published, ScratchConfig, sized

HEADS = ("masked_lm",)
# BERT-base and BERT-large; below, as the miniatures of Turc et al. 2019 (arXiv 1908.08962): 2 × 128, 4 × 256, 8 × 512.
_PROPORTIONS = Proportions(Published(768, 12, 3072), Published(1024, 24, 4096))


class Config(ScratchConfig):
    """Keys of `model.scratch: {kind: bert}`."""

    kind: Literal["bert"] = "bert"
    context: PositiveInt = 512
    """Longest sequence, tokens."""
    tie_embeddings: bool = True
    """Whether the output head is the embedding."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """On embeddings, attention and residuals; 0.1 as published. Text that is seen once needs none (Geiping & Goldstein
    2022, arXiv 2212.14034), and on a CPU dropout in attention holds all its scores in memory."""


def transformers_config(config: Config, vocabulary: int, special_ids: dict[str, int | None]) -> dict[str, Any]:
    """The configuration as config.json holds it.

    Args:
        special_ids: `pad_token_id`.

    Raises:
        ConfigValueError: no BERT has that size with this vocabulary.
    """

    def build(dimensions: Dimensions) -> dict[str, Any]:
        return {
            "model_type": "bert",
            "vocab_size": vocabulary,
            "hidden_size": dimensions.hidden,
            "num_hidden_layers": dimensions.layers,
            "num_attention_heads": dimensions.heads,
            "intermediate_size": dimensions.intermediate,
            "max_position_embeddings": config.context,
            "hidden_dropout_prob": config.dropout,
            "attention_probs_dropout_prob": config.dropout,
            "tie_word_embeddings": config.tie_embeddings,
            "pad_token_id": special_ids.get("pad_token_id"),
        }

    return sized(config, _PROPORTIONS, vocabulary, build)
