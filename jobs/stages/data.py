"""Prepare the data: publish the files as they are, tokenize them with the loss mask, check, and show one example."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.text import Text

from cluster.artifacts import Manifest
from cluster.config import file_digest
from cluster.errors import DataError
from cluster.progress import ProgressFile
from jobs.console import console, fact, title
from jobs.context import Context, Made
from trainers.config import DataConfig
from trainers.data.chat import render_file
from trainers.data.tokens import write_tokens
from trainers.models import load_tokenizer

VERSION = 1
TRAIN, HELDOUT = "train.arrow", "heldout.arrow"


def prepare(context: Context, base: Manifest, config: DataConfig) -> Manifest:
    """The tokenized data's artifact, with files `train.arrow` and `heldout.arrow`."""
    title("Data")
    for path in (config.train, config.heldout):
        if not path.is_file():
            raise DataError("A data file is missing.", field="data", got=path, expected="a JSONL file")

    def copy(folder: Path) -> Made:
        shutil.copy(config.train, folder / "train.jsonl")
        shutil.copy(config.heldout, folder / "heldout.jsonl")
        return Made({}, source={"train": config.train.name, "heldout": config.heldout.name})

    hashes = [file_digest(config.train), file_digest(config.heldout)]
    raw = context.make(
        "dataset", VERSION, {}, {}, copy, publish_as=config.name, kind="dataset", outside=hashes
    ).artifact

    def tokenize(folder: Path) -> Made:
        report = context.remote(
            "tokenize", _tokenize, context.files(base), context.files(raw), folder, config.max_length
        )
        kept = report["train"]["conversations"] - report["train"]["too_long"]
        return Made(report, metrics={"train_tokens": report["train"]["tokens"], "train_samples": kept})

    outcome = context.make(
        "tokens", VERSION, {"max_length": config.max_length}, {"tokenizer": base, "text": raw}, tokenize,
        publish_as=f"{config.name}-tokens", kind="tokens",
    )  # fmt: skip
    _show(outcome.report)
    return outcome.artifact


def _tokenize(progress: ProgressFile, base: Path, raw: Path, folder: Path, max_length: int) -> dict[str, Any]:
    tokenizer = load_tokenizer(base)
    report: dict[str, Any] = {}
    seen: dict[str, set[tuple[int, ...]]] = {}
    for index, (part, target) in enumerate((("train", TRAIN), ("heldout", HELDOUT))):
        progress.write(index, 2, part)
        examples, counts = render_file(tokenizer, raw / f"{part}.jsonl", max_length)
        write_tokens(folder / target, examples)
        report[part] = asdict(counts)
        seen[part] = {tuple(example.input_ids) for example in examples}
        if part == "train":
            first = examples[0]
            pieces = [str(tokenizer.decode([token])) for token in first.input_ids]
            report["example"] = [list(pair) for pair in zip(pieces, first.trained, strict=True)]
    if shared := len(seen["train"] & seen["heldout"]):
        raise DataError(
            "Held-out conversations are also trained on, so nothing could be measured with them.", field="data.heldout",
            got=f"{shared} of {len(seen['heldout'])} are in data.train", expected="none",
            fix="take them out of one of the two files",
        )  # fmt: skip
    return report


def _show(report: dict[str, Any]) -> None:
    for part in ("train", "heldout"):
        counts = report[part]
        share = counts["trained_tokens"] / counts["tokens"]
        fact(
            part,
            f"{counts['conversations']} conversations, {counts['tokens']:,} tokens, {share:.0%} of them trained, "
            f"longest {counts['longest']}, left out as too long: {counts['too_long']}",
        )
    text = Text("  ")
    for piece, trained in report["example"]:
        text.append(piece.replace("\n", "⏎\n  "), style="bold green" if trained else "dim")
    console.print("  One example; [bold green]trained[/] and [dim]not trained[/]:")
    console.print(text)
