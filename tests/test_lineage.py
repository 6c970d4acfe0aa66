"""What `ls`, `trace` and `diff` show of a store."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console, RenderableType

from cluster.artifacts import ArtifactStore, Manifest
from cluster.errors import ArtifactError
from jobs.lineage import ancestors, diff_table, list_table, trace_tree
from tests.published import publish


def text(what: RenderableType, width: int = 300) -> list[str]:
    stream = io.StringIO()
    Console(file=stream, width=width).print(what)
    return [line.rstrip() for line in stream.getvalue().splitlines()]


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path)


@pytest.fixture
def final(store: ArtifactStore) -> Manifest:
    """data, base → tuned → final, where final is also made from the data."""
    data = publish(store, "text", name="data", kind="dataset", source={"file": "train[v2].jsonl"})
    base = publish(store, "base", name="base")
    tuned = publish(store, "tuned", name="tuned", parents={"base": base.id, "data": data.id}, metrics={"loss": 1.25})
    return publish(store, "final", name="final", kind="gguf", parents={"model": tuned.id, "data": data.id})


def test_ancestors_are_everything_it_was_made_from_each_once(store: ArtifactStore, final: Manifest) -> None:
    assert [manifest.name for manifest in ancestors(store, final)] == ["tuned", "data", "base"]


def test_trace_shows_each_artifact_in_full_once(store: ArtifactStore, final: Manifest) -> None:
    lines = text(trace_tree(store, final))
    assert [line.split(" (")[0] for line in lines if " (" in line] == [
        "final", "├── model: tuned", "│   ├── base: base", "│   └── data: data", "└── data: data",
    ]  # fmt: skip
    assert sum("from file train[v2].jsonl" in line for line in lines) == 1
    assert lines[-1] == "    └── as above"
    assert "loss 1.25" in lines[1]
    assert f"sha256 {final.content[:16]}" in lines[0]


def test_a_trace_stops_at_a_parent_that_is_gone(store: ArtifactStore) -> None:
    orphan = publish(store, "orphan", parents={"base": "model-000000000000"})
    with pytest.raises(ArtifactError, match="No artifact"):
        trace_tree(store, orphan)


def test_the_list_names_every_artifact_and_its_parents(store: ArtifactStore, final: Manifest) -> None:
    lines = text(list_table(store))
    assert [line.split()[0] for line in lines] == ["name", "base", "data", "final", "tuned"]
    assert all(parent in lines[3] for parent in final.parents.values())
    assert "train[v2].jsonl" in lines[2]
    narrow = "\n".join(text(list_table(store), width=80))
    assert all(artifact_id in narrow for artifact_id in store.names().values())


def test_the_difference_shows_both_values(store: ArtifactStore, final: Manifest) -> None:
    rows = {line.split()[0]: line for line in text(diff_table(store.get("tuned"), final))[1:]}
    assert set(rows) == {"kind", "content", "parents.base", "parents.model", "metrics.loss", "files.sub/a.txt"}
    assert rows["metrics.loss"].split() == ["metrics.loss", "1.25", "—"]
    assert rows["kind"].split() == ["kind", "model", "gguf"]
    assert "sha256" in rows["files.sub/a.txt"]
