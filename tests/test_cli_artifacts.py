"""`raysmith ls`, `trace`, `diff` and `verify` on a small store."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from cluster.artifacts import ArtifactStore, Manifest
from cluster.config import file_digest
from cluster.storage import read_json, write_json
from tests.published import publish
from tests.test_cli import raysmith


@pytest.fixture
def tuned(tmp_path: Path) -> Manifest:
    """An artifact `tuned` made from `data`."""
    store = ArtifactStore(tmp_path)
    data = publish(store, "text", name="data", kind="dataset", source={"train": "train.jsonl"})
    return publish(store, "weights", name="tuned", parents={"data": data.id}, metrics={"loss": 1.25})


def test_ls_lists_names_whole_however_long(tuned: Manifest, tmp_path: Path) -> None:
    long = "x" * 100
    ArtifactStore(tmp_path).point(long, tuned.id)
    done = raysmith("ls", storage=tmp_path, COLUMNS="60")
    assert [line.split()[:2] for line in done.stdout.splitlines()[1:]][1:] == [["tuned", tuned.id], [long, tuned.id]]
    assert raysmith("ls", "--storage", str(tmp_path)).stdout == done.stdout


def test_trace_leads_back_to_the_data(tuned: Manifest, tmp_path: Path) -> None:
    lines = raysmith("trace", "tuned", storage=tmp_path).stdout.splitlines()
    assert lines[0].startswith(f"tuned ({tuned.id}) sha256 {tuned.content[:16]}…")
    assert lines[0].endswith("loss 1.25")
    assert lines[1].startswith(f"└── data: data ({tuned.parents['data']})")
    assert lines[2].strip() == "└── from train train.jsonl"
    assert raysmith("trace", tuned.id[:10], storage=tmp_path).stdout.splitlines() == lines


def test_diff_shows_what_changed(tuned: Manifest, tmp_path: Path) -> None:
    other = publish(ArtifactStore(tmp_path), "other", name="other", parents=tuned.parents, metrics={"loss": 1.5})
    lines = raysmith("diff", "tuned", "other", storage=tmp_path).stdout.splitlines()
    assert f"tuned ({tuned.id})" in lines[0]
    assert f"other ({other.id})" in lines[0]
    assert [line.split()[0] for line in lines[1:]] == ["content", "metrics.loss", "files.sub/a.txt"]
    assert "metrics.loss 1.25 1.5" in [" ".join(line.split()) for line in lines]


@pytest.mark.parametrize("verb", ["trace", "verify"])
def test_a_name_that_is_not_there_is_an_error_with_a_way_on(verb: str, tuned: Manifest, tmp_path: Path) -> None:
    for name in ("nothing", "../../tuned"):
        done = raysmith(verb, name, storage=tmp_path)
        assert done.returncode == 1
        assert done.stderr.startswith("ArtifactError: No artifact of that name.")
        assert f"got:      {name}" in done.stderr
        assert "raysmith ls" in done.stderr


def test_verify_hashes_an_artifact_and_what_it_was_made_from(tuned: Manifest, tmp_path: Path) -> None:
    done = raysmith("verify", "tuned", storage=tmp_path)
    assert done.returncode == 0
    assert done.stdout.splitlines() == [f"intact  tuned  ({tuned.id})", f"intact  data  ({tuned.parents['data']})"]


@pytest.mark.parametrize("tampered", ["tuned", "data"])
@pytest.mark.parametrize("with_manifest", [False, True], ids=["file", "file-and-manifest"])
def test_verify_fails_after_tampering(tampered: str, with_manifest: bool, tuned: Manifest, tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    manifest = store.get(tampered)
    file = store.files(manifest) / "sub" / "a.txt"
    file.write_text(file.read_text()[::-1])
    if with_manifest:
        path = store.files(manifest).parent / "manifest.json"
        edited = read_json(path)
        edited["files"]["sub/a.txt"]["sha256"] = file_digest(file)
        write_json(path, edited)
    done = raysmith("verify", "tuned", storage=tmp_path)
    assert done.returncode == 1
    assert "ArtifactError: The artifact was altered after it was published." in done.stderr
    assert manifest.id in done.stderr
    assert ("sub/a.txt" in done.stderr) is not with_manifest


def test_ls_shows_the_others_when_one_is_gone(tuned: Manifest, tmp_path: Path) -> None:
    shutil.rmtree(ArtifactStore(tmp_path).files(tuned).parent)
    done = raysmith("ls", storage=tmp_path)
    assert done.returncode == 0
    assert "No artifact of that name." in done.stdout
    assert all(name in done.stdout for name in ArtifactStore(tmp_path).names())
