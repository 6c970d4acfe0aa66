"""Engines that write rollouts, one file each: `Config` (its YAML keys) and the class `Sampler`.

A file name in this folder is a value of `train.objective.sampler`; a new engine is a new file, and nothing else.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import NamedTuple, Protocol

from pydantic import Field, NonNegativeFloat, PositiveInt

from cluster.config import PluginConfig
from trainers.adapter_config import AdapterConfig
from trainers.config import Dtype
from trainers.rl.weights import Weights
from trainers.shape import Shape


class SamplerConfig(PluginConfig):
    """Base of the `Config` of every sampler: where its actors live."""

    number: PositiveInt = 1
    """Sampler actors; a round's prompts are shared out among them."""
    cpus: NonNegativeFloat = 0.0
    """Cores that each holds for itself; 0: it shares those of the learner, which waits while it writes."""
    gpus: float = Field(default=0.0, ge=0)
    """GPUs that each holds; below 1 it shares one."""
    threads: PositiveInt | None = None
    """Compute threads of each; default: `cpus`, or all cores of the learner where it shares them."""

    def require_fits(self, adapter: AdapterConfig | None) -> None:
        """Refuse what is trained if this engine cannot write with it.

        Raises:
            ConfigError: naming the key.
        """

    def cache_bytes(self, shape: Shape, bytes_a_weight: int, longest: int) -> int:  # noqa: ARG002 - for those that know
        """What it holds beside the weights while it writes sequences of up to `longest` tokens, bytes."""
        return 0


class Setup(NamedTuple):
    """What a sampler is built from; paths lie on storage that every node sees."""

    base: Path
    dtype: Dtype
    adapter: AdapterConfig | None
    """What is trained, if not all weights: the weights that come are then the adapter's."""
    pad_id: int
    end_ids: tuple[int, ...]
    """Tokens that end a completion."""
    threads: int
    max_length: int
    """Tokens of the longest prompt and completion together."""


class Prompt(NamedTuple):
    """A prompt of which several completions are wanted."""

    ids: list[int]
    seeds: list[int]
    """One a completion: the same seed under the same weights gives the same completion, whatever else is sampled."""


class Sampling(NamedTuple):
    """How completions are drawn."""

    max_new_tokens: int
    temperature: float
    """0: the most probable token at each place."""


class Completion(NamedTuple):
    """What was written after a prompt."""

    ids: list[int]
    """With the token that ended it, if one did."""
    logprobs: list[float]
    """log p of each under the distribution it was drawn from (softmax of logits / temperature), nats."""
    ended: bool
    """False where `max_new_tokens` cut it off."""


class Sampler(Protocol):
    """An engine inside a sampler actor."""

    def __init__(self, config: SamplerConfig, setup: Setup) -> None: ...

    def load(self, weights: Weights) -> None:
        """Take over trained weights."""
        ...

    def held(self) -> Weights:
        """The trained weights, read back from what the engine computes with: never those that were sent."""
        ...

    def generate(self, prompts: list[Prompt], sampling: Sampling) -> list[list[Completion]]:
        """The completions of each prompt, one a seed."""
        ...


def sampler_of(config: SamplerConfig, setup: Setup) -> Sampler:
    """The engine that a config names."""
    module = importlib.import_module(f"{__name__}.{config.kind}")
    sampler: Sampler = module.Sampler(config, setup)
    return sampler
