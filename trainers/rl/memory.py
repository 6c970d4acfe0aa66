"""Memory of the processes beside the learner, where they have no GPU: samplers and reward workers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from trainers.memory import process_bytes

if TYPE_CHECKING:
    from trainers.objectives.rl import Config
    from trainers.rl.config import RewardConfig
    from trainers.shape import Shape

_PLAIN_PROCESS = 200_000_000
"""A reward worker that loads no model, bytes resident."""


def memory_beside(
    objective: Config, shape: Shape, bytes_a_weight: int, longest: int, artifact_bytes: Callable[[str], int]
) -> dict[str, int]:
    """Kind of process → bytes of all such processes.

    Args:
        longest: tokens of the longest prompt and completion.
        artifact_bytes: size of a published model's weights, by name.
    """
    sampling, scoring = objective.sampling, objective.scoring
    found = {}
    if not sampling.gpus:
        each = process_bytes() + bytes_a_weight * shape.num_parameters
        found["samplers"] = sampling.number * (each + sampling.cache_bytes(shape, bytes_a_weight, longest))

    def judges(rewards: list[RewardConfig]) -> int:
        models = [name for one in rewards if (name := getattr(one, "artifact", None)) is not None]
        return process_bytes() + sum(map(artifact_bytes, models)) if models else _PLAIN_PROCESS

    found["reward workers"] = scoring.workers * judges(objective.reward_configs)
    if objective.heldout_rewards:
        found["reward workers"] += judges(objective.heldout_configs)
    return found
