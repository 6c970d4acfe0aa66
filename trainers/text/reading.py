"""Documents of a file, whatever its kind: plain text, HTML, JSON lines, JSON, Parquet, CSV; compressed or not.

A file is never held whole unless it is one document; what is larger than `max_bytes` is refused before it is held.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, NoReturn, cast

import pyarrow as pa
from pyarrow import parquet

from cluster.errors import DataError
from trainers.text.config import SourceConfig
from trainers.text.files import Span, file_system

_CHUNK = 1 << 20
_MAX_JSON_BYTES = 256 << 20  # a JSON file is held whole, whatever its documents


def documents(span: Span, source: SourceConfig, max_bytes: int, *, replace: bool) -> Iterator[str]:
    """Yield the texts of a file, or of a part of one.

    Args:
        max_bytes: of one document (of one line, in JSON lines).
        replace: put U+FFFD in the place of what is not Unicode, rather than refuse it.

    Raises:
        DataError: naming file and line: not text, not UTF-8, not of the kind that its ending says, no such text key, a
            document that is too large.
    """
    reader = _Reader(span, source, max_bytes, replace)
    read: Callable[[_Reader], Iterator[str]] = _READERS[span.file.kind]
    try:
        yield from read(reader)
    except (OSError, EOFError, pa.ArrowException) as error:
        raise DataError(
            "A file cannot be read.", field=span.file.path, got=str(error).splitlines()[0],
            expected=f"a whole, readable {span.file.kind} file",
        ) from None  # fmt: skip


class _Reader:
    def __init__(self, span: Span, source: SourceConfig, max_bytes: int, replace: bool) -> None:
        self.span, self.source, self.max_bytes, self.replace = span, source, max_bytes, replace
        self.path = span.file.path

    def open(self) -> BinaryIO:
        system = file_system(self.span.file.uri)
        if self.span.start:
            return cast(BinaryIO, io.BufferedReader(system.open_input_file(self.path), _CHUNK))
        return cast(BinaryIO, io.BufferedReader(system.open_input_stream(self.path, compression="detect"), _CHUNK))

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """(byte at which it begins, line) of the lines that begin in the span."""
        offset, stop = self.span.start, self.span.stop
        with self.open() as stream:
            if offset:  # the line that reaches into the span is the one before's
                stream.seek(offset - 1)
                while (rest := stream.readline(_CHUNK)) and not rest.endswith(b"\n"):
                    pass
                offset = stream.tell()
            while (stop is None or offset < stop) and (line := stream.readline(self.max_bytes + 1)):
                if len(line) > self.max_bytes:
                    self.refuse_size(self.line_at(offset))
                self.require_text(line)
                yield offset, line
                offset += len(line)

    def line_at(self, offset: int) -> str:
        """FILE:LINE of a byte. Lines are counted only when something is wrong."""
        system, number, left = file_system(self.span.file.uri), 1, offset
        with io.BufferedReader(system.open_input_stream(self.path, compression="detect")) as stream:
            while left and (chunk := stream.read(min(left, _CHUNK))):
                number, left = number + chunk.count(b"\n"), left - len(chunk)
        return f"{self.path}:{number}"

    def decode(self, data: bytes, offset: int, of: str = "") -> str:
        """Text of what begins at byte `offset` of the file, or of the part of it that `of` names."""
        try:
            text = data.decode("utf-8", "replace" if self.replace else "strict")
        except UnicodeDecodeError as error:
            raise DataError(
                "A file is not UTF-8.", field=self.path,
                got=f"0x{data[error.start]:02x} at byte {offset + error.start}{of} ({error.reason})",
                expected="text in UTF-8", fix="convert the file, or set data.on_invalid_utf8: replace",
            ) from None  # fmt: skip
        return text.removeprefix("\ufeff") if offset == 0 else text  # a byte-order mark

    def require_text(self, data: bytes) -> None:
        if b"\0" in data:
            raise DataError(
                "A file is not text.", field=self.path, got="zero bytes", expected="text in UTF-8",
                fix="leave a binary file out with `include`; convert UTF-16 to UTF-8",
            )  # fmt: skip

    def refuse_size(self, where: str) -> NoReturn:
        raise DataError(
            "A document is too large.", field=where, got=f"more than {self.max_bytes:,} bytes",
            expected="at most data.max_document_bytes",
            fix="raise data.max_document_bytes, or name what divides a plain-text file: the source's `separator`",
        )  # fmt: skip

    def text_of(self, record: Any, where: Callable[[], str]) -> str:
        """The text of a JSON record; null is an empty document."""
        key = self.source.text_key
        if not isinstance(record, dict) or key not in record:
            got = ", ".join(map(str, record)) if isinstance(record, dict) else type(record).__name__
            raise DataError(
                "A record has no text.", field=where(), got=got[:200] or "{}", expected=f"an object with key {key!r}",
                fix="name the right key: the source's `text_key`",
            )  # fmt: skip
        text = record[key]
        if text is None:
            return ""
        if not isinstance(text, str):
            raise DataError(
                "A record's text is not a string.", field=where(), got=repr(text)[:80], expected=f"{key!r}: a string"
            )
        return text

    def whole(self, text: str, where: Callable[[], str]) -> str:
        """Refuse or replace halves of surrogate pairs, which JSON's escapes can say and UTF-8 cannot."""
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            if not self.replace:
                raise DataError(
                    "A record's text is not Unicode.", field=where(), got=f"{text[error.start]!r}, half of a pair",
                    expected="whole characters", fix="mend the text, or set data.on_invalid_utf8: replace",
                ) from None  # fmt: skip
            return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return text


def _plain(reader: _Reader) -> Iterator[str]:
    if reader.source.separator is not None and reader.span.file.kind == "plain":
        yield from _separated(reader, reader.source.separator.encode())
        return
    with reader.open() as stream:
        data = stream.read(reader.max_bytes + 1)
    if len(data) > reader.max_bytes:
        reader.refuse_size(reader.path)
    reader.require_text(data)
    yield reader.decode(data, 0)


def _separated(reader: _Reader, separator: bytes) -> Iterator[str]:
    with reader.open() as stream:
        offset, rest = 0, b""
        while chunk := stream.read(_CHUNK):
            *parts, rest = (rest + chunk).split(separator)
            for part in [*parts, rest]:
                if len(part) > reader.max_bytes:
                    reader.refuse_size(reader.line_at(offset))
            for part in parts:
                reader.require_text(part)
                yield reader.decode(part, offset)
                offset += len(part) + len(separator)
        reader.require_text(rest)
        yield reader.decode(rest, offset)


def _json_lines(reader: _Reader) -> Iterator[str]:
    for offset, line in reader.lines():
        if line.isspace():
            continue
        decoded = reader.decode(line, offset)

        def where(offset: int = offset) -> str:
            return reader.line_at(offset)

        try:
            record = json.loads(decoded)
        except (ValueError, RecursionError) as error:
            raise DataError(
                "A line is not JSON.", field=where(), got=repr(decoded[:60]), expected="an object on each line",
                fix=str(error),
            ) from None  # fmt: skip
        text = reader.text_of(record, where)
        yield reader.whole(text, where) if "\\u" in decoded else text


def _json(reader: _Reader) -> Iterator[str]:
    with reader.open() as stream:
        data = stream.read(_MAX_JSON_BYTES + 1)
    if len(data) > _MAX_JSON_BYTES:
        raise DataError(
            "A JSON file is too large to be read whole.", field=reader.path, got=f"more than {_MAX_JSON_BYTES:,} bytes",
            expected="JSON lines", fix="convert it to JSON lines, one record a line",
        )  # fmt: skip
    reader.require_text(data)
    try:
        parsed = json.loads(reader.decode(data, 0))
    except json.JSONDecodeError as error:
        raise DataError(
            "A file is not JSON.", field=f"{reader.path}:{error.lineno}", got=error.msg,
            expected="one value: an object, or a list of objects", fix="files with an object a line end in .jsonl",
        ) from None  # fmt: skip
    except ValueError as error:  # a number of thousands of digits
        raise DataError("A file is not JSON that can be read.", field=reader.path, got=str(error)) from None
    except RecursionError:
        raise DataError("A file is not JSON that can be read.", field=reader.path, got="too deep nesting") from None
    for index, record in enumerate(parsed if isinstance(parsed, list) else [parsed]):

        def where(index: int = index) -> str:
            return f"{reader.path}, record {index}"

        text = reader.whole(reader.text_of(record, where), where)
        if len(text.encode()) > reader.max_bytes:
            reader.refuse_size(where())
        yield text


def _parquet(reader: _Reader) -> Iterator[str]:
    key, span = reader.source.text_key, reader.span
    with file_system(span.file.uri).open_input_file(reader.path) as stream, parquet.ParquetFile(stream) as file:
        schema = file.schema_arrow
        if key not in schema.names or not (
            pa.types.is_string(schema.field(key).type) or pa.types.is_large_string(schema.field(key).type)
        ):
            raise DataError(
                "A Parquet file has no such column of strings.", field=reader.path,
                got=", ".join(f"{field.name} ({field.type})" for field in schema), expected=f"a string column {key!r}",
                fix="name the right column: the source's `text_key`",
            )  # fmt: skip
        groups = range(span.start, file.num_row_groups if span.stop is None else span.stop)
        row = sum(file.metadata.row_group(group).num_rows for group in range(span.start))
        for batch in file.iter_batches(batch_size=256, row_groups=list(groups), columns=[key]):
            # As bytes: a Parquet file may hold what is not UTF-8.
            for data in batch.column(0).cast(pa.large_binary()).to_pylist():
                row += 1
                if data is not None and len(data) > reader.max_bytes:
                    reader.refuse_size(f"{reader.path}, row {row}")
                yield "" if data is None else reader.decode(data, 0, f" of row {row}")


def _csv(reader: _Reader) -> Iterator[str]:
    key, last = reader.source.text_key, 0

    def decoded() -> Iterator[str]:
        nonlocal last
        for offset, line in reader.lines():
            last = offset
            yield reader.decode(line, offset)

    csv.field_size_limit(reader.max_bytes)
    rows = csv.reader(decoded(), delimiter="\t" if reader.span.file.kind == "tsv" else ",", strict=True)
    try:
        header = next(rows, [])
        if key not in header:
            raise DataError(
                "A table has no such column.", field=f"{reader.path}:1", got=", ".join(header)[:200] or "nothing",
                expected=f"a header with {key!r}", fix="name the right column: the source's `text_key`",
            )  # fmt: skip
        column = header.index(key)
        for row in rows:
            if row and len(row) != len(header):
                raise DataError(
                    "A row of a table has another number of fields than its header.", field=reader.line_at(last),
                    got=len(row), expected=len(header), fix="quote text that contains the delimiter or a line end",
                )  # fmt: skip
            if row:
                yield row[column]
    except csv.Error as error:
        raise DataError("A row of a table is malformed.", field=reader.line_at(last), got=error) from None


_READERS = {
    "plain": _plain, "html": _plain, "jsonl": _json_lines, "json": _json, "parquet": _parquet, "csv": _csv, "tsv": _csv,
}  # fmt: skip
