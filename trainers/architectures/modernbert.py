"""ModernBERT (Warner et al. 2024, arXiv 2412.13663): a bidirectional encoder.

Rotary positions, a gated MLP, and two layers of local attention to each global one.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, PositiveFloat

from trainers.architectures._size import Dimensions, Proportions, Published, ScratchConfig, sized

HEADS = ("masked_lm",)
# ModernBERT-base and ModernBERT-large.
_PROPORTIONS = Proportions(Published(768, 22, 1152), Published(1024, 28, 2624))
_SPECIAL_IDS = ("bos_token_id", "eos_token_id", "pad_token_id", "cls_token_id", "sep_token_id")


class Config(ScratchConfig):
    """Keys of `model.scratch: {kind: modernbert}`."""

    kind: Literal["modernbert"] = "modernbert"
    local_attention: Annotated[int, Field(ge=2, multiple_of=2)] = 128
    """Tokens around a token, half on each side, that the local layers see."""
    tie_embeddings: bool = True
    """Whether the output head is the embedding."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """On embeddings, attention and MLPs."""
    rope_theta: PositiveFloat = 160_000.0
    """Base of the rotary positions' wavelengths in global layers; published for 8,192 tokens. In local ones it is
    10,000."""


def transformers_config(config: Config, vocabulary: int, special_ids: dict[str, int | None]) -> dict[str, Any]:
    """The configuration as config.json holds it.

    Args:
        special_ids: `bos_token_id`, `eos_token_id`, `pad_token_id`, `cls_token_id`, `sep_token_id`.

    Raises:
        ConfigValueError: no ModernBERT has that size with this vocabulary.
    """

    def build(dimensions: Dimensions) -> dict[str, Any]:
        return {
            "model_type": "modernbert",
            "vocab_size": vocabulary,
            "hidden_size": dimensions.hidden,
            "num_hidden_layers": dimensions.layers,
            "num_attention_heads": dimensions.heads,
            "intermediate_size": dimensions.intermediate,
            "max_position_embeddings": config.context,
            "local_attention": config.local_attention,
            "rope_parameters": {
                "full_attention": {"rope_type": "default", "rope_theta": config.rope_theta},
                "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
            },
            **dict.fromkeys(("embedding_dropout", "attention_dropout", "mlp_dropout"), config.dropout),
            "tie_word_embeddings": config.tie_embeddings,
            **{key: special_ids.get(key) for key in _SPECIAL_IDS},
        }

    return sized(config, _PROPORTIONS, vocabulary, build)
