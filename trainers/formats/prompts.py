"""Prompts in JSONL, for training on what the model answers itself; other fields of a line are for its reward.

Prompts longer than `max_length` are left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cluster.progress import ProgressFile
from trainers.data.chat import render_prompt
from trainers.formats import DataEstimate, _preferences
from trainers.formats._preferences import Conversation, FilesConfig, Tokenized, identity, read_prompt, records

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["Config", "collect", "estimate", "facts", "identity", "read_prompts", "tokenize"]

_FORM = '{"prompt": text or messages, …}'


class Config(FilesConfig):
    """Keys of `data: {kind: prompts}`."""

    kind: Literal["prompts"] = "prompts"
    train: Path
    """JSONL, one prompt a line: `{"prompt": "…", "answer": "3"}`; the prompt is text or a list of messages, the other
    fields are what reward functions ask for."""


def read_prompts(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (file:line, line); its `prompt` is a list of messages.

    Raises:
        DataError: naming file and line.
    """
    for where, record in records(path, _FORM, ("prompt",)):
        yield where, record | {"prompt": read_prompt(record["prompt"], where)}


def estimate(config: Config) -> DataEstimate:
    """Tokens guessed from characters, of the prompts alone."""
    return _preferences.estimate(config, ((record["prompt"], ([],)) for _, record in read_prompts(config.train)))


def collect(progress: ProgressFile, config: Config, folder: Path) -> dict[str, Any]:
    """Write the lines, their prompts as messages."""
    _preferences.collect(progress, config, folder, read_prompts)
    return {}


def tokenize(progress: ProgressFile, config: Config, tokenizer: Path, dataset: Path, folder: Path) -> dict[str, Any]:
    """Columns `input_ids`, what the model is given, and `record`, the line as JSON in UTF-8 bytes."""
    columns = {"input_ids": "ids", "record": "uint8"}
    return _preferences.tokenize(progress, config, tokenizer, dataset, folder, columns, _tokenized)


def _tokenized(tokenizer: PreTrainedTokenizerBase, path: Path) -> Iterator[Tokenized]:
    for where, record in read_prompts(path):
        ids = render_prompt(tokenizer, record["prompt"], where)
        line = json.dumps(record, ensure_ascii=False).encode()
        yield Tokenized({"input_ids": ids, "record": list(line)}, (Conversation(ids, len(ids)),))


def facts(report: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Counts of both files."""
    for part in _preferences.PARTS:
        counts = report[part]
        yield (
            part,
            f"{counts['samples'] + counts['too_long']} prompts, {counts['tokens']:,} tokens, longest "
            f"{counts['longest']}, left out as too long: {counts['too_long']}",
        )
