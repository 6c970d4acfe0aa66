"""report.html: the results of a run on one page that opens from disk, whatever part of the run there is.

Each function gives the template one section as plain data, and nothing (None, or an empty list) when the stages that
it speaks of did not happen. The page needs no network and runs no script; its charts are in jobs/report_charts.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import yaml

from cluster.artifacts import ArtifactStore, Manifest
from cluster.errors import ArtifactError
from cluster.rundir import read_metrics
from cluster.storage import read_json, write_atomically
from jobs.report_charts import Chart, curve, size_bars
from jobs.words import duration, size

_TEMPLATE = "report.html.j2"
_CURVES = (
    # key of metrics.jsonl, title, unit, whether the axis begins at 0
    ("loss", "Training loss", "nats a trained token", False),
    ("learning_rate", "Learning rate", "of the optimizer", True),
    ("grad_norm", "Gradient norm", "before clipping", True),
    ("tokens_per_s", "Training speed", "tokens a second", True),
)
_PROOFS = {
    "base_to_adapter": "The adapter does something: the model with it differs from the base model.",
    "adapter_to_merged": "Merging kept the tune: the merged weights answer as base model plus adapter do.",
    "merged_to_quantized": "Quantizing kept the tune: the file, in the engine that serves it, answers as the merged "
    "model does.",
}  # fmt: skip
_ANSWERS = (("evaluate_before", "base model"), ("evaluate_after", "tuned"), ("serve", "quantized, from the endpoint"))
_MAX_EXAMPLE_TOKENS = 2000
_MAX_WORKERS = 16


@dataclass(frozen=True)
class _Run:
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


def write_html(run_folder: Path, store: ArtifactStore) -> None:
    """Write `report.html` beside `report.json`."""
    import jinja2

    config_file = run_folder / "config.yaml"
    config_text = config_file.read_text(encoding="utf-8") if config_file.exists() else ""
    report = {"name": run_folder.name, "status": "unknown", **(read_json(run_folder / "report.json") or {})}
    run = _Run(report, read_metrics(run_folder / "metrics.jsonl"), yaml.safe_load(config_text) or {}, store)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"size": size, "duration": duration, "figure": _figure}
    page = environment.get_template(_TEMPLATE).render(
        report=report, cards=list(_cards(run)), answers=_answers(run), curves=_curves(run), proofs=_proofs(run),
        data=_data(run), example=_example(run), stages=_stages(run), bars=list(_bars(run)), lineage=_lineage(run),
        config=config_text,
    )  # fmt: skip
    write_atomically(run_folder / "report.html", page)


class _Card(NamedTuple):
    label: str
    value: str
    note: str
    tone: str = ""


def _cards(run: _Run) -> Iterator[_Card]:
    before, after = run.stage("evaluate_before"), run.stage("evaluate_after")
    if before and after:
        start, end = before["heldout_loss"], after["heldout_loss"]
        change = (end - start) / start if start else 0.0
        perplexity = f"perplexity {_figure(before['perplexity'])} → {_figure(after['perplexity'])}"
        value = f"{start:.3f} → {end:.3f}"
        yield _Card("Held-out loss", value, f"{_percent(change)}, {perplexity}", "good" if change < 0 else "bad")
    elif before or after:
        only = before or after
        yield _Card("Held-out loss", f"{only['heldout_loss']:.3f}", f"{'before' if before else 'after'} training")
    if quantized := run.stage("quantize"):
        now, base, note = quantized["size_bytes"], run.base(), f"{quantized['bits_per_weight']:.2f} bits a weight"
        if base is None:
            yield _Card("Model size", size(now), note)
        else:
            old, unit = size(base.size_bytes).split()
            value = f"{old if size(now).endswith(f' {unit}') else f'{old} {unit}'} → {size(now)}"
            yield _Card("Model size", value, f"{_percent(now / base.size_bytes - 1)}, {note}")
    if trained := run.stage("train"):
        attempts = trained.get("attempts", [])
        resumed = f", in attempts {', '.join(attempts)}" if len(attempts) > 1 else ""
        note = f"{trained['steps']} steps, {trained['tokens']:,} tokens{resumed}"
        yield _Card("Training", f"{_figure(trained['tokens_per_s'])} tokens/s", note)
    if speed := run.stage("serve").get("tokens_per_s"):
        yield _Card("Endpoint", f"{_figure(speed)} tokens/s", "one request at a time")


def _percent(change: float) -> str:
    return f"{change:+.0%}".replace("-", "−")


def _figure(value: float | None) -> str:
    """Three digits that count, thousands apart: 1,372 or 0.0243 or 3.2e-05."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if 100 <= abs(value) < 1e9 else f"{value:.3g}"


def _answers(run: _Run) -> dict[str, list[dict[str, Any]]]:
    """Question → what each model answered, in the order of the models."""
    found: dict[str, list[dict[str, Any]]] = {}
    for stage, who in _ANSWERS:
        for answer in run.stage(stage).get("answers") or []:
            found.setdefault(answer["question"], []).append({"first_token_s": None, **answer, "who": who})
    return found


def _curves(run: _Run) -> list[Chart]:
    trained, metrics, state = run.stage("train"), run.metrics, ""
    losses = [(record["step"], record["loss"]) for record in metrics if "loss" in record]
    # A reused stage was trained elsewhere: what lies in this directory may be of another training, or missing.
    # (Compared as JSON, where NaN equals NaN.)
    if trained and json.dumps(trained["losses"]) != json.dumps(losses):
        metrics = [{"step": step, "loss": loss} for step, loss in trained["losses"]]
    elif not trained and metrics:
        here = metrics[-1].get("attempt") == run.report.get("attempt")
        state = ", unfinished" if here else ", of an earlier attempt"
    charts = []
    for key, title, unit, zero in _CURVES:
        points = [(record["step"], record[key]) for record in metrics if key in record]
        marks = {}
        if key == "loss":
            stages = {when: run.stage(f"evaluate_{when}") for when in ("before", "after")}
            marks = {f"held-out {when}": stage["heldout_loss"] for when, stage in stages.items() if stage}
        if points:
            middle = f", median {_figure(median(value for _, value in points))}" if key == "tokens_per_s" else ""
            charts.append(curve(key, title, unit + middle + state, points, marks, zero=zero))
    return charts


def _proofs(run: _Run) -> list[dict[str, Any]]:
    handoff, quantize = run.config.get("handoff") or {}, run.config.get("quantize") or {}
    bars = {
        "base_to_adapter": ("mean |Δ log p| ≥", handoff.get("min_adapter_change"), None),
        "adapter_to_merged": ("KL ≤", handoff.get("max_merge_kl"), handoff.get("min_merge_agreement")),
        "merged_to_quantized": ("KL ≤", quantize.get("max_kl"), quantize.get("min_agreement")),
    }
    rows = []
    for stage in run.report.get("stages", {}).values():
        for name, figures in (stage.get("handoff") or {}).items():
            sign, kl, agreement = bars.get(name, ("", None, None))
            bar = "" if kl is None else f"{sign} {kl:g}" + ("" if agreement is None else f", top-1 ≥ {agreement:.0%}")
            why = _PROOFS.get(name, "Two holders of the model gave log-probabilities to the same tokens.")
            rows.append({"name": name.replace("_to_", " → ").replace("_", " "), "why": why, "bar": bar, **figures})
    return rows


def _data(run: _Run) -> list[dict[str, Any]]:
    rows = []
    if planned := run.report.get("data"):
        rows.append(
            {"part": "train, as the plan estimated", "conversations": planned["samples"], "tokens": planned["tokens"],
             "share": planned["trained_share"], "longest": planned["longest"], "left_out": None, "lines": []}
        )  # fmt: skip
    for part in ("train", "heldout"):
        if counts := run.stage("tokens").get(part):
            share = counts["trained_tokens"] / counts["tokens"] if counts["tokens"] else None
            row = {"part": part, "share": share, "left_out": counts["too_long"], "lines": counts["too_long_lines"][:20]}
            rows.append({**counts, **row})
    return rows


def _example(run: _Run) -> dict[str, Any] | None:
    pieces = run.stage("tokens").get("example") or []
    shown = [(piece.replace("\n", "⏎\n"), trained) for piece, trained in pieces[:_MAX_EXAMPLE_TOKENS]]
    trained = sum(trained for _, trained in pieces)
    return {"pieces": shown, "trained": trained, "all": len(pieces)} if shown else None


def _stages(run: _Run) -> list[dict[str, Any]]:
    rows = []
    for name, stage in run.report.get("stages", {}).items():
        seconds = stage.get("seconds", stage.get("startup_s", 0))
        state = "reused" if stage.get("reused") else "done"
        row = {"name": name.replace("_", " "), "state": state, "artifact": stage.get("artifact"), "seconds": seconds}
        rows.append(row | {"time": duration(seconds) if seconds >= 1 else "< 1 s"})
    longest = max((row["seconds"] for row in rows), default=0) or 1
    return [row | {"share": 100 * row["seconds"] / longest} for row in rows]


def _bars(run: _Run) -> Iterator[Chart]:
    merged = run.artifact(run.stage("merge").get("artifact"))
    tuned = run.artifact(run.stage("train").get("artifact"))
    models = {"base": run.base(), "merged": merged, "tuned": tuned if tuned and tuned.kind == "model" else None}
    sizes = {label: {"bytes": model.size_bytes} for label, model in models.items() if model is not None}
    note = "all files of each artifact"
    if quantized := run.stage("quantize"):
        sizes["quantized"] = {"bytes": quantized["size_bytes"]}
        types = sorted(quantized["tensor_types"].items(), key=lambda item: -item[1])
        note += "; tensors of the quantized file: " + ", ".join(f"{count} {kind}" for kind, count in types)
    if sizes:
        yield size_bars("sizes", "Model sizes", note, sizes)
    workers: dict[str, dict[str, int]] = {}
    if planned := run.report.get("worker_memory"):
        workers["planned"] = {part: value for part, value in planned.items() if part != "total"}
    measured = sorted(run.stage("train").get("memory") or [], key=lambda item: -item["peak_bytes"])
    for item in sorted(measured[:_MAX_WORKERS], key=lambda item: item["rank"]):
        started = item["before_model_bytes"]
        workers[f"worker {item['rank']}"] = {"runtime": started, "all else, measured": item["peak_bytes"] - started}
    if workers:
        note = "peak of one process, planned by parts and measured"
        note += f"; the {_MAX_WORKERS} largest of {len(measured)} workers" if len(measured) > _MAX_WORKERS else ""
        yield size_bars("memory", "Memory of a training worker", note, workers)


def _lineage(run: _Run) -> dict[str, Any] | None:
    """The tree from the run's last artifact back to its data; what stands in it already is not opened again."""
    shown: set[str] = set()

    def node(role: str, artifact_id: str) -> dict[str, Any]:
        manifest, repeated = run.artifact(artifact_id), artifact_id in shown
        shown.add(artifact_id)
        opened = manifest is not None and not repeated
        parents = [node(*parent) for parent in manifest.parents.items()] if manifest and opened else []
        return {"role": role, "id": artifact_id, "manifest": manifest, "repeated": repeated, "parents": parents}

    made = [stage["artifact"] for stage in run.report.get("stages", {}).values() if stage.get("artifact")]
    return node("", made[-1]) if made else None
