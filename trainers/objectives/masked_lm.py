"""Masked language modelling (Devlin et al. 2018, arXiv 1810.04805): cross-entropy of hidden tokens, given all others.

Of the chosen tokens most are replaced by the mask token, some by a random one, and the rest stay as they are; all of
them are predicted. They are drawn anew in every epoch (Liu et al. 2019, arXiv 1907.11692). What differs from the
textbook: documents share rows without seeing one another, and the head runs only at the chosen places.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveInt, model_validator

from cluster.config import PluginConfig
from cluster.errors import ConfigValueError, ModelError
from trainers.data.packing import Packed, pack, rounded

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from trainers.objectives import Batch, Example, Loss

FORMATS = ("text",)
HEAD = "masked_lm"
_IGNORED = -100
# Space, newline and tab as byte-level BPE writes them; the space of SentencePiece.
_BYTE_LEVEL_BLANKS, _NEWLINE, _META_SPACE = ("Ġ", "Ċ", "ĉ"), "Ċ", "▁"


class Config(PluginConfig):
    """Keys of `train.objective: masked_lm`."""

    kind: Literal["masked_lm"] = "masked_lm"
    probability: float = Field(default=0.15, gt=0, le=1)
    """Chance of a token (of a word with `whole_word`) to be chosen; 0.3 is better for long trainings (Wettig et al.
    2022, arXiv 2202.08005)."""
    mask_share: float = Field(default=0.8, ge=0, le=1)
    """Share of the chosen tokens that become the mask token."""
    random_share: float = Field(default=0.1, ge=0, le=1)
    """Share of the chosen tokens that become a random one."""
    whole_word: bool = False
    """Choose all tokens of a word, or none."""
    head_chunk: PositiveInt | None = 1024
    """Tokens whose logits are held in memory at once; null: all of a micro-batch."""

    @model_validator(mode="after")
    def _shares_fit(self) -> Config:
        if self.mask_share + self.random_share > 1:
            raise ConfigValueError(
                "More tokens would be replaced than are chosen.",
                got=f"mask_share={self.mask_share}, random_share={self.random_share}", expected="at most 1 together",
            )  # fmt: skip
        return self


class Hidden(NamedTuple):
    """An example with tokens hidden."""

    input_ids: NDArray[np.int64]
    """[tokens]"""
    chosen: NDArray[np.int64]
    """[chosen tokens], where they are."""


class Objective:
    """Cross-entropy at the chosen places."""

    def __init__(self, config: Config, tokenizer: PreTrainedTokenizerBase) -> None:
        if tokenizer.mask_token_id is None:
            raise ModelError(
                "The tokenizer has no mask token.", field="train.objective", got="masked_lm",
                expected="a tokenizer with mask_token", fix="train a tokenizer with one, or take objective causal_lm",
            )  # fmt: skip
        self._config = config
        self._mask_id: int = tokenizer.mask_token_id
        self._pad_id = tokenizer.mask_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
        self._vocabulary = len(tokenizer)
        self._special = np.array(sorted(set(tokenizer.all_special_ids)), dtype=np.int64)
        self._words = _Words(tokenizer) if config.whole_word else None

    def collate(self, examples: list[Example]) -> Batch:
        """Rows of columns `input_ids` and `documents`, the lengths of the documents in the row.

        Tensors: `input_ids`, `position_ids` and `segments` [rows, length], `places` and `targets` [chosen tokens,
        rounded up].
        """
        import torch

        from trainers.objectives import Batch

        hidden = [self.hide(example) for example in examples]
        packed: Packed = pack(
            [one.input_ids for one in hidden], self._pad_id, [example.row["documents"] for example in examples]
        )
        places = np.concatenate([start + one.chosen for start, one in zip(packed.starts, hidden, strict=True)])
        targets = np.concatenate(
            [example.row["input_ids"][one.chosen] for example, one in zip(examples, hidden, strict=True)]
        ).astype(np.int64)
        filling = max(1, rounded(len(places))) - len(places)
        tensors = {
            "input_ids": torch.from_numpy(packed.input_ids),
            "position_ids": torch.from_numpy(packed.position_ids),
            "segments": torch.from_numpy(packed.segments),
            "places": torch.from_numpy(np.pad(places, (0, filling))),
            "targets": torch.from_numpy(np.pad(targets, (0, filling), constant_values=_IGNORED)),
        }
        return Batch(tensors, terms=len(places), tokens=int((packed.segments > 0).sum()))

    def hide(self, example: Example) -> Hidden:
        """Choose tokens and replace most of them; special tokens are never chosen."""
        config, ids = self._config, example.row["input_ids"].astype(np.int64)
        random = np.random.default_rng(example.key)
        special = np.isin(ids, self._special)
        if self._words is None:
            chosen = random.random(len(ids)) < config.probability
        else:
            words = np.cumsum(self._words.starts(ids, special, example.row["documents"])) - 1  # [tokens]
            chosen = (random.random(len(ids)) < config.probability)[words]
        places = np.flatnonzero(chosen & ~special)
        fate = random.random(len(places))
        masked, replaced = fate < config.mask_share, fate >= 1 - config.random_share
        ids[places[masked]] = self._mask_id
        ids[places[replaced & ~masked]] = random.integers(self._vocabulary, size=int((replaced & ~masked).sum()))
        return Hidden(ids, places)

    def loss(self, model: PreTrainedModel, tensors: dict[str, torch.Tensor]) -> Loss:
        """Nats, summed over the chosen tokens."""
        from trainers.losses import head_cross_entropy
        from trainers.objectives import Loss

        transform, decoder = _head(model)
        hidden = transform(encoder_states(model, tensors).flatten(0, 1)[tensors["places"]])  # [chosen tokens, hidden]
        loss = head_cross_entropy(decoder, hidden, tensors["targets"], self._config.head_chunk)
        return Loss(loss.total, {} if loss.right is None else {"accuracy": loss.right.float()})


def encoder_states(model: PreTrainedModel, tensors: dict[str, torch.Tensor]) -> torch.Tensor:
    """Hidden states of a bidirectional encoder, [rows, length, hidden], documents not seeing one another.

    Raises:
        ModelError: the model's attention takes no such mask.
    """
    encoder: Any = model.base_model
    states: torch.Tensor = encoder(
        input_ids=tensors["input_ids"],
        position_ids=tensors["position_ids"],
        attention_mask=_block_masks(model, tensors["segments"]),
    ).last_hidden_state
    return states


def _block_masks(model: PreTrainedModel, segments: torch.Tensor) -> torch.Tensor | dict[str, torch.Tensor]:
    """[rows, 1, length, length]: 0 where a token sees another; one for each kind of layer where there are two."""
    import torch

    attention = model.config._attn_implementation
    if attention not in ("sdpa", "eager"):
        raise ModelError("The attention takes no block mask.", field="model", got=attention, expected="sdpa or eager")
    same = segments[:, None, :, None] == segments[:, None, None, :]  # padding sees padding: no row is empty
    masks = {"full_attention": same}
    if "sliding_attention" in (getattr(model.config, "layer_types", None) or ()):
        at = torch.arange(segments.shape[1], device=segments.device)
        masks["sliding_attention"] = same & ((at[:, None] - at[None, :]).abs() <= model.config.sliding_window)
    # Added to the scores; of booleans every layer would make, and keep for its backward pass, such a mask of its own.
    zero = torch.zeros((), dtype=model.dtype, device=segments.device)
    added = {kind: torch.where(mask, zero, torch.finfo(model.dtype).min) for kind, mask in masks.items()}
    return added if len(added) > 1 else added["full_attention"]


def _head(model: PreTrainedModel) -> tuple[torch.nn.Module, torch.nn.Linear]:
    """What the hidden states go through before the vocabulary, and the layer of the vocabulary.

    Raises:
        ModelError: a family whose head has other parts.
    """
    parts: Any = model
    transform = parts.cls.predictions.transform if hasattr(model, "cls") else getattr(model, "head", None)
    decoder: Any = model.get_output_embeddings()
    if transform is None or decoder is None:
        raise ModelError(
            "The model's head for masked tokens has other parts than are known.", field="model",
            got=model.config.model_type, expected="a model of the kind bert or modernbert",
        )  # fmt: skip
    return transform, decoder


class _Words:
    """Which tokens begin a word, from the vocabulary's pieces.

    WordPiece marks the pieces that go on with a word; BPE marks those that follow a blank, so that what stands without
    one between (`dog.`) counts as one word.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        backend: Any = getattr(tokenizer, "backend_tokenizer", None)
        prefix = getattr(backend.model, "continuing_subword_prefix", None) if backend is not None else None
        pieces = [str(piece) for piece in tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))]
        blanks = _BYTE_LEVEL_BLANKS if any(piece.startswith("Ġ") for piece in pieces) else (_META_SPACE,)
        if prefix:
            self._begins = np.array([not piece.startswith(prefix) for piece in pieces])
        elif any(piece.startswith(blanks) for piece in pieces):
            self._begins = np.array([piece.startswith(blanks) for piece in pieces])
        else:
            raise ModelError(
                "The tokenizer does not show where words begin.", field="train.objective.whole_word", got="true",
                expected="WordPiece, byte-level BPE or SentencePiece", fix="set whole_word to false",
            )  # fmt: skip
        self._ends = np.array([piece.endswith(_NEWLINE) for piece in pieces])

    def starts(self, ids: NDArray[np.int64], special: NDArray[np.bool_], documents: NDArray[Any]) -> NDArray[np.bool_]:
        """[tokens]: whether a word (or a special token) begins there.

        Args:
            documents: lengths of the documents; a word never goes on into the next.
        """
        starts = self._begins[ids] | special
        starts[1:] |= self._ends[ids[:-1]] | special[:-1]
        starts[np.cumsum([0, *documents[:-1]])] = True
        return starts
