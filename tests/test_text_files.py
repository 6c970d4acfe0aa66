"""Files of raw text: every kind is read, each part once, and what is no text is refused with its place."""

from __future__ import annotations

import bz2
import gzip
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from pydantic import ValidationError

from cluster.errors import DataError
from tests.texts import jsonl, prose
from trainers.formats import text
from trainers.formats.text import Config
from trainers.text.cleaning import clean, html_to_text
from trainers.text.config import CleanConfig, SourceConfig
from trainers.text.files import Span, cut, find
from trainers.text.reading import documents


def read(path: Path, max_bytes: int = 1000, replace: bool = False, **source: Any) -> list[str]:
    config = SourceConfig(path=str(path), **source)
    return [one for file in find(config).files for one in documents(Span(file), config, max_bytes, replace=replace)]


@pytest.fixture
def every_kind(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / ".git").mkdir()
    (folder / "a.txt").write_text("plain text")
    (folder / "b.MD").write_text("# mark down")
    (folder / "c.txt.gz").write_bytes(gzip.compress(b"zipped text"))
    (folder / "d.jsonl.bz2").write_bytes(bz2.compress(b'{"text": "a line"}\n\n{"text": "another line"}'))
    with pa.CompressedOutputStream(str(folder / "e.jsonl.zst"), "zstd") as stream:
        stream.write(b'{"text": "z line"}\n')
    (folder / "f.json").write_text('[{"text": "in a list"}, {"text": null}]')
    (folder / "g.csv").write_text('id,text\n1,"a cell, with\nlines"\n2,more\n')
    (folder / "h.tsv").write_text("text\tid\ntabs\t1\n")
    (folder / "i.html").write_text("<p>hyper&amp;text</p>")
    (folder / "deep" / "er" / "j.py").write_text("print('code')\n")
    table = pa.table({"text": ["in a column", None], "id": [1, 2]})
    parquet.write_table(table, folder / "deep" / "k.parquet")
    parquet.write_table(pa.table({"text": pa.array(["large"], pa.large_string())}), folder / "deep" / "l.parquet")
    (folder / "m.bin").write_bytes(b"\0\1")
    (folder / ".git" / "n.txt").write_text("hidden")
    return folder


EVERY_TEXT = [
    "plain text", "# mark down", "zipped text", "a line", "another line", "z line", "in a list", "",
    "a cell, with\nlines", "more", "tabs", "<p>hyper&amp;text</p>", "print('code')\n", "in a column", "", "large",
]  # fmt: skip


@pytest.mark.parametrize("uri", [False, True])
def test_every_kind_of_file_is_read(every_kind: Path, uri: bool) -> None:
    config = SourceConfig(path=every_kind.as_uri() if uri else str(every_kind))
    found = find(config)
    assert found.skipped == 1
    texts = [one for file in found.files for one in documents(Span(file), config, 1000, replace=False)]
    assert sorted(texts) == sorted(EVERY_TEXT)
    assert [file.relative for file in found.files] == sorted(file.relative for file in found.files)


@pytest.mark.parametrize(
    ("pattern", "include", "expected"),
    [
        ("*.txt", None, ["a.txt"]), ("**/*.p*", None, ["deep/er/j.py", "deep/k.parquet", "deep/l.parquet"]),
        ("deep/*", None, ["deep/k.parquet", "deep/l.parquet"]), ("", ["*.bin", "*.py"], ["deep/er/j.py", "m.bin"]),
        ("a.txt", None, ["a.txt"]), ("d*/**", ["k*"], ["deep/k.parquet"]),
    ],
)  # fmt: skip
def test_a_path_may_be_a_file_a_folder_or_a_glob(
    every_kind: Path, pattern: str, include: list[str] | None, expected: list[str]
) -> None:
    config = SourceConfig(path=f"{every_kind}/{pattern}", include=include)
    base = every_kind / "deep" if pattern.startswith("deep") else every_kind
    assert [str(Path(file.path).relative_to(every_kind)) for file in find(config).files] == expected
    assert all(Path(file.path) == base / file.relative for file in find(config).files)


def test_plain_text_is_divided_by_a_separator(tmp_path: Path) -> None:
    texts = [prose(seed, 5_000) for seed in range(60)]  # more than one chunk
    (tmp_path / "all.txt").write_text("<|end|>".join(texts))
    assert read(tmp_path, max_bytes=100_000, separator="<|end|>") == texts
    with pytest.raises(DataError, match="too large") as caught:
        read(tmp_path, max_bytes=len(texts[0]) - 1, separator="<|end|>")
    assert caught.value.field == f"{tmp_path / 'all.txt'}:1"


def test_a_line_belongs_to_one_part_of_a_large_file_wherever_it_is_cut(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "lines.jsonl", [f"text {'x' * number}" for number in range(12)])
    config = SourceConfig(path=str(path))
    file, size = find(config).files[0], path.stat().st_size
    for step in range(1, size, 7):
        spans = [Span(file, start, min(start + step, size)) for start in range(0, size, step)]
        assert [one for span in spans for one in documents(span, config, 1000, replace=False)] == read(path)


def test_work_is_cut_by_size_and_holds_everything_once(tmp_path: Path) -> None:
    table = pa.table({"text": [prose(seed, 3000) for seed in range(400)]})
    parquet.write_table(table, tmp_path / "a.parquet", row_group_size=40, compression="none")
    jsonl(tmp_path / "b.jsonl", [prose(seed, 3000) for seed in range(400, 800)])
    config = SourceConfig(path=str(tmp_path))
    pieces = cut([find(config).files])
    assert len(pieces) > 4
    texts = [one for piece in pieces for span in piece.spans for one in documents(span, config, 10**6, replace=False)]
    assert texts == [prose(seed, 3000) for seed in range(800)]


def test_the_standard_library_is_a_source_without_tests_and_installed_packages() -> None:
    files = [file.relative for file in find(SourceConfig(path="python:stdlib")).files]
    assert {"os.py", "json/decoder.py", "asyncio/tasks.py"} <= set(files)
    assert not [one for one in files if {"test", "tests", "site-packages", "__pycache__"} & set(one.split("/"))]
    assert SourceConfig(path="python:stdlib").name == "python-stdlib"


@pytest.mark.parametrize(
    ("name", "content", "message", "place"),
    [
        ("a.txt", b"text\0", "not text", ""), ("a.jsonl", b'{"text": "\0"}', "not text", ""),
        ("a.txt", "ok".encode("utf-16"), "not text", ""), ("a.txt", b"caf\xe9", "not UTF-8", ""),
        ("a.jsonl", b'{"text": "a"}\n{"text": "\xe9"}', "not UTF-8", ""), ("a.txt", b"x" * 1001, "too large", ""),
        ("a.jsonl", b'{"text": "a"}\n{"text": "' + b"x" * 1000, "too large", ":2"),
        ("a.jsonl", b'{"text": "a"}\n\n{"text": \n', "not JSON", ":3"), ("a.jsonl", b"[" * 900, "not JSON", ":1"),
        ("a.jsonl", b'{"text": "a"}\n{"body": "b"}', "has no text", ":2"), ("a.jsonl", b'"text"', "has no text", ":1"),
        ("a.jsonl", b'{"text": 3}', "not a string", ":1"), ("a.jsonl", b'{"text": "\\ud83d"}', "not Unicode", ":1"),
        ("a.json", b'[{"text": "a"},\n{"text"]', "not JSON", ":2"), ("a.json", b'[{"text": 1}]', "not a str", ", rec"),
        ("a.json", b"[" * 5000 + b"]" * 5000, "not JSON", ""), ("a.json", b'{"text": "\\udc00"}', "not Unic", ", rec"),
        ("a.csv", b"id,body\n1,a\n", "no such column", ":1"), ("a.csv", b"id,text\n1,a\n2,b,c\n", "number of", ":3"),
        ("a.csv", b'id,text\n1,"a"b\n', "malformed", ":2"), ("a.tsv", b"", "no such column", ":1"),
        ("a.csv", b'id,text\n1,"' + b"a\n" * 600 + b'"', "malformed", ":"),
        ("a.parquet", b"PAR1 not really", "cannot be read", ""), ("a.txt.gz", b"not zipped", "cannot be read", ""),
        ("a.jsonl.gz", gzip.compress(b'{"text": "a"}\n' * 9)[:-9], "cannot be read", ""),
    ],
    ids=range(25),
)  # fmt: skip
def test_a_file_that_is_not_what_it_says_is_refused_with_its_place(
    tmp_path: Path, name: str, content: bytes, message: str, place: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read(path)
    assert str(caught.value.field).startswith(f"{path}{place}")


def test_parquet_without_the_column_or_with_bad_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    for table in (pa.table({"body": ["a"]}), pa.table({"text": [1]})):
        parquet.write_table(table, path)
        with pytest.raises(DataError, match="no such column of strings") as caught:
            read(path)
        assert caught.value.field == str(path)
    assert read_strings(path, [b"a" * 1001], "too large").field == f"{path}, row 1"
    assert "byte 1 of row 2" in str(read_strings(path, [b"a", b"b\xff"], "not UTF-8").got)


def read_strings(path: Path, values: list[bytes], message: str) -> DataError:
    offsets = pa.py_buffer(np.cumsum([0, *map(len, values)]).astype(np.int32))
    column = pa.StringArray.from_buffers(len(values), offsets, pa.py_buffer(b"".join(values)))
    parquet.write_table(pa.table({"text": column}), path)
    with pytest.raises(DataError, match=message) as caught:
        read(path)
    return caught.value


def test_what_is_not_unicode_is_replaced_on_demand(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfcaf\xe9")
    (tmp_path / "b.jsonl").write_bytes(b'{"text": "\\ud83d \\ud83d\\ude00"}')
    assert read(tmp_path, replace=True) == ["caf\ufffd", "\ufffd 😀"]
    with pytest.raises(DataError) as caught:
        read(tmp_path)
    assert "0xe9 at byte 6 " in str(caught.value.got)


def test_a_source_that_is_missing_or_holds_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.bin").touch()
    for path, message in (
        ("nowhere", "is missing"), ("", "no text files"), ("a.bin", "no text files"), ("*.txt", "No file matches"),
    ):  # fmt: skip
        with pytest.raises(DataError, match=message) as caught:
            text.identity(Config(sources=[SourceConfig(path=f"{tmp_path}/{path}", name="mine")]))
        assert caught.value.field == "data.sources: mine"
    with pytest.raises(DataError, match="cannot be listed"):
        find(SourceConfig(path="bogus://bucket/x"))


def test_links_and_pipes_neither_repeat_nor_stop_a_listing(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for path in ("a.txt", "sub/b.txt"):
        (tmp_path / path).touch()
    (tmp_path / "self").symlink_to(".")
    (tmp_path / "sub" / "up").symlink_to("..")
    os.mkfifo(tmp_path / "pipe")
    assert [file.relative for file in find(SourceConfig(path=str(tmp_path))).files] == ["a.txt", "sub/b.txt"]
    (tmp_path / "sub").chmod(0)
    assert [file.relative for file in find(SourceConfig(path=f"{tmp_path}/*.txt")).files] == ["a.txt"]


def test_keys_are_checked() -> None:
    with pytest.raises(ValidationError, match="same name"):
        Config(sources=[SourceConfig(path="a/x.txt"), SourceConfig(path="b/x.txt")])
    with pytest.raises(ValidationError, match="must not hold credentials"):
        SourceConfig(path="s3://key:secret@bucket/x")
    with pytest.raises(ValidationError, match="share is too small"):
        Config(sources=[SourceConfig(path="a"), SourceConfig(path="b", weight=1e-4)])
    for keys in ({"sources": []}, {"sources": [{"path": "a", "weight": 0}]}, {"heldout": 0}, {"clean": {"strip": 3}}):
        with pytest.raises(ValidationError):
            Config.model_validate({"sources": [{"path": "a"}], **keys})
    names = {"s3://b/My Books/*.txt": "my-books", "x/wiki.jsonl.gz": "wiki", "*": "source", "s3://b/p?region=x": "p"}
    assert {path: SourceConfig(path=path).name for path in names} == names


def test_identity_and_estimate_read_no_file(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "broken.jsonl", [])
    path.write_bytes(b"\xff" * 7000)
    config = Config(sources=[SourceConfig(path=str(path))], max_length=100, heldout=0.5)
    before = text.identity(config)
    assert before == [[("broken.jsonl", 7000, path.stat().st_mtime_ns)]]
    assert text.estimate(config) == (10, 1000, 100, 1.0)
    path.write_bytes(b"\xff" * 7000)
    assert text.identity(config) != before


def test_cleaning() -> None:
    raw = "\ufeff e\u0301 \x07a\x00b\r\nc\rd\te\x0c \n"
    assert clean(raw, CleanConfig(), is_html=False) == "é ab\nc\nd\te"
    assert clean("a\x0bb\x0cc\x85d", CleanConfig(), is_html=False) == "a\nb\nc\nd"
    assert clean("ﬁ", CleanConfig(unicode="NFKC"), is_html=False) == "fi"
    nothing = Config(sources=[SourceConfig(path="x")], clean=False).cleaning
    assert clean(raw, nothing, is_html=True) == raw
    assert clean("<b>x</b>", CleanConfig(), is_html=False) == "<b>x</b>"
    assert clean("<b>x</b>", CleanConfig(html="all"), is_html=False) == "x"


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ("<p>One\n  <b>two</b> three</p><p>four</p>", "One two three\n\nfour"),
        ("<head><title>T</title><style>p{}</style></head><body><script>x<y</script>b", "T\n\nb"),
        ("<html><head><title>T</title><meta x><p>b", "T\n\nb"), ("a<svg><title>close</title></svg>b", "ab"),
        ("<pre>a\n  b</pre>c", "a\n  b\n\nc"), ("a<br>b<br/>c", "a\nb\nc"), ("&lt;x&gt; &eacute; &#955;", "<x> é λ"),
        ("<ul><li>a</li> <li>b</li></ul>", "a\nb"), ("<![if IE]>a<![endif]><!-- c -->b", "ab"), ("a < b <", "a < b <"),
        ("<p>unclosed <div>b", "unclosed\nb"), ("", ""), ("<a href='x", "<a href='x"),
    ],
)  # fmt: skip
def test_text_of_html(html: str, expected: str) -> None:
    assert html_to_text(html) == expected
