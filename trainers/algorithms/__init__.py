"""Algorithms of reinforcement learning, one file each: `Config` (its YAML keys), `credit` and `loss`.

A file name in this folder is a value of `train.objective.algorithm`; a new algorithm is a new file, and nothing else.
`credit` says how much better each token was than expected, once a round, in numpy; `loss` turns that into a gradient,
in torch. What an algorithm needs beside the rewards (a critic, log-probabilities of the reference model) it says in its
`Config`.

Legend: n completions of a round, t their tokens, all on end.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple, Protocol, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from cluster.config import PluginConfig

if TYPE_CHECKING:
    import torch

Floats = NDArray[np.float32]


class AlgorithmConfig(PluginConfig):
    """Base of the `Config` of every algorithm."""

    CRITIC: ClassVar[bool] = False
    """Whether a critic is trained beside the policy."""
    KL_IN_REWARD: ClassVar[bool] = False
    """Whether the distance to the reference model is part of the reward, not of the loss."""

    epochs: PositiveInt = 1
    """How often a round's completions are trained on."""
    kl: NonNegativeFloat = 0.0
    """Coefficient of the KL divergence from the reference model, the one that training began with; 0: no reference."""
    clip_low: float = 0.2
    """The ratio of new to old probability counts down to 1 - clip_low …"""
    clip_high: float = 0.2
    """… and up to 1 + clip_high; a higher one here lets rare tokens grow (DAPO, arXiv 2503.14476, section 3.1)."""
    normalize: Literal["tokens", "sequences", "length"] = "tokens"
    """What a step's loss is a mean over: all tokens alike (DAPO); completions, each a mean over its own tokens (GRPO);
    or completions, each a sum divided by `max_new_tokens`, so that length has no say (Dr. GRPO, arXiv 2503.20783)."""
    max_correction: PositiveFloat | None = 2.0
    """Bound of the importance weight that corrects for the sampler's probabilities not being the learner's, by rounding
    or because it wrote with older weights (Yao et al. 2025, truncated importance sampling); null: no correction."""
    train_cut_off: bool = True
    """Train on completions that `max_new_tokens` cut off, too; false: they count in the advantages, not in the loss
    (DAPO's overlong filtering)."""

    @property
    def least_group(self) -> int:
        """Completions of a prompt that it needs; 2 where it compares them with each other."""
        return 1

    @property
    def needs_reference(self) -> bool:
        """Whether log-probabilities of the reference model are wanted."""
        return self.kl > 0

    @property
    def needs_scores_before(self) -> bool:
        """Whether the learner must score completions before it trains on them, apart from several updates a round."""
        return self.CRITIC or (self.KL_IN_REWARD and self.needs_reference)


class Round(NamedTuple):
    """The completions of one round, as `credit` sees them."""

    groups: NDArray[np.int64]
    """[n] which prompt each belongs to."""
    rewards: Floats
    """[n]; not a number where a reward function failed."""
    lengths: NDArray[np.int64]
    """[n] tokens of each."""
    old: Floats | None
    """[t] the learner's log-probabilities at the round's beginning, where `needs_scores_before`."""
    reference: Floats | None
    """[t] those of the reference model, where needed."""
    values: Floats | None
    """[t] the critic's, where there is one: of the state before each token."""
    kl: float
    """The coefficient in force; `Config.kl` unless the algorithm adapts it."""

    @property
    def scored(self) -> NDArray[np.bool_]:
        """[n] whether the reward is there."""
        return np.isfinite(self.rewards)


class Credit(NamedTuple):
    """What `credit` gives."""

    advantages: Floats
    """[t]; zero where nothing is to be learnt, as where the reward failed."""
    returns: Floats | None = None
    """[t] what the critic should have said."""


class Tokens(NamedTuple):
    """Tokens of a micro-batch, as `loss` sees them; tensors [t] unless said otherwise, log-probabilities in nats."""

    new: torch.Tensor
    """The policy's log-probabilities, with gradient."""
    old: torch.Tensor
    """The learner's at the round's beginning."""
    reference: torch.Tensor
    """The reference model's; `old` where there is none."""
    advantages: torch.Tensor
    returns: torch.Tensor
    values: torch.Tensor
    """The critic's, with gradient; zeros without one."""
    old_values: torch.Tensor
    correction: torch.Tensor
    """Importance weights of the learner's beginning against the sampler, truncated."""
    sequence: torch.Tensor
    """int64: which completion of the micro-batch each token belongs to."""
    num_sequences: int

    def mean_of_sequence(self, values: torch.Tensor) -> torch.Tensor:
        """[num_sequences] means over the tokens of each completion."""
        import torch

        sums = torch.zeros(self.num_sequences, dtype=values.dtype, device=values.device)
        counts = torch.zeros_like(sums).index_add(0, self.sequence, torch.ones_like(values))
        return sums.index_add(0, self.sequence, values) / counts.clamp(min=1.0)


class TokenLoss(NamedTuple):
    """What `loss` gives, tensors [t]."""

    loss: torch.Tensor
    """With gradient; the step's loss is its mean in the sense of `normalize`."""
    figures: dict[str, torch.Tensor]
    """What is worth plotting, without gradient; averaged alike."""


class Algorithm(Protocol):
    """An algorithm's module."""

    def credit(self, config: AlgorithmConfig, data: Round) -> Credit:
        """Advantages of a round."""
        ...

    def loss(self, config: AlgorithmConfig, tokens: Tokens) -> TokenLoss:
        """Loss of each token."""
        ...


def algorithm_of(config: PluginConfig) -> Algorithm:
    """The module of the algorithm that a config names."""
    return cast(Algorithm, importlib.import_module(f"{__name__}.{config.kind}"))
