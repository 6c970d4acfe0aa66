"""Verifiable: how long is the completion?"""

from __future__ import annotations

from typing import Literal

from pydantic import NonNegativeInt, PositiveInt, model_validator

from cluster.errors import ConfigValueError
from trainers.rewards import Sample
from trainers.rl.config import RewardConfig


class Config(RewardConfig):
    """Keys of `{kind: length}`."""

    kind: Literal["length"] = "length"
    at_least: NonNegativeInt = 0
    """Tokens up to which a longer completion gets more."""
    at_most: PositiveInt
    """Tokens that are still rewarded in full."""
    margin: PositiveInt = 64
    """Tokens beyond `at_most` over which the reward falls to zero."""

    @model_validator(mode="after")
    def _is_a_range(self) -> Config:
        if self.at_least > self.at_most:
            raise ConfigValueError(
                "Not a range.", got=f"{self.at_least} to {self.at_most}", expected="at_least ≤ at_most"
            )
        return self


def score(config: Config, sample: Sample) -> float:
    """1 between the two lengths, falling to 0 on both sides: DAPO's soft punishment of overlong answers (arXiv
    2503.14476, section 3.4), and its like for short ones.
    """
    tokens = len(sample.ids) - sample.prompt_length
    if tokens < config.at_least:
        return tokens / config.at_least
    return max(0.0, 1.0 - max(0, tokens - config.at_most) / config.margin)
