"""Tokenize the data set into token stores, check it, and show one example."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.text import Text

from cluster.artifacts import Manifest
from cluster.progress import ProgressFile
from jobs.console import console, fact, title
from jobs.context import Context, Made
from jobs.stages.dataset import cores
from trainers.config import DataConfig
from trainers.formats import HELDOUT, TRAIN, format_of

VERSION = 2


def tokenize(context: Context, tokenizer: Manifest, dataset: Manifest, config: DataConfig) -> Manifest:
    """The tokens' artifact, with folders `train` and `heldout`; `tokenizer` is a tokenizer's or a model's artifact."""
    title("Tokens")

    def work(folder: Path) -> Made:
        files = context.files(tokenizer), context.files(dataset)
        report = context.remote("tokenize", _tokenize, config, *files, folder, cpus=cores(config))
        sizes = {f"{part}_{key}": report[part][key] for part in (TRAIN, HELDOUT) for key in ("tokens", "samples")}
        return Made(report, metrics=sizes)

    outcome = context.make(
        "tokens", VERSION, config.model_dump(mode="json", exclude={"name"}),
        {"tokenizer": tokenizer, "dataset": dataset}, work, publish_as=f"{config.name}-tokens", kind="tokens",
    )  # fmt: skip
    for label, words in format_of(config).facts(outcome.report):
        fact(label, words)
    if "example" in outcome.report:
        _show(outcome.report["example"])
    return outcome.artifact


def _tokenize(
    progress: ProgressFile, config: DataConfig, tokenizer: Path, dataset: Path, folder: Path
) -> dict[str, Any]:
    return format_of(config).tokenize(progress, config, tokenizer, dataset, folder)


def _show(example: list[tuple[str, int]]) -> None:
    text = Text("  ")
    for piece, trained in example:
        text.append(piece.replace("\n", "⏎\n  "), style="bold green" if trained else "dim")
    console.print("  One example; [bold green]trained[/] and [dim]not trained[/]:")
    console.print(text)
