"""Token files on disk, and the customer-support data that the quickstart trains on."""

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
from trainers.data.chat import Messages, Rendered, read_conversations
from trainers.data.tokens import TokenFile, write_tokens

SUPPORT = REPOSITORY / "data" / "support"
EXAMPLES = [Rendered(list(range(n)), [index % 2 for index in range(n)]) for n in (5, 1, 300, 17)]


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    write_tokens(tmp_path / "train.arrow", EXAMPLES)
    return tmp_path / "train.arrow"


def test_a_token_file_gives_back_what_was_written(token_file: Path) -> None:
    tokens = TokenFile(token_file)
    assert len(tokens) == 4
    assert [tokens[index] for index in range(4)] == EXAMPLES
    assert tokens.lengths.tolist() == [5, 1, 300, 17]


def test_a_token_file_that_is_cut_off_empty_or_missing_is_refused(token_file: Path) -> None:
    whole = token_file.read_bytes()
    for length in (0, 10, len(whole) // 2, len(whole) - 1):
        cut = token_file.with_name(f"cut-{length}")
        cut.write_bytes(whole[:length])
        with pytest.raises(DataError, match="cannot be read") as caught:
            TokenFile(cut)
        assert caught.value.field == str(cut)
    with pytest.raises(DataError, match="cannot be read"):
        TokenFile(token_file.with_name("nowhere"))


def test_a_damaged_token_file_never_crashes_the_process(token_file: Path) -> None:
    whole, rng, refused = token_file.read_bytes(), random.Random(0), 0
    for trial in range(400):
        damaged = bytearray(whole)
        for _ in range(4):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        path = token_file.with_name(f"damaged-{trial}")
        path.write_bytes(damaged)
        try:
            tokens = TokenFile(path)
        except DataError:
            refused += 1
        else:
            assert all(isinstance(tokens[index], Rendered) for index in range(len(tokens)))
        path.unlink()
    assert refused > 20


def test_an_arrow_file_with_other_columns_is_refused(tmp_path: Path) -> None:
    table = pa.table({"text": ["a"]})
    with pa.OSFile(str(tmp_path / "other.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    with pytest.raises(DataError, match="other columns") as caught:
        TokenFile(tmp_path / "other.arrow")
    assert caught.value.got == ["text"]


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
