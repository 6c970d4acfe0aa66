"""Verifiable: is the last number of the completion the right one?"""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from typing import Literal

from trainers.rewards import Sample
from trainers.rl.config import RewardConfig

_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


class Config(RewardConfig):
    """Keys of `{kind: number}`."""

    kind: Literal["number"] = "number"
    answer: str = "answer"
    """Field of the prompt's line that holds the right number."""
    after: str | None = None
    """Only what follows the last of these words counts, such as `####` or `Answer:`; default: the whole completion."""


def score(config: Config, sample: Sample) -> float:
    """1 if the last number equals the answer, else 0."""
    text = sample.completion
    if config.after is not None:
        _, found, text = text.rpartition(config.after)
        if not found:
            return 0.0
    numbers = _NUMBER.findall(text)
    return float(bool(numbers) and _value(numbers[-1]) == _value(str(sample.field(config.answer))))


def _value(text: str) -> Decimal | None:
    try:
        return Decimal(text.replace(",", ""))
    except InvalidOperation:
        return None
