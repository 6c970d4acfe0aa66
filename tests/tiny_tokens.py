"""Token stores of tiny conversations, as a tokens artifact holds them."""

from __future__ import annotations

import json
from pathlib import Path

from tests.tiny import conversations
from trainers.data.chat import render_file
from trainers.data.store import tokenizer_digest
from trainers.formats.chat import write_conversations
from trainers.models import load_tokenizer


def make_tokens(folder: Path, model: Path, train: int = 24, heldout: int = 8) -> None:
    """Write `folder/train` and `folder/heldout`."""
    tokenizer = load_tokenizer(model)
    for seed, (part, count) in enumerate((("train", train), ("heldout", heldout))):
        source = folder / f"{part}.jsonl"
        folder.mkdir(exist_ok=True)
        source.write_text("\n".join(json.dumps(item) for item in conversations(count, seed)))
        examples, _ = render_file(tokenizer, source, 128)
        write_conversations(folder / part, examples, tokenizer, tokenizer_digest(model))
