"""Models from scratch, one file a family: `Config` (its YAML keys), `HEADS` and `transformers_config`.

A file name in this folder is a value of `model.scratch`; a new family is a new file, and nothing else.

    HEADS = ("causal_lm", "reward")     what it can be trained as (keys of `trainers.models.HEADS`)
"""

from __future__ import annotations

import importlib
import shutil
from pathlib import Path
from typing import Any, Protocol, cast

from cluster.config import PluginConfig
from cluster.errors import ConfigError, ModelError
from trainers.config import Dtype
from trainers.shape import Shape

_TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja",
    "vocab.json", "vocab.txt", "merges.txt",
)  # fmt: skip
_SPECIAL_IDS = ("bos_token_id", "eos_token_id", "pad_token_id", "cls_token_id", "sep_token_id")


class Family(Protocol):
    """What is asked of a family's module."""

    HEADS: tuple[str, ...]

    def transformers_config(
        self, config: PluginConfig, vocabulary: int, special_ids: dict[str, int | None]
    ) -> dict[str, Any]:
        """The configuration as config.json holds it, `model_type` included; no torch.

        Args:
            vocabulary: number of token ids.
            special_ids: ids under config.json's names (`bos_token_id` …); those not given are null.

        Raises:
            ConfigValueError: no model of the family has the size with this vocabulary.
        """
        ...


def family_of(config: PluginConfig) -> Family:
    """The module of the family that a config names."""
    return cast(Family, importlib.import_module(f"{__name__}.{config.kind}"))


def shape_of(config: PluginConfig, vocabulary: int) -> Shape:
    """The dimensions that a model of so many token ids gets."""
    return Shape.from_config(family_of(config).transformers_config(config, vocabulary, {}))


def describe(config: PluginConfig, vocabulary: int) -> str:
    """One line for the plan."""
    shape = shape_of(config, vocabulary)
    shared = f" ({shape.kv_heads} for keys)" if shape.kv_heads != shape.heads else ""
    return (
        f"{config.kind} from scratch, {shape.num_parameters / 1e6:,.1f}M parameters: {shape.layers} layers of width "
        f"{shape.hidden}, {shape.heads} heads{shared}, MLP {shape.intermediate}, vocabulary {vocabulary:,}"
    )


def require_head(config: PluginConfig, head: str) -> None:
    """Refuse what the family cannot be trained as: a bidirectional encoder that predicts the next token sees it.

    Args:
        head: a key of `trainers.models.HEADS`.

    Raises:
        ConfigError: naming both.
    """
    if head not in (heads := family_of(config).HEADS):
        raise ConfigError(
            "The model's family cannot be trained with this objective.", field="model.scratch.kind",
            got=f"{config.kind} as {head}", expected=" or ".join(heads),
            fix="bert and modernbert go with masked_lm, the others with causal_lm",
        )  # fmt: skip


def make_model(
    config: PluginConfig, tokenizer_folder: Path, folder: Path, dtype: Dtype, seed: int, head: str
) -> dict[str, Any]:
    """Write a model with the family's own random initialization into `folder`, with the tokenizer's files.

    The weights are drawn on the CPU in float32 and then rounded, so the same seed gives the same ones in every dtype.

    Args:
        tokenizer_folder: with tokenizer.json; its number of tokens is the vocabulary.
        head: a key of `trainers.models.HEADS`.

    Returns:
        `parameters`, and the `config` as in config.json.

    Raises:
        ConfigError: the family has no such head, or not the size with this vocabulary.
        ModelError: the tokenizer lacks a token that the model needs.
    """
    import torch
    import transformers

    from trainers.models import HEADS

    require_head(config, head)
    vocabulary, special_ids = _vocabulary(tokenizer_folder, head)
    values = family_of(config).transformers_config(config, vocabulary, special_ids)
    if head == "reward":
        values |= {"num_labels": 1}
    settings = transformers.AutoConfig.for_model(**values)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = getattr(transformers, HEADS[head]).from_config(settings, dtype=torch.float32)
    model.to(getattr(torch, dtype)).save_pretrained(folder)
    for name in _TOKENIZER_FILES:  # byte for byte: data and model are matched by the tokenizer's hash
        if (tokenizer_folder / name).is_file():
            shutil.copy(tokenizer_folder / name, folder / name)
    return {"parameters": sum(parameter.numel() for parameter in model.parameters()), "config": values}


def _vocabulary(tokenizer_folder: Path, head: str) -> tuple[int, dict[str, int | None]]:
    """Number of token ids, and the special ones under config.json's names."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(tokenizer_folder), local_files_only=True, trust_remote_code=False)
    if head == "masked_lm" and tokenizer.mask_token_id is None:
        raise ModelError(
            "The tokenizer has no mask token.", field="model.scratch", got=f"{tokenizer_folder.name} without one",
            expected="a tokenizer with mask_token, for the objective masked_lm",
        )  # fmt: skip
    ids = {key: getattr(tokenizer, key, None) for key in _SPECIAL_IDS}
    # transformers gives the padding's embedding no gradient, which would be wrong for a token that also ends texts.
    if ids["pad_token_id"] in [value for key, value in ids.items() if key != "pad_token_id"]:
        ids["pad_token_id"] = None
    return max(tokenizer.get_vocab().values()) + 1, ids
