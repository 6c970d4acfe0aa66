"""GRPO: completions a second, ours against TRL's GRPOTrainer; written in turn with training and beside it.

SmolLM2-135M-Instruct in bfloat16, all weights trained, the word problems of data/trains, 8 prompts × 8 completions a
step of at most 24 new tokens, one process that trains, the same cores in all:

    sync        samplers and learner take turns, each with all cores
    async       one round is written ahead; samplers and learner have half of the cores each
    trl         GRPOTrainer (generation by transformers' `generate`), loss over tokens, no reference model
    engine      the sampler alone in its process: new tokens a second
    actor       the same prompts through sampler actors and Ray

The first step of each is left out (start, compiled kernels).

    python benchmarks/rl.py trl --repeats 3
    python benchmarks/rl.py async --repeats 3
    python benchmarks/rl.py rollouts --repeats 3
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from loop import model_folder
from measure import REPOSITORY, finish, interleaved, machine, summary

PROMPTS, GROUP, NEW_TOKENS, STEPS, RATE = 8, 8, 24, 5, 1e-6
_WHAT = {"trl": ("sync", "trl"), "async": ("sync", "async"), "rollouts": ("engine", "actor")}


def problems() -> list[dict[str, str]]:
    lines = (REPOSITORY / "data/trains/prompts_train.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def ours(options: argparse.Namespace, staleness: int) -> dict[str, Any]:
    from cluster.connect import ClusterConfig, connected
    from cluster.progress import ProgressFile
    from cluster.rundir import read_metrics
    from trainers.config import TrainConfig
    from trainers.formats import prompts
    from trainers.launch import train
    from trainers.loop import Job

    folder, base = Path(tempfile.mkdtemp()), model_folder()
    data = REPOSITORY / "data/trains"
    files = prompts.Config(train=data / "prompts_train.jsonl", heldout=data / "prompts_heldout.jsonl", max_length=96)
    for name in ("dataset", "output"):
        (folder / name).mkdir()
    prompts.collect(ProgressFile(folder / "p.json"), files, folder / "dataset")
    prompts.tokenize(ProgressFile(folder / "p.json"), files, base, folder / "dataset", folder / "tokens")
    threads = options.threads if staleness == 0 else max(1, options.threads // 2)
    config = TrainConfig.model_validate({
        "objective": {
            "kind": "rl", "algorithm": {"kind": "grpo"}, "sampler": {"kind": "transformers", "threads": threads},
            "rewards": [{"kind": "number", "after": "####"}],
            "rollouts": {"prompts": PROMPTS, "group": GROUP, "max_new_tokens": NEW_TOKENS, "max_staleness": staleness},
        },
        "steps": STEPS, "batch": {"sequences": PROMPTS * GROUP, "micro": 32}, "learning_rate": RATE,
        "schedule": "constant", "trackers": [], "checkpoint": {"every_steps": 1000},
    })  # fmt: skip
    cluster = ClusterConfig(workers=1, num_cpus=options.threads, cpus_per_worker=threads)
    with connected(cluster):
        train(
            Job(
                name="benchmark", run="benchmark", config=config, base=base, base_name="base", tokens=folder / "tokens",
                dataset=folder / "dataset", output=folder / "output", metrics_file=folder / "metrics.jsonl",
                folder=folder, progress=ProgressFile(folder / "progress.json"), attempt="1", threads=threads,
            ), cluster,
        )  # fmt: skip
    lines = read_metrics(folder / "metrics.jsonl")
    seconds = [later["time"] - earlier["time"] for earlier, later in pairwise(lines)]
    return {
        "completions_per_s": PROMPTS * GROUP / statistics.median(seconds),
        "mean_length": statistics.mean(line["length"] for line in lines),
        "waiting_share": statistics.median(line["data_wait_share"] for line in lines[1:]),
        "sync_s": statistics.median(line["sync_s"] for line in lines), "sync_bytes": lines[-1]["sync_bytes"],
        "drift": max(line["drift"] for line in lines),
    }  # fmt: skip


def trl(options: argparse.Namespace) -> dict[str, Any]:
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    torch.set_num_threads(options.threads)
    times: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            times.append(time.perf_counter())

    def correct(completions: list[Any], answer: list[str], **_: Any) -> list[float]:
        texts = [completion[-1]["content"] for completion in completions]
        return [float(text.rpartition("####")[2].strip() == right) for text, right in zip(texts, answer, strict=True)]

    data = [
        {"prompt": [{"role": "user", "content": one["prompt"]}], "answer": one["answer"]} for one in problems()[:256]
    ]
    trainer = GRPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(str(model_folder()), dtype=torch.bfloat16),
        processing_class=AutoTokenizer.from_pretrained(str(model_folder())), reward_funcs=[correct],
        train_dataset=Dataset.from_list(data), callbacks=[Clock()],
        args=GRPOConfig(
            output_dir=tempfile.mkdtemp(), use_cpu=True, per_device_train_batch_size=32, gradient_accumulation_steps=2,
            num_generations=GROUP, max_completion_length=NEW_TOKENS, max_steps=STEPS, learning_rate=RATE, beta=0.0,
            loss_type="bnpo", bf16=False, gradient_checkpointing=False, report_to=[], save_strategy="no",
            lr_scheduler_type="constant", disable_tqdm=True, temperature=1.0,
        ),
    )  # fmt: skip
    trainer.train()
    seconds = [later - earlier for earlier, later in pairwise(times)]
    lengths = [one["completions/mean_length"] for one in trainer.state.log_history if "completions/mean_length" in one]
    return {
        "completions_per_s": PROMPTS * GROUP / statistics.median(seconds),
        "mean_length": statistics.mean(lengths or [0]),
    }


def rollouts(options: argparse.Namespace, *, actors: bool) -> dict[str, Any]:
    from cluster.connect import ClusterConfig, connected
    from trainers.data.chat import render_prompt
    from trainers.models import load_tokenizer
    from trainers.rl.config import SyncConfig
    from trainers.rl.weights import num_bytes
    from trainers.rl.writing import Samplers, end_ids
    from trainers.samplers import Prompt, Sampling, Setup
    from trainers.samplers.transformers import Config, Sampler

    base = model_folder()
    tokenizer = load_tokenizer(base)
    setup = Setup(base, "bfloat16", None, tokenizer.pad_token_id, end_ids(base, tokenizer), options.threads, 128)
    rng = random.Random(0)
    texts = [one["prompt"] for one in problems()[:16]]
    asked = [
        Prompt(
            render_prompt(tokenizer, [{"role": "user", "content": text}]), [rng.getrandbits(32) for _ in range(GROUP)]
        )
        for text in texts
    ]
    sampling = Sampling(NEW_TOKENS, 1.0)
    engine = Sampler(Config(), setup)

    def timed(write: Any) -> dict[str, Any]:
        write(asked[:8])
        began = time.perf_counter()
        found = write(asked)
        seconds = time.perf_counter() - began
        return {"new_tokens_per_s": sum(len(one.ids) for group in found for one in group) / seconds}

    if not actors:
        return timed(lambda prompts: engine.generate(prompts, sampling))
    weights = engine.held()
    with connected(ClusterConfig(num_cpus=options.threads)):
        samplers = Samplers(Config(), setup, SyncConfig())
        began = time.perf_counter()
        samplers.prove(samplers.send(0, weights))
        started = time.perf_counter() - began
        began = time.perf_counter()
        samplers.prove(samplers.send(1, weights))
        sync = time.perf_counter() - began
        try:
            found = timed(lambda prompts: [one for _, one in samplers.finish(samplers.begin(prompts, sampling))])
        finally:
            samplers.close()
    return found | {
        "first_sync_s": started,
        "sync_s": sync,
        "sync_bytes": num_bytes(weights),
    }


SIDES: dict[str, Any] = {
    "sync": lambda options: ours(options, 0), "async": lambda options: ours(options, 1), "trl": trl,
    "engine": lambda options: rollouts(options, actors=False), "actor": lambda options: rollouts(options, actors=True),
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=sorted(_WHAT), nargs="?", default="trl")
    parser.add_argument("--side", choices=sorted(SIDES), help="run one side only, and print its figures")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path, help="also write the JSON there")
    options = parser.parse_args()
    if options.side:
        print(json.dumps(SIDES[options.side](options)))
        return
    names = list(_WHAT[options.what])
    found = interleaved(__file__, names, options.repeats, options.threads)
    key = "new_tokens_per_s" if options.what == "rollouts" else "completions_per_s"
    over, under = (names[1], names[0]) if options.what != "trl" else (names[0], names[1])
    ratios = [one[key] / other[key] for one, other in zip(found[over], found[under], strict=True)]
    finish(options, {
        "machine": machine(options.threads), "sides": {name: summary(runs) for name, runs in found.items()},
        f"{over}/{under}": {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)},
    })  # fmt: skip


if __name__ == "__main__":
    main()
