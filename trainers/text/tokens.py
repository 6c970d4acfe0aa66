"""Tokenize a text data set into token stores of packed rows, one store a source.

Each task turns some of a source's Parquet files into one shard. Which files is decided by their sizes, so that the
stores are the same, byte for byte, on any number of cores.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pyarrow import compute, parquet

from cluster.errors import DataError
from cluster.progress import ProgressFile
from trainers.data.store import (
    Flat,
    ShardRecord,
    StoreManifest,
    id_dtype,
    tokenizer_digest,
    write_manifest,
    write_shard,
)
from trainers.formats import HELDOUT, TRAIN
from trainers.text.encoding import Ids, Wrapping, encoder, wrapping
from trainers.text.files import piece_bytes
from trainers.text.packing import Rows, pack_rows
from trainers.text.parallel import each

if TYPE_CHECKING:
    from trainers.formats.text import Config

_PARTS = (TRAIN, HELDOUT)


class Tokenizing(NamedTuple):
    """What all tasks share."""

    tokenizer: str
    """The content of tokenizer.json."""
    vocabulary: int
    wrapping: Wrapping
    length: int
    """Tokens of a row."""

    @property
    def dtypes(self) -> dict[str, str]:
        """The store's columns."""
        return {"input_ids": id_dtype(self.vocabulary), "documents": id_dtype(self.length + 1)}


class Work(NamedTuple):
    """What one task makes: a shard."""

    part: str
    source: str
    number: int
    files: list[Path]
    size: int
    """Bytes of text."""


class Made(NamedTuple):
    """What a task gives back."""

    shard: ShardRecord
    documents: int
    size: int
    targets: NDArray[np.int64]
    """[vocabulary] how often each token is predicted: all tokens but the first of each part of a document."""


def tokenize_text(
    progress: ProgressFile, config: Config, tokenizer: Path, dataset: Path, folder: Path
) -> dict[str, Any]:
    """Write `folder/{train,heldout}/SOURCE`; gives counts, and what to expect of a model that knows frequencies only.

    Raises:
        DataError: the tokenizer does not suit, or the data set was collected from other sources.
    """
    from trainers.models import load_tokenizer

    loaded: Any = load_tokenizer(tokenizer)
    shared = Tokenizing(loaded.backend_tokenizer.to_str(), len(loaded), wrapping(loaded), config.max_length)
    _require_room(shared)
    sources = [source.name for source in config.sources]
    work = [one for part in _PARTS for source in sources for one in _plan(dataset, part, source)]
    for part, source in sorted({(one.part, one.source) for one in work}):
        (folder / part / source).mkdir(parents=True)
    total, done = sum(one.size for one in work), 0
    made = dict[int, Made]()
    for place, made[place] in each(partial(_make_shard, shared, folder), work):
        done += work[place].size
        progress.write(done, total, f"{done / 1e6:,.0f} of {total / 1e6:,.0f} MB")
    for source in config.sources:
        for part in _PARTS:
            shards = [made[place].shard for place, one in enumerate(work) if (one.part, one.source) == (part, source.name)]
            if shards:
                manifest = StoreManifest(
                    tokenizer=tokenizer_digest(tokenizer), columns=shared.dtypes, source=source.name,
                    weight=source.weight, shards=shards,
                )  # fmt: skip
                write_manifest(folder / part / source.name, manifest)
    return _report(config, work, [made[place] for place in range(len(work))])


def _require_room(shared: Tokenizing) -> None:
    special = len(shared.wrapping.before) + len(shared.wrapping.after)
    if shared.length <= special + 1:
        raise DataError(
            "The rows are too short.", field="data.max_length", got=shared.length,
            expected=f"more than {special + 1}: {special} special tokens and two of text",
        )  # fmt: skip


def _plan(dataset: Path, part: str, source: str) -> Iterator[Work]:
    """The shards of one source: neighbouring files that hold enough text together."""
    files = sorted((dataset / part / source).glob("*.parquet"))
    sizes = [_text_bytes(file) for file in files]
    if part == TRAIN and not files:
        raise DataError(
            "The data set lacks a source.", field=str(dataset), got=f"nothing in {part}/{source}",
            expected="a data set that was collected from data.sources",
        )  # fmt: skip
    target, number = piece_bytes(sum(sizes)), 0
    taken: list[Path] = []
    size = 0
    for file, file_size in zip(files, sizes, strict=True):
        taken.append(file)
        size += file_size
        if size >= target or file == files[-1]:
            yield Work(part, source, number, taken, size)
            taken, size, number = [], 0, number + 1


def _text_bytes(file: Path) -> int:
    metadata = parquet.read_metadata(file)
    return sum(metadata.row_group(group).column(0).total_uncompressed_size for group in range(metadata.num_row_groups))


def _make_shard(shared: Tokenizing, folder: Path, work: Work) -> Made:
    ids: list[Ids] = []
    size = 0
    for texts, text_bytes in read_texts(work.files):
        ids.extend(encoder(shared.tokenizer).encode(texts))
        size += text_bytes
    rows = pack_rows(ids, shared.wrapping, shared.length)
    columns = {"input_ids": Flat(rows.ids, rows.row_offsets), "documents": Flat(rows.parts, rows.part_offsets)}
    lengths = np.diff(rows.row_offsets).astype(np.int32)
    shard = write_shard(folder / work.part / work.source, work.number, shared.dtypes, columns, lengths)
    return Made(shard, len(ids), size, _targets(rows, shared.vocabulary))


def read_texts(files: list[Path]) -> Iterator[tuple[list[str], int]]:
    """Yield (texts, their bytes) of each row group of Parquet files that `collect` wrote."""
    for file in files:
        with parquet.ParquetFile(file) as opened:
            for group in range(opened.num_row_groups):
                column = opened.read_row_group(group, columns=["text"])["text"]
                yield column.to_pylist(), int(compute.sum(compute.binary_length(column)).as_py())


def _targets(rows: Rows, vocabulary: int) -> NDArray[np.int64]:
    counts = np.bincount(rows.ids, minlength=vocabulary)
    firsts = rows.ids[np.cumsum(rows.parts) - rows.parts]
    return counts - np.bincount(firsts, minlength=vocabulary)


def _report(config: Config, work: list[Work], made: list[Made]) -> dict[str, Any]:
    def counts(part: str, source: str | None = None) -> dict[str, int]:
        mine = [
            result
            for one, result in zip(work, made, strict=True)
            if one.part == part and source in (None, one.source)
        ]
        return {
            "samples": sum(result.shard.examples for result in mine),
            "tokens": sum(result.shard.tokens for result in mine),
            "documents": sum(result.documents for result in mine),
            "bytes": sum(result.size for result in mine),
        }

    train, heldout = (
        sum(result.targets for one, result in zip(work, made, strict=True) if one.part == part) for part in _PARTS
    )
    heldout_counts = counts(HELDOUT)
    weights = sum(source.weight for source in config.sources)
    return {
        TRAIN: counts(TRAIN),
        HELDOUT: heldout_counts,
        "sources": {
            source.name: {**counts(TRAIN, source.name), "share": source.weight / weights} for source in config.sources
        },
        **_frequency_baseline(np.asarray(train), np.asarray(heldout)),
        "bytes_per_token": heldout_counts["bytes"] / heldout_counts["tokens"],
    }


def _frequency_baseline(train: NDArray[np.int64], heldout: NDArray[np.int64]) -> dict[str, float]:
    """What is reached without looking at any other token, by the train part's counts plus one."""
    surprisal = -np.log((train + 1) / (train + 1).sum())  # [vocabulary] nats
    predicted = max(1, int(heldout.sum()))
    return {
        "unigram_loss": float(heldout @ surprisal) / predicted,
        "most_frequent_share": float(heldout[train.argmax()] / predicted),
    }
