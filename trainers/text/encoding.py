"""Text → token ids at the speed of tiktoken, with the ids of the tokenizer.json.

Most tokenizers of language models are byte-level BPE with one splitting pattern. For those tiktoken's encoder, given
the same vocabulary and pattern, finds the same tokens several times faster than the `tokenizers` library, and gives
them as an array rather than a list. Whether it does is not taken on trust: the vocabulary is checked for what the two
treat differently, some documents of each batch are encoded by both, and the bytes of all tokens are counted. A batch
that does not pass is encoded by `tokenizers`.
"""

from __future__ import annotations

import json
import os
import unicodedata
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cluster.errors import DataError

if TYPE_CHECKING:
    import tiktoken
    from transformers import PreTrainedTokenizerBase

Ids = NDArray[np.uint32]
_COMPARED, _COMPARED_CHARS = 8, 4_000  # documents of a batch that both libraries encode, and how much of each
_BATCH_CHARS = 4_000_000  # encoded at once by `tokenizers`, whose results are large

_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
# The same after every digit was split off: a digit ends the text before it, as far as white space is concerned.
_GPT2_DIGITS = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?![^\s\p{N}])|\s+"


class Wrapping(NamedTuple):
    """Special tokens around a document, or around each part of one that a row holds."""

    before: list[int]
    after: list[int]
    each_part: bool


def wrapping(tokenizer: PreTrainedTokenizerBase) -> Wrapping:
    """What the tokenizer puts around a text, and the end-of-sequence token if it does not put it there itself.

    An encoder's tokenizer (one with a mask token) puts its tokens around every part of a document.

    Raises:
        DataError: the tokenizer has no end-of-sequence token and is not an encoder's.
    """
    backend: Any = tokenizer.backend_tokenizer
    plain, wrapped = (backend.encode("a", add_special_tokens=special).ids for special in (False, True))
    start = next((at for at in range(len(wrapped)) if wrapped[at : at + len(plain)] == plain), 0)
    before, after = wrapped[:start], wrapped[start + len(plain) :]
    if tokenizer.mask_token_id is not None:
        return Wrapping(before, after, each_part=True)
    if tokenizer.eos_token_id is None:
        raise DataError(
            "The tokenizer has no token that ends a document.", field="tokenizer", got="no eos token",
            expected="an eos token", fix='add "eos_token" to tokenizer_config.json',
        )  # fmt: skip
    return Wrapping(before, after if tokenizer.eos_token_id in after else [*after, tokenizer.eos_token_id], False)


@lru_cache(maxsize=2)
def encoder(tokenizer: str) -> Encoder:
    """The encoder of a tokenizer.json; a process makes it once."""
    return Encoder(tokenizer)


class Encoder:
    """Encodes documents without special tokens; special tokens that are written in a text are encoded as text.

    Args:
        tokenizer: the content of a tokenizer.json.
    """

    def __init__(self, tokenizer: str) -> None:
        # One task has one core, and its neighbours have the others.
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        from tokenizers import Tokenizer

        self._backend = Tokenizer.from_str(tokenizer)
        self._backend.no_truncation()
        self._backend.no_padding()
        self._backend.encode_special_tokens = True
        description = json.loads(tokenizer)
        self._form = (description["normalizer"] or {}).get("type")
        self.fast = _tiktoken(description)
        """tiktoken's encoder of the same vocabulary; None if there can be none."""
        if self.fast is not None:
            tokens = {rank: len(token) for token, rank in self.fast._mergeable_ranks.items()}
            self._sizes = np.zeros(max(tokens) + 1, dtype=np.int64)
            self._sizes[list(tokens)] = list(tokens.values())
            self._sizes[_first_free(description) :] = 0  # bytes without a token

    def encode(self, texts: list[str]) -> list[Ids]:
        """The ids of each text."""
        if self.fast is None or not texts:
            return self._encode(texts)
        normal = [unicodedata.normalize(self._form, text) for text in texts] if self._form else texts
        ids = [self._encode_fast(self.fast, text) for text in normal]
        return ids if self._are_same(self.fast, normal, ids) else self._encode(texts)

    def _encode_fast(self, fast: tiktoken.Encoding, text: str) -> Ids:
        try:
            return fast.encode_to_numpy(text, disallowed_special=())
        except ValueError:  # its pattern matcher gives up on a million spaces on end
            return self._encode([text])[0]

    def _are_same(self, fast: tiktoken.Encoding, texts: list[str], ids: list[Ids]) -> bool:
        """Whether the tokens have all bytes of the texts, and some parts have the same ids in both libraries."""
        if self._sizes[np.concatenate(ids)].sum() != sum(len(text.encode()) for text in texts):
            return False
        parts = [text[:_COMPARED_CHARS] for text in texts[:: -(-len(texts) // _COMPARED)]]
        pairs = zip(parts, self._encode(parts), strict=True)
        return all(np.array_equal(self._encode_fast(fast, part), expected) for part, expected in pairs)

    def _encode(self, texts: list[str]) -> list[Ids]:
        ids: list[Ids] = []
        ends = np.cumsum([len(text) for text in texts])
        for start in range(0, int(ends[-1]) + 1 if texts else 0, _BATCH_CHARS):
            first, last = np.searchsorted(ends, (start, start + _BATCH_CHARS))
            encodings = self._backend.encode_batch_fast(texts[first:last], add_special_tokens=False)
            ids.extend(np.array(encoding.ids, dtype=np.uint32) for encoding in encodings)
        return ids


def _tiktoken(description: dict[str, Any]) -> tiktoken.Encoding | None:
    """The encoder of tiktoken for a tokenizer.json; None for one that it might treat differently."""
    model, added = description["model"], description["added_tokens"]
    pattern = _pattern(description["pre_tokenizer"])
    plain = all(not model.get(key) for key in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"))
    if (
        pattern is None or model["type"] != "BPE" or not plain or model.get("byte_fallback")
        or (description["normalizer"] or {}).get("type") not in (None, "NFC")
        or not all(token["special"] for token in added)
    ):  # fmt: skip
        return None
    import tiktoken

    vocabulary = {token: id_ for token, id_ in model["vocab"].items() if token not in {one["content"] for one in added}}
    of_char = {char: byte for byte, char in _bytes_to_chars().items()}
    if not of_char.keys() >= set("".join(vocabulary)):
        return None  # not a byte-level vocabulary
    merges = [merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"]]
    products = [vocabulary.get("".join(merge), -1) for merge in merges]
    if any(before > after for before, after in pairwise(products)) or -1 in products:
        return None  # tiktoken merges in the order of the ids
    ranks = {bytes(of_char[char] for char in token): id_ for token, id_ in vocabulary.items()}
    missing = [bytes([byte]) for byte in range(256) if bytes([byte]) not in ranks]
    ranks |= {byte: id_ for id_, byte in enumerate(missing, start=_first_free(description))}
    # It searches for special tokens even where all are text; without any, its search stops at every character.
    special = {token["content"]: token["id"] for token in added} or {"\0": max(ranks.values()) + 1}
    try:
        return tiktoken.Encoding("text", pat_str=pattern, mergeable_ranks=ranks, special_tokens=special)
    except ValueError:  # a pattern in another dialect
        return None


def _first_free(description: dict[str, Any]) -> int:
    """The ids of the vocabulary end before this one."""
    ids: list[int] = [*description["model"]["vocab"].values(), *(one["id"] for one in description["added_tokens"])]
    return 1 + max(ids)


def _pattern(splitter: dict[str, Any] | None) -> str | None:
    """The one pattern that does what the pre-tokenizer does, if there is one."""
    steps = (splitter or {}).get("pretokenizers", [splitter])
    match steps:
        case [{"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}]:
            return _GPT2
        case [
            {"type": "Digits", "individual_digits": True},
            {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True},
        ]:
            return _GPT2_DIGITS
        case [
            {"type": "Split", "pattern": {"Regex": str(pattern)}, "behavior": "Isolated", "invert": False},
            {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False},
        ]:
            return pattern
    return None


def _bytes_to_chars() -> dict[int, str]:
    """The printable character that byte-level BPE (Radford et al. 2019) writes for each byte."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + n) for n, byte in enumerate(others)}
