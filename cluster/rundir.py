"""A run directory: everything one named run leaves behind.

    config.yaml              the resolved configuration
    attempts/001/            one folder a start of the driver: config.yaml, environment.json, logs/, and stacks/ of
                             workers that hung
    metrics.jsonl            one JSON object a training step: step, loss, learning rate, tokens a second …
    tensorboard/             the same as TensorBoard events
    events.jsonl             what else happened: resumed, hung, warned, a checkpoint that failed …
    timeline.jsonl, spans.jsonl  when attempts and trainings began and ended; what took time beside steps
    report.json, report.html the results of every stage (docs/report.md)
    train/                   checkpoints

One process at a time holds it, by a lock that the system releases when the process ends.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from cluster.artifacts import package_versions
from cluster.errors import ResourceError
from cluster.storage import write_atomically, write_json


class RunDirectory:
    """The directory of one named run."""

    def __init__(self, root: Path, name: str) -> None:
        self.path = root / "runs" / name
        self.metrics_file = self.path / "metrics.jsonl"
        self.report_file = self.path / "report.json"

    @contextmanager
    def attempt(self, resolved_config: dict[str, Any]) -> Iterator[Path]:
        """Take the directory for this process and open the next attempt's folder.

        Raises:
            ResourceError: another process runs in this directory.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / ".lock").open("a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.seek(0)
                raise ResourceError(
                    "Another process is running this job.", field="name", got=f"{self.path} (process {lock.read()})",
                    expected="one driver at a time", fix="wait for it, stop it, or give this run another `name`",
                ) from None  # fmt: skip
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            numbers = [int(folder.name) for folder in (self.path / "attempts").glob("*") if folder.name.isdecimal()]
            folder = self.path / "attempts" / f"{max(numbers, default=0) + 1:03d}"
            folder.mkdir(parents=True)
            text = yaml.safe_dump(resolved_config, sort_keys=False)
            write_atomically(folder / "config.yaml", text)
            write_atomically(self.path / "config.yaml", text)
            write_json(folder / "environment.json", _environment())
            yield folder

    def read_metrics(self) -> list[dict[str, Any]]:
        """The training metrics so far; a line cut off by a kill is left out."""
        return read_metrics(self.metrics_file)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Read a metrics file; see `RunDirectory.read_metrics`."""
    if not path.exists():
        return []
    records = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return records


class MetricsTail:
    """Follows a metrics file: each look reads only what was appended since, or all of a file that was replaced."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._inode, self._offset = 0, 0
        self._records: list[dict[str, Any]] = []

    def look(self) -> list[dict[str, Any]]:
        """All records so far; a line that is still being written is left for the next look."""
        try:
            stream = self._path.open("rb")
        except FileNotFoundError:
            return self._records
        with stream:
            status = os.fstat(stream.fileno())
            if status.st_ino != self._inode or status.st_size < self._offset:
                self._inode, self._offset, self._records = status.st_ino, 0, []
            if status.st_size == self._offset:
                return self._records
            stream.seek(self._offset)
            whole, newline, _ = stream.read().rpartition(b"\n")
        self._offset += len(whole) + len(newline)
        for line in whole.splitlines():
            try:
                self._records.append(json.loads(line))
            except json.JSONDecodeError:
                continue
        return self._records


def _environment() -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "packages": package_versions(),
    }
