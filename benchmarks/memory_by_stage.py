"""Model states a worker holds at each ZeRO stage, measured in its tensors, against the formula of `raysmith plan`.

When the optimizer is about to step, every tensor that is alive in the process is counted once by its storage; what
belongs to a batch is gone by then, so weights, gradients and optimizer states are left (Rajbhandari et al. 2019,
section 3).

    python benchmarks/memory_by_stage.py
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from measure import REPOSITORY, finish, machine, parser
from small import job, make_model, make_tokens

WORKERS = 2


def run(options: argparse.Namespace) -> dict[str, Any]:
    sys.path.insert(0, str(REPOSITORY))
    from tests.workers import held_before_the_step, run_workers
    from trainers.config import BatchConfig, CheckpointConfig, DeepSpeedConfig
    from trainers.memory import worker_memory
    from trainers.shape import Shape

    folder, result = Path(tempfile.mkdtemp()), {}
    make_model(folder / "model", hidden=512, layers=8)
    make_tokens(folder / "tokens", folder / "model", rows=16, length=64)
    shape = Shape.from_config(json.loads((folder / "model" / "config.json").read_text()))
    for dtype in ("float32", "bfloat16"):
        for stage in (0, 1, 2, 3):
            training = job(
                folder / f"{dtype}-{stage}", folder / "model", folder / "tokens", 1, steps=2, dtype=dtype,
                batch=BatchConfig(sequences=4, micro=2), deepspeed=DeepSpeedConfig(stage=stage),
                checkpoint=CheckpointConfig(every_steps=1000),
            )  # fmt: skip
            measured = run_workers(WORKERS, folder / f"rendezvous-{dtype}-{stage}", held_before_the_step, training)
            planned = worker_memory(shape, training.config, WORKERS, 64, 1.0)
            # ZeRO-3 never gives its bucket for gradients back, which here holds those of all weights.
            states_planned = planned.states + (WORKERS * planned.gradients if stage == 3 else 0)
            result[f"{dtype} ZeRO-{stage}"] = {
                "measured_bytes": max(measured),
                "planned_bytes": states_planned,
                "ratio": max(measured) / states_planned,
            }
    return result


SIDES = {"all": run}


def main() -> None:
    options = parser(__doc__, SIDES).parse_args()
    result = {"benchmark": "memory_by_stage", **machine(1), "workers": WORKERS, "stages": run(options)}
    finish(options, result) if not options.side else print(json.dumps(result))


if __name__ == "__main__":
    main()
