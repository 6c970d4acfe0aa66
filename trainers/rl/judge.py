"""Judges in place of people: reinforcement learning from a model's feedback (RLAIF; Bai et al. 2022, arXiv 2212.08073;
Lee et al. 2023, arXiv 2309.00267).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from trainers.rl.contrast import ContrastJudge
from trainers.rl.judge_config import Judge, JudgeConfig
from trainers.rl.rubric import RubricJudge


def judge_of(config: JudgeConfig, artifacts: Mapping[str, Path]) -> Judge:
    """The judge that a config describes.

    Args:
        artifacts: name → folder of the published models that it may be.
    """
    folder = None if config.artifact is None else artifacts[config.artifact]
    if config.contrast is not None and folder is not None:
        return ContrastJudge(folder, config.contrast, config.batch)
    return RubricJudge(config, folder)
