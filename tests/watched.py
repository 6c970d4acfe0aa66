"""A real training run and a real `raysmith monitor up` over it, and run directories as they are written."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import yaml

from cluster.monitoring.write import RULES
from cluster.storage import read_json
from tests.prometheus_server import until
from tests.tiny import conversations

RUN = "live"
SILENT_S = 8
"""Seconds that its training may be silent; nobody but the monitor watches."""
_END_S = 90


class Watched(NamedTuple):
    """A run that goes on, and the Prometheus over it."""

    url: str
    root: Path
    monitor: Path
    """The monitor's folder."""
    driver: int
    """Process id of the run's driver."""

    @property
    def run(self) -> Path:
        """The run directory."""
        return self.root / "runs" / RUN

    def worker(self) -> int:
        """Process id of the training worker."""
        found = [
            one.pid for one in psutil.Process(self.driver).children(recursive=True) if "RayTrainWorker" in one.name()
            or "RayTrainWorker" in " ".join(one.cmdline())
        ]  # fmt: skip
        assert found, "no training worker"
        return found[0]


def job_file(folder: Path, model: Path, name: str = RUN, **train: Any) -> Path:
    """A job that trains for longer than any test.

    Args:
        train: other keys of its section `train`.
    """
    for part, count, seed in (("train", 64, 0), ("heldout", 16, 1)):
        lines = [json.dumps(item) for item in conversations(count, seed)]
        (folder / f"{part}.jsonl").write_text("\n".join(lines) + "\n")
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump({
        "name": name,
        "cluster": {"workers": 1, "num_cpus": 2},
        "storage": {"root": str(folder / "store")},
        "model": {"path": str(model), "name": "small-base"},
        "data": {"train": str(folder / "train.jsonl"), "heldout": str(folder / "heldout.jsonl"), "max_length": 128},
        "train": {
            "steps": 1_000_000, "batch": {"sequences": 4, "micro": 4}, "learning_rate": 1e-3, "dtype": "float32",
            "adapter": {"lora": {"rank": 4}}, "checkpoint": {"every_steps": 10_000},
            "evaluation": {"every_steps": 100},
            "watchdog": {"enabled": False, "factor": 1, "least_s": SILENT_S, "other_s": SILENT_S},
            **train,
        },
    }))  # fmt: skip
    return path


def fast_rule(folder: Path, expression: str) -> None:
    """Lay a rule beside the monitor's own, as users may."""
    rule = {"alert": "Fast", "expr": expression, "for": "0s"}
    (folder / RULES).mkdir(parents=True)
    (folder / RULES / "fast.yml").write_text(yaml.safe_dump({"groups": [{"name": "fast", "rules": [rule]}]}))


@contextmanager
def watched(folder: Path, model: Path, expression: str) -> Iterator[Watched]:
    """Start both in `folder`; gives them when the first steps are done. Both are stopped by SIGTERM."""
    monitor = folder / "monitor"
    fast_rule(monitor, expression)
    job_file(folder, model)
    store = folder / "store"
    with (
        _started(folder, "run", "run", f"{RUN}.yaml") as run,
        _started(folder, "monitor", "monitor", "up", "--storage", str(store), "--listen", "127.0.0.1:0", "--to",
                 str(monitor)) as watcher,
    ):  # fmt: skip

        def url() -> str | None:
            for process, name in ((run, "run"), (watcher, "monitor")):
                assert process.poll() is None, (folder / f"{name}.log").read_text()
            found = re.search(r"Prometheus\s+(http://\S+)", (folder / "monitor.log").read_text())
            metrics = store / "runs" / RUN / "metrics.jsonl"
            return found[1] if found and metrics.is_file() and metrics.stat().st_size else None

        yield Watched(until(url), store, monitor, run.pid)
        driver = read_json(store / "runs" / RUN / "driver.json")
        assert driver["pid"] == run.pid


@contextmanager
def _started(folder: Path, name: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "jobs", *arguments], cwd=folder, stdout=log, stderr=subprocess.STDOUT,
            env=os.environ | {"COLUMNS": "400"},
        )  # fmt: skip
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(_END_S)


def lines_of(file: Path) -> list[dict[str, Any]]:
    """The whole lines of a file that is being written."""
    text = file.read_text()
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
