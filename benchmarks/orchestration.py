"""What Ray Train costs: the same loop with two workers under Ray Train and under torchrun.

python benchmarks/orchestration.py --repeats 3
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from measure import REPOSITORY, finish, interleaved, machine, parser, ratio, summary
from small import job, make_model, make_tokens

WORKERS, STEPS, SKIPPED = 2, 30, 5


def training(folder: Path, threads: int) -> Any:
    from trainers.config import BatchConfig, CheckpointConfig

    return job(
        folder / "run", folder / "model", folder / "tokens", threads, steps=STEPS, dtype="bfloat16",
        batch=BatchConfig(sequences=8, micro=4), checkpoint=CheckpointConfig(every_steps=1000),
    )  # fmt: skip


def prepared() -> Path:
    folder = Path(tempfile.mkdtemp())
    make_model(folder / "model", hidden=256, layers=4)
    make_tokens(folder / "tokens", folder / "model")
    return folder


def figures(folder: Path, began: float) -> dict[str, Any]:
    from cluster.rundir import read_metrics

    steps = read_metrics(folder / "run" / "metrics.jsonl")
    return {
        "median_step_s": statistics.median(step["seconds"] for step in steps[SKIPPED:]),
        "start_s": steps[0]["time"] - steps[0]["seconds"] - began,
    }


def under_ray(options: argparse.Namespace) -> dict[str, Any]:
    from cluster.connect import ClusterConfig, connected
    from trainers.launch import train

    folder, began = prepared(), time.time()
    cluster = ClusterConfig(workers=WORKERS)
    with connected(cluster):
        train(training(folder, 1), cluster)
    return figures(folder, began)


def under_torchrun(options: argparse.Namespace) -> dict[str, Any]:
    folder, began = prepared(), time.time()
    command = [
        sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={WORKERS}", "--rdzv-backend=c10d",
        "--rdzv-endpoint=localhost:0", __file__, "--side", "worker", "--folder", str(folder),
    ]  # fmt: skip
    # Ray runs its workers at this niceness: the same for both.
    subprocess.run(["nice", "-n", "15", *command], check=True, capture_output=True, cwd=REPOSITORY, env=os.environ)
    return figures(folder, began)


def worker(options: argparse.Namespace) -> dict[str, Any]:
    import torch.distributed as dist

    from trainers.loop import Training

    dist.init_process_group("gloo")
    Training(training(options.folder, 1), dist.get_rank(), dist.get_world_size()).run()
    dist.destroy_process_group()
    return {}


SIDES = {"ray": under_ray, "torchrun": under_torchrun, "worker": worker}


def main() -> None:
    options_of = parser(__doc__, SIDES)
    options_of.add_argument("--folder", type=Path)
    options = options_of.parse_args()
    if options.side:
        print(json.dumps(SIDES[options.side](options)))
        return
    runs = interleaved(__file__, ["ray", "torchrun"], options.repeats, 1)
    starts = [one["start_s"] - other["start_s"] for one, other in zip(runs["ray"], runs["torchrun"], strict=True)]
    finish(options, {
        "benchmark": "orchestration", **machine(1), "workers": WORKERS, "repeats": options.repeats,
        "steps_measured": STEPS - SKIPPED, "sides": {name: summary(found) for name, found in runs.items()},
        "step_time_ratio": ratio(runs["ray"], runs["torchrun"], "median_step_s"),
        "extra_start_s": {"median": statistics.median(starts), "min": min(starts), "max": max(starts)},
    })  # fmt: skip


if __name__ == "__main__":
    main()
