"""Train a tokenizer on a text data set: byte-level BPE (Sennrich et al. 2016, arXiv 1508.07909; Radford et al. 2019).

Bytes are the alphabet, so that every text has tokens and comes back whole. The text is first split into words, numbers,
punctuation and white space by GPT-4's pattern (tiktoken, `cl100k_base`), and no token crosses such a border.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field, PositiveInt

from cluster.config import Config
from cluster.errors import DataError, ModelError
from cluster.progress import ProgressFile
from trainers.adapter_config import ArtifactName
from trainers.formats import HELDOUT, TRAIN
from trainers.text.corpus import read_texts, text_bytes

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

_PATTERN = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,{digits}}}"
    r"| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
)
_END, _TURN, _TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
_SPECIAL: dict[str, dict[str, Any]] = {
    "causal": {"eos_token": _END, "pad_token": _END, "additional_special_tokens": [_TURN, _TURN_END]},
    "masked": {
        "pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]",
    },
}  # fmt: skip
# ChatML, but that an answer ends with the token at which generation stops.
_CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}"
    "{{ eos_token if message['role'] == 'assistant' else '<|im_end|>' }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_CHECKED_BYTES = 10_000_000


class TokenizerConfig(Config):
    """Keys of `tokenizer`."""

    name: ArtifactName = "tokenizer"
    """The name under which it is published."""
    kind: Literal["bpe"] = "bpe"
    """Byte-level byte-pair encoding."""
    model: Literal["causal", "masked"] = "causal"
    """What it is for, which decides the special tokens. `causal`: `<|endoftext|>` ends a document, and the markers of a
    chat template are there for fine-tuning later; `masked`: `[PAD] [UNK] [CLS] [SEP] [MASK]`, a text standing between
    `[CLS]` and `[SEP]`."""
    vocabulary: PositiveInt = Field(default=8192, ge=262)
    """Tokens in all: 256 bytes, the special tokens, and merged ones."""
    digits: Literal[1, 2, 3] = 1
    """Digits that a token may have at most. 3, as in GPT-4, groups them from the left, which makes arithmetic harder
    (Singh & Strouse 2024, arXiv 2402.14903); 1 also spends nothing of a small vocabulary on numbers."""
    sample_bytes: PositiveInt = 200_000_000
    """Train on a random sample of the documents of about so many bytes; all of them, if they have fewer."""
    seed: int = Field(default=0, ge=0)
    """Seed of the sample."""


def train_tokenizer(progress: ProgressFile, config: TokenizerConfig, dataset: Path, folder: Path) -> dict[str, Any]:
    """Train on `dataset/train` (what the text format collected) and write a transformers tokenizer into `folder`.

    Raises:
        DataError: there is no text, or too little for so large a vocabulary.
        ModelError: the tokenizer does not give a held-out text back.
    """
    began = time.monotonic()
    files = sorted((dataset / TRAIN).glob("*/*.parquet"))
    if not files:
        raise DataError(
            "There is no text to train a tokenizer on.", field=str(dataset), expected=f"{TRAIN}/SOURCE/*.parquet",
            fix="a tokenizer is trained on data of kind text",
        )  # fmt: skip
    sample = _Sample(files, config)
    tokenizer = _train(config, sample, progress)
    if (got := tokenizer.get_vocab_size()) < config.vocabulary:
        raise DataError(
            "The text is too small for so large a vocabulary: no more pairs occur twice.",
            field="tokenizer.vocabulary", got=f"{got:,} tokens from {sample.read:,} bytes",
            expected=f"{config.vocabulary:,} tokens", fix=f"set tokenizer.vocabulary to {got} or less, or add text",
        )  # fmt: skip
    fast = _as_transformers(config, tokenizer)
    fast.save_pretrained(folder)
    heldout = sorted((dataset / HELDOUT).glob("*/*.parquet"))
    return {
        "vocabulary": got,
        "sampled_bytes": sample.read,
        "bytes_per_token": _check(folder, heldout),
        "seconds": round(time.monotonic() - began, 2),
    }


class _Sample:
    """Batches of texts: a seeded random choice of the documents, spread evenly over the files."""

    def __init__(self, files: list[Path], config: TokenizerConfig) -> None:
        self._files = files
        self._rng = np.random.default_rng(config.seed)
        self.total = sum(text_bytes(file) for file in files)
        self._share = min(1.0, config.sample_bytes / max(1, self.total))
        self.read = 0
        """Bytes given so far."""

    def batches(self, progress: ProgressFile) -> Iterator[list[str]]:
        expected = max(1, int(self.total * self._share))
        for texts, _ in read_texts(self._files):
            draws = self._rng.random(len(texts))
            chosen = [text for text, draw in zip(texts, draws, strict=True) if draw < self._share]
            self.read += sum(len(text.encode()) for text in chosen)
            progress.write(min(self.read, expected), expected, f"count words, {self.read / 1e6:,.0f} MB")
            yield chosen
        progress.write(1, 1, "merge pairs")


def _train(config: TokenizerConfig, sample: _Sample, progress: ProgressFile) -> Tokenizer:
    os.environ["TOKENIZERS_PARALLELISM"] = "true"  # words are counted on all cores
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE())
    pattern = Regex(_PATTERN.format(digits=config.digits))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(pattern, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocabulary, min_frequency=2, special_tokens=_special_tokens(config), show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    tokenizer.train_from_iterator(sample.batches(progress), trainer)
    if config.model == "masked":
        tokenizer.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1",
            special_tokens=[(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")],
        )  # fmt: skip
    return tokenizer


def _special_tokens(config: TokenizerConfig) -> list[str]:
    roles = _SPECIAL[config.model].values()
    tokens = [token for role in roles for token in ([role] if isinstance(role, str) else role)]
    return list(dict.fromkeys(tokens))


def _as_transformers(config: TokenizerConfig, tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    from transformers import PreTrainedTokenizerFast

    # Models that were not trained with token types refuse them.
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_input_names=["input_ids", "attention_mask"], **_SPECIAL[config.model]
    )
    if config.model == "causal":
        fast.chat_template = _CHAT_TEMPLATE
    return fast


def _check(folder: Path, files: list[Path]) -> float | None:
    """Bytes of held-out text a token, of what transformers loads; None when nothing is held out.

    Raises:
        ModelError: a text does not come back from its tokens.
    """
    from trainers.models import load_tokenizer

    loaded: Any = load_tokenizer(folder)
    num_bytes = num_tokens = 0
    for texts, size in read_texts(files):
        encodings = loaded.backend_tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        for text, encoding in zip(texts, encodings, strict=True):
            num_tokens += len(encoding.ids)
            if loaded.decode(encoding.ids, skip_special_tokens=False, clean_up_tokenization_spaces=False) != text:
                raise ModelError(
                    "The tokenizer does not give a text back.", field="tokenizer", got=repr(text[:60]),
                    expected="the same text after encoding and decoding",
                )  # fmt: skip
        num_bytes += size
        if num_bytes > _CHECKED_BYTES:
            break
    return num_bytes / num_tokens if num_tokens else None
