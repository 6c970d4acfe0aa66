"""What each case found: a row of the table in docs/reliability.md, kept in a JSON file that later runs add to."""

from __future__ import annotations

import json
import os
import platform
import re
import time
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

VARIABLE = "RAYSMITH_FAULTS_RESULTS"
WORKLOADS = ("training", "reinforcement learning", "serving", "sweep", "queue")
_PACKAGES = ("ray", "torch", "deepspeed", "transformers")


@dataclass
class Case:
    """One fault during one workload. The defaults stand for what a case did not come to say."""

    workload: str
    fault: str
    nodes: str
    saw: str = ""
    """What the user saw: the message, shortened; empty: nothing but a pause."""
    lost: str = ""
    recover_s: float | None = None
    """From the fault to the next new step, or answered request."""
    hand: str = "none"
    """What the user had to do."""
    passed: bool = False
    problem: str = ""
    """Why the case failed."""
    seconds: float = 0.0
    date: str = ""
    figures: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._began = time.monotonic()

    def end(self, problem: str) -> None:
        """Say how it went."""
        self.passed, self.problem = not problem, _shortened(problem)
        self.saw = _shortened(self.saw)
        self.seconds = round(time.monotonic() - self._began, 1)
        self.date = f"{datetime.now(UTC):%Y-%m-%d %H:%M}"


def keep(name: str, case: Case, fallback: Path) -> None:
    """Add a case's row, in place of that of an earlier run."""
    path = Path(os.environ.get(VARIABLE) or fallback)
    rows: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"cases": {}}
    rows["machine"] = {
        "cores": os.cpu_count(), "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "kernel": platform.release(), "python": platform.python_version(),
        **{package: version(package) for package in _PACKAGES},
    }  # fmt: skip
    rows["cases"][name] = asdict(case)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n")


def _shortened(text: str) -> str:
    text = re.sub(r"/tmp/\S+?/(?=runs|artifacts|logs|disk)", "…/", text)
    text = " ".join(text.split())
    return text if len(text) <= 400 else text[:397] + "…"
