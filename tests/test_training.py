"""The training loop against plain PyTorch, and the memory estimate against a measured peak."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from cluster.connect import Capacity, ClusterConfig
from cluster.progress import ProgressFile
from cluster.rundir import read_metrics
from tests.conftest import REPOSITORY
from tests.tiny import conversations
from trainers.config import BatchConfig, CheckpointConfig, LoraConfig, TrainConfig
from trainers.data.chat import render_file
from trainers.data.sampler import global_batch
from trainers.data.tokens import TokenFile, write_tokens
from trainers.engine import learning_rate
from trainers.launch import train
from trainers.loop import Job
from trainers.memory import Shape, worker_memory
from trainers.models import load_model, load_tokenizer
from trainers.objectives import sft

CONFIG = TrainConfig(
    steps=4,
    batch=BatchConfig(sequences=2, accumulation=2),
    learning_rate=1e-3,
    dtype="float32",
    warmup_steps=1,
    checkpoint=CheckpointConfig(every_steps=4),
)


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    folder = tmp_path_factory.mktemp("tokens")
    (folder / "data.jsonl").write_text("\n".join(json.dumps(item) for item in conversations(24)))
    examples, _ = render_file(load_tokenizer(tiny_model), folder / "data.jsonl", 128)
    write_tokens(folder / "train.arrow", examples)
    return folder / "train.arrow"


def test_the_loss_is_that_of_transformers(tiny_model: Path, tokens: Path) -> None:
    model = load_model(tiny_model, torch.float32)
    data = TokenFile(tokens)
    examples = [data[index] for index in range(6)]
    batch = sft.collate(examples, pad_id=2)
    labels = batch["input_ids"].masked_fill(~batch["trained"], -100)
    reference = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], labels=labels).loss
    ours = sft.loss(model, batch) / sum(sft.weight(example) for example in examples)
    torch.testing.assert_close(ours, reference, rtol=1e-5, atol=1e-6)


def test_two_sharded_workers_train_like_plain_pytorch(
    ray_cluster: Capacity, tiny_model: Path, tokens: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    job = Job(
        name="run", config=CONFIG, base=tiny_model, base_name="tiny", tokens=tokens, output=tmp_path / "out",
        metrics_file=tmp_path / "metrics.jsonl", tensorboard=tmp_path / "tensorboard",
        progress=ProgressFile(tmp_path / "progress.json"), attempt="001",
    )  # fmt: skip
    result = train(job, ClusterConfig(workers=2), tmp_path)
    metrics = read_metrics(job.metrics_file)
    assert [record["loss"] for record in metrics] == pytest.approx(_plain_losses(tiny_model, tokens), rel=1e-5)
    assert len(result["memory"]) == 2
    trained, base = (load_model(folder, torch.float32) for folder in (tmp_path / "out", tiny_model))
    pairs = zip(trained.parameters(), base.parameters(), strict=True)
    assert all(not torch.equal(one, other) for one, other in pairs)


def _plain_losses(base: Path, tokens: Path) -> list[float]:
    model = load_model(base, torch.float32).train()
    data = TokenFile(tokens)
    optimizer = torch.optim.AdamW(model.parameters(), lr=CONFIG.learning_rate, weight_decay=0.0)
    losses = []
    for step in range(CONFIG.steps):
        examples = [data[index] for index in global_batch(CONFIG.seed, step, CONFIG.sequences_per_step(2), len(data))]
        loss = sft.loss(model, sft.collate(examples, 2)) / sum(sft.weight(example) for example in examples)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CONFIG.clip)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(CONFIG, step)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


MEASURE = """
import json, resource, sys
import psutil, torch, transformers, peft, deepspeed
from transformers import LlamaConfig, LlamaForCausalLM
from trainers.adapters import add_lora
from trainers.config import LoraConfig
from trainers.data.chat import Rendered
from trainers.objectives import sft
torch.set_num_threads(1)
torch.ones(64, 64, dtype=torch.bfloat16) @ torch.ones(64, 64, dtype=torch.bfloat16)
shape = json.loads(sys.argv[1])
before = psutil.Process().memory_info().rss
model = LlamaForCausalLM(LlamaConfig(**shape)).to(torch.bfloat16).train()
add_lora(model, LoraConfig(rank=8)).to(torch.bfloat16)
optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad])
batch = sft.collate([Rendered(list(range(3, 259)), [0] * 128 + [1] * 128)] * 8, 2)
for _ in range(2):
    sft.loss(model, batch).backward()
    optimizer.step()
    optimizer.zero_grad()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before)
"""


def test_the_memory_estimate_is_within_a_quarter_of_the_measured_peak() -> None:
    shape = {
        "hidden_size": 512, "num_hidden_layers": 12, "num_attention_heads": 8, "num_key_value_heads": 4,
        "intermediate_size": 1536, "vocab_size": 16384, "tie_word_embeddings": True,
    }  # fmt: skip
    config = TrainConfig(steps=1, learning_rate=1e-3, adapter=LoraConfig(rank=8), batch=BatchConfig(sequences=8))
    planned = worker_memory(Shape.from_config(shape), config, workers=1, longest=256, trained_share=0.5)
    command = [sys.executable, "-c", MEASURE, json.dumps(shape)]
    output = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    measured = int(output.split()[-1])  # DeepSpeed prints before it
    assert planned.total - planned.runtime == pytest.approx(measured, rel=0.25)


def test_adapter_and_model_sizes_are_exact(tiny_model: Path) -> None:
    from trainers.adapters import add_lora

    model = load_model(tiny_model, torch.float32)
    shape = Shape.from_config(json.loads((tiny_model / "config.json").read_text()))
    assert shape.num_parameters == sum(parameter.numel() for parameter in model.parameters())
    adapted = add_lora(model, LoraConfig(rank=4))
    trained = sum(parameter.numel() for parameter in adapted.parameters() if parameter.requires_grad)
    assert shape.num_adapter_parameters(LoraConfig(rank=4)) == trained
