"""Tokenizing and packing raw text: ours against `datasets.map` with the same fast tokenizer.

    python benchmarks/tokenize_pack.py --copies 2 --repeats 5 --out tokenize_pack.json

The text is Python's own standard library. The peer is what Hugging Face's run_clm example does: `datasets.map` with the
fast tokenizer, batched, then its `group_texts` in a second batched map; no attention masks, and nothing is cached.
It runs in three ways: one process whose tokenizer has a thread for each core, one process on one core, one process a
core. Ours runs as in a job, through Ray Data on all cores, and in this process on one core. Every side starts from the
same Parquet files and leaves rows on disk. All run in turn, forwards and backwards.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from measure import REPOSITORY, finish, machine, parser, ratio, summary

from cluster.connect import ClusterConfig, connected
from cluster.progress import ProgressFile

LENGTH = 1024


class Setting(NamedTuple):
    """What all sides work on."""

    config: Any
    tokenizer: Path
    dataset: Path


class Side(NamedTuple):
    cores: int
    run: Callable[[Setting, Path], int]
    """Leaves rows in a folder; gives the tokens of the train part."""


def sides(cores: int) -> dict[str, Side]:
    return {
        "raysmith": Side(cores, through_ray),
        "raysmith, one core": Side(1, in_this_process),
        "datasets.map, threads": Side(cores, lambda setting, out: datasets_map(setting, out, None, threads=True)),
        "datasets.map, one core": Side(1, lambda setting, out: datasets_map(setting, out, None, threads=False)),
        "datasets.map, processes": Side(cores, lambda setting, out: datasets_map(setting, out, cores, threads=False)),
    }


def main() -> None:
    arguments = parser(__doc__, {})
    arguments.add_argument("--copies", type=int, default=2, help="times the standard library is taken")
    arguments.add_argument("--vocabulary", type=int, default=8192)
    options = arguments.parse_args()
    os.environ["PYTHONPATH"] = str(REPOSITORY)
    folder = Path(tempfile.mkdtemp())
    try:
        with connected(ClusterConfig(num_cpus=options.threads)):
            runs = measure(folder, options)
    finally:
        shutil.rmtree(folder)
    finish(options, {
        "benchmark": "tokenize_pack", **machine(options.threads), "tiktoken": version("tiktoken"),
        "load_average": os.getloadavg(), "repeats": options.repeats, "vocabulary": options.vocabulary,
        "row_tokens": LENGTH, "sides": {name: summary(found) for name, found in runs.items()},
        "tokens_per_s_ratio": {n: ratio(runs["raysmith"], found, "tokens_per_s") for n, found in runs.items()},
        "tokens_per_s_and_core_ratio": {
            n: ratio(runs["raysmith, one core"], found, "tokens_per_s_and_core") for n, found in runs.items()
        },
    })  # fmt: skip


def measure(folder: Path, options: Namespace) -> dict[str, list[dict[str, Any]]]:
    setting = prepare(folder, options)
    contestants = sides(options.threads)
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in contestants}
    for repeat in range(options.repeats + 1):
        for name in contestants if repeat % 2 else reversed(contestants):
            out = Path(tempfile.mkdtemp(dir=folder))
            began = time.perf_counter()
            tokens = contestants[name].run(setting, out)
            seconds = time.perf_counter() - began
            shutil.rmtree(out)
            rate = tokens / seconds
            print(f"{repeat}/{options.repeats} {name}: {seconds:.2f} s, {rate:,.0f} tokens/s", file=sys.stderr)
            if repeat:  # the first round warms up: worker processes, imports, files in memory
                per_core = rate / contestants[name].cores
                runs[name].append(
                    {"tokens": tokens, "seconds": seconds, "tokens_per_s": rate, "tokens_per_s_and_core": per_core}
                )
    return runs


def prepare(folder: Path, options: Namespace) -> Setting:
    from trainers.formats import text
    from trainers.tokenizer import TokenizerConfig, train_tokenizer

    progress = ProgressFile(folder / "progress.json")
    sources = [{"path": "python:stdlib", "name": f"copy-{number}"} for number in range(options.copies)]
    config = text.Config.model_validate({"sources": sources, "max_length": LENGTH, "deduplicate": "none"})
    setting = Setting(config, folder / "tokenizer", folder / "dataset")
    for path in (setting.tokenizer, setting.dataset):
        path.mkdir()
    text.collect(progress, config, setting.dataset)
    train_tokenizer(progress, TokenizerConfig(vocabulary=options.vocabulary), setting.dataset, setting.tokenizer)
    return setting


def through_ray(setting: Setting, out: Path) -> int:
    from trainers.formats import text

    report = text.tokenize(ProgressFile(out / "progress"), setting.config, setting.tokenizer, setting.dataset, out)
    return int(report["train"]["tokens"])


def in_this_process(setting: Setting, out: Path) -> int:
    """The same tasks, one after another, without Ray."""
    from trainers.text import tokens

    distributed = tokens.each
    tokens.each = lambda function, items: ((place, function(item)) for place, item in enumerate(items))
    try:
        return through_ray(setting, out)
    finally:
        tokens.each = distributed


def datasets_map(setting: Setting, out: Path, num_proc: int | None, *, threads: bool) -> int:
    import datasets
    from transformers import AutoTokenizer

    datasets.disable_progress_bars()
    datasets.disable_caching()
    os.environ["TOKENIZERS_PARALLELISM"] = "true" if threads else "false"
    tokenizer = AutoTokenizer.from_pretrained(setting.tokenizer, local_files_only=True)

    def tokenize(batch: dict[str, Any]) -> Any:
        texts = [text + tokenizer.eos_token for text in batch["text"]]
        return tokenizer(texts, add_special_tokens=False, return_attention_mask=False)

    def group_texts(batch: dict[str, Any]) -> dict[str, Any]:
        ids = list(chain(*batch["input_ids"]))
        return {"input_ids": [ids[at : at + LENGTH] for at in range(0, len(ids), LENGTH)]}

    tokens = 0
    for part in ("heldout", "train"):
        files = [str(file) for file in sorted((setting.dataset / part).glob("*/*.parquet"))]
        raw = datasets.Dataset.from_parquet(files, cache_dir=str(out / "cache"))
        rows = raw.map(tokenize, batched=True, num_proc=num_proc, remove_columns=raw.column_names)
        rows = rows.map(group_texts, batched=True, num_proc=num_proc)
        tokens = sum(len(column.values) for column in rows.data["input_ids"].chunks)
    return tokens


if __name__ == "__main__":
    main()
