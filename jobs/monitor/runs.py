"""What the run directories under a storage root tell of the runs that are live, and of those that ended lately.

Only files are read. Any of them may be half written, of another version or gone the next moment: what cannot be read is
left out. Of thousands of runs only those that are live, or whose directory has changed, are opened again.
"""

from __future__ import annotations

import itertools
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from cluster.monitoring.targets import Driver, driver_of
from jobs.goodput import goodput_of
from jobs.monitor.events import EventCounts
from jobs.monitor.files import changed_at, dict_of, finite, lines_of, number, read_object
from jobs.monitor.training import Training, expects_steps, training_of

RECENT_S = 3600.0
_TAIL_BYTES = 128 * 1024
_GOODPUT_EVERY_S = 5.0
_GOODPUT_SHARE = 0.002
"""Of the time goes into reckoning goodput at most, for each run."""
_GOODPUT_BYTES = 100 * 1024 * 1024
_CLOCKS_S = 2.0
"""Times of files and of processes are told by different clocks."""


class Work(NamedTuple):
    """A piece of work that goes on."""

    label: str
    """`train`, `tokenize` …"""
    done: int
    total: int
    text: str
    changed: float
    """Unix time."""


class Run(NamedTuple):
    """A run, as its directory tells it."""

    name: str
    path: Path
    status: str
    """`running`, `done`, `failed`, `interrupted`, or `lost`: its process is gone without a word."""
    sweep: str | None
    """The sweep that it is a trial of."""
    is_sweep: bool
    changed: float
    """When it last wrote something, Unix time."""
    driver: Driver | None
    report: dict[str, Any]
    """With `stages`, each a dictionary."""
    work: Work | None
    steps: list[dict[str, Any]]
    """The newest lines of metrics.jsonl, of one training."""
    now: Training | None
    """What its training does; None without a training that has workers."""
    events: dict[str, int]
    measured_goodput: float | None = None
    """Of a run that trains; when it has ended, its report has it."""

    @property
    def live(self) -> bool:
        """Whether its process is there."""
        return self.status == "running"

    @property
    def training(self) -> bool:
        """Whether its workers train, and a step or another sign of life is to be expected."""
        return expects_steps(self.now)

    @property
    def newest(self) -> dict[str, Any]:
        """The newest step; empty before the first."""
        return self.steps[-1] if self.steps else {}

    @property
    def step(self) -> int | None:
        """Training steps that are done."""
        if self.work is not None and self.work.label == "train":
            return self.work.done
        return int(self.newest["step"]) if self.steps else None

    @property
    def num_steps(self) -> int | None:
        """Training steps in all."""
        if self.work is not None and self.work.label == "train":
            return self.work.total
        found = self.report["stages"].get("train", {}).get("steps")
        return int(found) if isinstance(found, int) else None

    @property
    def gaps(self) -> list[float]:
        """Seconds between the ends of the newest steps, restarts left out."""
        pairs = itertools.pairwise(self.steps)
        return [float(later["time"]) - float(one["time"]) for one, later in pairs if one["attempt"] == later["attempt"]]

    @property
    def longest_s(self) -> float | None:
        """The longest of them; None before the second step."""
        return max(self.gaps, default=None)

    @property
    def outside(self) -> float | None:
        """Share of the time of the newest steps that was spent beside them; None before the second step."""
        whole = sum(self.gaps)
        pairs = itertools.pairwise(self.steps)
        inside = sum(number(later.get("seconds")) or 0.0 for one, later in pairs if one["attempt"] == later["attempt"])
        return min(1.0, max(0.0, 1 - inside / whole)) if whole > 0 else None

    @property
    def goodput(self) -> float | None:
        """Share of the time since the first start that went into steps that were kept, where the run tells it."""
        if self.measured_goodput is not None:
            return self.measured_goodput
        found = self.report.get("goodput")
        return finite(number(found.get("share") if isinstance(found, dict) else found))

    @property
    def eta_s(self) -> float | None:
        """How long the steps that are left will take at the pace of the newest ones."""
        gaps, step, total = self.gaps, self.step, self.num_steps
        if not self.training or not gaps or step is None or not total:
            return None
        return sum(gaps) / len(gaps) * max(0, total - step)

    def figure(self, key: str) -> float | None:
        """A figure of the newest step that has it."""
        return next((value for one in reversed(self.steps) if (value := number(one.get(key))) is not None), None)


class Runs:
    """The runs under a storage root; each look is cheap where nothing has changed."""

    def __init__(self, root: Path, recent_s: float = RECENT_S) -> None:
        self._folder, self._recent_s = root / "runs", recent_s
        self._asleep: dict[str, int] = {}
        """Runs that ended long ago → change time of the directory when that was seen."""
        self._goodput: dict[str, tuple[float, float | None]] = {}
        """Live runs → when their goodput is to be reckoned again, and what it was."""
        self._events: dict[str, EventCounts] = {}

    def look(self) -> list[Run]:
        """Live runs, and those that ended within `recent_s`, the newest change first."""
        found = []
        now = time.time()
        for name, changed in _directories(self._folder):
            if self._asleep.get(name) == changed:
                continue
            path = self._folder / name
            last = max(changed / 1e9, changed_at(path / "metrics.jsonl"))
            if now - last > self._recent_s and not _is_there(path, driver_of(path), last):
                self._asleep[name] = changed
                continue
            run = read_run(path, self._events.setdefault(name, EventCounts(path / "events.jsonl")))
            # A process may outlive its run: it serves what came out, or goes on with the next link of a chain.
            if run is not None and (run.live or now - run.changed <= self._recent_s):
                found.append(run._replace(measured_goodput=self._goodput_of(run)) if run.training else run)
        return sorted(found, key=lambda run: -run.changed)

    def _goodput_of(self, run: Run) -> float | None:
        """Of a run that trains, reckoned now and then: it takes all of the run's steps."""
        due, value = self._goodput.get(run.name, (0.0, None))
        began = time.monotonic()
        if began >= due:
            value = _measured_goodput(run.path)
            took = time.monotonic() - began
            self._goodput[run.name] = (began + max(_GOODPUT_EVERY_S, took / _GOODPUT_SHARE), value)
        return value


def _directories(folder: Path) -> list[tuple[str, int]]:
    """Names of the run directories, and when they changed."""
    found = []
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(OSError):  # it has just been removed
                if entry.is_dir():
                    found.append((entry.name, entry.stat().st_mtime_ns))
    return found


def _measured_goodput(path: Path) -> float | None:
    try:
        if (path / "metrics.jsonl").stat().st_size > _GOODPUT_BYTES:
            return None
        found = goodput_of(path)
    except (OSError, ValueError, TypeError, LookupError, StopIteration):  # of another version, or being written
        return None
    return None if found is None else found.share


def read_run(path: Path, events: EventCounts | None = None) -> Run | None:
    """A run as its directory tells it; None if it tells nothing yet.

    Args:
        events: what an earlier look has counted.
    """
    report = read_object(path / "report.json")
    status = report.get("status")
    if not isinstance(status, str):
        return None
    report["stages"] = {name: one for name, one in dict_of(report, "stages").items() if isinstance(one, dict)}
    work, driver = _work(path), driver_of(path)
    events = EventCounts(path / "events.jsonl") if events is None else events
    events.look()
    signs = [changed_at(path / name) for name in ("report.json", "metrics.jsonl", "events.jsonl")]
    changed = max(*signs, work.changed if work is not None else 0.0)
    sweep = report.get("sweep")
    trial_of = sweep.get("name") if isinstance(sweep, dict) else None
    # A trial's process may be on any node: it is its sweep that is live or lost.
    if status == "running" and trial_of is None and not _is_there(path, driver, changed):
        status = "lost"
    steps = _steps(path / "metrics.jsonl")
    now = training_of(path, steps, events.gone_at) if status == "running" else None
    return Run(
        name=path.name, path=path, status=status, sweep=trial_of, is_sweep=changed_at(path / "sweep.json") > 0,
        changed=changed, driver=driver, report=report, work=work if status == "running" else None, steps=steps,
        now=now, events=dict(events.counts),
    )  # fmt: skip


def _is_there(path: Path, driver: Driver | None, changed: float) -> bool:
    """Whether the process that holds the run directory is there.

    Before it is connected to Ray, and so has told who it is, its number stands in the lock.
    """
    if driver is not None and driver.is_live(changed):
        return True
    lock = path / ".lock"
    try:
        return psutil.Process(int(lock.read_text())).create_time() < lock.stat().st_mtime + _CLOCKS_S
    except (OSError, ValueError, psutil.Error):
        return False


def _work(path: Path) -> Work | None:
    """The piece of work whose progress changed last, in this attempt: a driver that was killed leaves its own."""
    begun = changed_at(path / ".lock")
    files = [(changed_at(file), file) for file in (path / "progress").glob("*.json")]
    for changed, file in sorted(one for one in files if one[0] >= begun)[::-1]:
        values = read_object(file)
        done, total = finite(number(values.get("done"))), finite(number(values.get("total")))
        if done is not None and total is not None:
            return Work(file.stem, int(done), int(total), str(values.get("text", "")), changed)
    return None


def _is_step(line: dict[str, Any]) -> bool:
    return all(finite(number(line.get(key))) is not None for key in ("step", "time"))


def _steps(file: Path) -> list[dict[str, Any]]:
    lines = [one for one in lines_of(file, _TAIL_BYTES) if {"training", "attempt"} <= set(one) and _is_step(one)]
    return [one for one in lines if one["training"] == lines[-1]["training"]]
