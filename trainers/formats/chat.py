"""Conversations in JSONL, rendered with the model's chat template; examples longer than `max_length` are left out."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cluster.config import file_digest
from cluster.errors import DataError
from cluster.progress import ProgressFile
from trainers.config import DataConfig
from trainers.data.chat import Messages, Rendered, read_conversations, render_file
from trainers.data.store import StoreWriter, id_dtype, tokenizer_digest
from trainers.formats import HELDOUT, TRAIN, DataEstimate

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# English text under a vocabulary of 32k to 130k; the turn markers of a chat template.
_CHARS_PER_TOKEN = 4.0
_TOKENS_PER_TURN = 6
_TOKENS_PER_CONVERSATION = 24  # a default system prompt, which many templates add
_PARTS = (TRAIN, HELDOUT)


class Config(DataConfig):
    """Keys of `data: {kind: chat}`."""

    kind: Literal["chat"] = "chat"
    train: Path
    """JSONL, one conversation a line: `{"messages": [{"role": "user", "content": "…"}, …]}`."""
    heldout: Path
    """JSONL of the same form, never trained on."""


def identity(config: Config) -> list[str]:
    """Hashes of the two files."""
    for key in _PARTS:
        if not getattr(config, key).is_file():
            raise DataError(
                "A data file is missing.", field=f"data.{key}", got=getattr(config, key), expected="a JSONL file"
            )
    return [file_digest(config.train), file_digest(config.heldout)]


def estimate(config: Config) -> DataEstimate:
    """Tokens guessed from characters; the tokenizer is not loaded for a plan."""
    if not config.heldout.is_file():
        raise DataError("A data file is missing.", field="data.heldout", got=config.heldout, expected="a JSONL file")
    lengths, trained = [], 0
    for _, messages in read_conversations(config.train):
        lengths.append(_tokens(messages) + _TOKENS_PER_CONVERSATION)
        trained += _tokens([turn for turn in messages if turn["role"] == "assistant"])
    kept = [length for length in lengths if length <= config.max_length] or [config.max_length]
    return DataEstimate(
        samples=len(kept), tokens=sum(kept), longest=max(kept), trained_share=min(1.0, trained / sum(lengths))
    )


def _tokens(messages: Messages) -> int:
    return int(sum(len(turn["content"]) / _CHARS_PER_TOKEN + _TOKENS_PER_TURN for turn in messages))


def collect(progress: ProgressFile, config: Config, folder: Path) -> dict[str, Any]:
    """Copy the files as they are."""
    for index, part in enumerate(_PARTS):
        progress.write(index, len(_PARTS), part)
        shutil.copy(getattr(config, part), folder / f"{part}.jsonl")
    return {}


def tokenize(progress: ProgressFile, config: Config, tokenizer: Path, dataset: Path, folder: Path) -> dict[str, Any]:
    """Columns `input_ids` and `trained`: the number of the assistant turn, 0 where nothing is trained."""
    from trainers.models import load_tokenizer

    loaded = load_tokenizer(tokenizer)
    report: dict[str, Any] = {}
    seen: dict[str, set[tuple[int, ...]]] = {}
    for index, part in enumerate(_PARTS):
        progress.write(index, len(_PARTS), part)
        examples, counts = render_file(loaded, dataset / f"{part}.jsonl", config.max_length)
        write_conversations(folder / part, examples, loaded, tokenizer_digest(tokenizer))
        report[part] = asdict(counts) | {"samples": len(examples)}
        seen[part] = {tuple(example.input_ids) for example in examples}
        if part == TRAIN:
            pieces = [str(loaded.decode([token])) for token in examples[0].input_ids]
            report["example"] = [
                [piece, int(turn > 0)] for piece, turn in zip(pieces, examples[0].trained, strict=True)
            ]
    if shared := len(seen[TRAIN] & seen[HELDOUT]):
        raise DataError(
            "Held-out conversations are also trained on, so nothing could be measured with them.", field="data.heldout",
            got=f"{shared} of {len(seen[HELDOUT])} are in data.train", expected="none",
            fix="take them out of one of the two files",
        )  # fmt: skip
    return report


def write_conversations(
    folder: Path, examples: list[Rendered], tokenizer: PreTrainedTokenizerBase, digest: str
) -> None:
    """Write a token store of rendered conversations."""
    with StoreWriter(folder, digest, {"input_ids": id_dtype(len(tokenizer)), "trained": "uint16"}) as writer:
        for example in examples:
            writer.add({"input_ids": example.input_ids, "trained": example.trained}, len(example.input_ids))


def facts(report: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Counts of both files."""
    for part in _PARTS:
        counts = report[part]
        share = counts["trained_tokens"] / counts["tokens"]
        yield (
            part,
            (
                f"{counts['conversations']} conversations, {counts['tokens']:,} tokens, {share:.0%} of them trained, "
                f"longest {counts['longest']}, left out as too long: {counts['too_long']}"
            ),
        )
