"""Texts that tests are made of."""

from __future__ import annotations

import json
import random
from pathlib import Path

from tests.tiny import WORDS


def prose(seed: int, words: int = 120) -> str:
    """A text that shares next to no run of five words with one of another seed."""
    rng = random.Random(seed)
    return " ".join(rng.choices(WORDS, k=words))


def jsonl(path: Path, texts: list[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"text": one}) + "\n" for one in texts))
    return path
