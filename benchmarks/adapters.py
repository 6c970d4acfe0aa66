"""Adapters of SmolLM2-135M-Instruct on the legal summaries: QLoRA against LoRA, escalating ranks against each alone.

    lora-SEED       bfloat16 base, LoRA
    nf4-SEED        the same seed on a base in four bits (QLoRA)
    int8-SEED       the same seed on a base in eight bits
    escalate        ranks one after another, each from the one before; stops when the gain is small
    alone-RANK      that rank from scratch, all steps

Held-out loss is that of the adapter on the base that it was trained on, after the last step. One process a side.

    python benchmarks/adapters.py quantized --repeats 3
    python benchmarks/adapters.py escalation
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from loop import model_folder
from measure import REPOSITORY, finish, machine, side, summary

STEPS, SEQUENCES, MAX_LENGTH, RATE = 16, 4, 384, 2e-3
RANKS, LATER_SHARE, STOP = [4, 8, 16], 0.5, "gain < 1%"


class Trained(NamedTuple):
    """What one training came to."""

    loss: float
    tokens: int
    tokens_per_s: float
    adapter: Path


def tokens_folder(folder: Path, base: Path) -> Path:
    from trainers.data.chat import render_file
    from trainers.data.store import tokenizer_digest
    from trainers.formats.chat import write_conversations
    from trainers.models import load_tokenizer

    tokenizer = load_tokenizer(base)
    for part in ("train", "heldout"):
        examples, _ = render_file(tokenizer, REPOSITORY / f"data/legal/{part}.jsonl", MAX_LENGTH)
        write_conversations(folder / part, examples, tokenizer, tokenizer_digest(base))
    return folder


def settings(rank: Any, base: str, seed: int) -> Any:
    from trainers.adapter_config import AdapterConfig, LoraConfig
    from trainers.config import BatchConfig, CheckpointConfig, DeepSpeedConfig, ScheduleConfig, TrainConfig

    alpha = 2.0 * (RANKS[0] if rank == "escalate" else rank)
    lora = LoraConfig(rank=rank, ranks=RANKS, alpha=alpha, later_share=LATER_SHARE, stop_when=STOP)
    return TrainConfig(
        steps=STEPS, batch=BatchConfig(sequences=SEQUENCES, micro=SEQUENCES), learning_rate=RATE, warmup_steps=2,
        adapter=AdapterConfig(lora=lora, base=base), dtype="bfloat16", deepspeed=DeepSpeedConfig(stage=1),
        trackers=[], checkpoint=CheckpointConfig(every_steps=1000, asynchronous=False), seed=seed,
        evaluation=ScheduleConfig(every_steps=STEPS // 2),
    )  # fmt: skip


def train(config: Any, tokens: Path, threads: int, start: Path | None = None) -> Trained:
    import torch
    import torch.distributed as dist

    from cluster.progress import ProgressFile
    from cluster.rundir import read_metrics
    from trainers import loop
    from trainers.launch import export_result

    folder, base = Path(tempfile.mkdtemp()), model_folder()
    (folder / "adapter").mkdir()
    job = loop.Job(
        name="benchmark", run="benchmark", config=config, base=base, base_name="base", tokens=tokens, dataset=tokens,
        output=folder / "adapter", metrics_file=folder / "metrics.jsonl", folder=folder,
        progress=ProgressFile(folder / "progress.json"), attempt="1", threads=threads, start=start,
    )  # fmt: skip
    os.environ |= {"LOCAL_RANK": "0", "RANK": "0", "WORLD_SIZE": "1"}
    if not dist.is_initialized():
        dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=0, world_size=1)
    torch.set_num_threads(threads)
    loop.train(job, 0, 1)
    records = read_metrics(job.metrics_file)
    export_result(job)
    measured = [record["heldout_loss"] for record in records if "heldout_loss" in record]
    return Trained(
        min(measured), sum(record["tokens"] for record in records),
        statistics.median(record["tokens_per_s"] for record in records[1:]), job.output,
    )  # fmt: skip


def one(options: argparse.Namespace) -> dict[str, Any]:
    """A side of `quantized`, or one rank alone."""
    name, _, number = options.side.partition("-")
    tokens = tokens_folder(Path(tempfile.mkdtemp()), model_folder())
    if name == "alone":
        config = settings(int(number), "full", 0)
    else:
        config = settings(16, {"lora": "full"}.get(name, name), int(number))
    found = train(config, tokens, options.threads)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"heldout_loss": found.loss, "tokens": found.tokens, "tokens_per_s": found.tokens_per_s, "peak_bytes": peak}


def escalate(options: argparse.Namespace) -> dict[str, Any]:
    from jobs.stages.escalate import rung

    config = settings("escalate", "full", 0)
    tokens = tokens_folder(Path(tempfile.mkdtemp()), model_folder())
    start, losses, used = None, [], []
    for index, _rank in enumerate(RANKS):
        found = train(rung(config, index), tokens, options.threads, start)
        losses.append(found.loss)
        used.append(found.tokens)
        start = found.adapter
        if index and config.adapter.lora.too_small_a_gain(losses[-2], losses[-1]):
            break
    ranks = RANKS[: len(losses)]
    return {"heldout_loss": min(losses), "tokens": sum(used), "ranks": ranks, "losses": losses}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("quantized", "escalation"), nargs="?", default="quantized")
    parser.add_argument("--side", help="run one side only, and print its figures")
    parser.add_argument("--repeats", type=int, default=3, help="seeds of `quantized`")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path, help="also write the JSON there")
    options = parser.parse_args()
    if options.side:
        print(json.dumps(escalate(options) if options.side == "escalate" else one(options)))
        return
    result: dict[str, Any] = {"machine": machine(options.threads)}
    if options.what == "escalation":
        names = ["escalate", *(f"alone-{rank}" for rank in RANKS)]
        found = {name: run(name, options.threads) for name in names}
        separate = sum(found[name]["tokens"] for name in names[1:])
        finish(options, result | found | {
            "tokens_against_separate_runs": found["escalate"]["tokens"] / separate,
            "loss_against_the_last_rank_alone": found["escalate"]["heldout_loss"] / found[names[-1]]["heldout_loss"],
        })  # fmt: skip
        return
    runs: dict[str, list[dict[str, Any]]] = {"lora": [], "nf4": [], "int8": []}
    for seed in range(options.repeats):
        for name in ("lora", "nf4") if seed else runs:
            runs[name].append(run(f"{name}-{seed}", options.threads))
    ratios = {
        key: statistics.median(
            four[key] / full[key] for four, full in zip(runs["nf4"], runs["lora"], strict=True)
        )
        for key in ("heldout_loss", "peak_bytes", "tokens_per_s")
    }  # fmt: skip
    finish(
        options, result | {"runs": runs, "sides": {name: summary(of) for name, of in runs.items()}, "nf4/lora": ratios}
    )


def run(name: str, threads: int) -> dict[str, Any]:
    found = side(__file__, name, threads)
    print(f"{name}: {found}", file=sys.stderr)
    return found


if __name__ == "__main__":
    main()
