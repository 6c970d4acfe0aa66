"""Sweeps: what ASHA saves against the full grid, and what a sweep costs beside the training.

    grid            16 trials (8 learning rates × 2 bounds of the gradient), each to its end
    asha            the same trials in the same order, the worse ones stopped
    sweep           6 trials, one at a time, by `raysmith sweep`; model and data are there
    hand            the same 6 trainings in one process, one after another

A random Llama of 0.1 million parameters is trained on the bytes of the legal summaries, so that a trial takes seconds.

    python benchmarks/sweeps.py asha
    python benchmarks/sweeps.py overhead --repeats 3
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml
from measure import REPOSITORY, finish, machine, side

STEPS, EVERY = 72, 6
SPACE = {
    "train.learning_rate": {"grid": [3e-4, 6e-4, 1e-3, 2e-3, 3e-3, 6e-3, 1e-2, 2e-2]},
    "train.clip": {"grid": [0.3, 1.0]},
}


def base_model() -> Path:
    """A small random Llama, made once."""
    from small import make_model

    folder = Path(tempfile.gettempdir()) / "raysmith-benchmark-small"
    if (folder / "done").exists():
        return folder
    make_model(folder, hidden=64, layers=2, vocabulary=512)
    template = (
        "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<e>{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )
    (folder / "chat_template.jinja").write_text(template)
    (folder / "done").touch()
    return folder


def job(steps: int, every: int, **train: Any) -> dict[str, Any]:
    data = REPOSITORY / "data" / "legal"
    return {
        "name": "benchmark", "cluster": {"workers": 1, "cpus_per_worker": 1},
        "model": {"path": str(base_model()), "name": "benchmark-base"},
        "data": {"train": str(data / "train.jsonl"), "heldout": str(data / "heldout.jsonl"), "max_length": 2048,
                 "name": "benchmark-data"},
        "train": {
            "steps": steps, "batch": {"sequences": 2, "micro": 2}, "learning_rate": 1e-3, "schedule": "constant",
            "dtype": "float32", "warmup_steps": 8, "trackers": [],
            "evaluation": {"every_steps": every, "sequences": 8, "batch": 4, "publish": "best"},
            "checkpoint": {"every_steps": steps}, **train,
        },
    }  # fmt: skip


def write(folder: Path, sweep: dict[str, Any], steps: int) -> Path:
    every = EVERY if steps == STEPS else OVERHEAD_EVERY
    (folder / "job.yaml").write_text(yaml.safe_dump(job(steps, every)))
    path = folder / f"{sweep['name']}.yaml"
    path.write_text(yaml.safe_dump({"job": "job.yaml", **sweep}))
    return path


def searched(sweep: dict[str, Any], steps: int) -> tuple[Any, float, float]:
    """Run a sweep; its record, seconds from connecting to the end, and seconds of the trials alone."""
    from cluster.connect import connected
    from cluster.rundir import RunDirectory
    from jobs.context import Context
    from jobs.run import base_and_data
    from jobs.sweep import driver
    from jobs.sweep.space import load_sweep

    root = Path(tempfile.gettempdir()) / "raysmith-benchmark-store"
    root.mkdir(exist_ok=True)
    os.environ["RAYSMITH_STORAGE"] = str(root)
    loaded = load_sweep(write(Path(tempfile.mkdtemp()), sweep, steps), [])
    directory = RunDirectory(root, f"{sweep['name']}-{time.time_ns()}"[:40])
    loaded = loaded._replace(config=loaded.config.model_copy(update={"name": directory.path.name}))
    record = driver.open_record(loaded, directory.path / "sweep.json")
    trial = loaded.sample
    with directory.attempt({}) as attempt, connected(trial.cluster) as capacity:
        context = Context(trial, root, directory, attempt, capacity=capacity)
        base_and_data(context)  # model and data are made before the clock starts
        began = time.monotonic()
        driver.search(loaded, record, context)
        seconds = time.monotonic() - began
    return record, seconds, sum(one.seconds for one in record.trials)


def halving(kind: str, reduction: int) -> dict[str, Any]:
    scheduler = (
        {"kind": "none"} if kind == "grid" else {"kind": "asha", "grace_steps": 2 * EVERY, "reduction": reduction}
    )
    record, seconds, _ = searched(
        {"name": f"bench-{kind}", "space": SPACE, "search": "grid", "scheduler": scheduler}, STEPS
    )
    best = record.ranked()[0]
    return {
        "steps": sum(one.steps for one in record.trials), "trials": len(record.trials), "best_loss": best.score,
        "winner": best.values, "seconds": seconds,
    }  # fmt: skip


OVERHEAD_STEPS, OVERHEAD_EVERY = 200, 40
RATES = [1e-4, 3e-4, 1e-3, 2e-3, 3e-3, 5e-3]


def sweep_side(_: argparse.Namespace) -> dict[str, Any]:
    record, seconds, training = searched(
        {
            "name": "bench-sweep", "space": {"train.learning_rate": {"grid": RATES}}, "concurrency": 1,
            "search": {"kind": "grid", "shuffle": False},
        },
        OVERHEAD_STEPS,
    )  # fmt: skip
    return {"seconds": seconds, "in_steps": training, "losses": [one.score for one in record.trials]}


def hand_side(options: argparse.Namespace) -> dict[str, Any]:
    """What somebody would write who wants no sweep: one process, one loop over the values."""
    import torch.distributed as dist

    from cluster.artifacts import ArtifactStore
    from cluster.progress import ProgressFile
    from cluster.rundir import read_metrics
    from jobs.config import load_job
    from trainers import loop

    store = ArtifactStore(Path(tempfile.gettempdir()) / "raysmith-benchmark-store")
    base, tokens = store.get("benchmark-base"), store.get("benchmark-data-tokens")
    folder = Path(tempfile.mkdtemp())
    (folder / "job.yaml").write_text(yaml.safe_dump(job(OVERHEAD_STEPS, OVERHEAD_EVERY)))
    began, in_steps, losses = time.monotonic(), 0.0, []
    os.environ |= {"LOCAL_RANK": "0", "RANK": "0", "WORLD_SIZE": "1"}
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=0, world_size=1)
    for index, rate in enumerate(RATES):
        config = load_job(folder / "job.yaml", [f"train.learning_rate={rate}"]).train
        own = folder / str(index)
        own.mkdir()
        loop.train(loop.Job(
            name="hand", run="hand", config=config, base=store.files(base), base_name="base",
            tokens=store.files(tokens), dataset=own, output=own, metrics_file=own / "metrics.jsonl", folder=own,
            progress=ProgressFile(own / "progress.json"), attempt="1", threads=options.threads,
        ), 0, 1)  # fmt: skip
        records = read_metrics(own / "metrics.jsonl")
        in_steps += sum(record["seconds"] for record in records)
        losses.append(min(record["heldout_loss"] for record in records if "heldout_loss" in record))
    return {"seconds": time.monotonic() - began, "in_steps": in_steps, "losses": losses}


SIDES = {
    "grid": lambda options: halving("grid", options.reduction),
    "asha": lambda options: halving("asha", options.reduction),
    "sweep": sweep_side,
    "hand": hand_side,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("asha", "overhead"), nargs="?", default="asha")
    parser.add_argument("--side", choices=sorted(SIDES), help="run one side only, and print its figures")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--reduction", type=int, default=3, help="of ASHA: one in so many goes on")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="also write the JSON there")
    options = parser.parse_args()
    if options.side:
        print(json.dumps(SIDES[options.side](options)))
        return
    result: dict[str, Any] = {"machine": machine(options.threads)}
    if options.what == "asha":
        found = {name: [run(name, options) for _ in range(options.repeats)] for name in ("grid", "asha")}
        pairs = list(zip(found["asha"], found["grid"], strict=True))
        finish(options, result | found | {
            "steps": statistics.median(one["steps"] / whole["steps"] for one, whole in pairs),
            "loss": statistics.median(one["best_loss"] / whole["best_loss"] for one, whole in pairs),
        })  # fmt: skip
        return
    run("sweep", options)  # makes model and data
    found = {"sweep": [], "hand": []}
    for repeat in range(options.repeats):
        for name in ("sweep", "hand") if repeat % 2 == 0 else ("hand", "sweep"):
            found[name].append(run(name, options))
    more = [one["seconds"] - other["seconds"] for one, other in zip(found["sweep"], found["hand"], strict=True)]
    allowed = [0.1 * other["seconds"] + 5 * len(RATES) for other in found["hand"]]
    finish(options, result | found | {
        "seconds_more_a_trial": [seconds / len(RATES) for seconds in more],
        "share_of_what_is_aimed_at": [seconds / most for seconds, most in zip(more, allowed, strict=True)],
    })  # fmt: skip


def run(name: str, options: argparse.Namespace) -> dict[str, Any]:
    found = side(__file__, name, options.threads, "--reduction", str(options.reduction))
    print(f"{name}: {found}", file=sys.stderr)
    return found


if __name__ == "__main__":
    main()
