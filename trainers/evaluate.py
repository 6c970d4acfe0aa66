"""Measure a model on held-out data: mean loss of the trained tokens, and its answers to given questions."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.config import PluginConfig
from cluster.progress import ProgressFile
from trainers.config import EvaluateConfig
from trainers.data.tokens import TokenFile
from trainers.objectives import objective_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def evaluate(
    progress: ProgressFile, model_dir: Path, heldout: Path, objective: PluginConfig, config: EvaluateConfig
) -> dict[str, Any]:
    """Held-out loss and answers.

    Returns:
        `heldout_loss` (nats a trained token), `perplexity`, `num_tokens`, `answers` (question, answer pairs),
        `answer_tokens_per_s`.
    """
    import torch

    from trainers.models import compute_device, load_model, load_tokenizer

    tokenizer = load_tokenizer(model_dir)
    device = compute_device()
    model = load_model(model_dir, torch.bfloat16)
    model.to(device)  # type: ignore[arg-type]  # torch's overloads hide transformers' own
    tokens = TokenFile(heldout)
    measure = objective_of(objective)
    total = len(tokens) + len(config.questions)
    order = sorted(range(len(tokens)), key=lambda index: int(tokens.lengths[index]))
    nats, count = 0.0, 0
    with torch.inference_mode():
        for start in range(0, len(order), config.batch):
            examples = [tokens[index] for index in order[start : start + config.batch]]
            batch = measure.collate(examples, tokenizer.pad_token_id)
            nats += float(measure.loss(model, {key: value.to(device) for key, value in batch.items()}))
            count += sum(measure.weight(example) for example in examples)
            progress.write(min(start + config.batch, len(order)), total, f"loss {nats / count:.3f}")
    loss = nats / count
    began = time.perf_counter()
    answers, generated = [], 0
    for index, question in enumerate(config.questions):
        answer, num_tokens = answer_question(model, tokenizer, question, config.max_new_tokens)
        answers.append({"question": question, "answer": answer})
        generated += num_tokens
        progress.write(len(tokens) + index + 1, total, f"loss {loss:.3f}")
    return {
        "heldout_loss": loss,
        "perplexity": float(torch.tensor(loss).exp()),
        "num_tokens": count,
        "answers": answers,
        "answer_tokens_per_s": generated / (time.perf_counter() - began) if generated else None,
    }


def answer_question(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, question: str, max_new_tokens: int
) -> tuple[str, int]:
    """A greedy answer and its number of tokens."""
    import torch

    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": question}], add_generation_prompt=True, tokenize=False
    )
    inputs: Any = tokenizer(prompt, add_special_tokens=False, return_tensors="pt").to(model.device)
    generate: Any = model.generate  # torch types a module's attributes as tensors
    with torch.inference_mode():
        output = generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False, pad_token_id=tokenizer.pad_token_id)
    new = output[0, inputs["input_ids"].shape[1] :]
    return str(tokenizer.decode(new, skip_special_tokens=True)).strip(), len(new)
