"""What the learner says of a round's completions before it trains on them: its own log-probabilities, the reference
model's, and the critic's values. The workers share the completions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from trainers.objectives import Example
from trainers.objectives.rl import COLUMNS
from trainers.rl.rollouts import Rollout

if TYPE_CHECKING:
    import torch

    from trainers.loop import Training

Scores = list[list[float]]
"""Of each completion, one number a token."""
NOT_SCORED = 1.0
"""Stands for a log-probability that is not known; real ones are not positive."""


class Scorer:
    """Scores completions with the model in training, and with the one that training began with.

    The reference is the base model under a switched-off adapter; where all weights are trained, a frozen copy.
    """

    def __init__(self, training: Training, *, reference: bool) -> None:
        self._training = training
        self._frozen: Any = None
        job, config = training.job, training.config
        if reference and (config.adapter is None or job.start is not None):
            self._frozen = _frozen(training)

    def policy(self, rollouts: list[Rollout]) -> tuple[Scores, Scores]:
        """Log-probabilities, and the critic's values (empty lists without a critic)."""
        found = self._shared(rollouts, self._engine_figures)
        values = [one[1] for one in found]
        return [one[0] for one in found], values

    def reference(self, rollouts: list[Rollout]) -> Scores:
        """The reference model's log-probabilities."""
        if self._frozen is not None:
            return [one[0] for one in self._shared(rollouts, self._frozen_figures)]
        with _without_adapter(self._training.engine.module.model):
            return [one[0] for one in self._shared(rollouts, self._engine_figures)]

    def _shared(
        self, rollouts: list[Rollout], score: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]
    ) -> list[tuple[list[float], list[float]]]:
        import torch
        import torch.distributed as dist

        training = self._training
        micro, engine = training.config.batch.micro, training.engine
        order = sorted(range(len(rollouts)), key=lambda index: rollouts[index].group)  # they share their prompts
        share = -(-len(order) // training.workers)
        mine = order[training.rank * share : (training.rank + 1) * share]
        rounds = -(-share // micro)  # equally many for all: sharded weights are gathered
        found: dict[int, tuple[list[float], list[float]]] = {}
        engine.eval()
        try:
            with torch.no_grad():
                for start in range(0, rounds * micro, micro):
                    members = mine[start : start + micro] or order[:1]
                    batch = training.built.objective.collate([example_of(rollouts[index]) for index in members])
                    figures = score({name: tensor.to(engine.device) for name, tensor in batch.tensors.items()})
                    lengths = [len(rollouts[index].completion_ids) for index in members]
                    parts = [
                        [one.tolist() for one in figures[name].float().cpu().split(lengths)]
                        if name in figures
                        else [[] for _ in lengths]
                        for name in ("logprobs", "values")
                    ]
                    found |= {index: (parts[0][at], parts[1][at]) for at, index in enumerate(members)}
        finally:
            engine.train()
        gathered: list[Any] = [None] * training.workers
        dist.all_gather_object(gathered, found)
        together = {index: scores for part in gathered for index, scores in part.items()}
        return [together[index] for index in range(len(rollouts))]

    def _engine_figures(self, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        engine = self._training.engine
        engine(tensors)
        figures: dict[str, torch.Tensor] = engine.module.figures
        return figures

    def _frozen_figures(self, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        objective: Any = self._training.built.objective
        critic, objective.critic = objective.critic, None
        try:
            figures: dict[str, torch.Tensor] = objective.loss(self._frozen, tensors).figures
        finally:
            objective.critic = critic
        return figures


def example_of(rollout: Rollout, **columns: Any) -> Example:
    """A rollout as the objective's `collate` takes it.

    Args:
        columns: those of `COLUMNS` that are known, [tokens of the completion] or one number; others are zero.
    """
    length = len(rollout.completion_ids)
    row = {
        name: np.full(length, columns.get(name, 0.0), np.float32)
        for name in COLUMNS
        if np.isscalar(columns.get(name, 0.0))
    }
    row |= {name: np.asarray(values, np.float32) for name, values in columns.items() if not np.isscalar(values)}
    row |= {"input_ids": np.asarray(rollout.ids), "prompt_length": np.asarray([len(rollout.prompt_ids)])}
    return Example(row, (rollout.seed,))


def _frozen(training: Training) -> Any:
    import torch

    from trainers.adapters import add_lora
    from trainers.models import load_model, restore_buffers

    job, config = training.job, training.config
    dtype: torch.dtype = getattr(torch, config.dtype)
    adapter = config.adapter
    model: Any = load_model(job.base, dtype, "causal_lm", adapter.base if adapter else "full")
    if adapter is not None:
        add_lora(model, adapter.lora, dtype, start=job.start)
    restore_buffers(model)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    return model.to(training.engine.device).eval()


@contextmanager
def _without_adapter(model: Any) -> Iterator[None]:
    from peft.tuners.tuners_utils import BaseTunerLayer

    layers = [module for module in model.modules() if isinstance(module, BaseTunerLayer)]
    for layer in layers:
        layer.enable_adapters(enabled=False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(enabled=True)
