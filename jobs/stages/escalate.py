"""Escalating ranks: train an adapter of a low rank, then of higher ones, each from the one before, while that pays.

A higher rank begins as the lower one padded (`trainers.adapters.add_lora`): it computes the same function, so that
nothing is learnt twice, and its new directions learn at once.
"""

from __future__ import annotations

import math
from typing import Any

from cluster.artifacts import Manifest
from jobs.console import fact, title
from jobs.context import Context, Outcome
from jobs.stages.train import start_of, train_once
from trainers.config import TrainConfig


def escalate(context: Context, base: Manifest, tokens: Manifest, config: TrainConfig) -> Manifest:
    """The adapter with the lowest held-out loss of all ranks that were trained, published as the job's adapter.

    Each rank's is an artifact of its own, whose parent is the rank before.
    """
    if config.adapter is None:
        raise ValueError("no adapter is trained")
    lora, start = config.adapter.lora, start_of(context, base, config)
    rungs: list[dict[str, Any]] = []
    best: Outcome | None = None
    why = f"all ranks were trained: {', '.join(map(str, lora.ranks))}"
    for index, rank in enumerate(lora.ranks):
        title(f"Train rank {rank}")
        done = train_once(context, base, tokens, rung(config, index), start, f"-rank-{rank}")
        loss = done.report["best"]["heldout_loss"]
        rungs.append(
            {"rank": rank, "heldout_loss": loss, "artifact": done.artifact.id}
            | {key: done.report.get(key) for key in ("steps", "tokens", "parameters", "heldout_curves")}
        )
        if best is None or loss < best.report["best"]["heldout_loss"]:
            best = done
        if index and lora.too_small_a_gain(rungs[-2]["heldout_loss"], loss):
            gain = 1 - loss / rungs[-2]["heldout_loss"]
            why = f"rank {rank} gained {gain:.2%} on rank {rungs[-2]['rank']}; stop_when: {lora.stop_when}"
            break
        start = done.artifact
    if best is None:
        raise ValueError("no rank was trained")
    name = f"{context.job.name}-adapter"
    context.store.point(name, best.artifact.id)
    chosen = next(one["rank"] for one in rungs if one["artifact"] == best.artifact.id)
    for one in rungs:
        fact(f"rank {one['rank']}", f"held-out loss {one['heldout_loss']:.4f} after {one['steps']} more steps")
    fact("stopped", why)
    fact("published", f"{name}: rank {chosen}  ({best.artifact.id})")
    context.report["stages"]["train"] = {
        **best.report, "artifact": best.artifact.id, "reused": False,
        "seconds": sum(context.report["stages"][f"train_rank_{one['rank']}"]["seconds"] for one in rungs),
        "escalation": {"rungs": rungs, "chosen": chosen, "stopped": why},
    }  # fmt: skip
    context.save_report()
    return best.artifact


def rung(config: TrainConfig, index: int) -> TrainConfig:
    """The training of one of the ranks; those after the first take fewer steps, at a lower rate."""
    if config.adapter is None or config.evaluation is None:
        raise ValueError("the configuration does not escalate")
    lora = config.adapter.lora
    steps = config.steps if index == 0 else max(1, math.ceil(config.steps * lora.later_share))
    adapter = config.adapter.model_copy(update={"lora": lora.at(lora.ranks[index])})
    return config.model_copy(
        update={
            "adapter": adapter,
            "steps": steps,
            "learning_rate": config.learning_rate * (1.0 if index == 0 else lora.later_rate),
            "seed": config.seed + index,  # else each rank would begin with the same examples again
            "warmup_steps": min(config.warmup_steps, steps - 1),
            "evaluation": config.evaluation.model_copy(update={"publish": "best"}),
        }
    )
