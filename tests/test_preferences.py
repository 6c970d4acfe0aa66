"""Preference data: what pairs and labelled answers become, what is refused, and that TRL reads them the same."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from cluster.errors import DataError
from cluster.progress import ProgressFile
from tests.conftest import REPOSITORY
from trainers.data.store import TokenData
from trainers.formats import labelled, pairs

PREFERENCES = REPOSITORY / "data" / "support_preferences"
QUESTION = [{"role": "user", "content": "the cat sees a dog."}]
GOOD = {"role": "assistant", "content": "it sees a house."}
BAD = {"role": "assistant", "content": "go home."}
PAIR = {"prompt": "when it rains", "chosen": "it goes home.", "rejected": "it sees red."}
ANSWER = {"prompt": "when it rains", "completion": "it goes home.", "label": True}
WORSE = {"prompt": "when it rains", "completion": "it sees red.", "label": False}


@pytest.fixture
def progress(tmp_path: Path) -> ProgressFile:
    return ProgressFile(tmp_path / "progress.json")


def write(path: Path, *records: object) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def prepared(
    module: Any, folder: Path, model: Path, train: list[Any], heldout: list[Any], max_length: int = 128
) -> tuple[dict[str, Any], TokenData]:
    """The tokenize report and the training store of such examples."""
    config = module.Config(
        train=write(folder / "train", *train), heldout=write(folder / "heldout", *heldout), max_length=max_length
    )
    progress, dataset = ProgressFile(folder / "progress.json"), folder / "dataset"
    dataset.mkdir()
    module.collect(progress, config, dataset)
    report = module.tokenize(progress, config, model, dataset, folder / "tokens")
    assert list(module.facts(report))
    return report, TokenData(folder / "tokens" / "train")


def test_text_messages_and_implicit_prompts_are_the_same_pair(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": PAIR["prompt"]}]
    chosen, rejected = ([{"role": "assistant", "content": PAIR[key]}] for key in ("chosen", "rejected"))
    path = write(
        tmp_path / "pairs",
        PAIR,
        {"prompt": turns, "chosen": chosen, "rejected": rejected, "source": "ignored"},
        {"chosen": turns + chosen, "rejected": turns + rejected},
        PAIR | {"margin": 2},
    )
    expected = {"prompt": turns, "chosen": chosen, "rejected": rejected}
    found = list(pairs.read_pairs(path))
    assert found == [*((f"{path}:{n}", expected) for n in (1, 2, 3)), (f"{path}:4", expected | {"margin": 2.0})]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ([], "not of the right form"), ({"prompt": "a", "chosen": "b"}, "not of the right form"),
        ({"chosen": "b", "rejected": "c"}, "not of the right form"),
        (PAIR | {"prompt": 3}, "neither text nor messages"), (PAIR | {"chosen": []}, "neither text nor messages"),
        (PAIR | {"rejected": " "}, "`rejected` is empty"), (PAIR | {"prompt": ""}, "`prompt` is empty"),
        (PAIR | {"chosen": [{"role": "robot", "content": "x"}]}, "not of the right form"),
        (PAIR | {"chosen": "\ud83d"}, "not Unicode"),
        (PAIR | {"prompt": [*QUESTION, GOOD]}, "ends with the assistant's turn"),
        (PAIR | {"chosen": QUESTION}, "not the assistant's"),
        (PAIR | {"chosen": [GOOD, *QUESTION]}, "not the assistant's"),
        (PAIR | {"rejected": PAIR["chosen"]}, "prefers nothing"),
        ({"chosen": [*QUESTION, GOOD], "rejected": [*QUESTION, GOOD]}, "prefers nothing"),
        (PAIR | {"margin": "1"}, "margin is not a number"), (PAIR | {"margin": True}, "margin is not a number"),
        (PAIR | {"margin": float("nan")}, "margin is not a number"),
    ],
    ids=range(17),
)  # fmt: skip
def test_a_line_that_is_no_pair_is_refused_with_its_number(tmp_path: Path, record: Any, message: str) -> None:
    reader = pairs.read_pairs(write(tmp_path / "pairs", PAIR, record))
    next(reader)
    with pytest.raises(DataError, match=message) as caught:
        next(reader)
    assert caught.value.field == f"{tmp_path}/pairs:2"


@pytest.mark.parametrize("label", [1, "true", None])
def test_a_label_is_true_or_false(tmp_path: Path, label: object) -> None:
    with pytest.raises(DataError, match="not true or false") as caught:
        list(labelled.read_labelled(write(tmp_path / "answers", ANSWER, ANSWER | {"label": label})))
    assert caught.value.field == f"{tmp_path}/answers:2"


def test_pairs_become_two_conversations_with_one_prompt(tmp_path: Path, tiny_model: Path) -> None:
    long = PAIR | {"rejected": "it sees a dog. " * 40}
    turn = {"prompt": [*QUESTION, GOOD, *QUESTION], "chosen": [GOOD, *QUESTION, BAD], "rejected": [BAD], "margin": 0.5}
    report, data = prepared(pairs, tmp_path, tiny_model, [long, PAIR, turn], [PAIR | {"chosen": "a house."}])
    from trainers.models import load_tokenizer

    tokenizer = load_tokenizer(tiny_model)
    first, second = data[0], data[1]
    prompt = first["prompt_length"][0]
    assert tokenizer.decode(first["chosen_ids"][:prompt]).endswith("when it rains<|im_end|>\n<|im_start|>assistant\n")
    assert tokenizer.decode(first["chosen_ids"][prompt:]) == "it goes home.<|im_end|>\n"
    assert tokenizer.decode(first["rejected_ids"][prompt:]) == "it sees red.<|im_end|>\n"
    assert first["rejected_ids"][:prompt].tolist() == first["chosen_ids"][:prompt].tolist()
    assert [row["line"].tolist() for row in (first, second)] == [[2], [3]]
    assert [row["margin"].tolist() for row in (first, second)] == [[], [0.5]]
    answer = tokenizer.decode(second["chosen_ids"][second["prompt_length"][0] :])
    assert answer.startswith(GOOD["content"])
    assert answer.endswith(f"{BAD['content']}<|im_end|>\n")
    lengths = [len(row["chosen_ids"]) + len(row["rejected_ids"]) for row in (first, second)]
    assert data.lengths.tolist() == lengths
    counts = report["train"]
    assert (counts["samples"], counts["too_long"], counts["too_long_lines"]) == (2, 1, [1])
    assert counts["tokens"] == sum(lengths)
    assert "".join(piece for piece, trained in report["example"] if trained) == "it goes home.<|im_end|>\n"


def test_labelled_answers_become_conversations(tmp_path: Path, tiny_model: Path) -> None:
    report, data = prepared(labelled, tmp_path, tiny_model, [ANSWER, WORSE], [ANSWER | {"completion": "a house."}])
    assert [data[index]["label"].tolist() for index in (0, 1)] == [[1], [0]]
    assert [data[index]["line"].tolist() for index in (0, 1)] == [[1], [2]]
    assert data[0]["prompt_length"] == data[1]["prompt_length"] < len(data[0]["input_ids"])
    assert (report["train"]["samples"], report["heldout"]["samples"]) == (2, 1)


def test_trl_makes_the_same_tokens_of_the_data_set(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from datasets import load_dataset
    from trl import DPOConfig, DPOTrainer

    from trainers.models import load_model, load_tokenizer

    turn = {"prompt": [*QUESTION, GOOD, *QUESTION], "chosen": [GOOD], "rejected": [BAD]}
    _, data = prepared(pairs, tmp_path, tiny_model, [PAIR, turn], [PAIR | {"chosen": "a house."}])
    monkeypatch.setenv("CI", "true")  # TRL reports the use of its trainers over the network unless this is set
    config = DPOConfig(str(tmp_path / "out"), use_cpu=True, bf16=False, report_to="none")
    file = str(tmp_path / "dataset" / "train.jsonl")
    trainer = DPOTrainer(
        model=load_model(tiny_model, torch.float32), args=config, processing_class=load_tokenizer(tiny_model),
        train_dataset=load_dataset("json", data_files=file, split="train", cache_dir=str(tmp_path)),
    )  # fmt: skip
    for index in (0, 1):
        theirs, ours = trainer.train_dataset[index], data[index]
        assert theirs["prompt_ids"] + theirs["chosen_ids"] == ours["chosen_ids"].tolist()
        assert theirs["prompt_ids"] + theirs["rejected_ids"] == ours["rejected_ids"].tolist()
        assert len(theirs["prompt_ids"]) == ours["prompt_length"][0]


def test_data_that_measures_or_teaches_nothing_is_refused(tmp_path: Path, tiny_model: Path) -> None:
    for number, (module, train, heldout, max_length, message) in enumerate(
        [
            (pairs, [PAIR], [PAIR], 128, "also trained on"),
            (labelled, [ANSWER, WORSE], [WORSE], 128, "also trained on"),
            (labelled, [ANSWER, ANSWER], [WORSE], 128, "same label"),
            (pairs, [PAIR], [PAIR | {"chosen": "a house."}], 4, "too long"),
        ]
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        with pytest.raises(DataError, match=message):
            prepared(module, folder, tiny_model, train, heldout, max_length)
    with pytest.raises(DataError, match="A data file is missing"):
        pairs.identity(pairs.Config(train=tmp_path / "no", heldout=tmp_path / "no"))


def test_the_estimate_is_near_the_tokens() -> None:
    for module, name in ((pairs, "pairs"), (labelled, "labelled")):
        files = {part: PREFERENCES / f"{name}_{part}.jsonl" for part in ("train", "heldout")}
        guessed = module.estimate(module.Config(**files, max_length=512))
        lines = files["train"].read_text().splitlines()
        assert guessed.samples == len(lines)
        assert 0.3 < guessed.trained_share < 0.9
        characters = sum(len(line) for line in lines)
        assert characters / 8 < guessed.tokens < characters


def read(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (PREFERENCES / f"{name}.jsonl").read_text().splitlines()]


def test_the_shipped_preferences_are_what_their_generator_makes() -> None:
    script = str(PREFERENCES / "generate.py")
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    readme = (PREFERENCES / "README.md").read_text()
    for name in ("pairs_train", "pairs_heldout", "labelled_train", "labelled_heldout"):
        assert f"| `{name}.jsonl` | {len(read(name))} |" in readme


def test_no_held_out_question_or_answer_was_trained_on() -> None:
    for keys, name in ((("prompt", "chosen", "rejected"), "pairs"), (("prompt", "completion"), "labelled")):
        train, heldout = read(f"{name}_train"), read(f"{name}_heldout")
        for key in keys:
            assert not {json.dumps(one[key]) for one in train} & {json.dumps(one[key]) for one in heldout}


def test_the_rejected_answers_cannot_be_told_by_their_length_alone() -> None:
    longer = [len(pair["rejected"][-1]["content"]) > len(pair["chosen"][-1]["content"]) for pair in read("pairs_train")]
    assert 0.25 < sum(longer) / len(longer) < 0.75
    faults = [pair["fault"] for pair in read("pairs_train")]
    assert min(faults.count(fault) for fault in set(faults)) > 20
    assert sum(before == after for before, after in pairwise(faults)) < len(faults) / 2
