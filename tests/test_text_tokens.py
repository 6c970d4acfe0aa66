"""Tokens of raw text: the fast encoder gives the tokenizer's ids, and rows are packed without loss."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainers.text.encoding import Encoder, Wrapping, wrapping
from trainers.text.packing import pack_rows


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("each_part", [False, True])
def test_packing_arithmetic(seed: int, each_part: bool) -> None:
    rng = np.random.default_rng(seed)
    texts = [rng.integers(10, 99, size=rng.integers(0, 40), dtype=np.uint32) for _ in range(50)]
    rows = pack_rows(texts, Wrapping([1, 2], [3], each_part), 16)
    lengths = np.diff(rows.row_offsets)
    if each_part:
        assert set(lengths[:-1].tolist()) <= {16, 15, 14, 13}
    else:
        assert set(lengths[:-1].tolist()) == {16}
    assert rows.part_offsets[-1] == len(rows.parts)
    assert rows.parts.min() > (3 if each_part else 0)
    for row in range(len(lengths)):
        assert rows.parts[rows.part_offsets[row] : rows.part_offsets[row + 1]].sum() == lengths[row]
    pieces = np.split(rows.ids, np.cumsum(rows.parts)[:-1])
    if each_part:
        assert all(piece[:2].tolist() == [1, 2] and piece[-1] == 3 for piece in pieces)
        assert np.array_equal(np.concatenate([piece[2:-1] for piece in pieces]), np.concatenate(texts))
    else:
        expected = np.concatenate([np.concatenate([[1, 2], one, [3]]) for one in texts])
        assert np.array_equal(rows.ids, expected)
    assert len(pack_rows([], Wrapping([1], [2], each_part), 8).row_offsets) == 1


NASTY = [
    "", " ", "it's IT'S don’t", "12345 x1y22z333", "a  b\t\tc \n\n d\r\ne   ", "é e\u0301 ﬁ 漢字 😀👩‍👩‍👧 ١٢٣ ½ ⅷ",
    "<|endoftext|> <|im_start|>user", "x" * 5000, "\n" * 3000, " " * 400_000, "ab " * 4000,
    "\u200b\ufeff\x00\x7f\u0085\u2028",
    "scheme://host/?d=e&f#h", "    def f(self):\n        return self._x[1:]  # …\n", "3 .5 - 7% $8    9,\n    10",
]  # fmt: skip
GPT4 = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"


def bpe(splitter: str) -> Any:
    """A byte-level BPE with one of the pre-tokenizers of common models, trained on this repository's tests."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

    level = pre_tokenizers.ByteLevel(add_prefix_space=splitter == "prefix", use_regex=not splitter.startswith("split"))
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = {
        "digits": pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), level]),
        "split": pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(GPT4), "isolated"), level]),
        "split, with gaps": pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(r"\p{L}+"), "isolated"), level]),
    }.get(splitter, level)
    if splitter == "split":
        tokenizer.normalizer = normalizers.NFC()
    trainer = trainers.BpeTrainer(
        vocab_size=2000, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False,
        special_tokens=["<|endoftext|>", "<|im_start|>"],
    )  # fmt: skip
    tokenizer.train_from_iterator([path.read_text() for path in sorted(Path(__file__).parent.glob("*.py"))], trainer)
    return tokenizer


@pytest.mark.parametrize("splitter", ["gpt2", "digits", "split", "split, with gaps", "prefix"])
def test_the_fast_encoder_gives_the_ids_of_the_tokenizer(splitter: str) -> None:
    tokenizer = bpe(splitter)
    fast = Encoder(tokenizer.to_str())
    assert (fast.fast is not None) == (splitter != "prefix")
    tokenizer.encode_special_tokens = True
    texts = [*NASTY, *(path.read_text() for path in sorted(Path(__file__).parent.glob("test_t*.py")))]
    expected = [tokenizer.encode(one, add_special_tokens=False).ids for one in texts]
    assert [one.tolist() for one in fast.encode(texts)] == expected
    if fast.fast is not None:
        normal = [unicodedata.normalize("NFC", one) for one in texts] if splitter == "split" else texts
        unchecked = [fast._encode_fast(fast.fast, one).tolist() for one in normal]
        assert (unchecked == expected) == (splitter != "split, with gaps")  # what the pattern leaves out is lost
    assert 0 not in np.concatenate(fast.encode(texts))  # a special token in a text is text


def test_a_byte_without_a_token_is_lost_as_the_tokenizer_loses_it() -> None:
    description = json.loads(bpe("gpt2").to_str())
    del description["model"]["vocab"]["ó"]  # the first byte of U+F0000, a character for private use
    from tokenizers import Tokenizer

    texts = ["a " * 5000 + "\U000f0000 b", "plain"]  # beyond what both libraries encode
    expected = [one.ids for one in Tokenizer.from_str(json.dumps(description)).encode_batch(texts)]
    encoder = Encoder(json.dumps(description))
    assert encoder.fast is not None
    assert [one.tolist() for one in encoder.encode(texts)] == expected
    assert [one.tolist() for one in encoder.encode(texts[1:])] == expected[1:]


def test_a_vocabulary_that_tiktoken_would_merge_otherwise_is_left_to_tokenizers() -> None:
    description = json.loads(bpe("gpt2").to_str())
    description["model"]["merges"].reverse()
    assert Encoder(json.dumps(description)).fast is None


def test_other_tokenizers_and_their_special_tokens(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "[MASK]": 3, "the": 4, "cat": 5}, "[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    masked = PreTrainedTokenizerFast(tokenizer_object=words, mask_token="[MASK]", sep_token="[SEP]", eos_token="[SEP]")
    assert wrapping(masked) == Wrapping([1], [2], each_part=True)
    causal = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="[UNK]")
    assert wrapping(causal) == Wrapping([1], [2, 0], each_part=False)
    ends = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="[SEP]")
    assert wrapping(ends) == Wrapping([1], [2], each_part=False)
    ids = Encoder(words.to_str()).encode(["the cat", "", "cat the dog"])
    assert [one.tolist() for one in ids] == [[4, 5], [], [5, 4, 0]]
