"""Masked language modelling against transformers: the loss and its gradients, and what its collator draws."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    BertConfig,
    BertForMaskedLM,
    DataCollatorForLanguageModeling,
    ModernBertConfig,
    ModernBertForMaskedLM,
    PreTrainedTokenizerFast,
)

from cluster.errors import ModelError
from tests.tiny import sentence
from trainers.objectives import Example
from trainers.objectives.masked_lm import Config, Objective

SPECIAL = {
    "unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]",
}  # fmt: skip
DIMENSIONS: dict[str, Any] = {
    "hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 128, "pad_token_id": 1,
    "max_position_embeddings": 128,
}  # fmt: skip


def train_tokenizer(kind: str) -> PreTrainedTokenizerFast:
    import random

    backend = Tokenizer(models.WordPiece(unk_token="[UNK]") if kind == "wordpiece" else models.BPE())
    common: dict[str, Any] = {"special_tokens": list(SPECIAL.values())}
    if kind == "wordpiece":
        backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer: Any = trainers.WordPieceTrainer(vocab_size=60, **common)
    else:
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        trainer = trainers.BpeTrainer(vocab_size=290, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), **common)
    rng = random.Random(0)
    backend.train_from_iterator([sentence(rng) for _ in range(200)], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend, **SPECIAL)


@pytest.fixture(scope="module")
def bpe() -> PreTrainedTokenizerFast:
    return train_tokenizer("bpe")


@pytest.fixture(scope="module")
def wordpiece() -> PreTrainedTokenizerFast:
    return train_tokenizer("wordpiece")


def example(tokenizer: Any, index: int, words: int = 20) -> Example:
    """[CLS] sentence [SEP], in one document."""
    import random

    text = tokenizer(sentence(random.Random(index), words), add_special_tokens=False).input_ids
    ids = np.array([tokenizer.cls_token_id, *text, tokenizer.sep_token_id], dtype=np.uint16)
    return Example({"input_ids": ids, "documents": np.array([len(ids)])}, (0, 0, index))


@pytest.mark.parametrize("head_chunk", [None, 32])
@pytest.mark.parametrize("family", ["bert", "modernbert"])
def test_loss_and_gradients_are_those_of_transformers(family: str, head_chunk: int | None, bpe: Any) -> None:
    torch.manual_seed(0)
    if family == "bert":
        config = BertConfig(
            vocab_size=len(bpe), hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, **DIMENSIONS
        )
        model: Any = BertForMaskedLM(config)
    else:
        ids = dict.fromkeys(("bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"))
        model = ModernBertForMaskedLM(ModernBertConfig(vocab_size=len(bpe), local_attention=8, **ids, **DIMENSIONS))
    with torch.no_grad():
        for name, parameter in model.named_parameters():  # all biases are drawn as zero
            if name.endswith("bias"):
                parameter.normal_()
    objective = Objective(Config(head_chunk=head_chunk, probability=0.3), bpe)
    examples = [example(bpe, index, words=20 + 4 * index) for index in range(3)]
    batch = objective.collate(examples)
    assert len(batch.tensors["input_ids"]) == 3  # nothing shares a row: transformers knows no documents
    loss = objective.loss(model.train(), batch.tensors)
    loss.total.backward()
    found = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    model.zero_grad()

    labels = torch.full(batch.tensors["input_ids"].shape, -100).flatten()
    labels[batch.tensors["places"][: batch.terms]] = batch.tensors["targets"][: batch.terms]
    reference = model(
        input_ids=batch.tensors["input_ids"],
        attention_mask=(batch.tensors["segments"] > 0).long(),
        labels=labels.view_as(batch.tensors["input_ids"]),
    )
    (reference.loss * batch.terms).backward()
    torch.testing.assert_close(loss.total, reference.loss * batch.terms, rtol=1e-5, atol=1e-5)
    largest = max(float(gradient.abs().max()) for gradient in found.values())
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, rtol=1e-4, atol=1e-5 * largest, msg=name)

    right = (reference.logits.flatten(0, 1).argmax(-1) == labels).sum()
    model.eval()
    with torch.no_grad():
        assert objective.loss(model, batch.tensors).figures["accuracy"] == right
    assert batch.terms == int((labels >= 0).sum())
    assert batch.tokens == sum(len(one.row["input_ids"]) for one in examples)


def test_the_draws_are_those_of_transformers_collator(bpe: Any) -> None:
    # With p = 0.15 and n tokens the share chosen has a standard error of √(0.15 · 0.85 / n); four of them are allowed.
    objective = Objective(Config(), bpe)
    examples = [example(bpe, index, words=100) for index in range(150)]
    ours = shares(bpe, [(one.row["input_ids"], objective.hide(one)) for one in examples])
    collator = DataCollatorForLanguageModeling(bpe, mlm=True, seed=0)
    theirs = {"chosen": 0.0, "masked": 0.0, "random": 0.0}
    for one in examples:
        batch = collator([{"input_ids": one.row["input_ids"].tolist()}])
        hidden, labels = batch["input_ids"][0].numpy(), batch["labels"][0].numpy()
        theirs["chosen"] += float((labels >= 0).sum())
        theirs["masked"] += float(((labels >= 0) & (hidden == bpe.mask_token_id)).sum())
        theirs["random"] += float(((labels >= 0) & (hidden != bpe.mask_token_id) & (hidden != labels)).sum())
    tokens = sum(len(one.row["input_ids"]) - 2 for one in examples)
    chosen = tokens * 0.15
    expected = (theirs["chosen"] / tokens, theirs["masked"] / theirs["chosen"], theirs["random"] / theirs["chosen"])
    for found, reference, probability, count in zip(
        ours, expected, (0.15, 0.8, 0.1), (tokens, chosen, chosen), strict=True
    ):
        error = (probability * (1 - probability) / count) ** 0.5
        assert found == pytest.approx(probability, abs=4 * error)
        assert found == pytest.approx(reference, abs=4 * 2**0.5 * error)


def shares(tokenizer: Any, pairs: list[Any]) -> tuple[float, float, float]:
    """Of the tokens that are not special, the share chosen; of those, the shares masked and replaced."""
    tokens = chosen = masked = replaced = 0
    for ids, hidden in pairs:
        special = np.isin(ids, tokenizer.all_special_ids)
        assert not special[hidden.chosen].any()
        untouched = np.ones(len(ids), bool)
        untouched[hidden.chosen] = False
        np.testing.assert_array_equal(hidden.input_ids[untouched], ids[untouched])
        now = hidden.input_ids[hidden.chosen]
        tokens, chosen = tokens + int((~special).sum()), chosen + len(now)
        masked += int((now == tokenizer.mask_token_id).sum())
        replaced += int(((now != tokenizer.mask_token_id) & (now != ids[hidden.chosen])).sum())
    return chosen / tokens, masked / chosen, replaced / chosen


@pytest.mark.parametrize("kind", ["bpe", "wordpiece"])
def test_whole_words_are_chosen(kind: str, request: pytest.FixtureRequest) -> None:
    tokenizer = request.getfixturevalue(kind)
    objective = Objective(Config(whole_word=True, probability=0.3), tokenizer)
    words, together, chosen, pieces = 0, 0, 0, 0
    for index in range(60):
        one = example(tokenizer, index)
        hidden = set(objective.hide(one).chosen.tolist())
        ids = one.row["input_ids"]
        for start, end in words_of(tokenizer, ids):
            among = hidden & set(range(start, end))
            assert len(among) in (0, end - start), tokenizer.convert_ids_to_tokens(ids[start:end].tolist())
            words, chosen = words + 1, chosen + bool(among)
            together += end - start > 1 and bool(among)
            pieces += end - start > 1
    assert pieces > 100  # or nothing would have been tested
    assert together > 20
    assert chosen / words == pytest.approx(0.3, abs=4 * (0.21 / words) ** 0.5)


def words_of(tokenizer: Any, ids: np.ndarray) -> list[tuple[int, int]]:
    """(start, end) of each word between blanks, by the text that the tokens stand for."""
    bounds: list[tuple[int, int]] = []
    wordpiece = any(piece.startswith("##") for piece in tokenizer.get_vocab())
    for at, piece in enumerate(tokenizer.convert_ids_to_tokens(ids.tolist())):
        if piece in SPECIAL.values():
            continue
        first = not bounds or bounds[-1][1] != at
        begins = not piece.startswith("##") if wordpiece else piece[0] == "Ġ"
        if first or begins:
            bounds.append((at, at + 1))
        else:
            bounds[-1] = (bounds[-1][0], at + 1)
    return bounds


def test_a_word_ends_at_a_newline_a_special_token_and_a_document(bpe: Any) -> None:
    text = bpe("dog\ndog", add_special_tokens=False).input_ids
    ids = np.array([*text, bpe.sep_token_id, *text, *text], dtype=np.uint16)
    words = Objective(Config(whole_word=True), bpe)._words
    assert words is not None
    starts = words.starts(ids.astype(np.int64), ids == bpe.sep_token_id, np.array([2 * len(text) + 1, len(text)]))
    pieces = bpe.convert_ids_to_tokens(text)
    after_newline = [at + 1 for at, piece in enumerate(pieces) if piece.endswith("Ċ")]
    size = len(text)
    assert after_newline
    assert starts[0]
    assert starts[after_newline].all()
    assert starts[[size, size + 1, 2 * size + 1]].all()  # the special token, what follows it, the next document
    inside = {at for at in range(1, size) if pieces[at] != "Ċ"} - set(after_newline)
    assert not starts[sorted(inside)].any()


@pytest.mark.parametrize("whole_word", [False, True])
def test_an_example_draws_the_same_in_any_batch_and_anew_in_another_epoch(whole_word: bool, bpe: Any) -> None:
    objective = Objective(Config(whole_word=whole_word), bpe)
    one, two, three = (example(bpe, index) for index in range(3))

    def chosen(examples: list[Example]) -> set[tuple[int, ...]]:
        batch = objective.collate(examples)
        rows = batch.tensors["input_ids"].flatten()
        places = batch.tensors["places"][: batch.terms]
        return {
            (int(rows[place]), int(target)) for place, target in zip(places, batch.tensors["targets"], strict=False)
        }

    together = objective.collate([one, two, three])
    alone = [objective.collate([single]) for single in (three, one, two)]
    assert together.terms == sum(batch.terms for batch in alone)
    assert chosen([one, two, three]) == chosen([three, one]) | chosen([two])
    assert (
        objective.hide(one).chosen.tolist() == Objective(Config(whole_word=whole_word), bpe).hide(one).chosen.tolist()
    )
    again = objective.hide(one._replace(key=(0, 1, 0)))
    assert again.chosen.tolist() != objective.hide(one).chosen.tolist()


def test_a_batch_without_a_chosen_token_has_no_loss_and_a_gradient_of_zero(bpe: Any) -> None:
    model = BertForMaskedLM(BertConfig(vocab_size=len(bpe), **DIMENSIONS))
    ids = np.array([bpe.cls_token_id, bpe.sep_token_id], dtype=np.uint16)
    objective = Objective(Config(), bpe)
    batch = objective.collate([Example({"input_ids": ids, "documents": np.array([2])}, (0,))])
    assert batch.terms == 0
    loss = objective.loss(model, batch.tensors).total
    loss.backward()
    assert loss.item() == 0
    assert all(parameter.grad is None or not parameter.grad.any() for parameter in model.parameters())


def test_what_cannot_be_masked_is_refused(bpe: Any) -> None:
    with pytest.raises(ValidationError, match="More tokens would be replaced"):
        Config(mask_share=0.8, random_share=0.3)
    without = PreTrainedTokenizerFast(tokenizer_object=bpe.backend_tokenizer, pad_token="[PAD]")
    with pytest.raises(ModelError, match="no mask token"):
        Objective(Config(), without)
    backend = Tokenizer(models.WordLevel({"[MASK]": 0, "dog": 1}, unk_token="dog"))
    wordless = PreTrainedTokenizerFast(tokenizer_object=backend, mask_token="[MASK]")
    with pytest.raises(ModelError, match="where words begin"):
        Objective(Config(whole_word=True), wordless)
