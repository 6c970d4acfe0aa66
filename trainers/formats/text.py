"""Raw text of any size, for pretraining: cleaned, deduplicated, split, tokenized and packed into rows of `max_length`.

A row has exactly `max_length` tokens, the last one of a shard fewer. Documents follow one another; what does not fit
goes on in the next row as a document of its own, and no position attends across documents.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, PositiveInt, field_validator

from cluster.errors import ConfigValueError
from cluster.progress import ProgressFile
from trainers.config import DataConfig
from trainers.formats import HELDOUT, TRAIN, DataEstimate
from trainers.text.config import NOTHING, CleanConfig, NearConfig, SourceConfig

_BYTES_PER_TOKEN = 3.5
_COMPRESSION = 3.5  # what gzip, zstd and Parquet make of text

CPUS = 0  # it starts Ray tasks of its own, which need the cores


class Config(DataConfig):
    """Keys of `data: {kind: text}`."""

    kind: Literal["text"] = "text"
    sources: list[SourceConfig] = Field(min_length=1)
    """Where the text comes from; the parts of the mixture."""
    clean: bool | CleanConfig = True
    """What is done to each document's text; true: the defaults; false: nothing."""
    min_chars: PositiveInt = 1
    """Documents with fewer characters after cleaning are left out."""
    deduplicate: Literal["none", "exact", "near"] = "exact"
    """Which documents are left out as repetitions of an earlier one, of any source: equal ones after cleaning, or those
    nearly equal (`near`) too. This comes before the split, so that nothing held out is trained on."""
    near: NearConfig = NearConfig()
    """How near-duplicates are found."""
    heldout: float = Field(default=0.02, gt=0, lt=1)
    """Share of the documents that are never trained on. A hash of the document and the seed chooses them: a document
    stays on its side when others join."""
    seed: int = Field(default=0, ge=0)
    """Seed of that choice."""
    max_document_bytes: PositiveInt = 10_000_000
    """A document larger than this in its file is refused: mostly it is not text, or not one document."""
    on_invalid_utf8: Literal["refuse", "replace"] = "refuse"
    """What is done about bytes that are not UTF-8: refuse the file, or put U+FFFD in their place."""

    @field_validator("sources")
    @classmethod
    def _names_differ(cls, value: list[SourceConfig]) -> list[SourceConfig]:
        names = [source.name for source in value]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ConfigValueError(
                "Two sources have the same name.", got=", ".join(twice), expected="a `name` of its own for each"
            )
        from trainers.data.sampler import BLOCK

        total = sum(source.weight for source in value)
        if small := [source.name for source in value if source.weight < total / BLOCK]:
            raise ConfigValueError(
                "A source's share is too small.", got=f"{', '.join(small)}: less than 1 in {BLOCK:,}",
                expected=f"weights of at least 1 in {BLOCK:,} of their sum",
            )  # fmt: skip
        return value

    @property
    def cleaning(self) -> CleanConfig:
        """What is done to each document's text."""
        if isinstance(self.clean, CleanConfig):
            return self.clean
        return CleanConfig() if self.clean else NOTHING


def identity(config: Config) -> list[list[tuple[str, int, int]]]:
    """For each source, (path below it, bytes, time of the last change in ns) of its files; none is read."""
    from trainers.text.files import find

    return [[(file.relative, file.size, file.mtime_ns) for file in find(source).files] for source in config.sources]


def estimate(config: Config) -> DataEstimate:
    """Tokens guessed from the sizes of the files."""
    from trainers.text.files import find

    files = [file for source in config.sources for file in find(source).files]
    text = sum(file.size * (_COMPRESSION if file.is_compressed else 1) for file in files)
    tokens = max(1, int(text * (1 - config.heldout) / _BYTES_PER_TOKEN))
    return DataEstimate(
        samples=-(-tokens // config.max_length), tokens=tokens, longest=config.max_length, trained_share=1.0
    )


def collect(progress: ProgressFile, config: Config, folder: Path) -> dict[str, Any]:
    """Parquet files `folder/{train,heldout}/SOURCE/*.parquet` with columns `text`, `source` and `path`."""
    from trainers.text.corpus import collect_text

    return collect_text(progress, config, folder)


def tokenize(progress: ProgressFile, config: Config, tokenizer: Path, dataset: Path, folder: Path) -> dict[str, Any]:
    """Columns `input_ids` and `documents`, the lengths of the documents (or parts of one) that a row consists of."""
    from trainers.text.tokens import tokenize_text

    return tokenize_text(progress, config, tokenizer, dataset, folder)


def facts(report: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Counts of both parts, and what a model that knows only how frequent tokens are would get."""
    for part in (TRAIN, HELDOUT):
        counts = report[part]
        yield (
            part,
            (
                f"{counts['documents']:,} documents, {counts['tokens']:,} tokens in {counts['samples']:,} rows, "
                f"{counts['bytes'] / 1e6:,.1f} MB"
            ),
        )
    for name, counts in report["sources"].items() if len(report["sources"]) > 1 else ():
        yield name, f"{counts['tokens']:,} tokens, {counts['share']:.1%} of the training examples"
    yield (
        "to beat",
        (
            f"{report['unigram_loss']:.3f} nats a token by frequency alone; "
            f"{report['bytes_per_token']:.2f} bytes a token; most frequent token {report['most_frequent_share']:.1%}"
        ),
    )
