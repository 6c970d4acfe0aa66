"""Collect text: read and clean, decide what repeats and what is held out, write the rest.

    folder/.read/00000.parquet              what each piece of the files holds, with fingerprints; removed at the end
    folder/{train,heldout}/SOURCE/*.parquet columns text, source and path (below the source's)

Two passes, since any two documents may be the same: the first reads and cleans each piece of the files, on all cores;
the driver then decides over the fingerprints alone (16 bytes a document); the second copies what stays. Pieces and
files depend on the sources only, so that the data set is the same on any cluster.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import compute, parquet

from cluster.errors import DataError
from cluster.progress import ProgressFile
from cluster.storage import require_free_space
from trainers.formats import HELDOUT, TRAIN
from trainers.text import deduplication
from trainers.text.cleaning import clean
from trainers.text.files import Found, Piece, cut, find
from trainers.text.parallel import each
from trainers.text.reading import documents

if TYPE_CHECKING:
    from trainers.formats.text import Config

_KEPT = {TRAIN: 0, HELDOUT: 1}
_EXACT, _NEAR = 2, 3
Verdicts = NDArray[np.uint8]
"""[documents] what becomes of each: a value of `_KEPT`, `_EXACT` or `_NEAR`."""

_GROUP_BYTES = 16_000_000  # text that is held at once
_FILE_BYTES = 256_000_000  # text of a file of the data set
_SCHEMA = pa.schema([("text", pa.string()), ("source", pa.dictionary(pa.int32(), pa.string())), ("path", pa.string())])


class Read(NamedTuple):
    """What reading a piece gave."""

    documents: int
    too_short: int
    size: int
    """Bytes of the documents' text."""


def collect_text(progress: ProgressFile, config: Config, folder: Path) -> dict[str, Any]:
    """Write the data set; gives counts of each source and of each part.

    Raises:
        DataError: a file is malformed, a source has nothing to train on, or there is nothing to hold out.
    """
    found = [find(source) for source in config.sources]
    pieces = cut([one.files for one in found])
    total = sum(piece.size for piece in pieces)
    require_free_space(folder, total, "for the text")
    scratch = folder / ".read"
    scratch.mkdir()
    try:
        files = [scratch / f"{number:05d}.parquet" for number in range(len(pieces))]
        done, read = 0, dict[int, Read]()
        for place, read[place] in each(partial(_read_piece, config), list(zip(pieces, files, strict=True))):
            done += pieces[place].size
            progress.write(done, 2 * total, f"read {done / 1e6:,.0f} of {total / 1e6:,.0f} MB")
        verdicts = _decide(config, files)
        report = _counts(config, found, pieces, read, verdicts)
        names = [f"{config.sources[piece.source].name}/{number:05d}.parquet" for number, piece in enumerate(pieces)]
        for place, sizes in each(partial(_write_piece, folder), list(zip(files, names, verdicts, strict=True))):
            done += pieces[place].size
            progress.write(done, 2 * total, "write what stays")
            for part, size in sizes.items():
                report[part]["bytes"] += size
    finally:
        shutil.rmtree(scratch, ignore_errors=True)  # after an error, tasks may still be writing there
    return report


def _read_piece(config: Config, item: tuple[Piece, Path]) -> Read:
    """Write the cleaned documents of a piece, with their fingerprints."""
    piece, file = item
    near = config.near if config.deduplicate == "near" else None
    schema = pa.schema([*_SCHEMA, ("digest", pa.binary(deduplication.DIGEST_BYTES))])
    if near:
        schema = schema.append(pa.field("signature", pa.binary(4 * near.permutations)))
    count = too_short = size = 0
    rows = _Rows(file, schema)
    with rows:
        for path, text in _clean_documents(config, piece):
            if len(text) < config.min_chars or not (data := text.encode()):
                too_short += 1
                continue
            count, size = count + 1, size + len(data)
            row: dict[str, Any] = {"text": text, "source": config.sources[piece.source].name, "path": path}
            row["digest"] = deduplication.digest(data)
            if near:
                row["signature"] = deduplication.signature(data, near).tobytes()
            rows.add(row, len(data))
    return Read(count, too_short, size)


def _clean_documents(config: Config, piece: Piece) -> Iterator[tuple[str, str]]:
    source, replace = config.sources[piece.source], config.on_invalid_utf8 == "replace"
    for span in piece.spans:
        for text in documents(span, source, config.max_document_bytes, replace=replace):
            yield span.file.relative, clean(text, config.cleaning, is_html=span.file.kind == "html")


class _Rows:
    """Writes rows into a Parquet file, a row group whenever `_GROUP_BYTES` are together."""

    def __init__(self, file: Path, schema: pa.Schema) -> None:
        self._writer = parquet.ParquetWriter(file, schema, compression="zstd")
        self._schema, self._rows, self._size = schema, list[dict[str, Any]](), 0

    def __enter__(self) -> _Rows:
        return self

    def __exit__(self, *_: object) -> None:
        self._flush()
        self._writer.close()

    def add(self, row: dict[str, Any], size: int) -> None:
        self._rows.append(row)
        self._size += size
        if self._size >= _GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_table(pa.Table.from_pylist(self._rows, self._schema))
        self._rows, self._size = [], 0


def _decide(config: Config, files: list[Path]) -> list[Verdicts]:
    """The verdicts on the documents of each file.

    Raises:
        DataError: there are no two different documents.
    """
    digests = _column(files, "digest").view(np.uint64)  # [documents, 2]
    verdicts: Verdicts = np.zeros(len(digests), dtype=np.uint8)
    if config.deduplicate != "none":
        verdicts[deduplication.repeats(digests)] = _EXACT
    if config.deduplicate == "near":
        left = np.flatnonzero(verdicts == 0)
        signatures = _column(files, "signature").view(np.uint32)[left]
        verdicts[left[deduplication.near_repeats(signatures, config.near)]] = _NEAR
    left = np.flatnonzero(verdicts == 0)
    numbers = deduplication.mix(digests[left, 0] ^ deduplication.mix(np.array([config.seed], dtype=np.uint64)))
    if len(left) == 0 or numbers.min() == numbers.max():
        raise DataError(
            "There is too little text to train on some and hold out some.", field="data.sources",
            got=f"{min(len(left), 1)} different documents, after cleaning", expected="two or more",
            fix="add files; divide a large text into documents with the source's `separator`; lower data.min_chars",
        )  # fmt: skip
    # At least one document on each side, however few there are.
    bar = min(max(int(config.heldout * 2**64), int(numbers.min())), int(numbers.max()) - 1)
    verdicts[left[numbers <= np.uint64(bar)]] = _KEPT[HELDOUT]
    return np.split(verdicts, np.cumsum([parquet.read_metadata(file).num_rows for file in files])[:-1])


def _column(files: list[Path], name: str) -> NDArray[np.uint8]:
    """[documents, bytes] a column of equally many bytes a document, of all files."""
    chunks = [chunk for file in files for chunk in parquet.read_table(file, columns=[name])[name].chunks if len(chunk)]
    width = parquet.read_schema(files[0]).field(name).type.byte_width
    parts = [np.frombuffer(one.buffers()[1], np.uint8, len(one) * width, one.offset * width) for one in chunks]
    values: NDArray[np.uint8] = np.concatenate([np.zeros(0, np.uint8), *parts]).reshape(-1, width)
    return values


def _counts(
    config: Config, found: list[Found], pieces: list[Piece], read: dict[int, Read], verdicts: list[Verdicts]
) -> dict[str, Any]:
    """Counts of each source, and of both parts (`bytes` still zero).

    Raises:
        DataError: a source has nothing to train on.
    """
    sources: dict[str, dict[str, int]] = {}
    for number, source in enumerate(config.sources):
        mine = [place for place, piece in enumerate(pieces) if piece.source == number]
        verdict = np.bincount(np.concatenate([verdicts[place] for place in mine]), minlength=_NEAR + 1).tolist()
        sources[source.name] = counts = {
            "files": len(found[number].files),
            "skipped_files": found[number].skipped,
            "documents": sum(read[place].documents for place in mine),
            "bytes": sum(read[place].size for place in mine),
            "too_short": sum(read[place].too_short for place in mine),
            "exact_duplicates": verdict[_EXACT],
            "near_duplicates": verdict[_NEAR],
            "heldout": verdict[_KEPT[HELDOUT]],
            "train": verdict[_KEPT[TRAIN]],
        }
        if not counts["train"]:
            raise DataError(
                "A source has nothing to train on.", field=f"data.sources: {source.name}",
                got=", ".join(f"{key}: {value}" for key, value in counts.items()),
                expected="a document that is long enough, no repetition of another source's, and not held out",
                fix="take the source out, or give it more text",
            )  # fmt: skip
    parts = {part: {"documents": sum(one[part] for one in sources.values()), "bytes": 0} for part in _KEPT}
    return {**parts, "sources": sources}


def _write_piece(folder: Path, item: tuple[Path, str, Verdicts]) -> dict[str, int]:
    """Write what stays of a piece; gives the bytes of text in each part."""
    file, name, verdict = item
    sizes = dict.fromkeys(_KEPT, 0)
    for part, kept in _KEPT.items():
        if not np.any(verdict == kept):
            continue
        row = 0
        with parquet.ParquetFile(file) as source, _Files(folder / part / name) as target:
            for group in range(source.num_row_groups):
                table = source.read_row_group(group, columns=_SCHEMA.names)
                table = table.filter(pa.array(verdict[row : (row := row + len(table))] == kept)).cast(_SCHEMA)
                if len(table):
                    size = int(compute.sum(compute.binary_length(table["text"])).as_py())
                    target.write(table, size)
                    sizes[part] += size
    return sizes


class _Files:
    """A Parquet file, followed by `NAME-1.parquet` and so on: one task tokenizes a file, and holds all its tokens."""

    def __init__(self, first: Path) -> None:
        self._first, self._count, self._size = first, 0, 0
        self._writer: parquet.ParquetWriter | None = None

    def __enter__(self) -> _Files:
        self._first.parent.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()

    def write(self, table: pa.Table, size: int) -> None:
        if self._writer is None or self._size >= _FILE_BYTES:
            self.__exit__()
            name = f"{self._first.stem}-{self._count}.parquet" if self._count else self._first.name
            self._writer = parquet.ParquetWriter(self._first.with_name(name), _SCHEMA, compression="zstd")
            self._count, self._size = self._count + 1, 0
        self._writer.write_table(table)
        self._size += size


def read_texts(files: list[Path]) -> Iterator[tuple[list[str], int]]:
    """Yield (texts, their bytes) of each row group of Parquet files that `collect` wrote."""
    for file in files:
        with parquet.ParquetFile(file) as opened:
            for group in range(opened.num_row_groups):
                column = opened.read_row_group(group, columns=["text"])["text"]
                yield column.to_pylist(), int(compute.sum(compute.binary_length(column)).as_py())


def text_bytes(file: Path) -> int:
    """About how many bytes of text a Parquet file holds, without reading it."""
    metadata = parquet.read_metadata(file)
    return sum(metadata.row_group(group).column(0).total_uncompressed_size for group in range(metadata.num_row_groups))
