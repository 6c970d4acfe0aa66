"""What a run directory tells of a run: its report, metrics and configuration, and its artifacts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
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
    folder: Path

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

    def is_reinforced(self) -> bool:
        """Whether it learns by reinforcement: its held-out loss is the negative of a reward, not a loss."""
        return ((self.config.get("train") or {}).get("objective") or {}).get("kind") == "rl"

    def steps(self) -> tuple[list[dict[str, Any]], str]:
        """The training's records, one a step, and what must be said of them."""
        trained, metrics = self.stage("train"), self.metrics
        if not trained:
            here = metrics and metrics[-1].get("attempt") == self.report.get("attempt")
            return metrics, "" if not metrics else ", unfinished" if here else ", of an earlier attempt"
        # A reused stage was trained elsewhere: what lies in this directory may be of another training, or missing.
        # (Compared as JSON, where NaN equals NaN.)
        if json.dumps(trained["losses"]) == json.dumps(points_of(metrics, "loss")):
            return metrics, ""
        records: dict[float, dict[str, Any]] = {step: {"step": step, "loss": loss} for step, loss in trained["losses"]}
        for name, points in (trained.get("heldout_curves") or {}).items():
            for step, value in points:
                records.setdefault(step, {"step": step})[f"heldout_{name}"] = value
        return [records[step] for step in sorted(records)], ""


def points_of(metrics: list[dict[str, Any]], key: str) -> list[tuple[float, float]]:
    """(step, value) of each record that has the key."""
    return [(record["step"], record[key]) for record in metrics if record.get(key) is not None]
