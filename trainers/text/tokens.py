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
from trainers.text.corpus import read_texts, text_bytes
from trainers.text.encoding import Ids, Wrapping, encoder, wrapping
from trainers.text.files import piece_bytes
from trainers.text.packing import pack_rows
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
    """What a task has made."""

    shard: ShardRecord
    documents: int
    size: int
    """Bytes of text."""


Frequencies = NDArray[np.int64]
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
    vocabulary = max(loaded.get_vocab().values()) + 1
    shared = Tokenizing(loaded.backend_tokenizer.to_str(), vocabulary, wrapping(loaded), config.max_length)
    _require_room(shared)
    work = [one for part in _PARTS for source in config.sources for one in _plan(dataset, part, source.name)]
    for one in work:
        (folder / one.part / one.source).mkdir(parents=True, exist_ok=True)
    total, done = sum(one.size for one in work), 0
    made = dict[int, Made]()
    frequencies = {part: np.zeros(vocabulary, dtype=np.int64) for part in _PARTS}
    for place, (made[place], counts) in each(partial(_make_shard, shared, folder), work):
        frequencies[work[place].part] += counts
        done += work[place].size
        progress.write(done, total, f"{done / 1e6:,.0f} of {total / 1e6:,.0f} MB")
    results = [(one, made[place]) for place, one in enumerate(work)]
    _write_manifests(config, shared, tokenizer_digest(tokenizer), folder, results)
    return _report(config, results, frequencies)


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
    sizes = [text_bytes(file) for file in files]
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


def _make_shard(shared: Tokenizing, folder: Path, work: Work) -> tuple[Made, Frequencies]:
    ids: list[Ids] = []
    size = 0
    for texts, num_bytes in read_texts(work.files):
        ids.extend(encoder(shared.tokenizer).encode(texts))
        size += num_bytes
    rows = pack_rows(ids, shared.wrapping, shared.length)
    columns = {"input_ids": Flat(rows.ids, rows.row_offsets), "documents": Flat(rows.parts, rows.part_offsets)}
    lengths = np.diff(rows.row_offsets).astype(np.int32)
    shard = write_shard(folder / work.part / work.source, work.number, shared.dtypes, columns, lengths)
    firsts = rows.ids[np.cumsum(rows.parts) - rows.parts]
    counts = np.bincount(rows.ids, minlength=shared.vocabulary) - np.bincount(firsts, minlength=shared.vocabulary)
    return Made(shard, len(ids), size), counts


def _write_manifests(
    config: Config, shared: Tokenizing, digest: str, folder: Path, results: list[tuple[Work, Made]]
) -> None:
    for source in config.sources:
        for part in _PARTS:
            shards = [made.shard for work, made in results if (work.part, work.source) == (part, source.name)]
            if not shards:  # nothing of a small source was held out
                continue
            manifest = StoreManifest(
                tokenizer=digest, columns=shared.dtypes, source=source.name, weight=source.weight, shards=shards
            )
            write_manifest(folder / part / source.name, manifest)


def _report(config: Config, results: list[tuple[Work, Made]], frequencies: dict[str, Frequencies]) -> dict[str, Any]:
    def counts(part: str, *sources: str) -> dict[str, int]:
        mine = [made for work, made in results if work.part == part and work.source in sources]
        return {
            "samples": sum(made.shard.examples for made in mine),
            "tokens": sum(made.shard.tokens for made in mine),
            "documents": sum(made.documents for made in mine),
            "bytes": sum(made.size for made in mine),
        }

    names = [source.name for source in config.sources]
    weight = sum(source.weight for source in config.sources)
    heldout = counts(HELDOUT, *names)
    return {
        TRAIN: counts(TRAIN, *names),
        HELDOUT: heldout,
        "sources": {one.name: counts(TRAIN, one.name) | {"share": one.weight / weight} for one in config.sources},
        **_frequency_baseline(frequencies[TRAIN], frequencies[HELDOUT]),
        "bytes_per_token": heldout["bytes"] / max(1, heldout["tokens"]),
    }


def _frequency_baseline(train: Frequencies, heldout: Frequencies) -> dict[str, float]:
    """What is reached without looking at any other token, by the train part's counts plus one."""
    surprisal = -np.log((train + 1) / (train + 1).sum())  # [vocabulary] nats
    predicted = max(1, int(heldout.sum()))
    return {
        "unigram_loss": float(heldout @ surprisal) / predicted,
        "most_frequent_share": float(heldout[train.argmax()] / predicted),
    }
