"""What `raysmith top` shows, gathered: runs, sweeps, endpoints, jobs of a cluster, GPUs, this machine."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any, NamedTuple

from cluster.records import ClusterRecord
from jobs.monitor.files import dict_of
from jobs.monitor.runs import Run, Runs
from jobs.monitor.sweeps import SweepView, sweep_of
from jobs.top.endpoints import EndpointView, Fronts
from jobs.top.machine import Gpu, Machine, Measures
from jobs.top.remote import JobRow, Remote

_POINTS = 48
_TRIALS = 5


class RunRow(NamedTuple):
    """A run."""

    name: str
    status: str
    doing: str
    """The piece of work that goes on, or the last stage that is done."""
    done: int | None
    total: int | None
    eta_s: float | None
    seconds: float
    """Since it last wrote something."""
    figure: str
    """What the curve is of: `loss`, or `reward`."""
    value: float | None
    curve: list[float]
    tokens_per_s: float | None
    mfu: float | None
    goodput: float | None
    error: str


class SweepRow(NamedTuple):
    """A sweep."""

    name: str
    status: str
    counts: dict[str, int]
    metric: str
    best: float | None
    best_values: dict[str, Any]
    tokens: int
    seconds: float
    trials: list[dict[str, Any]]
    """Those that run: `run`, `step`, `score`."""


class Snapshot(NamedTuple):
    """Everything at a moment."""

    time: float
    root: str
    machine: Machine
    gpus: list[Gpu]
    runs: list[RunRow]
    sweeps: list[SweepRow]
    endpoints: list[EndpointView]
    cluster: str | None
    jobs: list[JobRow]
    notes: list[str]

    def as_json(self) -> dict[str, Any]:
        """As plain data, which is JSON: what is no number is null."""
        parts = {"machine": self.machine._asdict()}
        lists = {
            name: [one._asdict() for one in getattr(self, name)]
            for name in ("gpus", "runs", "sweeps", "endpoints", "jobs")
        }
        plain: dict[str, Any] = _finite(self._asdict() | parts | lists)
        return plain


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return value if not isinstance(value, float) or math.isfinite(value) else None


class Gatherer:
    """Gathers again and again; each time only what may have changed is read.

    Args:
        cluster: whose jobs are shown.
    """

    def __init__(self, root: Path, cluster: ClusterRecord | None) -> None:
        self._root = root
        self._runs, self._fronts, self._measures = Runs(root), Fronts(root), Measures(root)
        self._remote = None if cluster is None else Remote(cluster)

    def gather(self) -> Snapshot:
        """The state of things."""
        notes: list[str] = [] if self._root.is_dir() else [f"there is no storage root {self._root} yet"]
        runs = self._runs.look()
        sweeps = [view for run in runs if (view := sweep_of(run)) is not None]
        jobs = [] if self._remote is None else self._remote.jobs(notes)
        return Snapshot(
            time=time.time(), root=str(self._root), machine=self._measures.machine(), gpus=self._measures.gpus(),
            runs=[run_row(run) for run in runs if run.sweep is None], sweeps=[_sweep_row(one) for one in sweeps],
            endpoints=self._fronts.look(notes), cluster=None if self._remote is None else self._remote.name,
            jobs=jobs, notes=notes,
        )  # fmt: skip


def run_row(run: Run) -> RunRow:
    """A run's line."""
    key = "reward" if run.figure("reward") is not None else "loss"
    stages = list(run.report["stages"])
    last = "done" if run.status == "done" else f"after {stages[-1]}" if stages else ""
    done, total = (run.step, run.num_steps) if run.work is None else (run.work.done, run.work.total)
    return RunRow(
        name=run.name, status=run.status, doing=run.work.label if run.work is not None else last, done=done,
        total=total, eta_s=run.eta_s, seconds=max(0.0, time.time() - run.changed), figure=key, value=run.figure(key),
        curve=curve_of(run, key), tokens_per_s=run.figure("tokens_per_s"), mfu=run.figure("mfu"), goodput=run.goodput,
        error=str(run.report.get("error") or "") if run.status == "failed" else "",
    )  # fmt: skip


def curve_of(run: Run, key: str) -> list[float]:
    """The newest values of a figure, those that are numbers."""
    from jobs.monitor.files import finite, number

    values = [value for one in run.steps if (value := finite(number(one.get(key)))) is not None]
    return values[-_POINTS:]


def _sweep_row(sweep: SweepView) -> SweepRow:
    best, run = sweep.best, sweep.run
    running = [one for one in sweep.trials if one.get("status") == "running"][:_TRIALS]
    return SweepRow(
        name=run.name, status=run.status, counts=sweep.counts, metric=sweep.metric, best=sweep.best_score,
        best_values=dict_of(best or {}, "values"), tokens=sweep.tokens,
        seconds=sweep.seconds,
        trials=[{"run": one.get("run"), "step": _last_step(one), "score": one.get("score")} for one in running],
    )  # fmt: skip


def _last_step(trial: dict[str, Any]) -> int:
    try:
        return int(trial["curve"][-1][0])
    except (LookupError, TypeError, ValueError):  # not measured yet
        return 0
