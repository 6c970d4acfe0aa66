"""Tokenized examples on disk: an Arrow file that workers map into memory rather than read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cluster.errors import DataError
from trainers.data.chat import Rendered

_SCHEMA = pa.schema([("input_ids", pa.list_(pa.int32())), ("trained", pa.list_(pa.int8()))])


def write_tokens(path: Path, examples: list[Rendered]) -> None:
    """Write examples as an Arrow IPC file with columns `input_ids` and `trained`."""
    table = pa.table(
        {"input_ids": [e.input_ids for e in examples], "trained": [e.trained for e in examples]}, schema=_SCHEMA
    )
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, _SCHEMA) as writer:
        writer.write_table(table)


class TokenFile:
    """Random access to a file written by `write_tokens`.

    Raises:
        DataError: the file is missing, damaged, or of another form.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
            self._table.validate(full=True)  # a row that points outside the file would end the process
            columns = self._table.schema.names
        except (OSError, ValueError, pa.ArrowException) as error:
            raise DataError("The token file cannot be read.", field=str(path), got=str(error)) from None
        if self._table.schema != _SCHEMA:
            raise DataError("The token file has other columns.", field=str(path), got=columns)
        lengths = pc.list_value_length(self._table["input_ids"])
        self.lengths: NDArray[np.int64] = lengths.to_numpy().astype(np.int64)

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def __getitem__(self, index: int) -> Rendered:
        row = int(index)
        return Rendered(self._table["input_ids"][row].as_py(), self._table["trained"][row].as_py())
