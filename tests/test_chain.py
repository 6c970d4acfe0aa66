"""Chains: jobs one after another, what they are given on the command line, and what each begins with."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.errors import ArtifactError, ConfigError
from jobs.chain import is_chain, load_chain, show_chain
from tests.tiny import make_tiny_model

FIRST = """\
name: first
storage: {{root: {root}}}
model: {{path: {root}/model, name: base}}
data: {{train: {root}/train.jsonl, heldout: {root}/heldout.jsonl, max_length: 64}}
train: {{steps: 2, learning_rate: 1e-3, trackers: [], batch: {{sequences: 2, micro: 2}}}}
"""
SECOND = """\
name: second
storage: {{root: {root}}}
model: {{artifact: first-model}}
data: {{kind: prompts, train: {root}/prompts.jsonl, heldout: {root}/prompts.jsonl, max_length: 64}}
train:
  objective: {{kind: rl, rewards: [{{kind: pattern, pattern: cat, whole: false}}], rollouts: {{prompts: 2, group: 2}}}}
  steps: 2
  batch: {{sequences: 4, micro: 4}}
  learning_rate: 1e-3
"""
CHAIN = "name: both\nchain: {one: first.yaml, two: second.yaml}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    from tests.test_job_kinds import write_conversations
    from tests.test_rl import write_prompts

    make_tiny_model(tmp_path / "model", hidden=64)
    write_conversations(tmp_path)
    (tmp_path / "other").mkdir()
    write_prompts(tmp_path / "other")
    (tmp_path / "other" / "train.jsonl").rename(tmp_path / "prompts.jsonl")
    (tmp_path / "first.yaml").write_text(FIRST.format(root=tmp_path))
    (tmp_path / "second.yaml").write_text(SECOND.format(root=tmp_path))
    (tmp_path / "chain.yaml").write_text(CHAIN)
    return tmp_path


def test_overrides_belong_to_a_link_or_to_all(folder: Path) -> None:
    assert is_chain(folder / "chain.yaml")
    assert not is_chain(folder / "first.yaml")
    links = load_chain(folder / "chain.yaml", ["two.train.steps=7", "train.seed=3"])
    assert [link.name for link in links] == ["one", "two"]
    steps = [link.job.train.steps for link in links if link.job.train]
    assert steps == [2, 7]
    assert [link.job.train.seed for link in links if link.job.train] == [3, 3]
    with pytest.raises(ConfigError, match="Unknown key `three`"):
        load_chain(folder / "chain.yaml", ["three.train.steps=7"])


def test_the_plan_of_a_chain_knows_models_that_are_not_there_yet(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    links = load_chain(folder / "chain.yaml", [])
    assert links[1].job.model.artifact == "first-model"
    assert links[1].planned.model == links[0].job.model
    show_chain(links)
    words = " ".join(capsys.readouterr().out.split())
    assert "Plan of first" in words
    assert "2 prompts × 2 completions a round" in words


def test_what_no_link_makes_is_told_before_the_first_begins(folder: Path) -> None:
    (folder / "second.yaml").write_text(SECOND.format(root=folder).replace("first-model", "frist-model"))
    with pytest.raises(ArtifactError, match="neither published nor made") as caught:
        load_chain(folder / "chain.yaml", [])
    assert (caught.value.field, caught.value.got) == ("two.model.artifact", "frist-model")
    (folder / "second.yaml").write_text(FIRST.format(root=folder))
    with pytest.raises(ConfigError, match="same name"):
        load_chain(folder / "chain.yaml", [])
    (folder / "chain.yaml").write_text("name: both\nchain: {train: first.yaml}\n")
    with pytest.raises(ConfigError, match="name of a section"):
        load_chain(folder / "chain.yaml", [])
