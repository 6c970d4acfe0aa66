"""Tokenized examples on disk: a folder of Arrow files that workers map into memory rather than read.

    manifest.json       what is in it: tokenizer, columns, examples, tokens, and each shard with its hash
    shard-00000.arrow   one row an example; each column a list of numbers

An example is a `Row`: column name → flat array. The columns are the data format's (`trainers/formats`), and one of
them, `length`, is always there: the tokens of the example, by which batches are balanced.
"""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field

from cluster.config import Config, file_digest
from cluster.errors import DataError
from cluster.storage import read_json, write_json

Row = dict[str, NDArray[Any]]
"""One example: column → flat array."""

_MANIFEST = "manifest.json"
_LENGTH = "length"
_DTYPES = ("uint8", "uint16", "uint32", "float32")


class Flat(NamedTuple):
    """A column of lists: the numbers of all rows on end."""

    values: NDArray[Any]
    offsets: NDArray[np.int64]
    """[rows + 1] where each row begins; the last is the end."""


class ShardRecord(Config):
    """One file of a store."""

    file: str
    examples: int
    tokens: int
    sha256: str


class StoreManifest(Config):
    """What a store holds."""

    tokenizer: str
    """SHA-256 of the tokenizer.json that the ids belong to (`tokenizer_digest`)."""
    columns: dict[str, str]
    """Column → numpy type of its numbers."""
    source: str = ""
    """Which part of a mixture it is; empty when there is no mixture."""
    weight: float = 1.0
    """Its share of a mixture's examples, relative to the other parts'."""
    shards: list[ShardRecord] = Field(default_factory=list)

    @property
    def num_examples(self) -> int:
        """Examples of all shards."""
        return sum(shard.examples for shard in self.shards)

    @property
    def num_tokens(self) -> int:
        """Tokens of all shards."""
        return sum(shard.tokens for shard in self.shards)


def tokenizer_digest(folder: Path) -> str:
    """SHA-256 of a model or tokenizer folder's `tokenizer.json`; stores and models are matched by it.

    Raises:
        DataError: there is none.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise DataError("The folder holds no fast tokenizer.", field=str(folder), expected="a tokenizer.json")
    return file_digest(path)


def id_dtype(vocabulary: int) -> str:
    """The smallest type that holds the ids of a vocabulary of that size."""
    return "uint16" if vocabulary <= 1 << 16 else "uint32"


class StoreWriter:
    """Writes a store, a shard whenever `shard_tokens` are together. Use it in a `with` block.

    The manifest is written last: a folder without one is not a store.
    """

    def __init__(
        self,
        folder: Path,
        tokenizer: str,
        columns: Mapping[str, str],
        *,
        source: str = "",
        weight: float = 1.0,
        shard_tokens: int = 50_000_000,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._shard_tokens = folder, shard_tokens
        self._manifest = StoreManifest(tokenizer=tokenizer, columns=dict(columns), source=source, weight=weight)
        _schema(self._manifest.columns)  # refuses unknown types before anything is written
        self._shards: list[ShardRecord] = []
        self._rows: list[Mapping[str, Any]] = []
        self._lengths: list[int] = []
        self._tokens = 0

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()

    def add(self, row: Mapping[str, Sequence[int] | Sequence[float] | NDArray[Any]], length: int) -> None:
        """Add an example of `length` tokens."""
        self._rows.append(row)
        self._lengths.append(length)
        self._tokens += length
        if self._tokens >= self._shard_tokens:
            self._flush()

    def close(self) -> StoreManifest:
        """Write what is left, and the manifest."""
        self._flush()
        manifest = self._manifest.model_copy(update={"shards": self._shards})
        write_manifest(self._folder, manifest)
        return manifest

    def _flush(self) -> None:
        if not self._rows:
            return
        dtypes = self._manifest.columns
        columns = {name: _flat([row[name] for row in self._rows], dtype) for name, dtype in dtypes.items()}
        lengths = np.asarray(self._lengths, dtype=np.int32)
        self._shards.append(write_shard(self._folder, len(self._shards), dtypes, columns, lengths))
        self._rows, self._lengths, self._tokens = [], [], 0


def write_shard(
    folder: Path, number: int, dtypes: Mapping[str, str], columns: Mapping[str, Flat], lengths: NDArray[np.int32]
) -> ShardRecord:
    """Write one shard of whole columns, so that many processes can each write some of a store's.

    Args:
        number: the shard's place in the store.
        dtypes: column → type, in the manifest's order.
        lengths: [examples] tokens of each.
    """
    path, schema = folder / f"shard-{number:05d}.arrow", _schema(dtypes)
    arrays = [
        pa.LargeListArray.from_arrays(
            pa.array(columns[name].offsets, pa.int64()), pa.array(columns[name].values.astype(dtype, copy=False))
        )
        for name, dtype in dtypes.items()
    ]
    table = pa.table([*arrays, pa.array(lengths, pa.int32())], schema=schema)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        writer.write_table(table)
    return ShardRecord(file=path.name, examples=len(lengths), tokens=int(lengths.sum()), sha256=file_digest(path))


def write_manifest(folder: Path, manifest: StoreManifest) -> None:
    """Make a folder with all of its shards a store."""
    write_json(folder / _MANIFEST, manifest.model_dump(mode="json"))


def _flat(rows: list[Any], dtype: str) -> Flat:
    arrays = [np.asarray(row, dtype=dtype) for row in rows]
    offsets = np.zeros(len(arrays) + 1, dtype=np.int64)
    np.cumsum([len(array) for array in arrays], out=offsets[1:])
    return Flat(np.concatenate(arrays), offsets)


def _schema(columns: Mapping[str, str]) -> pa.Schema:
    if unknown := {dtype for dtype in columns.values() if dtype not in _DTYPES}:
        raise ValueError(f"column types {sorted(unknown)} are not among {_DTYPES}")
    fields = [(name, pa.large_list(pa.from_numpy_dtype(np.dtype(dtype)))) for name, dtype in columns.items()]
    return pa.schema([*fields, (_LENGTH, pa.int32())])


class TokenStore:
    """Random access to a folder written by `StoreWriter`.

    Raises:
        DataError: the manifest or a shard is missing, damaged, or of another form.
    """

    def __init__(self, folder: Path) -> None:
        record = read_json(folder / _MANIFEST)
        if record is None:
            raise DataError("The token store is missing or unfinished.", field=str(folder), expected=_MANIFEST)
        self.manifest = StoreManifest.model_validate(record)
        schema = _schema(self.manifest.columns)
        self._shards = [_Shard(folder / shard.file, shard, schema) for shard in self.manifest.shards]
        self._ends = np.cumsum([shard.examples for shard in self.manifest.shards]).tolist()
        parts = [shard.lengths for shard in self._shards]
        self.lengths: NDArray[np.int32] = np.concatenate(parts) if parts else np.zeros(0, np.int32)
        """Tokens of each example."""

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: int) -> Row:
        if not 0 <= index < len(self):
            raise IndexError(index)
        shard = bisect.bisect_right(self._ends, index)
        return self._shards[shard].row(int(index) - (self._ends[shard - 1] if shard else 0))


class _Shard:
    def __init__(self, path: Path, record: ShardRecord, schema: pa.Schema) -> None:
        try:
            table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
            table.validate()  # buffers that are too short, say; the values themselves are not read
            names = table.schema.names
        except (OSError, ValueError, pa.ArrowException) as error:
            raise DataError(
                "A token shard cannot be read.", field=str(path), got=str(error).splitlines()[0],
                fix="run `raysmith verify`; remove the artifact's folder to have it made again",
            ) from None  # fmt: skip
        if table.schema != schema or table.num_rows != record.examples:
            raise DataError(
                "A token shard does not hold what the manifest says.", field=str(path),
                got=f"{table.num_rows} examples, columns {names}",
                expected=f"{record.examples} examples, columns {schema.names}",
            )  # fmt: skip
        columns = {name: table[name].combine_chunks() for name in schema.names}
        # Not to_numpy, which imports pandas.
        self.lengths = cast("NDArray[np.int32]", np.from_dlpack(columns.pop(_LENGTH)))
        self._offsets = {name: np.from_dlpack(column.offsets) for name, column in columns.items()}
        self._values = {name: np.from_dlpack(column.values) for name, column in columns.items()}
        for name, offsets in self._offsets.items():
            # A row that points outside the file would end the process.
            if offsets[0] < 0 or offsets[-1] > len(self._values[name]) or np.any(np.diff(offsets) < 0):
                raise DataError("A token shard's rows point outside of it.", field=str(path), got=f"column {name}")

    def row(self, index: int) -> Row:
        return {
            name: self._values[name][offsets[index] : offsets[index + 1]] for name, offsets in self._offsets.items()
        }


class TokenData:
    """All stores of one part of a data set: the folder is a store, or holds one store a source of a mixture.

    Examples are numbered through: the first store's, then the second's.

    Raises:
        DataError: there is no store, a store is damaged, or the stores do not belong together.
    """

    def __init__(self, folder: Path) -> None:
        folders = (
            [folder] if (folder / _MANIFEST).is_file() else sorted(p.parent for p in folder.glob(f"*/{_MANIFEST}"))
        )
        self.stores = [TokenStore(one) for one in folders]
        if not self.stores or not sum(len(store) for store in self.stores):
            raise DataError("There are no tokens.", field=str(folder), expected="a folder of token shards")
        first = self.stores[0].manifest
        if any(
            (one.manifest.tokenizer, one.manifest.columns) != (first.tokenizer, first.columns) for one in self.stores
        ):
            raise DataError("The parts of the mixture were tokenized differently.", field=str(folder))
        self._ends = np.cumsum([len(store) for store in self.stores]).tolist()
        self.lengths: NDArray[np.int32] = np.concatenate([store.lengths for store in self.stores])
        """Tokens of each example."""

    @property
    def counts(self) -> list[int]:
        """Examples of each store."""
        return [len(store) for store in self.stores]

    @property
    def weights(self) -> list[float]:
        """Share of each store in the mixture; they sum to one."""
        weights = [store.manifest.weight for store in self.stores]
        return [weight / sum(weights) for weight in weights]

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: int) -> Row:
        if not 0 <= index < len(self):
            raise IndexError(index)
        part = bisect.bisect_right(self._ends, index)
        return self.stores[part][int(index) - (self._ends[part - 1] if part else 0)]

    def require_tokenizer(self, folder: Path) -> None:
        """Refuse a model whose tokenizer is not the one that these tokens were made with.

        Raises:
            DataError: naming both.
        """
        expected, got = self.stores[0].manifest.tokenizer, tokenizer_digest(folder)
        if got != expected:
            raise DataError(
                "The tokens were made with another tokenizer than the model's: every id would mean another word.",
                field=str(folder / "tokenizer.json"), got=got[:12], expected=expected[:12],
                fix="tokenize the text again with this model's tokenizer, or take the model that belongs to the tokens",
            )  # fmt: skip
