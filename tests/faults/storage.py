"""Storage for the cases: a model and data that were read and tokenized once, copied for each case."""

from __future__ import annotations

import json
import random
import re
import shutil
from pathlib import Path
from typing import Any

import yaml

from tests.tiny import conversations, make_tiny_model, sentence

STEPS, EVERY = 200, 20


def make_files(root: Path) -> None:
    """A model and data of two kinds."""
    (root / "tiny").mkdir()
    make_tiny_model(root / "tiny", hidden=128)
    for part, seed in (("train", 0), ("heldout", 1)):
        lines = [json.dumps(one) for one in conversations(48 if part == "train" else 8, seed)]
        (root / f"{part}.jsonl").write_text("\n".join(lines) + "\n")
        rng = random.Random(seed)
        prompts = [json.dumps({"prompt": sentence(rng, 4), "answer": str(number)}) for number in range(12)]
        (root / f"prompts-{part}.jsonl").write_text("\n".join(prompts) + "\n")


def job(root: Path, files: Path, name: str, train: dict[str, Any], *, data: str = "chat", **sections: Any) -> Path:
    """Write a job's file; gives its path."""
    prefix, more = ("prompts-", {"kind": "prompts", "name": "asked"}) if data == "prompts" else ("", {"name": "pairs"})
    values: dict[str, Any] = {
        "name": name,
        "storage": {"root": str(root)},
        "model": {"path": str(files / "tiny"), "name": "tiny"},
        "data": {
            **more, "train": str(files / f"{prefix}train.jsonl"), "heldout": str(files / f"{prefix}heldout.jsonl"),
            "max_length": 128,
        },
        "train": train,
        **sections,
    }  # fmt: skip
    file = root / f"{name}.yaml"
    file.write_text(yaml.safe_dump(values, sort_keys=False))
    return file


def training(**changes: Any) -> dict[str, Any]:
    """A training by two workers whose losses are the same each time."""
    return {
        "steps": STEPS, "batch": {"sequences": 8, "micro": 4}, "learning_rate": 1.0e-3, "schedule": "constant",
        "dtype": "float32", "deepspeed": {"stage": 2}, "trackers": [], "checkpoint": {"every_steps": EVERY},
        "watchdog": {"least_s": 10, "other_s": 120},
    } | changes  # fmt: skip


def copy_of(template: Path, root: Path) -> Path:
    """The template without its runs."""
    shutil.copytree(
        template, root, ignore=lambda folder, _: ["runs"] if Path(folder) == template else [], symlinks=True
    )
    return root


def forget_trainings(root: Path) -> None:
    """Or the next run of the same training would find that it is done."""
    for record in (root / "stages").glob("train*"):
        record.unlink()


def name_of(folder: Path) -> str:
    """A name for a case's run."""
    return re.sub(r"[^a-z0-9]+", "-", folder.name.removeprefix("test_").lower()).strip("-")[:36].strip("-")
