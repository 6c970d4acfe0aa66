"""Judged: the probability, by a judge, that the completion is good by the judge's rule (RLAIF's direct reward)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import PositiveFloat

from trainers.rewards import Sample
from trainers.rl.config import RewardConfig
from trainers.rl.judge import judge_of
from trainers.rl.judge_config import JudgeConfig


class Config(RewardConfig):
    """Keys of `{kind: judge}`."""

    kind: Literal["judge"] = "judge"
    judge: JudgeConfig
    """Who judges, and by what."""
    timeout_s: PositiveFloat = 60.0
    """Seconds that one completion's grade may take."""

    @property
    def artifact(self) -> str | None:
        """The published model that judges, if it is one."""
        return self.judge.artifact


class Scorer:
    """The judge, held in memory."""

    def __init__(self, config: Config, artifacts: Mapping[str, Path]) -> None:
        self._judge = judge_of(config.judge, artifacts)

    def __call__(self, samples: list[Sample]) -> list[float]:
        """One number a completion, between 0 and 1."""
        return self._judge.grade([request_of(sample) for sample in samples], [one.completion for one in samples])


def request_of(sample: Sample) -> str:
    """What the completion answers: the last message of the prompt's line."""
    return str(sample.field("prompt")[-1]["content"])
