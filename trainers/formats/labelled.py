"""Answers with a thumb up or down, in JSONL (the data of KTO, Ethayarajh et al. 2024, arXiv 2402.01306).

Conversations longer than `max_length` are left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cluster.errors import DataError
from cluster.progress import ProgressFile
from trainers.formats import DataEstimate, _preferences
from trainers.formats._preferences import (
    FilesConfig,
    Tokenized,
    identity,
    read_completion,
    read_prompt,
    records,
    render_completion,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["Config", "collect", "estimate", "facts", "identity", "read_labelled", "tokenize"]

_FORM = '{"prompt": text or messages, "completion": text or messages, "label": true or false}'


class Config(FilesConfig):
    """Keys of `data: {kind: labelled}`."""

    kind: Literal["labelled"] = "labelled"
    train: Path
    """JSONL, one answer a line: `{"prompt": …, "completion": …, "label": true}`; prompt and completion are text or
    lists of messages, the label says whether the answer is a good one."""


def estimate(config: Config) -> DataEstimate:
    """Tokens guessed from characters; the tokenizer is not loaded for a plan."""
    answers = (answer for _, answer in read_labelled(config.train))
    return _preferences.estimate(config, ((answer["prompt"], (answer["completion"],)) for answer in answers))


def collect(progress: ProgressFile, config: Config, folder: Path) -> dict[str, Any]:
    """Write the answers as messages: TRL's conversational format of unpaired preferences.

    Returns:
        `labels`: how many training answers are good and bad.

    Raises:
        DataError: all training answers have the same label.
    """
    labels = Counter(answer["label"] for _, answer in read_labelled(config.train))
    if len(labels) < 2:
        raise DataError(
            "All answers have the same label, so there is nothing to prefer.", field="data.train",
            got=f"{labels.total()} × {next(iter(labels))}", expected="true and false",
        )  # fmt: skip
    _preferences.collect(progress, config, folder, read_labelled)
    return {"labels": {"true": labels[True], "false": labels[False]}}


def read_labelled(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (file:line, answer); an answer has messages `prompt` and `completion`, and a `label`.

    Raises:
        DataError: naming file and line: wrong form, an empty answer, a label that is not true or false.
    """
    for where, record in records(path, _FORM, ("prompt", "completion", "label")):
        if not isinstance(record["label"], bool):
            raise DataError(
                "A label is not true or false.", field=where, got=repr(record["label"])[:80], expected="true or false"
            )
        yield (
            where,
            {
                "prompt": read_prompt(record["prompt"], where),
                "completion": read_completion(record["completion"], "completion", where),
                "label": record["label"],
            },
        )


def tokenize(progress: ProgressFile, config: Config, tokenizer: Path, dataset: Path, folder: Path) -> dict[str, Any]:
    """Columns `input_ids` (prompt and completion), and 1 number each: `prompt_length`, `label` (0 or 1) and `line` (the
    answer's line in the data set's file).
    """
    columns = {"input_ids": "ids", "prompt_length": "uint32", "label": "uint16"}
    return _preferences.tokenize(progress, config, tokenizer, dataset, folder, columns, _tokenized)


def _tokenized(tokenizer: PreTrainedTokenizerBase, path: Path) -> Iterator[Tokenized]:
    for where, answer in read_labelled(path):
        conversation = render_completion(tokenizer, answer["prompt"], answer["completion"], where)
        row = {
            "input_ids": conversation.input_ids,
            "prompt_length": [conversation.prompt_length],
            "label": [int(answer["label"])],
        }
        yield Tokenized(row, (conversation,))


def facts(report: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Counts of both files."""
    return _preferences.facts(report, "answers")
