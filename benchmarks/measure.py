"""What the benchmarks share: sides run in turn, each in a process of its own; medians, spreads, versions; JSON out."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
_PACKAGES = ("torch", "transformers", "trl", "deepspeed", "ray", "datasets", "tokenizers", "pyarrow")


def side(script: str, name: str, threads: int, *arguments: str) -> dict[str, Any]:
    """Run one side of a benchmark: `script --side NAME`, which prints its figures as JSON on its last line."""
    environment = os.environ | {
        "OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(REPOSITORY), "TOKENIZERS_PARALLELISM": "false",
        "CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES", ""),
    }  # fmt: skip
    command = [sys.executable, script, "--side", name, "--threads", str(threads), *arguments]
    done = subprocess.run(command, env=environment, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    figures: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return figures


def interleaved(
    script: str, names: list[str], repeats: int, threads: int, *arguments: str
) -> dict[str, list[dict[str, Any]]]:
    """All sides once, then all again: what disturbs the machine disturbs them alike."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for repeat in range(repeats):
        for name in names if repeat % 2 == 0 else reversed(names):
            began = time.monotonic()
            found[name].append(side(script, name, threads, *arguments))
            print(
                f"{repeat + 1}/{repeats} {name}: {found[name][-1]} ({time.monotonic() - began:.0f} s)", file=sys.stderr
            )
    return found


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Median, least and greatest of each figure."""
    figures = {}
    for key, value in runs[0].items():
        if isinstance(value, int | float):
            values = [run[key] for run in runs]
            figures[key] = {"median": statistics.median(values), "min": min(values), "max": max(values)}
    return figures


def ratio(ours: list[dict[str, Any]], theirs: list[dict[str, Any]], key: str) -> dict[str, float]:
    """Ratio of a figure, repeat by repeat."""
    ratios = [one[key] / other[key] for one, other in zip(ours, theirs, strict=True)]
    return {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)}


def machine(threads: int) -> dict[str, Any]:
    """What the figures were measured on."""
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.processor(),
    )
    return {
        "cpu": model, "cores": os.cpu_count(), "threads": threads, "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
    }  # fmt: skip


def parser(
    description: str | None, sides: dict[str, Callable[[argparse.Namespace], dict[str, Any]]]
) -> argparse.ArgumentParser:
    """The options that every benchmark has."""
    found = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--side", choices=sorted(sides), help="run one side only, and print its figures")
    found.add_argument("--repeats", type=int, default=3)
    found.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    found.add_argument("--out", type=Path, help="also write the JSON there")
    return found


def finish(options: argparse.Namespace, result: dict[str, Any]) -> None:
    """Print the result, and write it where `--out` says."""
    text = json.dumps(result, indent=2)
    print(text)
    if options.out:
        options.out.write_text(text + "\n")
