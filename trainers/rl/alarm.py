"""Reward hacking: does what is trained on rise while what is held out falls?

Held-out completions are judged by other rewards than the training's where there are any (`heldout_rewards`). The alarm
asks for several measurements on end, all clearly below the best, at training rewards above those of the best: one bad
measurement, or a policy that has become worse at both, is no hacking.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from trainers.rl.config import AlarmConfig
from trainers.rl.rollouts import Rollout


class Alarm:
    """What was measured so far."""

    def __init__(self, config: AlarmConfig) -> None:
        self._config = config
        self._history: list[dict[str, Any]] = []
        self._before: dict[int, float] = {}
        """Held-out prompt → reward of the completion before training."""

    def recall(self, meta: dict[str, Any], rollouts: list[Rollout] | None = None) -> None:
        """Take up an earlier measurement."""
        self._history.append(meta)
        if meta["step"] == 0 and rollouts is not None:
            self._before = {one.example: one.reward for one in rollouts}

    def win_rate(self, rollouts: list[Rollout]) -> float:
        """Share of held-out prompts whose completion is judged better than the one before training; ties are halves."""
        pairs = [(one.reward, self._before[one.example]) for one in rollouts if one.example in self._before]
        wins = [0.5 + 0.5 * float(np.sign(now - before)) for now, before in pairs if np.isfinite(now - before)]
        return float(np.mean(wins)) if wins else 0.5

    def measured(self, meta: dict[str, Any], rollouts: list[Rollout]) -> str | None:
        """Take up a measurement; why it looks like reward hacking, if it does."""
        self.recall(meta, rollouts)
        names = ["reward"]
        if self._config.metric == "components":
            names = [name for name in meta["figures"] if name.startswith("reward_")]
        return next((reason for name in names if (reason := self._falls(name)) is not None), None)

    def _falls(self, name: str) -> str | None:
        points = [
            (one["figures"][name], one["training_reward"])
            for one in self._history
            if one["training_reward"] is not None
        ]
        count = self._config.measurements
        if len(points) <= count:
            return None
        values = [value for value, _ in points]
        best = int(np.argmax(values[:-count]))
        spread = max(values) - min(values)
        recent = points[-count:]
        fallen = all(value < values[best] - self._config.drop * spread for value, _ in recent)
        risen = all(trained > points[best][1] for _, trained in recent)
        if not (fallen and risen and spread > 0):
            return None
        return (
            f"the training reward rose from {points[best][1]:.3f} to {recent[-1][1]:.3f} while the held-out {name} "
            f"fell from {values[best]:.3f} to {recent[-1][0]:.3f}"
        )
