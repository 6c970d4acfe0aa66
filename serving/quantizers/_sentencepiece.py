"""A SentencePiece tokenizer (Llama 2, Mistral) as GGUF metadata.

Hugging Face stores it as a BPE over whole text, spaces written as "▁" and unknown characters as bytes, and merges the
pair of neighbours that comes first in a list. llama.cpp merges the neighbours whose union has the highest score. The
two agree when the list is sorted by union and leaves no pair out, which is what conversion from SentencePiece gives.

They differ in where a space is put before text that has none. What llama.cpp does after each special token is a single
switch; it is set so that conversations get the same ids, and shown on one.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from serving.quantizers._checkpoint import unsupported_tokenizer

if TYPE_CHECKING:
    from gguf import GGUFWriter

_SPACES = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
_SPACE_FIRST = {"type": "Prepend", "prepend": "▁"}
_BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
_TURNS = (("user", "Hi 12  there"), ("assistant", "Yes, é."), ("user", "x = [1]\n"))


def is_sentencepiece(spec: dict[str, Any]) -> bool:
    """Whether a tokenizer.json of type BPE came from SentencePiece: only those write unknown characters as bytes."""
    return bool(spec["model"].get("byte_fallback"))


def add_sentencepiece(
    writer: GGUFWriter, tokenizer: Any, spec: dict[str, Any], tokens: list[str], types: list[int]
) -> None:
    """Write the vocabulary with its scores, and whether text gets a space in front.

    Args:
        tokenizer: the transformers tokenizer that `spec`, its tokenizer.json, describes.
        tokens: [vocab] token strings.
        types: [vocab] their GGUF token types, as of a byte-level tokenizer.

    Raises:
        ModelError: llama.cpp would split some text in another way.
    """
    from gguf import TokenType

    if missing := [byte for byte in _BYTES if byte not in spec["model"]["vocab"]]:
        raise unsupported_tokenizer("model.vocab", f"no token {missing[0]}", "a token for each byte")
    scores = piece_scores(spec)
    types = list(types)
    for index, token in enumerate(tokens):
        if token == spec["model"].get("unk_token"):
            types[index] = TokenType.UNKNOWN
        elif token in _BYTES:
            types[index] = TokenType.BYTE
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_scores([scores.get(token, 0.0) for token in tokens])
    writer.add_token_types(types)
    writer.add_add_space_prefix(_space_prefix(spec, tokenizer))


def piece_scores(spec: dict[str, Any]) -> dict[str, float]:
    """Scores of the pieces that merges make: the earlier in the list, the higher.

    Raises:
        ModelError: no scores give the same merges as the list.
    """
    model = spec["model"]
    if model.get("ignore_merges"):
        raise unsupported_tokenizer("model.ignore_merges", True, False)
    merges = [tuple(merge.split(" ")) if isinstance(merge, str) else tuple(merge) for merge in model["merges"]]
    _require_every_pair(spec, set(merges))
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    for rank, (left, right) in enumerate(merges):
        first.setdefault(left + right, rank)
        last[left + right] = rank
    scores: dict[str, float] = {}
    opener, end = "", -1
    for piece, rank in first.items():
        if rank > end:
            opener = piece
        elif len({*opener, *piece}) > 1:
            raise unsupported_tokenizer("model.merges", f"merges of {piece} among others", "those of a piece in a row")
        scores[piece] = -float(first[opener])
        end = max(end, last[piece])
    plain = _plain_tokenizer(spec)
    for character in {piece[0] for piece in scores if len(set(piece)) == 1}:
        _require_runs(plain, character, scores)
    return scores


def _require_every_pair(spec: dict[str, Any], merges: set[tuple[str, ...]]) -> None:
    """llama.cpp merges any two pieces whose union is a piece, listed or not."""
    vocab = spec["model"]["vocab"]
    for piece in vocab.keys() - {token["content"] for token in spec["added_tokens"]}:
        for cut in range(1, len(piece)):
            pair = piece[:cut], piece[cut:]
            if pair not in merges and pair[0] in vocab and pair[1] in vocab:
                raise unsupported_tokenizer("model.merges", f"no merge of {pair[0]} {pair[1]}", "every pair of pieces")


def _require_runs(plain: Any, character: str, scores: dict[str, float]) -> None:
    """See that runs of one character are split as listed.

    SentencePiece gives its pieces of many spaces one score, and takes the leftmost; in the list they are shuffled.
    """
    by_length = {len(piece): score for piece, score in scores.items() if set(piece) == {character}}
    for count in range(2, 2 * max(by_length) + 2):
        parts = [1] * count
        while places := [at for at in range(len(parts) - 1) if parts[at] + parts[at + 1] in by_length]:
            best = max(places, key=lambda at: (by_length[parts[at] + parts[at + 1]], -at))
            parts[best : best + 2] = [parts[best] + parts[best + 1]]
        if [len(token) for token in plain.encode(character * count, add_special_tokens=False).tokens] != parts:
            raise unsupported_tokenizer("model.merges", f"{count} of {character}", f"pieces of {parts}")


def _space_prefix(spec: dict[str, Any], tokenizer: Any) -> bool:
    """llama.cpp's switch: whether text gets a space in front at the beginning and after each special token."""
    normalizer, pre = spec.get("normalizer"), spec.get("pre_tokenizer")
    steps = (normalizer or {}).get("normalizers", [normalizer])
    conversation = _conversation(tokenizer)
    if steps == [_SPACE_FIRST, _SPACES] and not pre:
        prefix = True
    elif not normalizer and pre and pre["type"] == "Metaspace" and pre["replacement"] == "▁" and not pre["split"]:
        scheme = pre["prepend_scheme"]
        # "first" means the first characters of all, which in a conversation are mostly those of a special token.
        begins_special = conversation.startswith(tuple(tokenizer.all_special_tokens)) if conversation else False
        prefix = scheme == "always" or (scheme == "first" and not begins_special)
    else:
        raise unsupported_tokenizer("normalizer, pre_tokenizer", (normalizer, pre), "SentencePiece's own")
    if any(token["normalized"] for token in spec["added_tokens"]) and normalizer:
        raise unsupported_tokenizer("added_tokens", "a token with normalized: true", "normalized: false")
    if conversation is not None:
        expected = tokenizer(conversation, add_special_tokens=False).input_ids
        if _llama_cpp_ids(conversation, spec, prefix=prefix) != expected:
            raise unsupported_tokenizer("pre_tokenizer", pre, "spaces that llama.cpp puts at the same places")
    return prefix


def _conversation(tokenizer: Any) -> str | None:
    """A conversation in the tokenizer's chat template; None without a template, or with one that wants other turns."""
    from jinja2 import TemplateError

    if not tokenizer.chat_template:
        return None
    messages = [{"role": role, "content": content} for role, content in _TURNS]
    try:
        return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
    except (TemplateError, ValueError):
        return None


def _plain_tokenizer(spec: dict[str, Any]) -> Any:
    """The same merges, without a space in front."""
    from tokenizers import Tokenizer

    pre = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "never", "split": False}
    return Tokenizer.from_str(json.dumps({**spec, "normalizer": None, "pre_tokenizer": pre, "post_processor": None}))


def _llama_cpp_ids(text: str, spec: dict[str, Any], *, prefix: bool) -> list[int]:
    """The ids that llama.cpp finds: special tokens first, then what lies between them, each part on its own."""
    plain = _plain_tokenizer(spec)
    special = sorted((token["content"] for token in spec["added_tokens"]), key=len, reverse=True)
    parts = re.split(f"({'|'.join(map(re.escape, special))})", text)
    spaced = (part if part in special or not prefix else f" {part}" for part in parts if part)
    return [index for part in spaced for index in plain.encode(part, add_special_tokens=False).ids]
