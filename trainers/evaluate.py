"""Measure a model on held-out data: the objective's loss and figures, and answers to given questions."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.config import PluginConfig
from cluster.progress import ProgressFile
from trainers.config import EvaluateConfig, ScheduleConfig
from trainers.data.store import TokenData
from trainers.objectives import Batch, Example, Objective, module_of, objective_of

if TYPE_CHECKING:
    from deepspeed import DeepSpeedEngine
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_HELDOUT_KEY = 0x4E1D  # held-out examples draw the same at every measurement


def evaluate(
    progress: ProgressFile, model_dir: Path, heldout: Path, objective: PluginConfig, config: EvaluateConfig
) -> dict[str, Any]:
    """Held-out loss, the objective's other figures, and answers.

    Returns:
        `heldout_loss` (nats a term), `perplexity` (None where the loss is not of tokens), the objective's figures as
        means over terms, `num_terms`, `answers` (question, answer pairs), `answer_tokens_per_s`.
    """
    import torch

    from trainers.models import compute_device, load_model, load_tokenizer

    tokenizer = load_tokenizer(model_dir)
    head = module_of(objective).HEAD
    model = load_model(model_dir, torch.bfloat16, head)
    model.to(compute_device())  # type: ignore[arg-type]  # torch's overloads hide transformers' own
    questions = config.questions if head == "causal_lm" else []
    data = TokenData(heldout)
    data.require_tokenizer(model_dir)
    measured = _Measured(progress, len(spread(len(data), config.sequences)) + len(questions))
    figures = _figures(measured, model, objective_of(objective, tokenizer), data, config)
    began = time.perf_counter()
    answers, generated = [], 0
    for question in questions:
        answer, num_tokens = answer_question(model, tokenizer, question, config.max_new_tokens)
        answers.append({"question": question, "answer": answer})
        generated += num_tokens
        measured.advance(1)
    return {
        **figures,
        "perplexity": math.exp(min(figures["heldout_loss"], 700.0)) if head != "reward" else None,
        "answers": answers,
        "answer_tokens_per_s": generated / (time.perf_counter() - began) if generated else None,
    }


def evaluate_adapters(
    progress: ProgressFile,
    base: Path,
    adapters: Mapping[str, Path],
    heldout: Path,
    objective: PluginConfig,
    config: EvaluateConfig,
) -> dict[str, dict[str, float]]:
    """Held-out figures of several adapters, one after another on one base model that is loaded once.

    Returns:
        Name → `heldout_loss`, the objective's other figures and `num_terms`.
    """
    from trainers.adapters import load_adapted
    from trainers.models import compute_device, load_tokenizer

    data, found = TokenData(heldout), {}
    data.require_tokenizer(base)
    model: Any = load_adapted(base, adapters)
    model.to(compute_device())
    measure = objective_of(objective, load_tokenizer(base))
    measured = _Measured(progress, len(spread(len(data), config.sequences)) * len(adapters))
    for name in adapters:
        model.set_adapter(name)
        found[name] = _figures(measured, model, measure, data, config)
    return found


class _Measured:
    """How far a measurement has come."""

    def __init__(self, progress: ProgressFile, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0
        self.words = ""

    def advance(self, count: int) -> None:
        self._done += count
        self._progress.write(self._done, self._total, self.words)


def _figures(
    measured: _Measured, model: Any, measure: Objective, data: TokenData, config: EvaluateConfig
) -> dict[str, float]:
    import torch

    order = sorted(spread(len(data), config.sequences), key=lambda index: int(data.lengths[index]))
    sums: dict[str, float] = {}
    with torch.inference_mode():
        for start in range(0, len(order), config.batch):
            members = order[start : start + config.batch]
            batch = _batch(measure, data, members)
            loss = measure.loss(model, {key: value.to(model.device) for key, value in batch.tensors.items()})
            _add(sums, {"terms": batch.terms, "loss": float(loss.total)})
            _add(sums, {name: float(value) for name, value in loss.figures.items()})
            measured.words = f"loss {sums['loss'] / max(sums['terms'], 1):.3f}"
            measured.advance(len(members))
    figures = _means(sums)
    return {"heldout_loss": figures.pop("loss"), **figures, "num_terms": int(sums["terms"])}


def measure_sharded(
    engine: DeepSpeedEngine,
    objective: Objective,
    heldout: TokenData,
    config: ScheduleConfig,
    sum_over_workers: Callable[[list[float]], list[float]],
    alive: Callable[[], None] = lambda: None,
) -> dict[str, float]:
    """Held-out figures of the model in training, its workers sharing the examples; `loss` and the objective's own.

    Every worker takes as many batches as every other, as sharded weights demand: what is left over is filled with the
    first example, which then does not count.

    Args:
        alive: called after each batch.
    """
    import torch
    import torch.distributed as dist

    rank, workers = dist.get_rank(), dist.get_world_size()
    chosen = spread(len(heldout), config.sequences)
    rounds = -(-len(chosen) // (config.batch * workers))
    mine = chosen[rank::workers]
    sums: dict[str, float] = {"terms": 0.0, "loss": 0.0}
    engine.eval()
    try:
        with torch.no_grad():
            for index in range(rounds):
                members = mine[index * config.batch : (index + 1) * config.batch]
                batch = _batch(objective, heldout, members or [0])
                total = engine({key: value.to(engine.device) for key, value in batch.tensors.items()})
                counted = 1.0 if members else 0.0
                _add(sums, {"terms": counted * batch.terms, "loss": counted * float(total)})
                _add(sums, {name: counted * float(value) for name, value in engine.module.figures.items()})
                alive()
    finally:
        engine.train()
    names = sorted(sums)
    return _means(dict(zip(names, sum_over_workers([sums[name] for name in names]), strict=True)))


def spread(length: int, count: int | None) -> list[int]:
    """`count` places out of `length` at equal distances (None: all), so that every source and file has its share."""
    count = min(count or length, length)
    return [index * length // count for index in range(count)]


def _batch(objective: Objective, data: TokenData, indices: list[int]) -> Batch:
    return objective.collate([Example(data[index], (_HELDOUT_KEY, index)) for index in indices])


def _add(sums: dict[str, float], more: dict[str, float]) -> None:
    for name, value in more.items():
        sums[name] = sums.get(name, 0.0) + value


def _means(sums: dict[str, float]) -> dict[str, float]:
    return {name: value / max(sums["terms"], 1.0) for name, value in sums.items() if name != "terms"}


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
