"""Reward functions, one file each: `Config` (its YAML keys) and either `score` or `Scorer`.

A file name in this folder is a value in `train.objective.rewards`; a new reward is a new file, and nothing else.

    def score(config, sample) -> float            a plain function of one completion
    class Scorer(config, artifacts)               one that holds something, such as a model; called with a list

Either may raise, or take too long: that completion's reward has then failed, is counted, and is not trained on.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from cluster.config import PluginConfig
from cluster.errors import DataError


class Sample(NamedTuple):
    """A completion to be judged."""

    prompt: str
    """As the model was given it, with the template's marks."""
    completion: str
    """Without special tokens."""
    ids: list[int]
    """Prompt and completion, as they were drawn: text is never tokenized again."""
    prompt_length: int
    """Tokens of the prompt."""
    ended: bool
    """False where the length limit cut it off."""
    record: Mapping[str, Any]
    """The prompt's line of the data file."""

    def field(self, name: str) -> Any:
        """A field of the prompt's line.

        Raises:
            DataError: there is none.
        """
        if name not in self.record:
            raise DataError(
                "A prompt lacks a field that its reward needs.", field=name, got=json.dumps(dict(self.record))[:80],
                expected=f'"{name}" in every line of the prompts',
            )  # fmt: skip
        return self.record[name]


ScoreAll = Callable[[list[Sample]], list[float]]


def is_plain(config: PluginConfig) -> bool:
    """Whether a reward is a plain function of one completion."""
    return hasattr(importlib.import_module(f"{__name__}.{config.kind}"), "score")


def scorer_of(config: PluginConfig, artifacts: Mapping[str, Path]) -> ScoreAll:
    """The reward that a config names, as a function of many completions; plain ones are called one at a time."""
    module = importlib.import_module(f"{__name__}.{config.kind}")
    if hasattr(module, "score"):
        return lambda samples: [float(module.score(config, sample)) for sample in samples]
    scorer: ScoreAll = module.Scorer(config, artifacts)
    return scorer
