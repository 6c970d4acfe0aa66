"""Token stores on disk, and the customer-support data that the quickstart trains on."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from cluster.errors import DataError
from tests.conftest import REPOSITORY
from trainers.data.chat import Messages, read_conversations
from trainers.data.store import StoreWriter, TokenData, TokenStore, tokenizer_digest

SUPPORT = REPOSITORY / "data" / "support"
LENGTHS = (5, 1, 300, 17)
COLUMNS = {"input_ids": "uint16", "trained": "uint16"}


def write_store(folder: Path, tokenizer: str = "t", source: str = "", weight: float = 1.0) -> Path:
    with StoreWriter(folder, tokenizer, COLUMNS, source=source, weight=weight, shard_tokens=200) as writer:
        for size in LENGTHS:
            writer.add({"input_ids": list(range(size)), "trained": [index % 2 for index in range(size)]}, size)
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return write_store(tmp_path / "store")


def test_a_store_gives_back_what_was_written(store: Path) -> None:
    tokens = TokenStore(store)
    assert [len(tokens[index]["input_ids"]) for index in range(4)] == list(LENGTHS)
    assert tokens.lengths.tolist() == list(LENGTHS)
    assert tokens[2]["input_ids"].tolist() == list(range(300))
    assert tokens[3]["trained"].tolist() == [index % 2 for index in range(17)]
    assert len(tokens.manifest.shards) == 2
    assert tokens.manifest.num_tokens == sum(LENGTHS)
    with pytest.raises(IndexError):
        tokens[4]


def test_a_shard_that_is_cut_off_empty_or_missing_is_refused(store: Path) -> None:
    shard = store / "shard-00001.arrow"
    whole = shard.read_bytes()
    for length in (0, 10, len(whole) // 2, len(whole) - 1):
        shard.write_bytes(whole[:length])
        with pytest.raises(DataError, match="cannot be read") as caught:
            TokenStore(store)
        assert caught.value.field == str(shard)
    shard.unlink()
    with pytest.raises(DataError, match="cannot be read"):
        TokenStore(store)


def test_a_store_without_a_manifest_is_unfinished(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), StoreWriter(tmp_path / "store", "t", COLUMNS) as writer:
        writer.add({"input_ids": [1], "trained": [1]}, 1)
        raise RuntimeError
    with pytest.raises(DataError, match="missing or unfinished"):
        TokenStore(tmp_path / "store")
    with pytest.raises(DataError, match="no tokens"):
        TokenData(tmp_path / "store")


def test_a_damaged_shard_never_crashes_the_process(store: Path) -> None:
    shard = store / "shard-00000.arrow"
    whole, rng, refused = shard.read_bytes(), random.Random(0), 0
    for _ in range(400):
        damaged = bytearray(whole)
        for _ in range(4):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        # Written beside and moved: a mapped file must not change under the map.
        (store / "damaged").write_bytes(damaged)
        (store / "damaged").replace(shard)
        try:
            tokens = TokenStore(store)
        except DataError:
            refused += 1
        else:
            assert all(int(tokens[index]["input_ids"].sum()) >= 0 for index in range(len(tokens)))
    assert refused > 20


def test_a_shard_with_other_columns_is_refused(store: Path) -> None:
    table = pa.table({"text": ["a"]})
    with pa.OSFile(str(store / "shard-00000.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    with pytest.raises(DataError, match="not hold what the manifest says") as caught:
        TokenStore(store)
    assert "text" in str(caught.value.got)


def test_a_mixture_numbers_its_stores_through_and_knows_their_shares(tmp_path: Path) -> None:
    write_store(tmp_path / "data" / "a", source="a", weight=3.0)
    write_store(tmp_path / "data" / "b", source="b")
    data = TokenData(tmp_path / "data")
    assert len(data) == 8
    assert data.counts == [4, 4]
    assert data.weights == [0.75, 0.25]
    assert data[6]["input_ids"].tolist() == list(range(300))
    write_store(tmp_path / "data" / "c", tokenizer="another")
    with pytest.raises(DataError, match="tokenized differently"):
        TokenData(tmp_path / "data")


def test_tokens_of_another_tokenizer_are_refused(store: Path, tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="another tokenizer"):
        TokenData(store).require_tokenizer(tiny_model)
    with pytest.raises(DataError, match="no fast tokenizer"):
        TokenData(store).require_tokenizer(tmp_path)
    good = write_store(tmp_path / "good", tokenizer=tokenizer_digest(tiny_model))
    TokenData(good).require_tokenizer(tiny_model)


def conversations(part: str) -> list[Messages]:
    return [messages for _, messages in read_conversations(SUPPORT / f"{part}.jsonl")]


def contents(part: str, role: str) -> list[str]:
    return [turn["content"] for messages in conversations(part) for turn in messages if turn["role"] == role]


def test_the_support_data_is_what_its_generator_makes() -> None:
    done = subprocess.run([sys.executable, str(SUPPORT / "generate.py"), "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"train.jsonl: {len(conversations('train'))} conversations" in done.stdout


def test_the_generator_notices_a_file_that_was_edited(tmp_path: Path) -> None:
    for path in [*SUPPORT.glob("*.py"), *SUPPORT.glob("*.jsonl")]:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    edited = tmp_path / "train.jsonl"
    edited.write_text(edited.read_text().replace("one hour", "two hours", 1))
    done = subprocess.run([sys.executable, str(tmp_path / "generate.py"), "--check"], capture_output=True, text=True)
    assert done.returncode == 1
    assert "train.jsonl" in done.stderr


def test_no_message_that_is_measured_was_trained_on() -> None:
    for role in ("user", "assistant"):
        train, heldout = contents("train", role), contents("heldout", role)
        assert not set(train) & set(heldout)
        assert len(set(train)) == len(train) > 300
        assert len(set(heldout)) == len(heldout) > 30


def test_every_reply_ends_with_the_contact() -> None:
    for reply in [*contents("train", "assistant"), *contents("heldout", "assistant")]:
        *_, last = reply.splitlines()
        assert "support@northwind.example" in last
        assert "0800 555 0142" in last
        assert "one hour" in last


def test_conversations_alternate_and_the_readme_counts_them() -> None:
    readme = (SUPPORT / "README.md").read_text()
    for part in ("train", "heldout"):
        turns = [[turn["role"] for turn in messages] for messages in conversations(part)]
        assert all(roles == ["user", "assistant"] * (len(roles) // 2) for roles in turns)
        topics = {json.loads(line)["topic"] for line in (SUPPORT / f"{part}.jsonl").read_text().splitlines()}
        two = sum(len(roles) == 4 for roles in turns)
        assert f"| `{part}.jsonl` | {len(turns)} | {two} | {len(topics)} |" in readme
