"""Train the tokenizer of a new model on the data set."""

from __future__ import annotations

from pathlib import Path

from cluster.artifacts import Manifest
from jobs.console import fact, title
from jobs.context import Context, Made
from trainers.tokenizer import TokenizerConfig, train_tokenizer

VERSION = 1


def train(context: Context, dataset: Manifest, config: TokenizerConfig) -> Manifest:
    """The tokenizer's artifact: a folder that transformers loads."""
    title("Tokenizer")

    def work(folder: Path) -> Made:
        report = context.remote("train tokenizer", train_tokenizer, config, context.files(dataset), folder)
        return Made({key: value for key, value in report.items() if key != "seconds"})  # the stage's own are there

    outcome = context.make(
        "tokenizer", VERSION, config.model_dump(mode="json", exclude={"name"}), {"dataset": dataset}, work,
        publish_as=config.name, kind="tokenizer",
    )  # fmt: skip
    fact("vocabulary", f"{outcome.report['vocabulary']:,} tokens")
    return outcome.artifact
