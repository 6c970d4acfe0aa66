"""Preferences in JSONL: a prompt, the answer that is preferred and one that is not.

A pair is left out when one of its two conversations is longer than `max_length`; its tokens are those of both.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cluster.errors import DataError
from cluster.progress import ProgressFile
from trainers.data.chat import Messages
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

__all__ = ["Config", "collect", "estimate", "facts", "identity", "read_pairs", "tokenize"]

_FORM = '{"prompt": text or messages, "chosen": text or messages, "rejected": text or messages}'


class Config(FilesConfig):
    """Keys of `data: {kind: pairs}`."""

    kind: Literal["pairs"] = "pairs"
    train: Path
    """JSONL, one pair a line: `{"prompt": …, "chosen": …, "rejected": …}`, each text or a list of messages; an optional
    `margin` (a number) says how much better the chosen one is. Without `prompt`, it is the messages that both begin
    with."""


def estimate(config: Config) -> DataEstimate:
    """Tokens guessed from characters; the tokenizer is not loaded for a plan."""
    pairs = (pair for _, pair in read_pairs(config.train))
    return _preferences.estimate(config, ((pair["prompt"], (pair["chosen"], pair["rejected"])) for pair in pairs))


def collect(progress: ProgressFile, config: Config, folder: Path) -> dict[str, Any]:
    """Write the pairs as messages: TRL's conversational preference format, with `margin` where there is one."""
    _preferences.collect(progress, config, folder, read_pairs)
    return {}


def read_pairs(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (file:line, pair); a pair has messages `prompt`, `chosen` and `rejected`, and may have a `margin`.

    Raises:
        DataError: naming file and line: wrong form, an empty answer, answers that are the same.
    """
    for where, record in records(path, _FORM, ("chosen", "rejected")):
        prompt, chosen, rejected = _parts(record, where)
        pair: dict[str, Any] = {
            "prompt": read_prompt(prompt, where),
            "chosen": read_completion(chosen, "chosen", where),
            "rejected": read_completion(rejected, "rejected", where),
        }
        if pair["chosen"] == pair["rejected"]:
            raise DataError(
                "The chosen and the rejected answer are the same, so the pair prefers nothing.", field=where,
                got=pair["chosen"][-1]["content"][:60], expected="two different answers", fix="remove the line",
            )  # fmt: skip
        if record.get("margin") is not None:
            pair["margin"] = _margin(record["margin"], where)
        yield where, pair


def _parts(record: dict[str, Any], where: str) -> tuple[Any, Any, Any]:
    chosen, rejected = record["chosen"], record["rejected"]
    if "prompt" in record:
        return record["prompt"], chosen, rejected
    if not isinstance(chosen, list) or not isinstance(rejected, list):
        raise DataError("A line is not of the right form.", field=where, got="no prompt", expected=_FORM)
    shared = 0
    while shared < min(len(chosen), len(rejected)) - 1 and chosen[shared] == rejected[shared]:
        shared += 1
    return chosen[:shared], chosen[shared:], rejected[shared:]


def _margin(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise DataError("A pair's margin is not a number.", field=where, got=repr(value)[:80], expected="a number")
    return float(value)


def tokenize(progress: ProgressFile, config: Config, tokenizer: Path, dataset: Path, folder: Path) -> dict[str, Any]:
    """Columns `chosen_ids` and `rejected_ids` (prompt and answer), `prompt_length` (1 number: the tokens that both
    begin with), `margin` (1 number or none) and `line` (1 number: the pair's line in the data set's file).
    """
    columns = {"chosen_ids": "ids", "rejected_ids": "ids", "prompt_length": "uint32", "margin": "float32"}
    return _preferences.tokenize(progress, config, tokenizer, dataset, folder, columns, _tokenized)


def _tokenized(tokenizer: PreTrainedTokenizerBase, path: Path) -> Iterator[Tokenized]:
    for where, pair in read_pairs(path):
        prompt: Messages = pair["prompt"]
        chosen, rejected = (render_completion(tokenizer, prompt, pair[name], where) for name in ("chosen", "rejected"))
        if chosen.input_ids == rejected.input_ids:
            raise DataError(
                "The chat template makes the chosen and the rejected answer the same.", field=where,
                got=pair["chosen"][-1]["content"][:60], expected="two different answers", fix="remove the line",
            )  # fmt: skip
        row = {
            "chosen_ids": chosen.input_ids,
            "rejected_ids": rejected.input_ids,
            "prompt_length": [chosen.prompt_length],
            "margin": [pair["margin"]] if "margin" in pair else [],
        }
        yield Tokenized(row, (chosen, rejected))


def facts(report: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Counts of both files."""
    return _preferences.facts(report, "pairs")
