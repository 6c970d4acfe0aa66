"""What saving costs: the same training without checkpoints, with asynchronous and with synchronous ones.

Two workers at ZeRO-2, a checkpoint (weights and optimizer states) every few steps. The stall is the extra wall time
of the steps, from the first to the last.

    python benchmarks/checkpoints.py --repeats 3
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from measure import REPOSITORY, finish, interleaved, machine, parser, ratio, summary
from small import job, make_model, make_tokens

WORKERS, STEPS, EVERY = 2, 31, 10


def run(options: argparse.Namespace, asynchronous: bool | None) -> dict[str, Any]:
    sys.path.insert(0, str(REPOSITORY))
    from tests.workers import run_workers
    from trainers.config import BatchConfig, CheckpointConfig

    folder = Path(tempfile.mkdtemp())
    make_model(folder / "model", hidden=512, layers=8)
    make_tokens(folder / "tokens", folder / "model")
    # The last step always saves; it is left out of the time.
    checkpoint = CheckpointConfig(
        every_steps=EVERY if asynchronous is not None else 1000, asynchronous=bool(asynchronous)
    )
    training = job(
        folder / "run", folder / "model", folder / "tokens", 1, steps=STEPS, dtype="bfloat16",
        batch=BatchConfig(sequences=8, micro=4), checkpoint=checkpoint,
    )  # fmt: skip
    found = run_workers(WORKERS, folder / "rendezvous", timed, training)[0]
    size = sum(path.stat().st_size for path in (training.folder / "checkpoints" / f"step-{STEPS:08d}").iterdir())
    return {**found, "checkpoint_bytes": size}


def timed(rank: int, workers: int, training: Any) -> dict[str, float]:
    from trainers.loop import Training

    loop = Training(training, rank, workers)
    marks: list[float] = []
    step = loop._step

    def marked(*arguments: Any) -> None:
        if arguments[0] == STEPS - 1:
            loop.saver.finish()  # what is still being written belongs to the time
        marks.append(time.perf_counter())
        step(*arguments)

    loop._step = marked  # type: ignore[method-assign]
    loop.run()
    return {"seconds": marks[-1] - marks[1], "steps": len(marks) - 2}


SIDES = {
    "none": lambda options: run(options, None),
    "asynchronous": lambda options: run(options, asynchronous=True),
    "synchronous": lambda options: run(options, asynchronous=False),
}


def main() -> None:
    options = parser(__doc__, SIDES).parse_args()
    if options.side:
        print(json.dumps(SIDES[options.side](options)))
        return
    runs = interleaved(__file__, list(SIDES), options.repeats, 1)
    finish(options, {
        "benchmark": "checkpoints", **machine(1), "workers": WORKERS, "repeats": options.repeats, "every_steps": EVERY,
        "sides": {name: summary(found) for name, found in runs.items()},
        "time_ratio": {name: ratio(runs[name], runs["none"], "seconds") for name in ("asynchronous", "synchronous")},
    })  # fmt: skip


if __name__ == "__main__":
    main()
