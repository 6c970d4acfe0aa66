"""A small model, its tokens and a training job, for the benchmarks that measure what surrounds the matrix products."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np


def make_model(folder: Path, hidden: int, layers: int, vocabulary: int = 8192) -> None:
    """A random Llama with a tokenizer that has no merges."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={token: index for index, token in enumerate(["<e>", *alphabet])}, merges=[]))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    folder.mkdir(parents=True, exist_ok=True)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<e>", pad_token="<e>").save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary, hidden_size=hidden, intermediate_size=4 * hidden, num_hidden_layers=layers,
        num_attention_heads=hidden // 64, num_key_value_heads=hidden // 64, tie_word_embeddings=True,
        bos_token_id=0, eos_token_id=0, pad_token_id=0,
    )  # fmt: skip
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)


def make_tokens(folder: Path, model: Path, rows: int = 256, length: int = 256, vocabulary: int = 8192) -> None:
    """Random rows of one document each."""
    from trainers.data.store import StoreWriter, tokenizer_digest

    rng = np.random.default_rng(0)
    for part in ("train", "heldout"):
        columns = {"input_ids": "uint16", "documents": "uint32"}
        with StoreWriter(folder / part, tokenizer_digest(model), columns) as writer:
            for _ in range(rows):
                writer.add({"input_ids": rng.integers(1, vocabulary, length), "documents": [length]}, length)


def job(folder: Path, model: Path, tokens: Path, threads: int, **settings: Any) -> Any:
    """A causal_lm training with everything in `folder`."""
    from cluster.progress import ProgressFile
    from trainers.config import TrainConfig
    from trainers.loop import Job

    config = TrainConfig(**{"objective": "causal_lm", "learning_rate": 1e-4, "trackers": [], **settings})
    (folder / "out").mkdir(parents=True, exist_ok=True)
    return Job(
        name="benchmark", run="benchmark", config=config, base=model, base_name="base", tokens=tokens, dataset=tokens,
        output=folder / "out", metrics_file=folder / "metrics.jsonl", folder=folder,
        progress=ProgressFile(folder / "progress.json"), attempt="1", threads=threads,
    )  # fmt: skip
