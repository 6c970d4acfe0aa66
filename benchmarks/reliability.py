"""Measured against predicted goodput: a real training on this machine whose workers are killed at random.

    python -m benchmarks.reliability [--mtbf-s 60] [--steps 1500] [--every-steps 75] [--seed 0]

First a short training with kills at fixed times gives the time of a step, of a save and of a recovery. Of these alone
the goodput of a longer one is predicted, whose workers are killed (SIGKILL, one of two, drawn by the seed) at times
that are exponential with a known mean; then that training is run. Both models are small and random, as in the tests.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean, median
from typing import Any

from cluster.connect import ClusterConfig, connected, prepare_environment

prepare_environment(embedded=True)

from cluster.artifacts import package_versions  # noqa: E402
from cluster.reliability import Costs, best_interval, goodput, simulate  # noqa: E402
from cluster.rundir import read_metrics  # noqa: E402
from jobs.goodput import Goodput, Timeline, goodput_of  # noqa: E402
from tests.tiny import make_tiny_model  # noqa: E402
from tests.tiny_tokens import make_tokens  # noqa: E402
from tests.workers import training_job  # noqa: E402
from trainers.config import BatchConfig, CheckpointConfig, DeepSpeedConfig, TrainConfig  # noqa: E402
from trainers.heartbeat import registered  # noqa: E402
from trainers.launch import train  # noqa: E402
from trainers.loop import Job  # noqa: E402

WORKERS = 2


def config(steps: int, every_steps: int) -> TrainConfig:
    return TrainConfig(
        steps=steps, batch=BatchConfig(sequences=16, micro=4), learning_rate=1e-3, schedule="constant",
        dtype="float32", deepspeed=DeepSpeedConfig(stage=2), trackers=[],
        checkpoint=CheckpointConfig(every_steps=every_steps, max_failures=1000),
    )  # fmt: skip


def kill_at(job: Job, pauses: Iterator[float], over: threading.Event, rng: random.Random, log: list[str]) -> None:
    """Kill one of the workers there are, whatever they do, each time after a pause."""
    for pause in pauses:
        if over.wait(pause):
            return
        there = [one for one in registered(job.folder) if one.find() is not None]
        log.append("killed" if there else "nobody there")
        if there:
            os.kill(rng.choice(there).pid, signal.SIGKILL)


def run(folder: Path, settings: TrainConfig, pauses: Iterator[float], seed: int) -> tuple[Job, Goodput, list[str]]:
    job = training_job(folder, settings, folder.parent / "model", folder.parent / "tokens")
    over, log = threading.Event(), list[str]()
    while_it_trains = (job, pauses, over, random.Random(seed), log)
    killer = threading.Thread(target=kill_at, args=while_it_trains, daemon=True)
    timeline = Timeline(folder, job.attempt)
    timeline.begin()
    killer.start()
    with timeline.training(job.name):
        train(job, ClusterConfig(workers=WORKERS))
    over.set()
    killer.join()
    timeline.end("done")
    found = goodput_of(folder)
    if found is None:
        raise RuntimeError("nothing was trained")
    return job, found, log


def after_first_step(job_folder: Path, pauses: list[float]) -> Iterator[float]:
    """Pauses of which the first begins when a step was made: the start is not what is measured."""
    while len(read_metrics(job_folder / "metrics.jsonl")) < 5:
        time.sleep(0.1)
    yield from pauses


def exponential(mean: float, seed: int, folder: Path) -> Iterator[float]:
    rng = random.Random(seed)
    yield from after_first_step(folder, [rng.expovariate(1 / mean)])
    while True:
        yield rng.expovariate(1 / mean)


def costs_of(job: Job, found: Goodput) -> tuple[Costs, float]:
    stall = fmean(found.stall_s)
    writing = max(0.0, fmean(found.written_s) - stall)
    return Costs(stall, fmean(found.restart_s), writing), median(
        one["seconds"] for one in read_metrics(job.metrics_file)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mtbf-s", type=float, default=60.0)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--every-steps", type=int, default=75)
    parser.add_argument("--seed", type=int, default=0)
    wanted = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="raysmith-reliability-"))
    os.environ["PYTHONPATH"] = str(Path.cwd())
    try:
        (root / "model").mkdir()
        make_tiny_model(root / "model")
        make_tokens(root / "tokens", root / "model")
        with connected(ClusterConfig(num_cpus=WORKERS)):
            report = measure(root, wanted)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    print(json.dumps(report, indent=2))


def measure(root: Path, wanted: argparse.Namespace) -> dict[str, Any]:
    short = config(max(200, wanted.steps // 5), wanted.every_steps)
    job, before, _ = run(root / "short", short, after_first_step(root / "short", [4.0, 40.0, 40.0]), wanted.seed)
    costs, step_s = costs_of(job, before)
    interval_s, work_s = wanted.every_steps * step_s, wanted.steps * step_s
    job, found, log = run(
        root / "long", config(wanted.steps, wanted.every_steps),
        exponential(wanted.mtbf_s, wanted.seed, root / "long"), wanted.seed,
    )  # fmt: skip
    own, own_step_s = costs_of(job, found)
    started = training_start(root / "long")
    # The first start is no failure's: it is left out of both.
    measured = found.seconds["steps"] / (found.training_s - started)
    predicted = simulate(interval_s, costs, wanted.mtbf_s, work_s, jobs=2000, seed=wanted.seed)
    return {
        "machine": f"{os.cpu_count()} cores, load {os.getloadavg()[2]:.1f}",
        "python": platform.python_version(),
        "packages": {name: package_versions()[name] for name in ("ray", "torch", "deepspeed")},
        "arguments": vars(wanted),
        "short_run": {"costs": vars(costs), "step_s": step_s, "restarts": len(before.restart_s)},
        "predicted": {
            "expected": goodput(interval_s, costs, wanted.mtbf_s), "simulated": predicted._asdict(),
            "best_interval_s": best_interval(costs, wanted.mtbf_s), "interval_s": interval_s,
        },
        "measured": {
            "goodput": measured, "kills": log.count("killed"), "nobody_there": log.count("nobody there"),
            "training_s": found.training_s, "start_s": started, "report": found.report(),
            "costs": vars(own), "step_s": own_step_s,
        },
        "predicted_with_the_long_run_s_own_costs": goodput(wanted.every_steps * own_step_s, own, wanted.mtbf_s),
    }  # fmt: skip


def training_start(folder: Path) -> float:
    """Seconds until the first step began."""
    begin = next(one["time"] for one in read_metrics(folder / "timeline.jsonl") if one["what"] == "training")
    first = read_metrics(folder / "metrics.jsonl")[0]
    return float(first["time"] - first["seconds"] - begin)


if __name__ == "__main__":
    main()
