"""Preferences that nobody wrote down: a model answers prompts twice or more, a judge prefers one answer (RLAIF).

What is made is data of the kind `pairs`; the held-out pairs are human ones, so a reward model trained on the judge's is
measured against people, and so is the judge itself (`agreement`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from cluster.errors import DataError
from cluster.progress import ProgressFile
from trainers.adapter_config import ArtifactName
from trainers.config import DataConfig
from trainers.formats import HELDOUT, TRAIN, DataEstimate, _preferences, pairs
from trainers.formats.pairs import read_pairs, tokenize
from trainers.formats.prompts import read_prompts
from trainers.rl.judge import judge_of
from trainers.rl.judge_config import Judge, JudgeConfig, Verdict

if TYPE_CHECKING:
    from trainers.data.chat import Messages

__all__ = ["LIKE", "Config", "collect", "collected", "estimate", "facts", "identity", "tokenize"]

LIKE = "pairs"
"""What is made is trained on like data of this kind."""
_AT_ONCE = 32


class Config(DataConfig):
    """Keys of `data: {kind: judged}`."""

    kind: Literal["judged"] = "judged"
    train: Path
    """JSONL of prompts, as for `data.kind: prompts`."""
    heldout: Path
    """JSONL of human pairs, as for `data.kind: pairs`."""
    policy: ArtifactName
    """The published model that answers."""
    judge: JudgeConfig
    """Who judges, and by what."""
    answers: int = Field(default=2, ge=2)
    """Answers to each prompt. Of more than two, the judge compares the one it grades best with the one it grades worst:
    they differ more, and it is right more often."""
    max_new_tokens: PositiveInt = 128
    """Length limit of an answer."""
    temperature: PositiveFloat = 1.0
    """Of the answers: those that are all alike give nothing to prefer."""
    least_margin: NonNegativeFloat = Field(default=0.05, lt=0.5)
    """Pairs whose preference is nearer to one half than this are left out."""
    seed: int = Field(default=0, ge=0)
    """Of the answers."""

    @property
    def artifacts(self) -> list[str]:
        """Names of the published models that answer and judge."""
        return sorted({self.policy, *([self.judge.artifact] if self.judge.artifact else [])})


def identity(config: Config) -> list[str]:
    """Hashes of the two files."""
    return _preferences.identity(_files(config))


def _files(config: Config) -> pairs.Config:
    return pairs.Config(train=config.train, heldout=config.heldout, name=config.name, max_length=config.max_length)


def estimate(config: Config) -> DataEstimate:
    """Tokens guessed from the prompts' characters, each with two answers of half the length limit."""
    prompts = _preferences.estimate(
        _files(config), ((record["prompt"], ([],)) for _, record in read_prompts(config.train))
    )
    answers = prompts.samples * config.max_new_tokens
    tokens = 2 * prompts.tokens + answers
    return DataEstimate(prompts.samples, tokens, 2 * (prompts.longest + config.max_new_tokens), answers / tokens)


def collect(progress: ProgressFile, config: Config, folder: Path, artifacts: Mapping[str, Path]) -> dict[str, Any]:
    """Answer, judge, and write pairs; measure the judge on the human ones.

    Args:
        artifacts: folder of each model that `Config.artifacts` names.

    Returns:
        `judged` (prompts answered), `kept`, `alike` (both answers the same) and `undecided` prompts; `position_bias`:
        share of comparisons that the order decided; `agreement`: share of human pairs that it ranks as people do.

    Raises:
        DataError: no pair is left.
    """
    prompts = [record["prompt"] for _, record in read_prompts(config.train)]
    human = [pair for _, pair in read_pairs(config.heldout)]
    total = 2 * len(prompts) + len(human)
    written = _answers(progress, config, artifacts[config.policy], prompts, total)
    judge = judge_of(config.judge, artifacts)
    answers = _extremes(progress, judge, prompts, written, total)
    different = [index for index, (first, second) in enumerate(answers) if first != second and first and second]
    done = len(prompts)
    verdicts: dict[int, Verdict] = {}
    for start in range(0, len(different), _AT_ONCE):
        part = different[start : start + _AT_ONCE]
        found = judge.compare(
            [prompts[index][-1]["content"] for index in part], [answers[index][0] for index in part],
            [answers[index][1] for index in part],
        )  # fmt: skip
        verdicts |= dict(zip(part, found, strict=True))
        progress.write(done + start + len(part), total, "judging")
    progress.write(2 * len(prompts), total, "judging human pairs")
    of_human = judge.compare(
        [pair["prompt"][-1]["content"] for pair in human], [_text(pair["chosen"]) for pair in human],
        [_text(pair["rejected"]) for pair in human],
    )  # fmt: skip
    kept = {
        index: verdict for index, verdict in verdicts.items() if abs(verdict.preference - 0.5) >= config.least_margin
    }
    if not kept:
        raise DataError(
            "The judge prefers nothing.", field="data.least_margin", got=f"{len(verdicts)} comparisons, none clear",
            expected="preferences farther from one half", fix="another judge or rubric, or a smaller least_margin",
        )  # fmt: skip
    _write(folder / f"{TRAIN}.jsonl", (_pair(prompts[index], answers[index], kept[index]) for index in sorted(kept)))
    _write(folder / f"{HELDOUT}.jsonl", iter(human))
    every = [*verdicts.values(), *of_human]
    return {
        "judged": len(prompts), "kept": len(kept), "alike": len(prompts) - len(different),
        "undecided": len(verdicts) - len(kept), "position_bias": sum(one.biased for one in every) / len(every),
        "agreement": sum(one.preference > 0.5 for one in of_human) / len(of_human),
    }  # fmt: skip


def _extremes(
    progress: ProgressFile, judge: Judge, prompts: list[Messages], written: list[list[str]], total: int
) -> list[tuple[str, str]]:
    """Two answers to each prompt; of several, the best and the worst by the judge's grades."""
    if all(len(answers) == 2 for answers in written):
        return [(answers[0], answers[1]) for answers in written]
    found = []
    for at, (messages, answers) in enumerate(zip(prompts, written, strict=True)):
        different = sorted({answer for answer in answers if answer})
        if len(different) < 2:
            found.append((answers[0], answers[0]))
            continue
        grades = dict(zip(different, judge.grade([messages[-1]["content"]] * len(different), different), strict=True))
        ranked = sorted(different, key=grades.__getitem__)
        found.append((ranked[-1], ranked[0]))
        progress.write(len(prompts) // 2 + at // 2, total, "grading")
    return found


def _answers(
    progress: ProgressFile, config: Config, folder: Path, prompts: list[Messages], total: int
) -> list[list[str]]:
    """Answers to each prompt."""
    import torch

    from trainers.data.chat import render_prompt
    from trainers.models import load_tokenizer
    from trainers.rl.writing import end_ids
    from trainers.samplers import Prompt, Sampling, Setup
    from trainers.samplers.transformers import Config as SamplerConfig
    from trainers.samplers.transformers import Sampler

    tokenizer = load_tokenizer(folder)
    setup = Setup(
        base=folder, dtype="bfloat16", adapter=None, pad_id=int(tokenizer.pad_token_id),
        end_ids=end_ids(folder, tokenizer), threads=torch.get_num_threads(), max_length=config.max_length,
    )  # fmt: skip
    sampler = Sampler(SamplerConfig(), setup)
    found: list[list[str]] = []
    for start in range(0, len(prompts), _AT_ONCE):
        part = [
            Prompt(render_prompt(tokenizer, messages), _seeds(config, index))
            for index, messages in enumerate(prompts[start : start + _AT_ONCE], start=start)
        ]
        for completions in sampler.generate(part, Sampling(config.max_new_tokens, config.temperature)):
            found.append([str(tokenizer.decode(one.ids, skip_special_tokens=True)).strip() for one in completions])
        progress.write(len(found) if config.answers == 2 else len(found) // 2, total, "answering")
    return found


def _seeds(config: Config, index: int) -> list[int]:
    return [config.answers * (config.seed + index) + place for place in range(config.answers)]


def collected(report: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Lines about what `collect` reported."""
    yield (
        "judged",
        f"{report['judged']} prompts answered: {report['kept']} pairs, {report['alike']} with answers alike, "
        f"{report['undecided']} undecided; the order decided {report['position_bias']:.0%} of the comparisons",
    )
    yield "judge", f"agrees with people on {report['agreement']:.0%} of the held-out pairs"


def _text(messages: Messages) -> str:
    return messages[-1]["content"]


def _pair(prompt: Messages, answers: tuple[str, str], verdict: Verdict) -> dict[str, Any]:
    first, second = answers if verdict.preference > 0.5 else answers[::-1]
    return {
        "prompt": prompt, "chosen": [{"role": "assistant", "content": first}],
        "rejected": [{"role": "assistant", "content": second}],
    }  # fmt: skip


def _write(path: Path, records: Iterator[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8") as stream:
        for record in records:
            stream.write(json.dumps(record, ensure_ascii=False) + "\n")


def facts(report: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Counts of both parts."""
    return pairs.facts(report)
