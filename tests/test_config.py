"""Errors in a configuration name the key, its place, what was got and the nearest valid name."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from cluster.errors import ConfigError
from jobs.config import load_job
from tests.job_file import JOB, refusal


@pytest.fixture(autouse=True)
def _inside_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # files are named relative to it in messages


@pytest.mark.parametrize(
    ("addition", "overrides", "key", "place", "meant"),
    [
        ("tarin: {}\n", [], "tarin", "job.yaml:10", "train"),
        ("  learnig_rate: 1\n", [], "train.learnig_rate", "job.yaml:10", "train.learning_rate"),
        ("  batch:\n    sequence: 1\n", [], "train.batch.sequence", "job.yaml:11", "train.batch.sequences"),
        ("", ["train.batch.sequence=1"], "train.batch.sequence", "command line", "train.batch.sequences"),
        ("", ["train={stepz: 1}"], "train.stepz", "command line", "train.steps"),
        ("  objective: {kind: sft, knd: 1}\n", [], "train.objective.knd", "job.yaml:10", "train.objective.kind"),
        (
            "serve:\n  engine:\n    kind: llama_cpp\n    num_thread: 1\n", [],
            "serve.engine.num_thread", "job.yaml:13", "serve.engine.num_threads",
        ),
        ("  steps.of.it: 1\n", [], "train.steps.of.it", "job.yaml:10", "train.steps"),
        ("on: 1\n", [], "on", "job.yaml:10", None),
        ("zzzz: 1\n", [], "zzzz", "job.yaml:10", None),
    ],
)  # fmt: skip
def test_unknown_key_names_key_place_and_nearest_valid_name(
    addition: str, overrides: list[str], key: str, place: str, meant: str | None
) -> None:
    error = refusal(JOB + addition, *overrides)
    assert error.message == f"Unknown key `{key}`."
    assert error.field == f"{key} ({place})"
    assert str(error.expected).startswith("one of ")
    assert error.fix == (f"did you mean `{meant}`?" if meant else None)


def test_unknown_plugin_kind_names_the_kinds_that_exist() -> None:
    error = refusal(JOB, "train.objective=sftt")
    assert error.field == "train.objective (command line)"
    assert "`sftt`" in error.message
    assert "sft" in str(error.expected)
    assert error.fix == "did you mean `sft`?"
    assert "Unknown kind `3`" in refusal(JOB, "train.objective=3").message
    assert refusal(JOB, "train.objective={}").message == "A plug-in's kind is missing."


@pytest.mark.parametrize("value", ["many", "1.5", "-1", "null", "[1]", "{a: 1}"])
def test_a_value_of_the_wrong_type_names_field_and_value(value: str) -> None:
    error = refusal(JOB.replace("steps: 10", f"steps: {value}"))
    assert error.field is not None
    assert error.field.startswith("train.steps (job.yaml:8)")
    assert error.got == repr(yaml.safe_load(value))
    assert error.expected


def test_a_value_is_placed_where_it_was_written_last() -> None:
    assert refusal(JOB, "train={steps: -1}").field == "train.steps (command line)"
    Path("base.yaml").write_text(JOB)
    assert refusal("defaults: base.yaml\ntrain:\n  steps: -1\n").field == "train.steps (job.yaml:3)"


@pytest.mark.parametrize("value", [".nan", ".inf", "-.inf", "1e999"])
def test_a_number_that_is_not_finite_is_refused(value: str) -> None:
    assert refusal(JOB, f"train.learning_rate={value}").field == "train.learning_rate (command line)"
    assert refusal(JOB, f"train.clip={value}").field == "train.clip (command line)"


def test_a_missing_key_is_named_with_the_place_of_its_section() -> None:
    error = refusal(JOB.replace("  steps: 10\n", ""))
    assert error.message == "A key is missing."
    assert error.field == "train.steps (job.yaml:7)"


def test_every_problem_is_reported_at_once() -> None:
    error = refusal(JOB + "  learnig_rate: 1\n  stpes: 2\n", "data.max_length=0", "serve.engine.num_thread=1")
    assert error.message.startswith("4 problems")
    for part in ("train.learnig_rate", "train.stpes", "data.max_length", "serve.engine.kind", "job.yaml:10"):
        assert part in str(error)


def test_values_that_contradict_each_other_are_refused_with_the_section() -> None:
    assert refusal(JOB, "model.path=elsewhere").field == "model (job.yaml:2)"
    assert refusal(JOB, "train.warmup_steps=10").field == "train (job.yaml:7)"
    float16 = ("train.dtype=float16", "train.deepspeed={stage: 0}")
    assert "needs a higher ZeRO stage" in refusal(JOB, *float16).message
    for folder in ("checkpoints", "~/checkpoints", "s3://key:secret@bucket/x"):
        found = refusal(JOB, f"train.checkpoint.folder={folder}")
        assert found.field == "train.checkpoint.folder (command line)"
        assert "secret" not in str(found)
    assert refusal(JOB, "train.seed=-1").field == "train.seed (command line)"
    assert "needs a `data` section" in refusal(JOB, "data=null").message
    assert refusal(JOB, "train.betas=[0.9, 1.0]").field == "train.betas.1 (command line)"
    assert refusal(JOB, "model.name=../x").field == "model.name (command line)"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (JOB + "name: again\n", "written twice"),
        (JOB + "  betas: [1\n", "not valid YAML"),
        (JOB + "\tname: x\n", "not valid YAML"),
        ("name: 2026-99-99\n", "not valid YAML"),
        ("a: &a {b: *a}\n", "not valid YAML"),
        ("[" * 1_000, "not valid YAML"),
        ("a: !!python/name:os.system x\n", "not valid YAML"),
        ("- name\n", "mapping"),
        ("", "A key is missing"),
        ("x" * 1_000_001, "too large"),
    ],
)
def test_a_file_that_is_no_mapping_of_keys_is_refused_in_words(text: str, message: str) -> None:
    assert message in str(refusal(text))


def test_a_duplicate_key_names_both_lines() -> None:
    error = refusal(JOB + "  steps: 11\n")
    assert (error.field, error.got) == ("train.steps (job.yaml:10)", "job.yaml:8")


@pytest.mark.parametrize("path", ["nowhere.yaml", "."])
def test_a_file_that_cannot_be_read_is_named(path: str) -> None:
    with pytest.raises(ConfigError, match="cannot be read") as caught:
        load_job(Path(path), [])
    assert str(Path(path).resolve()) in str(caught.value.got)


def test_text_that_is_not_utf8_is_refused() -> None:
    Path("job.yaml").write_bytes(b"name: \xff\n")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_job(Path("job.yaml"), [])
