"""The end of a run: record how it ended, and tell the user what came out and how to go on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from cluster.artifacts import package_versions
from cluster.config import digest
from cluster.rundir import RunDirectory
from cluster.storage import read_json, write_json
from jobs.console import console, errors, fact, title
from jobs.context import Context
from jobs.endpoints.served import Served
from jobs.endpoints.supervise import curl_line
from jobs.goodput import Timeline, goodput_of
from jobs.goodput import told as goodput_words
from jobs.report import write_html
from jobs.report_rl import learning_of, told
from jobs.report_run import RunRecord
from jobs.words import duration, size

_ASKED = ("evaluate_before", "evaluate_after", "serve")
_PUBLISHED = ("quantize", "merge", "train", "model")


@contextmanager
def recorded(context: Context, *, html: bool = True) -> Iterator[None]:
    """Keep report.json, and report.html, true to how the run goes: running, done, failed or interrupted."""
    context.report |= {
        "name": context.job.name,
        "status": "running",
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "attempt": context.attempt.name,
        "config_hash": digest(context.job.resolved()),
        "packages": package_versions(),
    }
    context.save_report()
    timeline = Timeline(context.run.path, context.attempt.name)
    timeline.begin()
    try:
        yield
    except BaseException as error:
        if context.report["status"] == "running":
            context.report["status"] = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
            context.report["error"] = str(error) or type(error).__name__
        try:
            timeline.end(context.report["status"])
            _write(context, html=html)
        except OSError as second:  # a full disk, say: what went wrong first is what the user must see
            errors.print(f"The report could not be written: {second}", markup=False)
        raise
    timeline.end(context.report["status"])
    _write(context, html=html)


def waits(run: RunDirectory) -> None:
    """Mark a run that goes on by itself after a pause as one that has not failed."""
    write_json(run.report_file, {**(read_json(run.report_file) or {}), "status": "interrupted"})


def _write(context: Context, *, html: bool = True) -> None:
    context.report["seconds"] = round(time.monotonic() - context.began, 1)
    if (goodput := goodput_of(context.run.path)) is not None:
        context.report["goodput"] = goodput.report()
    context.save_report()
    if html:
        write_html(context.run.path, context.store)


def complete(context: Context, served: Served | None) -> None:
    """Mark the run as done and print what came out."""
    report = context.report
    report["artifacts"] = {
        name: artifact_id for name, artifact_id in context.store.names().items() if artifact_id in _made(report)
    }
    stages = report["stages"]
    title("Result")
    _answers(stages)
    for label, words in _heldout(stages):
        fact(label, words)
    _learnt(RunRecord(report, context.run.read_metrics(), {}, context.store, context.run.path))
    if "artifact" in stages.get("quantize", {}):
        base = context.store.get(stages["model"]["artifact"]) if "model" in stages else None
        sizes = f"{size(base.size_bytes)} → " if base else ""
        fact("model size", f"{sizes}{size(stages['quantize']['size_bytes'])}")
    if stages.get("serve", {}).get("tokens_per_s"):
        fact("endpoint's speed", f"{stages['serve']['tokens_per_s']:.0f} tokens/s, one request at a time")
    report["status"] = "done"
    _write(context)
    _where(context, served)


def _made(report: dict[str, Any]) -> set[str]:
    return {stage["artifact"] for stage in report["stages"].values() if "artifact" in stage}


def _heldout(stages: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Held-out figures before and after training, and what the most frequent tokens alone would give."""
    measured = [stages[f"evaluate_{when}"] for when in ("before", "after") if f"evaluate_{when}" in stages]
    if not measured:
        own = stages.get("train", {}).get("heldout", {})
        measured = [own[when] for when in ("before", "after") if when in own]
    if len(measured) < 2:
        return
    before, after = measured
    if "heldout_loss" in before and "heldout_loss" in after:
        unit = "nats a token" if before.get("perplexity") else "nats"
        was, now = before["heldout_loss"], after["heldout_loss"]
        yield "held-out loss", f"{was:.3f} → {now:.3f} {unit}" + (f" ({now / was - 1:+.0%})" if was else "")
    if "accuracy" in before and "accuracy" in after:
        yield "held-out accuracy", f"{before['accuracy']:.1%} → {after['accuracy']:.1%}"
    tokens = stages.get("tokens", {})
    if (unigram := tokens.get("unigram_loss")) is not None:
        yield "by frequency alone", f"{unigram:.3f} nats a token, accuracy {tokens['most_frequent_share']:.1%}"


def _learnt(run: RunRecord) -> None:
    """What reinforcement learning came to."""
    learning = learning_of(run)
    if learning is None:
        return
    for label, value in told(learning):
        fact(label, value)
    for alarm in learning.shown_alarms():
        console.print(Text(f"  {'alarm':<22} {alarm}", style="bold red"))
    fact("rollouts", f"raysmith rollouts {run.folder.name} --sort -reward")


def _answers(stages: dict[str, Any]) -> None:
    """The questions' answers by the base model, and by the last model that was asked."""
    before, after, served = (stages.get(name, {}).get("answers") or [] for name in _ASKED)
    final = served or after
    label = "tuned, quantized, from the endpoint" if served else "tuned"
    for index, last in enumerate(final):
        table = Table.grid(expand=True, padding=(0, 1))
        panels = [Panel(Text(last["answer"]), title=label, border_style="green")]
        if index < len(before):
            panels.insert(0, Panel(Text(before[index]["answer"]), title="base model", border_style="red"))
        for _ in panels:
            table.add_column(ratio=1)
        table.add_row(*panels)
        console.print(Text(f"\n  Q: {last['question']}", style="bold"))
        console.print(table)


def _where(context: Context, served: Served | None) -> None:
    fact("report", str(context.run.path / "report.html"))
    stages = context.report["stages"]
    last = next((stages[name]["artifact"] for name in _PUBLISHED if name in stages), None)
    if last is not None:
        name = next((name for name, there in context.store.names().items() if there == last), last)
        fact("lineage", f"raysmith trace {name}")
    if context.job.train is not None and any(one.kind == "tensorboard" for one in context.job.train.trackers):
        fact("curves", f"tensorboard --logdir {context.run.path / 'tensorboard'}")
    if (goodput := goodput_of(context.run.path)) is not None:
        fact("goodput", goodput_words(goodput))
    fact("time", duration(time.monotonic() - context.began))
    if served is None:
        return
    console.print("\n  While the endpoint is up, in another terminal:", markup=False)
    console.print(f"    raysmith chat {context.job.name}", markup=False)
    console.print(f"    {curl_line(context.job.name, served)}", markup=False)
