"""Find the files of a source, and cut them into pieces of work that depend on the files only, not on the cluster."""

from __future__ import annotations

import re
import sysconfig
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
from pyarrow import fs, parquet

from cluster.errors import DataError
from trainers.text.config import STDLIB, SourceConfig

_PLAIN = (
    "txt text md rst adoc org tex log srt py pyi js mjs cjs jsx ts tsx c h cc cpp cxx hpp hh cu cuh java go rs rb php "
    "pl lua r jl scala kt swift cs fs hs ml clj ex exs erl dart sql sh bash zsh ps1 toml yaml yml ini cfg conf css "
    "scss vue svelte proto cmake"
)
_KINDS = {
    **dict.fromkeys(_PLAIN.split(), "plain"),
    **{"html": "html", "htm": "html", "xhtml": "html"},
    **{"jsonl": "jsonl", "ndjson": "jsonl", "json": "json", "parquet": "parquet", "csv": "csv", "tsv": "tsv"},
}
_COMPRESSED = (".gz", ".bz2", ".zst")
_NOT_TEXT = {"site-packages", "dist-packages", "node_modules", "__pycache__"}
# Tests of the standard library are broken on purpose, some of them.
_NOT_STDLIB = {"test", "tests", "idle_test"}

# Pieces: few enough for a large corpus, small enough to keep many cores busy with a small one.
_MOST_PIECES = 256
_SMALLEST_BYTES, _LARGEST_BYTES = 2 << 20, 128 << 20


_PATIENCE_S = 10


class TextFile(NamedTuple):
    """A file of a source."""

    uri: str
    """What gives its file system; empty: this machine's."""
    path: str
    relative: str
    """Its path below the source's."""
    kind: str
    """How it is read."""
    size: int
    mtime_ns: int

    @property
    def is_compressed(self) -> bool:
        """Whether it holds far more text than it has bytes."""
        return self.relative.lower().endswith((*_COMPRESSED, ".parquet"))


class Found(NamedTuple):
    """The files of a source, in the order of their paths."""

    files: list[TextFile]
    skipped: int
    """Files whose ending is not known."""


class Span(NamedTuple):
    """A file, or a part of one."""

    file: TextFile
    start: int = 0
    stop: int | None = None
    """Bytes (JSON lines: a line belongs to the span in which it begins) or row groups (Parquet)."""


class Piece(NamedTuple):
    """What one task reads."""

    source: int
    spans: list[Span]
    size: int
    """Bytes of the files' parts."""


@lru_cache(maxsize=16)
def file_system(uri: str) -> fs.FileSystem:
    """The file system of a URI; of the empty one, this machine's."""
    return fs.FileSystem.from_uri(uri)[0] if uri else fs.LocalFileSystem()


def find(source: SourceConfig) -> Found:
    """List the files of a source.

    Raises:
        DataError: the path is missing or cannot be listed, or no file there can be read as text.
    """
    try:
        uri, base, pattern = _locate(source.path)
        listed = list(_list(source, uri, base, pattern))
    except (OSError, pa.ArrowException) as error:
        raise DataError(
            "A source of text cannot be listed.", field=f"data.sources: {source.name}",
            got=f"{source.path} ({str(error).splitlines()[0]})", expected="a file, folder, glob, or s3:// or gs:// URI",
            fix="check the path, and the credentials of a bucket",
        ) from None  # fmt: skip
    wanted = [(relative, info) for relative, info in listed if _is_wanted(source, relative, pattern)]
    if not wanted and pattern is not None and listed:
        raise DataError(
            "No file matches the glob of a source.", field=f"data.sources: {source.name}", got=source.path,
            expected=f"files such as {listed[0][0]}", fix="`*` stays within a folder, `**/` is any number of folders",
        )  # fmt: skip
    known = [(relative, info, kind) for relative, info in wanted if (kind := _kind(source, relative))]
    if not known:
        raise DataError(
            "A source has no text files.", field=f"data.sources: {source.name}",
            got=f"{source.path}: {len(wanted)} files of other kinds",
            expected="files that end in .txt, .md, .html, .jsonl, .json, .parquet, .csv, .py …",
            fix="name the files with `include` to read them as plain text",
        )  # fmt: skip
    files = [TextFile(uri, info.path, relative, kind, info.size, info.mtime_ns or 0) for relative, info, kind in known]
    return Found(sorted(files, key=lambda file: file.relative), len(wanted) - len(known))


def _locate(path: str) -> tuple[str, str, str | None]:
    """(URI of the file system, path without wildcards, pattern of what is below it)."""
    if path == STDLIB:
        return "", sysconfig.get_paths()["stdlib"], None
    where, _, query = path.partition("?") if "://" in path else (path, "", "")
    base, star, rest = where.partition("*")
    pattern = None
    if star:
        base, _, name = base.rpartition("/")
        base, pattern = base or ("/" if where.startswith("/") else "."), f"{name}*{rest}"
    if "://" not in path:
        return "", str(Path(base).expanduser().absolute()), pattern
    if base.startswith(("gs://", "gcs://")) and "retry_limit_seconds" not in query:
        # Without credentials Arrow tries for a quarter of an hour, and no signal ends it.
        query = f"{query}&retry_limit_seconds={_PATIENCE_S}".lstrip("&")
    uri = f"{base}?{query}" if query else base
    return uri, fs.FileSystem.from_uri(uri)[1].rstrip("/"), pattern


def _list(source: SourceConfig, uri: str, base: str, pattern: str | None) -> Iterator[tuple[str, fs.FileInfo]]:
    system = file_system(uri)
    top = system.get_file_info(base)
    if top.type == fs.FileType.NotFound:
        raise DataError(
            "A source of text is missing.", field=f"data.sources: {source.name}", got=base,
            expected="a file, a folder or a glob", fix="relative paths start at the working directory",
        )  # fmt: skip
    if top.type == fs.FileType.File:
        yield Path(base).name, top
        return
    deep = pattern is None or "/" in pattern or "**" in pattern
    # A bucket is listed in one go; on a disk it is faster to leave out what is not wanted, such as installed packages.
    found = system.get_file_info(fs.FileSelector(base, recursive=deep)) if uri else _below(system, base, deep, set())
    for info in found:
        if info.type == fs.FileType.File:
            yield info.path[len(base) :].lstrip("/"), info


def _below(system: fs.FileSystem, folder: str, deep: bool, seen: set[Path]) -> Iterator[fs.FileInfo]:
    seen.add(Path(folder).resolve())  # a link may lead to a folder above
    for info in system.get_file_info(fs.FileSelector(folder)):
        yield info
        is_wanted = not (info.base_name.startswith(".") or info.base_name in _NOT_TEXT)
        if deep and is_wanted and info.type == fs.FileType.Directory and Path(info.path).resolve() not in seen:
            yield from _below(system, info.path, deep, seen)


def _is_wanted(source: SourceConfig, relative: str, pattern: str | None) -> bool:
    parts = relative.split("/")
    if any(part.startswith(".") or part in _NOT_TEXT for part in parts):
        return False
    if source.path == STDLIB and _NOT_STDLIB.intersection(parts):
        return False
    if pattern is not None and not _glob(pattern).fullmatch(relative):
        return False
    return source.include is None or any(fnmatch(parts[-1], one) for one in source.include)


@lru_cache(maxsize=16)
def _glob(pattern: str) -> re.Pattern[str]:
    wild = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*"}
    return re.compile("".join(wild.get(part, re.escape(part)) for part in re.split(r"(\*\*/|\*\*|\*)", pattern)))


def _kind(source: SourceConfig, relative: str) -> str | None:
    name = relative.rsplit("/", 1)[-1].lower()
    for ending in _COMPRESSED:
        name = name.removesuffix(ending)
    return _KINDS.get(name.rpartition(".")[2], "plain" if source.include else None)


def piece_bytes(total: int) -> int:
    """Bytes of a piece of work when there are so many in all."""
    return min(max(total // _MOST_PIECES, _SMALLEST_BYTES), _LARGEST_BYTES)


def cut(sources: list[list[TextFile]]) -> list[Piece]:
    """Pieces of about equal size, each of neighbouring files of one source or of a part of a large file.

    Raises:
        DataError: a Parquet file is damaged.
    """
    target = piece_bytes(sum(file.size for files in sources for file in files))
    pieces: list[Piece] = []
    for source, files in enumerate(sources):
        spans: list[Span] = []
        size = 0
        for span, span_size in (one for file in files for one in _spans(file, target)):
            spans.append(span)
            size += span_size
            if size >= target:
                pieces.append(Piece(source, spans, size))
                spans, size = [], 0
        if spans:
            pieces.append(Piece(source, spans, size))
    return pieces


def _spans(file: TextFile, target: int) -> Iterator[tuple[Span, int]]:
    if file.size > target and file.kind == "jsonl" and not file.is_compressed:
        for start in range(0, file.size, target):
            stop = min(start + target, file.size)
            yield Span(file, start, stop), stop - start
    elif file.size > target and file.kind == "parquet":
        try:
            groups = parquet.read_metadata(file.path, filesystem=file_system(file.uri)).num_row_groups
        except (OSError, pa.ArrowException) as error:
            raise DataError("A file cannot be read.", field=file.path, got=str(error).splitlines()[0]) from None
        for group in range(groups):
            yield Span(file, group, group + 1), file.size // groups
    else:
        yield Span(file), file.size
