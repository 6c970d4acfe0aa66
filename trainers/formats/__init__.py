"""Formats of data, one file each: `Config` (its YAML keys) and the functions of `Format`.

A file name in this folder is a value of `data.kind`; a new format is a new file, and nothing else. Which objectives
train on a format is said by the objective (`FORMATS` in its file). A module with `CPUS = 0` starts Ray tasks of its own
in its functions, which then hold no core while they wait for them.

Data takes two steps. `collect` makes the data set: the text or the conversations as they are, checked and cleaned,
without a tokenizer. `tokenize` makes token stores of it (`trainers/data/store.py`), `train` and `heldout`.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast

from cluster.config import PluginConfig
from cluster.progress import ProgressFile

TRAIN, HELDOUT = "train", "heldout"
"""Folders of token stores in a tokens artifact."""


class DataEstimate(NamedTuple):
    """Size of the training data, guessed without a tokenizer."""

    samples: int
    tokens: int
    longest: int
    """Tokens of the longest example."""
    trained_share: float
    """Share of the tokens that count in the loss."""


class Format(Protocol):
    """What the data stages and the plan ask of a format's module."""

    def identity(self, config: PluginConfig) -> Any:
        """Plain data that changes when the files do: hashes, or path, size and time of large ones.

        Raises:
            DataError: a file is missing.
        """
        ...

    def estimate(self, config: PluginConfig) -> DataEstimate:
        """Guess the size of the training data for the plan.

        Raises:
            DataError: a file is missing or malformed, with the line.
        """
        ...

    def collect(self, progress: ProgressFile, config: PluginConfig, folder: Path, **more: Any) -> dict[str, Any]:
        """Write the data set into `folder`; gives its part of report.json.

        A format whose `Config` has `artifacts` (names of published models) is given their folders as `artifacts`.

        Raises:
            DataError: a file is malformed, with the line; or nothing is left to train on.
        """
        ...

    def tokenize(
        self, progress: ProgressFile, config: PluginConfig, tokenizer: Path, dataset: Path, folder: Path
    ) -> dict[str, Any]:
        """Write token stores `folder/train` and `folder/heldout` of what `collect` wrote into `dataset`.

        Args:
            tokenizer: a folder with tokenizer.json.

        Returns:
            the stage's part of report.json; `train` and `heldout` each have at least `samples` and `tokens`.

        Raises:
            DataError: an example would train on nothing or on the wrong thing.
        """
        ...

    def facts(self, report: dict[str, Any]) -> Iterator[tuple[str, str]]:
        """(label, words) lines about what `tokenize` reported, for the terminal."""
        ...


def format_of(config: PluginConfig) -> Format:
    """The module of the format that a config names."""
    return cast(Format, importlib.import_module(f"{__name__}.{config.kind}"))
