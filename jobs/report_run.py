"""What a run directory tells of a run: its report, metrics and configuration, and its artifacts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cluster.artifacts import ArtifactStore, Manifest
from cluster.errors import ArtifactError


@dataclass(frozen=True)
class RunRecord:
    """What a run directory tells, and where its artifacts are."""

    report: dict[str, Any]
    metrics: list[dict[str, Any]]
    config: dict[str, Any]
    store: ArtifactStore

    def stage(self, name: str) -> dict[str, Any]:
        """A stage's part of the report; empty when it is absent."""
        found: dict[str, Any] = self.report.get("stages", {}).get(name) or {}
        return found

    def artifact(self, reference: str | None) -> Manifest | None:
        """The artifact, or None when the stage made none or it was removed since."""
        try:
            return self.store.get(reference) if reference else None
        except ArtifactError:
            return None

    def base(self) -> Manifest | None:
        """The base model: converted by this run, or a published one that its configuration names."""
        return self.artifact(self.stage("model").get("artifact") or (self.config.get("model") or {}).get("artifact"))

    def before_and_after(self) -> dict[str, dict[str, Any]]:
        """Held-out figures by when they were measured: by the evaluation, or by a training that measures itself."""
        own = self.stage("train").get("heldout") or {}
        stages = {when: self.stage(f"evaluate_{when}") or own.get(when) for when in ("before", "after")}
        return {when: stage for when, stage in stages.items() if stage and "heldout_loss" in stage}
