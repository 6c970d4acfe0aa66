"""Verifiable: does the completion match a regular expression? For formats, such as steps before an answer."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import field_validator

from cluster.errors import ConfigValueError
from trainers.rewards import Sample
from trainers.rl.config import RewardConfig


class Config(RewardConfig):
    """Keys of `{kind: pattern}`."""

    kind: Literal["pattern"] = "pattern"
    pattern: str
    """Python's regular expressions; `.` takes line ends, too."""
    whole: bool = True
    """The whole completion has to match, but for white space around it; false: a part of it."""

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            raise ConfigValueError("Not a regular expression.", got=value, expected=str(error)) from None
        return value


def score(config: Config, sample: Sample) -> float:
    """1 if it matches, else 0."""
    text = sample.completion.strip()
    found = (
        re.fullmatch(config.pattern, text, re.DOTALL) if config.whole else re.search(config.pattern, text, re.DOTALL)
    )
    return float(found is not None)
