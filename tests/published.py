"""Publish a small artifact."""

from __future__ import annotations

from typing import Any

from cluster.artifacts import ArtifactStore, Manifest


def publish(store: ArtifactStore, text: str, name: str = "thing", kind: str = "model", **more: Any) -> Manifest:
    """Publish an artifact of one file, `sub/a.txt`; `more` goes to `ArtifactStore.publish`."""
    with store.draft() as folder:
        (folder / "sub").mkdir()
        (folder / "sub" / "a.txt").write_text(text)
        return store.publish(folder, name=name, kind=kind, **more)
