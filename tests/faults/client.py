"""A user's command, watched from outside: what it prints, and what its run writes."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

from cluster.rundir import read_metrics
from tests.conftest import REPOSITORY
from tests.faults.machine import clean_environment, kill, kill_tree, wait_until, with_variable

_END_S = 40.0


class Cluster(Protocol):
    """What a command needs to know of a cluster."""

    folder: Path
    address: str

    @property
    def submit_options(self) -> list[str]: ...

    def environment(self) -> dict[str, str]: ...


class Command:
    """`raysmith VERB FILE …`, which runs until the block ends or it does."""

    def __init__(self, cluster: Cluster, verb: str, file: Path, *options: str) -> None:
        self._cluster, self._words, self.name = cluster, [verb, file.name, *options], file.stem
        self.root = file.parent
        self.run = self.root / "runs" / self.name
        self.log = self.root / f"{self.name}.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.progress: list[tuple[float, int]] = []
        """When each step was done that had not been done before."""
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Command:
        self.start()
        self._watcher.start()
        return self

    def _watch(self) -> None:
        newest = 0
        while not self._over.wait(0.05):
            step = self.step()
            if step > newest:
                newest = step
                self.progress.append((time.monotonic(), step))

    def pause(self, since: float) -> tuple[int, float]:
        """The longest time without a new step that ended after `since`: the last step before it, and its end."""
        pairs = [pair for pair in pairwise(self.progress) if pair[1][0] > since]
        before, after = max(pairs, key=lambda pair: pair[1][0] - pair[0][0])
        return before[1], after[0]

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "jobs", *self._words],
                cwd=self.root, stdout=log, stderr=log, start_new_session=True,
                env=clean_environment(PYTHONPATH=str(REPOSITORY), COLUMNS="200", **self._cluster.environment()),
            )  # fmt: skip

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._watcher.join()
        if self.process is not None:
            kill_tree(self.process.pid)
            self.process.wait()
        for driver in self.drivers():  # as by `raysmith stop`: replicas outlive a driver that is killed
            kill(driver, signal.SIGTERM)
        with suppress(AssertionError):
            wait_until(lambda: not self.drivers(), _END_S, "the driver's end")
        for driver in self.drivers():
            kill_tree(driver.pid)

    def drivers(self) -> list[Any]:
        """The job's drivers on the cluster."""
        found = with_variable("RAY_ADDRESS", self._cluster.address, " job.yaml")
        return [one for one in found if one.name().startswith("python") and self._is_mine(Path(one.cwd()))]

    def _is_mine(self, folder: Path) -> bool:
        file = folder / "job.yaml"
        return file.is_file() and f"name: {self.name}\n" in file.read_text()

    def said(self) -> str:
        """All that the user saw so far."""
        return re.sub(r"\x1b\[[0-9;]*m", "", self.log.read_text(errors="replace"))

    def tail(self, lines: int = 12) -> str:
        return "\n".join(self.said().strip().splitlines()[-lines:])

    def ended(self) -> bool:
        assert self.process is not None
        return self.process.poll() is not None

    def wait(self, within_s: float) -> int:
        """Its exit code."""
        assert self.process is not None
        wait_until(self.ended, within_s, f"the end of {' '.join(self._words)}:\n{self.tail()}", 0.2)
        return int(self.process.returncode)

    def interrupt(self, number: int) -> None:
        """Send a signal to the user's command, not to the job."""
        assert self.process is not None
        kill(self.process.pid, number)

    # --- its run

    def steps(self) -> list[dict[str, Any]]:
        return read_metrics(self.run / "metrics.jsonl")

    def events(self) -> list[str]:
        file = self.run / "events.jsonl"
        return [one["event"] for one in read_metrics(file)]

    def report(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.run / "report.json").read_text())
        return found

    def step(self) -> int:
        """The newest that is done."""
        steps = self.steps()
        return int(steps[-1]["step"]) if steps else 0

    def wait_for_step(self, step: int, within_s: float = 240) -> None:
        def there() -> bool:
            assert not self.ended(), self.tail()
            return self.step() >= step

        wait_until(there, within_s, f"step {step} of {self.name}, now {self.step()}:\n{self.tail()}", 0.05)
