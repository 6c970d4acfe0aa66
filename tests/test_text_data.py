"""A text data set from end to end: duplicates, the split, tokens in rows; the same on any number of cores."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyarrow import parquet

from cluster.connect import Capacity
from cluster.errors import DataError
from cluster.progress import ProgressFile
from tests.texts import jsonl, prose
from tests.tiny import make_tokenizer
from trainers.data.store import TokenData
from trainers.formats import HELDOUT, TRAIN, text
from trainers.formats.text import Config
from trainers.text.config import NearConfig, SourceConfig
from trainers.text.deduplication import near_repeats, signature

LENGTH = 64


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


def test_texts_without_spaces_are_compared_by_characters() -> None:
    rng = random.Random(0)
    one = "".join(chr(rng.randrange(0x4E00, 0x4F00)) for _ in range(2000))
    other = one[:1000] + "\u4fff" + one[1001:]
    signatures = [signature(each.encode(), NearConfig()) for each in (one, other, one[::-1])]
    assert (signatures[0] == signatures[1]).mean() > 0.95
    assert (signatures[0] == signatures[2]).mean() < 0.1


def test_near_duplicates_are_dropped_and_merely_similar_texts_are_kept() -> None:
    config = NearConfig()
    originals = [prose(seed, 1000) for seed in range(20)]
    similar = [changed(one, 24) for one in originals[5:]]  # likely to agree in a band, and then compared
    nearly = [changed(originals[3], 150), changed(originals[3], 150) + " again"]
    nearly += [changed(originals[4], 140 + every) for every in range(9)]
    assert all(0.6 < similarity(*pair) < 0.7 for pair in zip(originals[5:], similar, strict=True))
    assert all(similarity(originals[3 if index < 2 else 4], one) > 0.9 for index, one in enumerate(nearly))
    texts = [*originals, *similar, *nearly]
    dropped = near_repeats(np.stack([signature(one.encode(), config) for one in texts]), config)
    assert dropped.tolist() == [False] * (len(originals) + len(similar)) + [True] * len(nearly)


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
    for one in chain(*heldout.values()):
        assert max(similarity(one, other) for texts in train.values() for other in texts) < 0.7
    # Without deduplication equal texts are on one side all the same.
    collect(tmp_path / "none", *sources, heldout=0.3, deduplicate="none", min_chars=6)
    sides = [set(chain(*collected(tmp_path / "none", part).values())) for part in (TRAIN, HELDOUT)]
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
        texts = list(chain(*collected(folder / "dataset", part).values()))
        data = TokenData(folder / "tokens" / part)
        data.require_tokenizer(tokenizer_folder)
        expected = [[*backend.encode(one, add_special_tokens=False).ids, tokenizer.eos_token_id] for one in texts]
        tokens = np.concatenate([data[index]["input_ids"] for index in range(len(data))])
        assert np.array_equal(tokens, np.concatenate(expected))
        ends = np.cumsum([len(one) for one in parts(data)])
        assert set(np.cumsum([len(one) for one in expected])) <= set(ends.tolist())
        counts = report[part]
        assert counts["documents"] == len(expected)
        assert counts["tokens"] == len(tokens) == data.lengths.sum()
        assert counts["samples"] == len(data)
        assert counts["bytes"] == sum(len(one.encode()) for one in texts)
    documents = "".join(tokenizer.decode(tokens.tolist())).split(tokenizer.eos_token)
    assert documents[:-1] == texts


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
