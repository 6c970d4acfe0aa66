"""Raw text: every kind of file, cleaning, duplicates, the split, tokens in rows, and what is refused."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from pydantic import ValidationError

from cluster.connect import Capacity
from cluster.errors import DataError
from cluster.progress import ProgressFile
from tests.tiny import WORDS, make_tokenizer
from trainers.data.store import TokenData
from trainers.formats import HELDOUT, TRAIN, text
from trainers.formats.text import Config
from trainers.text.cleaning import clean, html_to_text
from trainers.text.config import CleanConfig, NearConfig, SourceConfig
from trainers.text.deduplication import near_repeats, signature
from trainers.text.encoding import Encoder, Wrapping
from trainers.text.files import Span, cut, find
from trainers.text.packing import pack_rows
from trainers.text.reading import documents

LENGTH = 64


def prose(seed: int, words: int = 120) -> str:
    """A text that shares next to no run of five words with one of another seed."""
    rng = random.Random(seed)
    return " ".join(rng.choices(WORDS, k=words))


def jsonl(path: Path, texts: list[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"text": one}) + "\n" for one in texts))
    return path


def read(path: Path, max_bytes: int = 1000, replace: bool = False, **source: Any) -> list[str]:
    config = SourceConfig(path=str(path), **source)
    return [one for file in find(config).files for one in documents(Span(file), config, max_bytes, replace=replace)]


def collected(folder: Path, part: str) -> dict[str, list[str]]:
    """The texts of each source, in order."""
    return {
        source.name: [
            one for file in sorted(source.glob("*.parquet")) for one in parquet.read_table(file)["text"].to_pylist()
        ]
        for source in sorted((folder / part).iterdir())
    }


def collect(folder: Path, *sources: Any, **keys: Any) -> dict[str, Any]:
    entries = [one if isinstance(one, dict) else {"path": str(one)} for one in sources]
    folder.mkdir(parents=True)
    config = Config.model_validate({"sources": entries, "max_length": LENGTH, **keys})
    return text.collect(ProgressFile(folder.parent / "progress.json"), config, folder)


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


# Reading


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


# What is refused


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
        ("a.json", b'[{"text": "a"},\n{"text"]', "not JSON", ":2"), ("a.json", b'[{"text": 1}]', "not a s", ", record 0"),
        ("a.json", b"[" * 5000 + b"]" * 5000, "not JSON", ""), ("a.json", b'{"text": "\\udc00"}', "not Unic", ", record 0"),
        ("a.csv", b"id,body\n1,a\n", "no such column", ":1"), ("a.csv", b"id,text\n1,a\n2,b,c\n", "number of fields", ":3"),
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
        ("nowhere", "is missing"), ("", "no text files"), ("a.bin", "no text files"), ("*.txt", "no text files"),
    ):  # fmt: skip
        with pytest.raises(DataError, match=message) as caught:
            text.identity(Config(sources=[SourceConfig(path=f"{tmp_path}/{path}", name="mine")]))
        assert caught.value.field == "data.sources: mine"
    with pytest.raises(DataError, match="cannot be listed"):
        find(SourceConfig(path="bogus://bucket/x"))


def test_keys_are_checked() -> None:
    with pytest.raises(ValidationError, match="same name"):
        Config(sources=[SourceConfig(path="a/x.txt"), SourceConfig(path="b/x.txt")])
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


# Cleaning and duplicates


def test_cleaning() -> None:
    raw = "\ufeff e\u0301 \x07a\x00b\r\nc\rd\te\x0c \n"
    assert clean(raw, CleanConfig(), is_html=False) == "é ab\nc\nd\te"
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
        ("<pre>a\n  b</pre>c", "a\n  b\n\nc"), ("a<br>b<br/>c", "a\nb\nc"), ("&lt;x&gt; &eacute; &#955;", "<x> é λ"),
        ("<ul><li>a</li> <li>b</li></ul>", "a\nb"), ("<![if IE]>a<![endif]><!-- c -->b", "ab"), ("a < b <", "a < b <"),
        ("<p>unclosed <div>b", "unclosed\nb"), ("", ""), ("<a href='x", "<a href='x"),
    ],
)  # fmt: skip
def test_text_of_html(html: str, expected: str) -> None:
    assert html_to_text(html) == expected


def shingles(one: str) -> set[tuple[str, ...]]:
    words = one.split()
    return set(zip(*(words[at:] for at in range(5)), strict=False))


def similarity(one: str, other: str) -> float:
    return len(shingles(one) & shingles(other)) / len(shingles(one) | shingles(other))


def changed(one: str, every: int) -> str:
    """The text with every so many words replaced."""
    return " ".join(f"new{at}" if at % every == every - 1 else word for at, word in enumerate(one.split()))


def test_signatures_estimate_the_similarity() -> None:
    config = NearConfig(permutations=1024)
    for every in (30, 60, 200):
        one, other = prose(1, 900), changed(prose(1, 900), every)
        signatures = [signature(each.encode(), config) for each in (one, other)]
        estimate = float((signatures[0] == signatures[1]).mean())
        assert abs(estimate - similarity(one, other)) < 0.05  # three standard errors
    assert signature(b"two words", config).tolist() != signature(b"words two", config).tolist()


def test_near_duplicates_are_dropped_and_merely_similar_texts_are_kept() -> None:
    config = NearConfig()
    originals = [prose(seed, 1000) for seed in range(20)]
    nearly, similar = changed(originals[3], 150), changed(originals[4], 15)
    assert similarity(originals[3], nearly) > 0.9
    assert 0.4 < similarity(originals[4], similar) < 0.6
    texts = [*originals, nearly, similar, nearly + " again", *(changed(originals[5], 140 + n) for n in range(9))]
    dropped = near_repeats(np.stack([signature(one.encode(), config) for one in texts]), config)
    assert [texts.index(one) for one, is_dropped in zip(texts, dropped, strict=True) if is_dropped] == [
        20, 22, *range(23, 32),
    ]  # fmt: skip


def test_duplicates_are_found_across_sources_and_never_across_the_split(tmp_path: Path, ray_cluster: Capacity) -> None:
    a = [prose(seed, 300) for seed in range(40)]
    b = (
        [changed(one, 70 + seed) for seed, one in enumerate(a[:15])]
        + a[10:25]
        + [prose(seed, 300) for seed in (91, 92)]
    )
    sources = [jsonl(tmp_path / "a.jsonl", [*a, "  " + a[7] + "\r\n"]), jsonl(tmp_path / "b.jsonl", [*b, "", "short"])]
    exact = collect(tmp_path / "exact", *sources, heldout=0.3, min_chars=6)
    assert {key: exact["sources"]["a"][key] for key in ("documents", "exact_duplicates", "too_short")} == {
        "documents": 41, "exact_duplicates": 1, "too_short": 0,
    }  # fmt: skip
    assert (exact["sources"]["b"]["exact_duplicates"], exact["sources"]["b"]["too_short"]) == (15, 2)
    near = collect(tmp_path / "near", *sources, heldout=0.3, min_chars=6, deduplicate="near")
    assert near["sources"]["b"]["near_duplicates"] == 15
    train, heldout = (collected(tmp_path / "near", part) for part in (TRAIN, HELDOUT))
    assert sorted(train["a"] + heldout.get("a", [])) == sorted(a)
    assert near[HELDOUT]["documents"] == sum(map(len, heldout.values())) > 5
    assert near[TRAIN]["bytes"] == sum(len(one.encode()) for texts in train.values() for one in texts)
    for one in sum(heldout.values(), []):
        assert max(similarity(one, other) for texts in train.values() for other in texts) < 0.7
    # Without deduplication equal texts are on one side all the same.
    collect(tmp_path / "none", *sources, heldout=0.3, deduplicate="none", min_chars=6)
    sides = [set(sum(collected(tmp_path / "none", part).values(), [])) for part in (TRAIN, HELDOUT)]
    assert not sides[0] & sides[1]


def test_a_document_stays_on_its_side_when_others_join(tmp_path: Path, ray_cluster: Capacity) -> None:
    texts = [prose(seed, 20) for seed in range(300)]
    few = jsonl(tmp_path / "data.jsonl", texts[:200])
    collect(tmp_path / "few", few, heldout=0.2)
    collect(tmp_path / "seeded", few, heldout=0.2, seed=1)
    collect(tmp_path / "more", jsonl(few, texts), heldout=0.2)
    held = {name: set(collected(tmp_path / name, HELDOUT)["data"]) for name in ("few", "seeded", "more")}
    assert 20 < len(held["few"]) < 60
    assert held["few"] == held["more"] & set(texts[:200])
    assert held["few"] != held["seeded"]


def test_one_document_at_least_is_on_each_side(tmp_path: Path, ray_cluster: Capacity) -> None:
    (tmp_path / "two.txt").write_text("one|two|two|  |")
    source = {"path": str(tmp_path / "two.txt"), "separator": "|"}
    for heldout in (0.001, 0.999):
        report = collect(tmp_path / f"{heldout}", source, heldout=heldout)
        assert (report[TRAIN]["documents"], report[HELDOUT]["documents"]) == (1, 1)
    with pytest.raises(DataError, match="too little text"):
        collect(tmp_path / "same", source, min_chars=4)
    (tmp_path / "again.txt").write_text("one|two")
    with pytest.raises(DataError, match="nothing to train on") as caught:
        collect(tmp_path / "again", source, {**source, "path": str(tmp_path / "again.txt")})
    assert caught.value.field == "data.sources: again"


def test_a_refusal_crosses_the_cluster_whole(tmp_path: Path, ray_cluster: Capacity) -> None:
    path = jsonl(tmp_path / "data.jsonl", [prose(1), prose(2)])
    path.write_text(path.read_text() + "{\n")
    with pytest.raises(DataError, match="not JSON") as caught:
        collect(tmp_path / "set", path)
    assert caught.value.field == f"{path}:3"
    assert list((tmp_path / "set").iterdir()) == []


# Tokens


@pytest.fixture(scope="module")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    make_tokenizer(folder)
    return folder


def mixture(folder: Path) -> Config:
    """Two sources of which the first is cut into several pieces of work."""
    jsonl(folder / "a.jsonl", [prose(seed, 400) for seed in range(2700)])
    jsonl(folder / "b.jsonl", [prose(seed, 30) + " 12 <|endoftext|> é😀" for seed in range(5000, 5200)])
    sources = [SourceConfig(path=str(folder / "a.jsonl"), weight=3), SourceConfig(path=str(folder / "b.jsonl"))]
    return Config(sources=sources, max_length=LENGTH, heldout=0.1)


@pytest.fixture(scope="module")
def made(
    tmp_path_factory: pytest.TempPathFactory, tokenizer_folder: Path, ray_cluster: Capacity
) -> tuple[Path, Config, dict[str, Any]]:
    """A folder with `dataset` and `tokens`."""
    folder = tmp_path_factory.mktemp("text")
    return folder, *make(folder, mixture(folder), tokenizer_folder)


def make(folder: Path, config: Config, tokenizer: Path) -> tuple[Config, dict[str, Any]]:
    progress = ProgressFile(folder / "progress.json")
    for name in ("dataset", "tokens"):
        (folder / name).mkdir()
    text.collect(progress, config, folder / "dataset")
    report = text.tokenize(progress, config, tokenizer, folder / "dataset", folder / "tokens")
    position = progress.read()
    assert position is not None
    assert position["done"] == position["total"] > 0
    return config, report


def parts(data: TokenData) -> Iterator[np.ndarray]:
    for index in range(len(data)):
        row = data[index]
        yield from np.split(row["input_ids"], np.cumsum(row["documents"])[:-1])


def test_the_rows_hold_every_document_in_order_and_nothing_else(
    made: tuple[Path, Config, dict[str, Any]], tokenizer_folder: Path
) -> None:
    from trainers.models import load_tokenizer

    folder, _, report = made
    tokenizer: Any = load_tokenizer(tokenizer_folder)
    backend = tokenizer.backend_tokenizer
    backend.encode_special_tokens = True
    for part in (TRAIN, HELDOUT):
        texts = collected(folder / "dataset", part)
        data = TokenData(folder / "tokens" / part)
        data.require_tokenizer(tokenizer_folder)
        expected = [
            [*backend.encode(one, add_special_tokens=False).ids, tokenizer.eos_token_id]
            for one in sum(texts.values(), [])
        ]
        tokens = np.concatenate([data[index]["input_ids"] for index in range(len(data))])
        assert np.array_equal(tokens, np.concatenate(expected))
        ends = np.cumsum([len(one) for one in parts(data)])
        assert set(np.cumsum([len(one) for one in expected])) <= set(ends.tolist())
        counts = report[part]
        assert counts["documents"] == len(expected)
        assert counts["tokens"] == len(tokens) == data.lengths.sum()
        assert counts["samples"] == len(data)
        assert counts["bytes"] == sum(len(one.encode()) for one in sum(texts.values(), []))
    documents = "".join(tokenizer.decode(tokens.tolist())).split(tokenizer.eos_token)
    assert documents[:-1] == sum(texts.values(), [])


def test_rows_are_full_but_the_last_of_a_shard(made: tuple[Path, Config, dict[str, Any]]) -> None:
    folder, *_ = made
    data = TokenData(folder / "tokens" / TRAIN)
    assert len(data.stores[0].manifest.shards) > 1
    start = 0
    for store in data.stores:
        for shard in store.manifest.shards:
            lengths = data.lengths[start : start + shard.examples]
            assert set(lengths[:-1].tolist()) == {LENGTH}
            assert 0 < lengths[-1] <= LENGTH
            start += shard.examples
    for index in range(len(data)):
        assert data[index]["documents"].sum() == len(data[index]["input_ids"]) == data.lengths[index]


def test_each_source_is_a_store_with_its_weight(made: tuple[Path, Config, dict[str, Any]]) -> None:
    folder, _, report = made
    for part in (TRAIN, HELDOUT):
        data = TokenData(folder / "tokens" / part)
        assert [(store.manifest.source, store.manifest.weight) for store in data.stores] == [("a", 3.0), ("b", 1.0)]
        assert data.weights == [0.75, 0.25]
    assert [report["sources"][name]["share"] for name in "ab"] == [0.75, 0.25]
    assert sum(report["sources"][name]["tokens"] for name in "ab") == report[TRAIN]["tokens"]
    assert {label for label, _ in text.facts(report)} == {TRAIN, HELDOUT, "a", "b", "to beat"}


def test_the_frequency_baseline_is_that_of_the_predicted_tokens(
    made: tuple[Path, Config, dict[str, Any]], tokenizer_folder: Path
) -> None:
    folder, _, report = made
    train, heldout = (
        np.concatenate([part[1:] for part in parts(TokenData(folder / "tokens" / name))]) for name in (TRAIN, HELDOUT)
    )
    vocabulary = len(json.loads((tokenizer_folder / "tokenizer.json").read_text())["model"]["vocab"])
    probability = (np.bincount(train, minlength=vocabulary) + 1) / (len(train) + vocabulary)
    assert report["unigram_loss"] == pytest.approx(float(-np.log(probability[heldout]).mean()))
    assert report["most_frequent_share"] == pytest.approx(float((heldout == np.bincount(train).argmax()).mean()))
    assert report["bytes_per_token"] == pytest.approx(report[HELDOUT]["bytes"] / report[HELDOUT]["tokens"])


def test_the_result_is_the_same_on_one_core(
    made: tuple[Path, Config, dict[str, Any]], tokenizer_folder: Path, tmp_path: Path
) -> None:
    import ray.data
    from ray.data import ExecutionResources

    folder, config, report = made
    context = ray.data.DataContext.get_current()
    before = context.execution_options.resource_limits
    context.execution_options.resource_limits = ExecutionResources(cpu=1)
    try:
        again = make(tmp_path, config, tokenizer_folder)[1]
    finally:
        context.execution_options.resource_limits = before
    assert again == report
    for name in ("dataset", "tokens"):
        assert digests(folder / name) == digests(tmp_path / name)


def test_another_data_set_or_too_short_rows_are_refused(
    made: tuple[Path, Config, dict[str, Any]], tokenizer_folder: Path, tmp_path: Path
) -> None:
    folder, config, _ = made
    progress = ProgressFile(tmp_path / "progress.json")
    other = Config(sources=[SourceConfig(path="elsewhere")])
    with pytest.raises(DataError, match="lacks a source"):
        text.tokenize(progress, other, tokenizer_folder, folder / "dataset", tmp_path)
    short = config.model_copy(update={"max_length": 2})
    with pytest.raises(DataError, match="rows are too short"):
        text.tokenize(progress, short, tokenizer_folder, folder / "dataset", tmp_path)
    with pytest.raises(DataError, match="no token that ends a document"):
        text.tokenize(progress, config, without_eos(tokenizer_folder, tmp_path / "bare"), folder / "dataset", tmp_path)


def without_eos(folder: Path, target: Path) -> Path:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<|endoftext|>").save_pretrained(target)
    return target


# Packing and encoding


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("each_part", [False, True])
def test_packing_arithmetic(seed: int, each_part: bool) -> None:
    rng = np.random.default_rng(seed)
    texts = [rng.integers(10, 99, size=rng.integers(0, 40), dtype=np.uint32) for _ in range(50)]
    rows = pack_rows(texts, Wrapping([1, 2], [3], each_part), 16)
    lengths = np.diff(rows.row_offsets)
    if each_part:
        assert set(lengths[:-1].tolist()) <= {16, 15, 14, 13}
    else:
        assert set(lengths[:-1].tolist()) == {16}
    assert rows.part_offsets[-1] == len(rows.parts)
    assert rows.parts.min() > (3 if each_part else 0)
    for row in range(len(lengths)):
        assert rows.parts[rows.part_offsets[row] : rows.part_offsets[row + 1]].sum() == lengths[row]
    pieces = np.split(rows.ids, np.cumsum(rows.parts)[:-1])
    if each_part:
        assert all(piece[:2].tolist() == [1, 2] and piece[-1] == 3 for piece in pieces)
        assert np.array_equal(np.concatenate([piece[2:-1] for piece in pieces]), np.concatenate(texts))
    else:
        expected = np.concatenate([np.concatenate([[1, 2], one, [3]]) for one in texts])
        assert np.array_equal(rows.ids, expected)
    assert len(pack_rows([], Wrapping([1], [2], each_part), 8).row_offsets) == 1


NASTY = [
    "", " ", "it's IT'S don’t", "12345 x1y22z333", "a  b\t\tc \n\n d\r\ne   ", "é e\u0301 ﬁ 漢字 😀👩‍👩‍👧 ١٢٣ ½ ⅷ",
    "<|endoftext|> <|im_start|>user", "x" * 5000, "\n" * 3000, " " * 400_000, "ab " * 4000, "\u200b\ufeff\x00\x7f\u0085\u2028",
    "https://a.b/c?d=e&f=g#h", "    def f(self):\n        return self._x[1:]  # …\n", "3 .5 - 7% $8 9, 10",
]  # fmt: skip
GPT4 = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"


def bpe(splitter: str) -> Any:
    """A byte-level BPE with one of the pre-tokenizers of common models, trained on this repository's tests."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

    level = pre_tokenizers.ByteLevel(add_prefix_space=splitter == "prefix", use_regex=not splitter.startswith("split"))
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = {
        "digits": pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), level]),
        "split": pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(GPT4), "isolated"), level]),
        "split, with gaps": pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(r"\p{L}+"), "isolated"), level]),
    }.get(splitter, level)
    if splitter == "split":
        tokenizer.normalizer = normalizers.NFC()
    trainer = trainers.BpeTrainer(
        vocab_size=2000, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False,
        special_tokens=["<|endoftext|>", "<|im_start|>"],
    )  # fmt: skip
    tokenizer.train_from_iterator([path.read_text() for path in sorted(Path(__file__).parent.glob("*.py"))], trainer)
    return tokenizer


@pytest.mark.parametrize("splitter", ["gpt2", "digits", "split", "split, with gaps", "prefix"])
def test_the_fast_encoder_gives_the_ids_of_the_tokenizer(splitter: str) -> None:
    tokenizer = bpe(splitter)
    fast = Encoder(tokenizer.to_str())
    assert (fast.fast is not None) == (splitter != "prefix")
    tokenizer.encode_special_tokens = True
    texts = [*NASTY, *(path.read_text() for path in sorted(Path(__file__).parent.glob("test_t*.py")))]
    expected = [tokenizer.encode(one, add_special_tokens=False).ids for one in texts]
    assert [one.tolist() for one in fast.encode(texts)] == expected
    assert 0 not in np.concatenate(fast.encode(texts))  # a special token in a text is text


def test_a_vocabulary_that_tiktoken_would_merge_otherwise_is_left_to_tokenizers() -> None:
    description = json.loads(bpe("gpt2").to_str())
    description["model"]["merges"].reverse()
    assert Encoder(json.dumps(description)).fast is None


def test_other_tokenizers_and_their_special_tokens(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    from trainers.text.encoding import wrapping

    words = Tokenizer(models.WordLevel({"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "[MASK]": 3, "the": 4, "cat": 5}, "[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    masked = PreTrainedTokenizerFast(tokenizer_object=words, mask_token="[MASK]", sep_token="[SEP]", eos_token="[SEP]")
    assert wrapping(masked) == Wrapping([1], [2], each_part=True)
    causal = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="[UNK]")
    assert wrapping(causal) == Wrapping([1], [2, 0], each_part=False)
    ends = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="[SEP]")
    assert wrapping(ends) == Wrapping([1], [2], each_part=False)
    ids = Encoder(words.to_str()).encode(["the cat", "", "cat the dog"])
    assert [one.tolist() for one in ids] == [[4, 5], [], [5, 4, 0]]
