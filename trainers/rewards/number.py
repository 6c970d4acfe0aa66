"""Verifiable: is the last number of the completion the right one?"""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from typing import Literal

from cluster.errors import DataError
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
    """1 if the last number equals the answer, else 0.

    Raises:
        DataError: the answer is no number.
    """
    right = _value(str(sample.field(config.answer)))
    if right is None:
        raise DataError(
            "A prompt's answer is no number.", field=config.answer, got=repr(sample.field(config.answer))[:80],
            expected='a number alone, such as "72"', fix="put what comes after #### into a field of its own",
        )  # fmt: skip
    text = sample.completion
    if config.after is not None:
        _, found, text = text.rpartition(config.after)
        if not found:
            return 0.0
    numbers = _NUMBER.findall(text)
    return float(bool(numbers) and _value(numbers[-1]) == right)


def _value(text: str) -> Decimal | None:
    try:
        return Decimal(text.replace(",", ""))
    except InvalidOperation:
        return None
