"""Training a tokenizer: what transformers loads gives every text back, and fits the model it is meant for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet
from pydantic import ValidationError

from cluster.errors import DataError, ModelError
from cluster.progress import ProgressFile
from tests.texts import prose
from trainers import tokenizer as module
from trainers.data.chat import check, render
from trainers.models import load_tokenizer
from trainers.text.encoding import Encoder, wrapping
from trainers.tokenizer import TokenizerConfig, train_tokenizer

SOURCE = sorted(Path(__file__).parent.glob("*.py"))
HELDOUT_TEXT = "don't 12345\n\n\tdef f(x):\r\n    return <|endoftext|> [MASK] é😀 \x00 ½   end  "


def dataset(folder: Path, train: list[str], heldout: list[str]) -> Path:
    for part, texts in (("train", train), ("heldout", heldout)):
        (folder / part / "code").mkdir(parents=True)
        parquet.write_table(pa.table({"text": texts}), folder / part / "code" / "00000.parquet", row_group_size=10)
    return folder


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return dataset(tmp_path_factory.mktemp("code"), [path.read_text() for path in SOURCE], [HELDOUT_TEXT])


def trained(code: Path, folder: Path, **keys: Any) -> tuple[Any, dict[str, Any]]:
    config = TokenizerConfig(**{"vocabulary": 1000, **keys})
    report = train_tokenizer(ProgressFile(folder / "progress.json"), config, code, folder / "tokenizer")
    return load_tokenizer(folder / "tokenizer"), report


def test_a_causal_tokenizer(code: Path, tmp_path: Path) -> None:
    tokenizer, report = trained(code, tmp_path)
    assert len(tokenizer) == report["vocabulary"] == 1000
    assert (tokenizer.eos_token, tokenizer.pad_token, tokenizer.bos_token) == ("<|endoftext|>", "<|endoftext|>", None)
    assert wrapping(tokenizer) == ([], [tokenizer.eos_token_id], False)
    ids = tokenizer(HELDOUT_TEXT)["input_ids"]
    assert tokenizer.decode(ids) == HELDOUT_TEXT
    assert report["bytes_per_token"] == pytest.approx(len(HELDOUT_TEXT.encode()) / len(ids))
    assert report["sampled_bytes"] == sum(path.stat().st_size for path in SOURCE)
    assert list(tokenizer("a")) == ["input_ids", "attention_mask"]
    assert Encoder((tmp_path / "tokenizer" / "tokenizer.json").read_text()).fast is not None
    unseen = "".join(chr(code) for code in range(0, 0x110000, 61) if not 0xD800 <= code < 0xE000)
    assert tokenizer.decode(tokenizer(unseen)["input_ids"]) == unseen


def test_its_chat_template_trains_the_end_of_every_answer(code: Path, tmp_path: Path) -> None:
    tokenizer, _ = trained(code, tmp_path)
    turns = [("system", "s"), ("user", "u <|im_end|>"), ("assistant", "a"), ("user", "v"), ("assistant", "b")]
    messages = [{"role": role, "content": content} for role, content in turns]
    rendered = render(tokenizer, messages)
    check(tokenizer, messages, rendered, "file:1")
    answers = [token for token, turn in zip(rendered.input_ids, rendered.trained, strict=True) if turn]
    assert tokenizer.decode(answers) == "a<|endoftext|>b<|endoftext|>"
    prompt = tokenizer.apply_chat_template(messages[1:2], tokenize=False, add_generation_prompt=True)
    assert prompt == "<|im_start|>user\nu <|im_end|><|im_end|>\n<|im_start|>assistant\n"


def test_a_masked_tokenizer(code: Path, tmp_path: Path) -> None:
    tokenizer, report = trained(code, tmp_path, model="masked")
    assert report["vocabulary"] == 1000
    assert [tokenizer.convert_ids_to_tokens(token) for token in range(5)] == [
        "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]",
    ]  # fmt: skip
    assert wrapping(tokenizer) == ([2], [3], True)
    assert tokenizer.decode(tokenizer("x", "y")["input_ids"]) == "[CLS]x[SEP]y[SEP]"
    assert (tokenizer.mask_token, tokenizer.pad_token) == ("[MASK]", "[PAD]")
    assert tokenizer.decode(tokenizer(HELDOUT_TEXT, add_special_tokens=False)["input_ids"]) == HELDOUT_TEXT


@pytest.mark.parametrize("digits", [1, 2, 3])
def test_a_number_is_cut_into_groups_of_digits(tmp_path: Path, digits: int) -> None:
    texts = [prose(seed) + " 123456" * 100 for seed in range(50)]
    tokenizer, _ = trained(dataset(tmp_path, texts, texts[:1]), tmp_path, vocabulary=290, digits=digits)
    groups = {1: list("123456"), 2: ["12", "34", "56"], 3: ["123", "456"]}[digits]
    assert tokenizer.tokenize("123456") == groups


def test_the_sample_is_seeded_and_bounded(code: Path, tmp_path: Path) -> None:
    size = sum(path.stat().st_size for path in SOURCE)
    found = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        _, report = trained(code, tmp_path / name, sample_bytes=size // 2, seed=seed, vocabulary=400)
        assert size / 5 < report["sampled_bytes"] < size * 4 / 5
        found.append((tmp_path / name / "tokenizer" / "tokenizer.json").read_text())
    assert found[0] == found[1] != found[2]


def test_too_little_text_is_refused_with_what_there_is(tmp_path: Path) -> None:
    small = dataset(tmp_path, ["the cat sees the dog and the cat"], ["a cat"])
    with pytest.raises(DataError, match="too small for so large a vocabulary") as caught:
        trained(small, tmp_path, vocabulary=5000)
    assert caught.value.field == "tokenizer.vocabulary"
    most = int(str(caught.value.got).split()[0])
    assert len(trained(small, tmp_path, vocabulary=most)[0]) == most
    with pytest.raises(DataError, match="no text to train"):
        trained(tmp_path / "train", tmp_path)
    with pytest.raises(ValidationError):
        TokenizerConfig(vocabulary=200)


def test_a_tokenizer_that_loses_text_is_refused(code: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained(code, tmp_path)
    path = tmp_path / "tokenizer" / "tokenizer.json"
    description = json.loads(path.read_text())
    description["normalizer"] = {"type": "Lowercase"}
    path.write_text(json.dumps(description))
    with pytest.raises(ModelError, match="does not give a text back"):
        module._check(path.parent, sorted((code / "train").glob("*/*.parquet")))
