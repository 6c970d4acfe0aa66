"""Artifacts: whole or absent, found by content, name or prefix, and verified."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.artifacts import ArtifactStore, compare_manifests
from cluster.config import file_digest
from cluster.errors import ArtifactError
from cluster.storage import read_json, write_json
from tests.published import publish

WRITE_AND_WAIT = """\
import sys, time; from pathlib import Path; from cluster.artifacts import ArtifactStore
with ArtifactStore(Path(sys.argv[1])).draft() as folder:
    (folder / "half.bin").write_bytes(b"x" * 1000)
    print(folder.parent, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path)


def entries(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def test_a_published_artifact_holds_its_files_and_says_where_it_comes_from(store: ArtifactStore) -> None:
    parent = publish(store, "text", name="data", kind="dataset", source={"file": "x.jsonl"})
    model = publish(store, "weights", parents={"data": parent.id}, metrics={"loss": 1.5}, config_hash="abc")
    assert (store.files(model) / "sub" / "a.txt").read_text() == "weights"
    assert store.get("thing") == model
    assert re.fullmatch(r"model-[0-9a-f]{12}", model.id)
    assert (model.parents, model.metrics, model.config_hash) == ({"data": parent.id}, {"loss": 1.5}, "abc")
    assert (model.files["sub/a.txt"].size_bytes, model.size_bytes) == (7, 7)
    assert "torch" in model.packages


def test_a_draft_that_fails_leaves_nothing(store: ArtifactStore, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="halfway"), store.draft() as folder:
        (folder / "a.txt").write_text("half")
        raise RuntimeError("halfway")
    assert entries(tmp_path) == []
    assert list((tmp_path / "artifacts" / "drafts").iterdir()) == []


def test_a_draft_killed_in_the_middle_is_cleaned_by_the_next_one(store: ArtifactStore, tmp_path: Path) -> None:
    writer = subprocess.Popen([sys.executable, "-c", WRITE_AND_WAIT, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    abandoned = Path(writer.stdout.readline().strip())
    with store.draft():
        assert abandoned.exists()  # its writer lives
    os.kill(writer.pid, signal.SIGKILL)
    writer.wait()
    assert (abandoned / "files" / "half.bin").exists()
    assert not (tmp_path / "artifacts" / "objects").exists()
    with store.draft():
        assert not abandoned.exists()


def test_a_draft_of_another_host_is_left_alone(store: ArtifactStore, tmp_path: Path) -> None:
    # No process has this number; the other host's name begins with this one's.
    foreign = tmp_path / "artifacts" / "drafts" / f"{socket.gethostname()}-1-4194999-abcdef01"
    foreign.mkdir(parents=True)
    with store.draft():
        assert foreign.exists()


def test_the_same_content_is_the_same_artifact_and_keeps_its_first_manifest(store: ArtifactStore) -> None:
    first = publish(store, "same", metrics={"loss": 1.0})
    second = publish(store, "same", name="other", metrics={"loss": 2.0})
    assert second == first
    assert store.names() == {"other": first.id, "thing": first.id}
    assert publish(store, "different").id != first.id


def test_the_same_content_made_from_something_else_is_another_artifact(store: ArtifactStore) -> None:
    data = [publish(store, text, name=text, kind="dataset") for text in ("one", "two")]
    made = [publish(store, "same", kind="tokens", parents={"text": parent.id}) for parent in data]
    assert made[0].id != made[1].id
    assert [store.get(one.id).parents["text"] for one in made] == [parent.id for parent in data]


@pytest.mark.parametrize("edit", [{"parents": {"data": "dataset-000000000000"}}, {"source": {"file": "other"}}])
def test_verification_finds_lineage_that_was_edited(store: ArtifactStore, edit: dict[str, object]) -> None:
    model = publish(store, "good", parents={"data": "dataset-123456789abc"}, source={"file": "x"})
    path = store.files(model).parent / "manifest.json"
    write_json(path, {**read_json(path), **edit})
    with pytest.raises(ArtifactError, match="altered"):
        store.verify(store.get(model.id))


def test_content_altered_since_is_replaced_when_it_is_published_again(store: ArtifactStore, tmp_path: Path) -> None:
    model = publish(store, "good")
    (store.files(model) / "sub" / "a.txt").write_text("bad!")
    again = publish(store, "good")
    assert again.id == model.id
    assert (store.files(again) / "sub" / "a.txt").read_text() == "good"
    store.verify(again)
    assert list((tmp_path / "artifacts" / "drafts").iterdir()) == []


def test_a_name_keeps_its_history(store: ArtifactStore, tmp_path: Path) -> None:
    ids = [publish(store, text).id for text in ("one", "two", "two", "three")]
    pointer = read_json(tmp_path / "artifacts" / "names" / "thing.json")
    assert pointer == {"id": ids[3], "history": [ids[0], ids[1]]}
    assert store.get("thing").id == ids[3]
    assert store.get(ids[0]).id == ids[0]


def test_an_id_may_be_shortened_while_it_is_unique(store: ArtifactStore) -> None:
    models = [publish(store, text) for text in ("one", "two")]
    data = publish(store, "text", name="data", kind="dataset")
    assert store.get("dataset") == data
    assert store.get(models[0].id[:12]) == models[0]
    with pytest.raises(ArtifactError, match="Several") as caught:
        store.get("model-")
    assert all(model.id in str(caught.value.expected) for model in models)


@pytest.mark.parametrize(
    "reference", ["nothing", "", ".", "..", "../..", "../names/thing", "thing/../thing", "/etc", "*", "thing.json"]
)
def test_what_names_no_artifact_is_refused(store: ArtifactStore, reference: str) -> None:
    publish(store, "one")
    with pytest.raises(ArtifactError, match="No artifact of that name"):
        store.get(reference)


@pytest.mark.parametrize(
    "name", ["", "../x", "a/b", "/tmp/x", "Upper", ".hidden", "-x", "a b", "a\n", "\u00e9", "x" * 101]
)
def test_a_name_that_could_leave_the_folder_is_refused(store: ArtifactStore, tmp_path: Path, name: str) -> None:
    with pytest.raises(ArtifactError, match="name is not valid"):
        publish(store, "one", name=name)
    with pytest.raises(ArtifactError, match="name is not valid"):
        store.point(name, "model-0")
    assert entries(tmp_path) == []


def test_nothing_and_figures_that_are_no_numbers_are_not_published(store: ArtifactStore, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="without files"), store.draft() as folder:
        store.publish(folder, name="thing", kind="model")
    with pytest.raises(ArtifactError, match="not finite"):
        publish(store, "one", metrics={"loss": float("nan")})
    assert entries(tmp_path) == []


def test_comparison_names_what_differs_and_nothing_else(store: ArtifactStore) -> None:
    one = publish(store, "one", metrics={"loss": 1.0, "kl": 0.5})
    two = publish(store, "two", metrics={"loss": 2.0, "kl": 0.5}, parents={"base": "model-1"})
    differences = compare_manifests(one, two)
    assert set(differences) == {"content", "metrics.loss", "parents.base", "files.sub/a.txt"}
    assert differences["metrics.loss"] == (1.0, 2.0)
    assert differences["parents.base"] == (None, "model-1")
    assert compare_manifests(one, one) == {}


@pytest.mark.parametrize("change", ["alter", "add", "remove", "hide"])
def test_verification_finds_an_altered_file(store: ArtifactStore, change: str) -> None:
    model = publish(store, "good")
    store.verify(model)
    file = store.files(model) / "sub" / "a.txt"
    if change == "alter":
        file.write_text("goof")  # as long as before
    elif change == "add":
        (file.parent / "b.txt").touch()
    elif change == "remove":
        file.unlink()
    else:
        file.rename(file.with_name("b.txt"))
    with pytest.raises(ArtifactError, match="altered") as caught:
        store.verify(store.get("thing"))
    assert caught.value.field == model.id


@pytest.mark.parametrize("depth", ["files", "content", "id"])
def test_verification_finds_a_file_altered_together_with_its_manifest(store: ArtifactStore, depth: str) -> None:
    model, other = publish(store, "good"), publish(store, "evil", name="other")
    folder = store.files(model).parent
    (folder / "files" / "sub" / "a.txt").write_text("evil")
    manifest = read_json(folder / "manifest.json")
    manifest["files"]["sub/a.txt"]["sha256"] = file_digest(folder / "files" / "sub" / "a.txt")
    if depth != "files":
        manifest["content"] = other.content
    if depth == "id":
        manifest["id"] = other.id
    write_json(folder / "manifest.json", manifest)
    with pytest.raises(ArtifactError):
        store.verify(store.get(model.id))


@pytest.mark.parametrize("text", ["", "{", "[]", json.dumps({"id": "model-1"})])
def test_a_damaged_manifest_is_an_error_in_words(store: ArtifactStore, text: str) -> None:
    (store.files(publish(store, "good")).parent / "manifest.json").write_text(text)
    with pytest.raises(ArtifactError, match="manifest is missing or damaged"):
        store.get("thing")
