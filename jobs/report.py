"""report.html: the results of a run on one page that opens from disk, whatever part of the run there is.

Each function gives the template one section as plain data, and nothing (None, or an empty list) when the stages that
it speaks of did not happen. The page needs no network and runs no script; its charts are in jobs/report_charts.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from cluster.artifacts import ArtifactStore
from cluster.rundir import read_metrics
from cluster.storage import read_json
from cluster.words import counted
from jobs.report_cards import cards, figure
from jobs.report_charts import Chart, curve, size_bars
from jobs.report_page import write_page
from jobs.report_quantize import leaderboard
from jobs.report_rl import glance, learning_of, section
from jobs.report_run import RunRecord, points_of
from jobs.words import duration

_TEMPLATE = "report.html.j2"
_CURVES = (
    # key of metrics.jsonl, title, unit, whether the axis begins at 0
    ("loss", "Training loss", "mean of a step, nats", False),
    ("heldout_accuracy", "Held-out accuracy", "share of the terms predicted rightly", False),
    ("learning_rate", "Learning rate", "of the optimizer", True),
    ("grad_norm", "Gradient norm", "before clipping", True),
    ("tokens_per_s", "Training speed", "tokens a second", True),
    ("mfu", "Utilization (MFU)", "share of the matrix rate measured on the worker", True),
    ("data_wait_share", "Waiting for data", "share of the step's time", True),
)
_PROOFS = {
    "base_to_adapter": "The adapter does something: the model with it differs from the base model.",
    "adapter_to_merged": "Merging kept the tune: the merged weights answer as base model plus adapter do.",
    "trained_to_merged": "How far merging into the full base moved what was trained on a quantized one; no bar.",
    "merged_to_quantized": "Quantizing kept the tune: the file, in the engine that serves it, answers as the merged "
    "model does.",
}  # fmt: skip
_ANSWERS = (("evaluate_before", "base model"), ("evaluate_after", "tuned"), ("serve", "quantized, from the endpoint"))
_PARTS = {
    "steps": "steps", "lost": "steps done again", "measure": "held-out measurements", "checkpoint": "saving",
    "start": "starts, restarts", "other": "other stages", "gap": "no driver",
}  # fmt: skip
_WITH_MEDIAN = ("tokens_per_s", "mfu", "data_wait_share")
_MAX_EXAMPLE_TOKENS = 2000
_MAX_WORKERS = 16


def write_html(run_folder: Path, store: ArtifactStore) -> None:
    """Write `report.html` beside `report.json`."""
    config_file = run_folder / "config.yaml"
    config_text = config_file.read_text(encoding="utf-8") if config_file.exists() else ""
    report = {"name": run_folder.name, "status": "unknown", **(read_json(run_folder / "report.json") or {})}
    metrics = read_metrics(run_folder / "metrics.jsonl")
    run = RunRecord(report, metrics, yaml.safe_load(config_text) or {}, store, run_folder)
    learning = learning_of(run)
    write_page(
        run_folder / "report.html", _TEMPLATE, report=report,
        cards=[*(glance(learning) if learning else ()), *cards(run)], answers=_answers(run), curves=_curves(run),
        rollouts=section(learning) if learning else None, board=leaderboard(run), proofs=_proofs(run),
        events=run.stage("train").get("events") or [], data=_data(run), example=_example(run), stages=_stages(run),
        sources=_sources(run), bars=list(_bars(run)), lineage=_lineage(run), config=config_text,
    )  # fmt: skip


def _answers(run: RunRecord) -> dict[str, list[dict[str, Any]]]:
    """Question → what each model answered, in the order of the models."""
    found: dict[str, list[dict[str, Any]]] = {}
    for stage, who in _ANSWERS:
        for answer in run.stage(stage).get("answers") or []:
            found.setdefault(answer["question"], []).append({"first_token_s": None, **answer, "who": who})
    return found


def _curves(run: RunRecord) -> list[Chart]:
    metrics, state = run.steps()
    charts = []
    for key, title, unit, zero in _CURVES:
        points, note = points_of(metrics, key), unit
        marks: dict[str, float] = {}
        beside: tuple[str, list[tuple[float, float]]] = ("", [])
        if key == "loss" and run.is_reinforced():
            note = "of a step, the algorithm's own: it need not fall while the reward rises"
        elif key == "loss":
            marks = {f"held-out {when}": stage["heldout_loss"] for when, stage in run.before_and_after().items()}
            if (unigram := run.stage("tokens").get("unigram_loss")) is not None:
                marks["by frequency alone"] = unigram
            beside = ("held-out", points_of(metrics, "heldout_loss"))
        if points:
            middle = f", median {figure(median(value for _, value in points))}" if key in _WITH_MEDIAN else ""
            charts.append(curve(key, title, note + middle + state, points, marks, zero=zero, beside=beside))
    return charts + _ranks(run) + _goodput(run)


def _ranks(run: RunRecord) -> list[Chart]:
    """Held-out loss over the steps of all ranks, one after another."""
    escalation = run.stage("train").get("escalation")
    if not escalation:
        return []
    points, before = [], 0
    for rung in escalation["rungs"]:
        curves = rung.get("heldout_curves") or {}
        points += [(before + step, loss) for step, loss in curves.get("loss", [])]
        before += rung["steps"]
    marks = {f"rank {rung['rank']}": rung["heldout_loss"] for rung in escalation["rungs"]}
    note = f"of all ranks, one after another; rank {escalation['chosen']} was taken: {escalation['stopped']}"
    return [curve("ranks", "Held-out loss, rank by rank", note, points, marks, zero=False)]


def _goodput(run: RunRecord) -> list[Chart]:
    """Where the time went, of all attempts since the run was last done."""
    found = run.report.get("goodput")
    if not found:
        return []
    seconds = {_PARTS[part]: value for part, value in found["seconds"].items() if value > 0}
    note = f"{found['share']:.0%} of training's {duration(found['training_s'])} was steps that stand"
    note += f"; workers restarted {counted(found['restarts'], 'time')}" if found["restarts"] else ""
    note += f"; {counted(found['lost_steps'], 'step')} done again" if found["lost_steps"] else ""
    note += f"; {found['attempts']} attempts" if found["attempts"] > 1 else ""
    note += f"; not exact: clocks disagree by {clocks:.0f} s" if (clocks := found.get("clocks_disagree_s")) else ""
    if not seconds:
        return []
    return [size_bars("goodput", "Goodput", note, {"time": seconds}, duration)]


def _proofs(run: RunRecord) -> list[dict[str, Any]]:
    handoff = run.config.get("handoff") or {}
    gate = (run.config.get("quantize") or {}).get("gate") or {}
    bars = {
        "base_to_adapter": ("mean |Δ log p| ≥", handoff.get("min_adapter_change"), None),
        "adapter_to_merged": ("KL ≤", handoff.get("max_merge_kl"), handoff.get("min_merge_agreement")),
        "merged_to_quantized": ("KL ≤", gate.get("max_kl"), gate.get("min_agreement")),
    }
    rows = []
    for stage in run.report.get("stages", {}).values():
        for name, figures in (stage.get("handoff") or {}).items():
            sign, kl, agreement = bars.get(name, ("", None, None))
            bar = "" if kl is None else f"{sign} {kl:g}" + ("" if agreement is None else f", top-1 ≥ {agreement:.0%}")
            why = _PROOFS.get(name, "Two holders of the model gave log-probabilities to the same tokens.")
            rows.append({"name": name.replace("_to_", " → ").replace("_", " "), "why": why, "bar": bar, **figures})
    return rows


def _data(run: RunRecord) -> list[dict[str, Any]]:
    rows = []
    blank: dict[str, Any] = {"share": None, "longest": None, "left_out": None, "lines": [], "documents": None}
    if planned := run.report.get("data"):
        estimate = {"sequences": planned["samples"], "tokens": planned["tokens"], "longest": planned["longest"]}
        row = {"part": "train, as the plan estimated", "share": planned["trained_share"]}
        rows.append({**blank, **estimate, **row})
    for part in ("train", "heldout"):
        if counts := run.stage("tokens").get(part):
            trained = counts.get("trained_tokens")
            sequences = counts.get("conversations", counts.get("samples"))
            row = {
                "part": part, "sequences": sequences, "tokens": counts["tokens"],
                "share": trained / counts["tokens"] if trained is not None and counts["tokens"] else None,
                "longest": counts.get("longest"), "left_out": counts.get("too_long"),
                "lines": counts.get("too_long_lines", [])[:20], "documents": counts.get("documents"),
            }  # fmt: skip
            rows.append(row)
    return rows


def _sources(run: RunRecord) -> dict[str, str]:
    """Source of text → what was read of it, left out and kept."""
    sources = run.stage("dataset").get("sources") or {}
    return {
        name: ", ".join(f"{key.replace('_', ' ')} {count:,}" for key, count in counts.items() if count)
        for name, counts in sources.items()
    }


def _example(run: RunRecord) -> dict[str, Any] | None:
    pieces = run.stage("tokens").get("example") or []
    shown = [(piece.replace("\n", "⏎\n"), trained) for piece, trained in pieces[:_MAX_EXAMPLE_TOKENS]]
    trained = sum(trained for _, trained in pieces)
    return {"pieces": shown, "trained": trained, "all": len(pieces)} if shown else None


def _stages(run: RunRecord) -> list[dict[str, Any]]:
    rows = []
    for name, stage in run.report.get("stages", {}).items():
        seconds = stage.get("seconds", stage.get("startup_s", 0))
        state = "reused" if stage.get("reused") else "done"
        row = {"name": name.replace("_", " "), "state": state, "artifact": stage.get("artifact"), "seconds": seconds}
        rows.append(row | {"time": duration(seconds) if seconds >= 1 else "< 1 s"})
    longest = max((row["seconds"] for row in rows), default=0) or 1
    return [row | {"share": 100 * row["seconds"] / longest} for row in rows]


def _bars(run: RunRecord) -> Iterator[Chart]:
    merged = run.artifact(run.stage("merge").get("artifact"))
    tuned = run.artifact(run.stage("train").get("artifact"))
    models = {"base": run.base(), "merged": merged, "tuned": tuned if tuned and tuned.kind == "model" else None}
    sizes = {label: {"bytes": model.size_bytes} for label, model in models.items() if model is not None}
    note = "all files of each artifact"
    if (quantized := run.stage("quantize")).get("artifact"):
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


def _lineage(run: RunRecord) -> dict[str, Any] | None:
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
