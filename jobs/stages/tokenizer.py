"""Train the tokenizer of a new model on the data set."""

from __future__ import annotations

from trainers.tokenizer import TokenizerConfig, train_tokenizer

from cluster.artifacts import Manifest
from jobs.console import title
from jobs.context import Context, Made

VERSION = 1


def train(context: Context, dataset: Manifest, config: TokenizerConfig) -> Manifest:
    """The tokenizer's artifact: a folder that transformers loads."""
    title("Tokenizer")
    outcome = context.make(
        "tokenizer", VERSION, config.model_dump(mode="json", exclude={"name"}), {"dataset": dataset},
        lambda folder: Made(context.remote("train tokenizer", train_tokenizer, config, context.files(dataset), folder)),
        publish_as=config.name, kind="tokenizer",
    )  # fmt: skip
    return outcome.artifact
