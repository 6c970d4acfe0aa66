"""A Hugging Face tokenizer as GGUF metadata: byte-level BPE here, SentencePiece in `_sentencepiece.py`.

llama.cpp holds the text-splitting rules in its code, under names. A wrong name still loads and answers, with other
token ids than the model was trained on; so a tokenizer whose rules are not recognized exactly is refused.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.errors import ModelError
from serving.quantizers._checkpoint import unsupported_tokenizer
from serving.quantizers._sentencepiece import add_sentencepiece, is_sentencepiece
from serving.quantizers._source import read_json

if TYPE_CHECKING:
    from gguf import GGUFWriter

_CONTRACTIONS_AND_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_PUNCTUATION_AND_SPACE = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_BYTES_ONLY = ("ByteLevel", False)
_BYTES_AND_GPT2_WORDS = ("ByteLevel", True)

# The steps of the pre-tokenizer → llama.cpp's name for them.
_PRE_TOKENIZERS: dict[tuple[tuple[str, object], ...], str] = {
    (_BYTES_AND_GPT2_WORDS,): "gpt-2",
    (("Digits", True), _BYTES_AND_GPT2_WORDS): "smollm",
    (("Split", _CONTRACTIONS_AND_WORDS + r"\p{N}{1,3}" + _PUNCTUATION_AND_SPACE), _BYTES_ONLY): "llama-bpe",
    (("Split", _CONTRACTIONS_AND_WORDS + r"\p{N}" + _PUNCTUATION_AND_SPACE), _BYTES_ONLY): "qwen2",
}
# Whole words of the vocabulary are taken as they are, without replaying merges; llama.cpp ties this to the name.
_IGNORES_MERGES = {"llama-bpe"}


def add_tokenizer(writer: GGUFWriter, folder: Path, vocab_size: int) -> None:
    """Write the tokenizer of `folder` to GGUF metadata, for a model of `vocab_size` embedding rows.

    Raises:
        ModelError: there is no tokenizer, llama.cpp has no equal of it, or it has more tokens than the model.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        spec = json.loads(tokenizer.backend_tokenizer.to_str())
    except (OSError, ValueError, AttributeError) as error:
        raise ModelError(
            "No tokenizer can be loaded from the model's folder.",
            field=str(folder),
            got=str(error).splitlines()[0],
            fix="save the tokenizer beside the model with save_pretrained",
        ) from error
    _check_model(spec)
    tokens, types = _vocabulary(spec, vocab_size)
    if is_sentencepiece(spec):
        add_sentencepiece(writer, tokenizer, spec, tokens, types)
    else:
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(pre_tokenizer_name(spec))
        writer.add_token_list(tokens)
        writer.add_token_types(types)
        writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in spec["model"]["merges"]])
    _add_special_tokens(writer, tokenizer, folder)
    template = tokenizer.chat_template
    if isinstance(template, dict):
        template = [{"name": name, "template": text} for name, text in template.items()]
    if template:
        writer.add_chat_template(template)


def pre_tokenizer_name(spec: dict[str, Any]) -> str:
    """llama.cpp's name for the splitting rules of a byte-level tokenizer.json.

    Raises:
        ModelError: rules, or other settings, for which llama.cpp has no exact equal.
    """
    model, pre = spec["model"], spec.get("pre_tokenizer") or {}
    steps = tuple(_step(step) for step in pre.get("pretokenizers", [pre]))
    name = _PRE_TOKENIZERS.get(steps)
    if name is None:
        raise unsupported_tokenizer("pre_tokenizer", steps, ", ".join(_PRE_TOKENIZERS.values()))
    # llama.cpp does not compose characters: with NFC, text that comes decomposed (rare) gets other ids.
    normalizer = (spec.get("normalizer") or {}).get("type")
    if normalizer not in (None, "NFC"):
        raise unsupported_tokenizer("normalizer", normalizer, "none or NFC")
    if bool(model.get("ignore_merges")) != (name in _IGNORES_MERGES):
        raise unsupported_tokenizer("model.ignore_merges", model.get("ignore_merges"), name in _IGNORES_MERGES)
    return name


def _check_model(spec: dict[str, Any]) -> None:
    """Refuse what neither kind of tokenizer has in llama.cpp."""
    if spec["model"]["type"] != "BPE":
        raise unsupported_tokenizer("model.type", spec["model"]["type"], "BPE")
    if spec["model"].get("dropout"):
        raise unsupported_tokenizer("model.dropout", spec["model"]["dropout"], "none")
    for token in spec["added_tokens"]:
        if token["lstrip"] or token["rstrip"] or token["single_word"]:
            raise unsupported_tokenizer("added_tokens", token, "a token without lstrip, rstrip or single_word")


def _step(step: dict[str, Any]) -> tuple[str, object]:
    match step:
        case {"type": "ByteLevel", "add_prefix_space": False}:
            return "ByteLevel", step.get("use_regex", True)
        case {"type": "Digits", "individual_digits": individual}:
            return "Digits", individual
        case {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False}:
            return "Split", regex
    return "unknown", json.dumps(step)


def _vocabulary(spec: dict[str, Any], vocab_size: int) -> tuple[list[str], list[int]]:
    """Token strings and types by id; rows of the embedding without a token get a name that no text contains."""
    from gguf import TokenType

    named = {index: (token, TokenType.NORMAL) for token, index in spec["model"]["vocab"].items()}
    for token in spec["added_tokens"]:
        named[token["id"]] = (token["content"], TokenType.CONTROL if token["special"] else TokenType.USER_DEFINED)
    if max(named) >= vocab_size:
        raise ModelError(
            "The tokenizer has tokens for which the model has no embedding.",
            field="vocab_size",
            got=vocab_size,
            expected=f"at least {max(named) + 1}",
            fix="resize the model's embeddings, or save the tokenizer it was trained with",
        )
    entries = [named.get(index, (f"[PAD{index}]", TokenType.UNUSED)) for index in range(vocab_size)]
    return [token for token, _ in entries], [int(type_) for _, type_ in entries]


def _add_special_tokens(writer: GGUFWriter, tokenizer: Any, folder: Path) -> None:
    if tokenizer.eos_token_id is None:
        # Without this key llama.cpp takes token 11 for the end.
        raise ModelError("The tokenizer has no end token.", field="eos_token", fix="set eos_token and save it again")
    writer.add_eos_token_id(tokenizer.eos_token_id)
    if tokenizer.bos_token_id is not None:
        writer.add_bos_token_id(tokenizer.bos_token_id)
    if tokenizer.pad_token_id is not None:
        writer.add_pad_token_id(tokenizer.pad_token_id)
    if tokenizer.unk_token_id is not None:
        writer.add_unk_token_id(tokenizer.unk_token_id)

    generation = folder / "generation_config.json"
    ends = read_json(generation).get("eos_token_id") if generation.is_file() else None
    others = [end for end in (ends if isinstance(ends, list) else [ends]) if end not in (None, tokenizer.eos_token_id)]
    if others:
        writer.add_eot_token_id(others[0])

    # What encoding really adds, not what the configuration files say it adds.
    bare, added = tokenizer("a", add_special_tokens=False).input_ids, tokenizer("a").input_ids
    begins, finishes = added[:1] != bare[:1], added[-1:] != bare[-1:]
    if added != [tokenizer.bos_token_id] * begins + bare + [tokenizer.eos_token_id] * finishes:
        raise unsupported_tokenizer("post_processor", added, "at most one begin and one end token around the text")
    writer.add_add_bos_token(begins)
    writer.add_add_eos_token(finishes)
