"""What is measured of a quantized model against the one it was made from. Runs in Ray workers, a process each."""

from __future__ import annotations

import json
import math
import os
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cluster.errors import DataError
from cluster.handoff import Agreement, TokenScores, compare
from cluster.progress import ProgressFile
from jobs.quantize.config import CalibrationConfig, MeasureConfig, TaskConfig
from jobs.quantize.holders import HOLDERS, Measured, tokens_per_s

TOP_K = 128
_SPEED_REQUESTS = 8
_SAVED = "scores.npz"
"""Beside others in the folder that scores are kept in."""


class Asked(NamedTuple):
    """A prompt of the task, and what its answer is checked by."""

    ids: list[int]
    record: dict[str, Any]


class Figures(NamedTuple):
    """A model in an engine, on held-out data."""

    perplexity: float
    """exp of the mean negative log-likelihood a token."""
    kl: float
    """Nats a token, from the unquantized model; 0 for itself."""
    agreement: float
    """Share of places with the same most probable token."""
    mean_abs_logprob_diff: float
    max_abs_logprob_diff: float
    tokens: int
    """That were scored."""
    task: float | None
    """Mean reward of the task's answers."""
    tokens_per_s: float | None
    """New tokens, eight requests at a time."""


def calibration_text(tokens: Path, config: CalibrationConfig) -> NDArray[np.int64]:
    """Blocks [sequences, length] of the training data's tokens, examples in an order that the seed decides.

    Raises:
        DataError: there are too few tokens.
    """
    from trainers.data.store import TokenData
    from trainers.proof import TOKEN_IDS

    data, wanted = TokenData(tokens), config.sequences * config.length
    ids: list[NDArray[Any]] = []
    found = 0
    for index in np.random.default_rng(config.seed).permutation(len(data)):
        row = data[int(index)]
        new = [np.asarray(row[name], np.int64) for name in TOKEN_IDS if name in row]
        ids += new
        found += sum(map(len, new))
        if found >= wanted:
            break
    if found < wanted:
        raise DataError(
            "There is too little calibration text.", field="quantize.calibration",
            got=f"{found:,} tokens in data.train",
            expected=f"{wanted:,}: {config.sequences} × {config.length}",
            fix="more training data, or fewer sequences or a smaller length",
        )  # fmt: skip
    text: NDArray[np.int64] = np.concatenate(ids)[:wanted].reshape(config.sequences, config.length)
    return text


def measure(
    progress: ProgressFile, engine: str, folder: Path, model: Path, heldout: Path, config: MeasureConfig,
    kept: Path, is_reference: bool,
) -> Figures:  # fmt: skip
    """Measure the model of `folder` in an engine.

    Args:
        model: the unquantized model's folder, whose tokenizer is used.
        heldout: token store of held-out data.
        kept: folder of the unquantized model's scores: written when it is that which is measured (`is_reference`), and
            else compared with.
    """
    from trainers.models import load_tokenizer
    from trainers.proof import scored_sequences
    from trainers.rl.writing import end_ids

    limit = _context_limit(model)
    # One place is left: engines generate a token after what they score.
    sequences = [one[: limit - 1] for one in scored_sequences(heldout, config.sequences)]
    tokenizer = load_tokenizer(model)
    asked = [] if config.task is None else task_prompts(config.task, tokenizer)
    parts = 1 + bool(asked) + bool(config.speed_tokens)
    progress.write(0, parts, f"{engine}: log-probabilities")
    lengths = [len(one) + 1 for one in sequences] + [64 + config.speed_tokens]
    lengths += [len(one.ids) + config.task.max_new_tokens for one in asked] if config.task is not None else []
    if max(lengths) > limit:
        raise DataError(
            "What is measured does not fit into the model's context.", field="quantize.measure",
            got=f"{max(lengths)} tokens", expected=f"at most {limit}",
            fix="fewer task.num_shots, a smaller task.max_new_tokens or speed_tokens",
        )  # fmt: skip
    context = min(-(-max(lengths) // 16) * 16, limit)
    holder = HOLDERS[engine](folder, context, _cores(), end_ids(model, tokenizer))
    try:
        scores = holder.score(sequences, TOP_K)
        task = speed = None
        if config.task is not None:
            progress.write(1, parts, f"{engine}: task")
            task = _task_score(holder, asked, config.task, tokenizer)
        if config.speed_tokens:
            progress.write(parts - 1, parts, f"{engine}: speed")
            prompts = [sequences[at % len(sequences)][:64] for at in range(_SPEED_REQUESTS)]
            speed = tokens_per_s(holder, prompts, config.speed_tokens)
    finally:
        holder.close()
    if is_reference:
        partial = kept / f".{os.getpid()}-{_SAVED}"
        np.savez(partial, **scores._asdict())
        partial.replace(kept / _SAVED)
    against = scores if is_reference else _saved(kept)
    return figures_of(compare(against, scores), scores, task, speed)


def _context_limit(model: Path) -> int:
    limit = json.loads((model / "config.json").read_text()).get("max_position_embeddings")
    return int(limit) if limit else sys.maxsize


def figures_of(agreement: Agreement, scores: TokenScores, task: float | None, speed: float | None) -> Figures:
    """Figures from scores and how they agree with the unquantized model's."""
    return Figures(
        perplexity=math.exp(min(-float(scores.chosen.astype(np.float64).mean()), 700.0)), kl=agreement.kl,
        agreement=agreement.top1_agreement, mean_abs_logprob_diff=agreement.mean_abs_logprob_diff,
        max_abs_logprob_diff=agreement.max_abs_logprob_diff,
        tokens=agreement.num_tokens, task=task, tokens_per_s=speed,
    )  # fmt: skip


def _saved(folder: Path) -> TokenScores:
    with np.load(folder / _SAVED) as arrays:
        return TokenScores(**{name: arrays[name] for name in TokenScores._fields})


def task_prompts(config: TaskConfig, tokenizer: Any) -> list[Asked]:
    """The task's prompts as token ids, with its worked examples before each."""
    from trainers.data.chat import read_conversations, render_prompt
    from trainers.formats.prompts import read_prompts

    shots: list[Any] = []
    if config.shots is not None:
        for _, messages in read_conversations(config.shots):
            shots += messages
            if len(shots) >= 2 * config.num_shots:
                break
    asked = []
    for _, record in read_prompts(config.prompts):
        asked.append(Asked(render_prompt(tokenizer, [*shots, *record["prompt"]]), record))
        if len(asked) == config.count:
            break
    return asked


def _task_score(holder: Measured, asked: list[Asked], config: TaskConfig, tokenizer: Any) -> float:
    from trainers.rewards import Sample, scorer_of

    scorer = scorer_of(config.reward, {})
    written = holder.complete([one.ids for one in asked], config.max_new_tokens)
    samples = [
        Sample(
            prompt="", completion=str(tokenizer.decode(ids, skip_special_tokens=True)), ids=[*one.ids, *ids],
            prompt_length=len(one.ids), ended=len(ids) < config.max_new_tokens, record=one.record,
        )
        for one, ids in zip(asked, written, strict=True)
    ]  # fmt: skip
    return float(np.mean(scorer(samples)))


def _cores() -> int:
    import ray

    return max(1, int(ray.get_runtime_context().get_assigned_resources().get("CPU", 1)))


def is_kept(folder: Path) -> bool:
    """Whether the unquantized model's scores are there."""
    return (folder / _SAVED).is_file()
