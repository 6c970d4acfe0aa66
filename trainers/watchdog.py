"""The driver's watch over training workers: those that hang are looked into, killed, and so started again by Ray Train.

Ray learns of a worker that dies, not of one that stands still: a deadlock, a collective that one side never joins, a
stopped process or storage that does not answer would hold the cluster until someone looks. So a thread beside the
driver's wait follows the training's signs of life (`trainers.heartbeat`).
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Any

from cluster.stacks import Found, Process, end_all, look_at_all
from cluster.storage import write_atomically
from cluster.words import counted
from trainers.config import WatchdogConfig
from trainers.heartbeat import OVER, START, STEP, WAIT, forget, read_heartbeat, registered
from trainers.loop import Job
from trainers.metrics import Events

_POLL_S = 2.0
LAST_STEPS = 100
"""So many of the last steps make the median."""
_TAIL_BYTES = 1_000_000
_END_S = 10.0
_AGAIN_S = 30.0
"""Until workers that could not be asked, or killed, are looked at again."""


class Pace:
    """How long a training has shown no sign of life, and how long it may.

    Times are the watcher's own: clocks of other machines count for nothing.
    """

    def __init__(self, job: Job) -> None:
        self._job, self._config = job, job.config.watchdog
        self._alone_s = float(getattr(job.config.objective, "alone_s", 0.0))
        self._seen: Any = None
        self._since = 0.0
        self.phase = START
        self.done = 0
        """Steps that are done."""

    def look(self, now: float, workers: Any, progress: dict[str, Any] | None, heart: dict[str, Any] | None) -> None:
        """Take what there is to see: who the workers are, how far they are, and worker 0's last sign of life."""
        self.phase = START if heart is None else str(heart["phase"])
        self.done = self.done if progress is None else int(progress["done"])
        if (workers, progress, heart) != self._seen:
            self._seen, self._since = (workers, progress, heart), now

    def restart(self, now: float) -> None:
        """Count from now."""
        self._since = now

    def silent_s(self, now: float) -> float:
        """Seconds since the last sign of life."""
        return now - self._since

    @property
    def step_s(self) -> float | None:
        """The median of the last steps, as the workers measured them; None before the first."""
        seconds = [one["seconds"] for one in _last_lines(self._job.metrics_file) if one["training"] == self._job.name]
        return median(seconds[-LAST_STEPS:]) if seconds else None

    def is_hung(self, now: float) -> bool:
        """Whether the training has been silent for too long."""
        # Nothing is too long below this; so the steps' times are read only when they matter.
        return self.silent_s(now) > min(self._config.least_s, self._config.other_s) and (
            self.silent_s(now) > self.limit_s
        )

    @property
    def limit_s(self) -> float:
        """Seconds that may pass without a sign of life in this phase."""
        return allowed_s(self._config, self._alone_s, self.phase, self.step_s if self.phase == STEP else None)


def allowed_s(config: WatchdogConfig, alone_s: float, phase: str, step_s: float | None) -> float:
    """Seconds that may pass without a sign of life.

    Args:
        alone_s: what the objective needs for work on one worker alone.
        step_s: the median of the last steps; None before the first.
    """
    if phase in (WAIT, OVER):
        return math.inf
    if phase == STEP and step_s is not None:
        return max(config.least_s, config.factor * step_s)
    return config.other_s + alone_s


def _last_lines(path: Path) -> list[dict[str, Any]]:
    try:
        with path.open("rb") as stream:
            stream.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            lines = stream.read().splitlines()
    except FileNotFoundError:
        return []
    found = []
    for line in lines:
        try:
            found.append(json.loads(line))
        except ValueError:  # cut off at either end
            continue
    return found


class Watchdog:
    """Watches over the workers registered in `folder` for the length of a `with` block.

    Args:
        current: the job that they train now; None while they have none.
        tell: given a line for the user when something was done.
    """

    def __init__(self, folder: Path, current: Callable[[], Job | None], tell: Callable[[str], None]) -> None:
        self._folder, self._current, self._tell = folder, current, tell
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._watched: tuple[Path, Pace] | None = None
        self._ended: list[Process] = []
        """Workers that were found dead or were killed; nothing is asked of them again."""
        self._unknown: list[Process] = []
        """Workers of which it was told that nobody answers for them."""
        self._not_before = 0.0

    def __enter__(self) -> Watchdog:
        forget(self._folder)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join(_END_S)

    def _watch(self) -> None:
        told = ""
        pause_s = _POLL_S
        while not self._over.wait(pause_s):
            try:
                job = self._current()
                if job is not None and job.config.watchdog.enabled:
                    pause_s = min(_POLL_S, job.config.watchdog.least_s / 5)
                    self._look(job)
            except Exception as error:  # whatever it is: the training is not to end because nobody can watch it
                reason = f"{type(error).__name__}: {error}"
                if reason != told:
                    self._tell(f"the watchdog cannot look: {reason}")
                told = reason

    def _look(self, job: Job) -> None:
        if self._watched is None or self._watched[0] != job.folder:
            self._watched = (job.folder, Pace(job))
        pace, now = self._watched[1], time.monotonic()
        workers = registered(self._folder)
        pace.look(now, workers, job.progress.read(), read_heartbeat(job.folder))
        if not workers or workers == self._ended:
            pace.restart(now)  # they are being started; that may wait for a machine, for ever
        elif now >= self._not_before and pace.is_hung(now):
            self._not_before = now + _AGAIN_S  # whatever comes of it: looking into workers slows them down
            if self._act(job, pace, workers):
                self._ended = workers
                pace.restart(time.monotonic())

    def _act(self, job: Job, pace: Pace, workers: list[Process]) -> bool:
        """Look at workers that hang and kill them; whether they have come to an end."""
        silent_s, found = pace.silent_s(time.monotonic()), look_at_all(workers)
        if not any(one.alive for one in found):
            unknown = [worker for worker, one in zip(workers, found, strict=True) if one.state == "unknown"]
            if not unknown:
                self._say(job, "all workers are gone; others are started when there is room for them")
            elif unknown != self._unknown:
                self._unknown = unknown
                self._say(job, f"{counted(len(unknown), 'worker')} {_silence(len(unknown))}")
            return not unknown  # dead ones are Ray Train's to start again
        try:
            folder = self._write(job, pace, silent_s, list(zip(workers, found, strict=True)))
            name, stacks = f"hang {folder.name}", str(folder)
        except OSError as error:  # a full disk: they are to be started again all the same
            name, stacks = "hang", f"could not be written: {error}"
        killed = end_all(workers)
        at = f"in step {pace.done + 1}" if pace.phase == STEP else f"in phase `{pace.phase}` after step {pace.done}"
        self._say(
            job,
            f"{name}: no sign of life for {silent_s:.0f} s {at}; {_end(killed)}; their stacks: {stacks}",
        )
        return killed > 0

    def _say(self, job: Job, text: str) -> None:
        self._tell(text)
        Events(job, 0).write(text)

    def _write(self, job: Job, pace: Pace, silent_s: float, found: list[tuple[Process, Found]]) -> Path:
        """One file a worker; gives their folder."""
        parent = job.metrics_file.parent / "attempts" / job.attempt / "stacks"
        folder = parent / f"{len(list(parent.glob('*'))) + 1:03d}"
        step = "an unknown time" if (step_s := pace.step_s) is None else f"{step_s:.3g} s"
        for process, seen in found:
            lines = (
                f"hang {folder.name} of the training {job.name}, run {job.run}, attempt {job.attempt}",
                f"seen at {datetime.now(UTC).isoformat(timespec='seconds')}",
                f"no sign of life for {silent_s:.1f} s; {pace.limit_s:.1f} s are allowed in phase `{pace.phase}`",
                f"{pace.done} steps are done; a step takes {step} (median of the last ones)",
                f"worker {process.rank} of {len(found)}: process {process.pid} on {process.host} "
                f"(node {process.node[:12]}), {seen.state}",
            )
            write_atomically(folder / f"rank-{process.rank}.txt", "\n".join(lines) + f"\n\n{seen.text}")
        write_atomically(folder / "workers.json", json.dumps([process._asdict() for process, _ in found], indent=2))
        return folder


def _silence(workers: int) -> str:
    if workers == 1:
        return "shows no sign of life, and its node does not answer"
    return "show no sign of life, and their nodes do not answer"


def _end(killed: int) -> str:
    if not killed:
        return "they could not be killed, which is tried again"
    return f"{counted(killed, 'worker')} {'was killed and is' if killed == 1 else 'were killed and are'} started again"
