"""report.html: the results of a run on one page that opens from disk."""

from __future__ import annotations

from pathlib import Path

from cluster.artifacts import ArtifactStore


def write_html(run_folder: Path, store: ArtifactStore) -> None:
    """Write `report.html` beside `report.json`."""
