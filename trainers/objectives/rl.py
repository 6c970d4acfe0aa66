"""Reinforcement learning: completions that the model itself writes are rewarded, and made likelier by their advantage.

The objective is the loss of one micro-batch of such completions; where they come from is `trainers/rl/feed.py`, what
advantage and loss are is the algorithm's file. Legend: t tokens of the micro-batch's completions, s completions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field, PositiveInt, model_validator

from cluster.config import FromFolder, PluginConfig
from cluster.errors import ConfigValueError
from trainers.algorithms import AlgorithmConfig, Tokens, algorithm_of
from trainers.config import ParameterGroup
from trainers.formats import DataEstimate
from trainers.objectives._next_token import decoder_states
from trainers.rl.config import (
    AlarmConfig,
    RewardConfig,
    RolloutsConfig,
    ScoringConfig,
    SyncConfig,
    require_names_differ,
)
from trainers.rl.trees import pack_trees
from trainers.samplers import SamplerConfig

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from trainers.config import TrainConfig
    from trainers.loop import Job, Training
    from trainers.memory import WorkerMemory
    from trainers.objectives import Batch, Example, Loss
    from trainers.rl.feed import RolloutFeed
    from trainers.shape import Shape

FORMATS = ("prompts",)
HEAD = "causal_lm"
MEASURES_ITSELF = True
COLUMNS = ("old", "sampled", "reference", "advantages", "returns", "old_values", "weights")
"""Of an example, one number a token of its completion."""


class Config(PluginConfig):
    """Keys of `train.objective: rl`."""

    kind: Literal["rl"] = "rl"
    algorithm: Annotated[PluginConfig, FromFolder("trainers.algorithms")] = Field(default="grpo", validate_default=True)
    """How rewards become a gradient: a file of trainers/algorithms, with its keys."""
    rewards: Annotated[list[Annotated[PluginConfig, FromFolder("trainers.rewards")]], Field(min_length=1)]
    """What is rewarded: files of trainers/rewards, with their keys; the reward is their weighted sum."""
    heldout_rewards: list[Annotated[PluginConfig, FromFolder("trainers.rewards")]] = Field(default_factory=list)
    """What held-out completions are judged by; default: `rewards`. Another judge than the one that is trained against
    shows when it is being gamed."""
    rollouts: RolloutsConfig = RolloutsConfig()
    """What is written in a round."""
    sampler: Annotated[PluginConfig, FromFolder("trainers.samplers")] = Field(
        default="transformers", validate_default=True
    )
    """Which engine writes, and where."""
    sync: SyncConfig = SyncConfig()
    """How weights come to the samplers."""
    scoring: ScoringConfig = ScoringConfig()
    """How rewards are computed, and what is done when they fail."""
    alarm: AlarmConfig = AlarmConfig()
    """When reward hacking is suspected."""
    head_chunk: PositiveInt | None = 1024
    """Tokens whose logits are held in memory at once; null: all of a micro-batch."""

    @model_validator(mode="after")
    def _fits(self) -> Config:
        require_names_differ(self.reward_configs, "rewards")
        require_names_differ(self.heldout_configs, "heldout_rewards")
        if self.rollouts.group < self.settings.least_group:
            raise ConfigValueError(
                "The algorithm compares the completions of a prompt.", got=f"rollouts.group: {self.rollouts.group}",
                expected="2 or more, or an algorithm that needs no group, such as ppo",
            )  # fmt: skip
        if self.rollouts.group < 2 and self.rollouts.only_mixed_groups:
            raise ConfigValueError(
                "A group of one completion is never mixed.", got="rollouts.only_mixed_groups with rollouts.group: 1",
                expected="a group of 2 or more",
            )  # fmt: skip
        if self.rollouts.max_staleness and self.settings.max_correction is None:
            raise ConfigValueError(
                "Rounds that are written ahead are off-policy, and nothing corrects for it.",
                got=f"rollouts.max_staleness: {self.rollouts.max_staleness}, algorithm.max_correction: null",
                expected="a bound of the importance weights, such as max_correction: 2",
            )  # fmt: skip
        return self

    @property
    def settings(self) -> AlgorithmConfig:
        """The algorithm's."""
        if not isinstance(self.algorithm, AlgorithmConfig):
            raise TypeError(f"trainers.algorithms.{self.algorithm.kind}.Config is no AlgorithmConfig")
        return self.algorithm

    @property
    def sampling(self) -> SamplerConfig:
        """The sampler's."""
        if not isinstance(self.sampler, SamplerConfig):
            raise TypeError(f"trainers.samplers.{self.sampler.kind}.Config is no SamplerConfig")
        return self.sampler

    @property
    def reward_configs(self) -> list[RewardConfig]:
        """The rewards trained on."""
        return [one for one in self.rewards if isinstance(one, RewardConfig)]

    @property
    def heldout_configs(self) -> list[RewardConfig]:
        """The rewards measured."""
        return [one for one in self.heldout_rewards if isinstance(one, RewardConfig)] or self.reward_configs

    @property
    def artifacts(self) -> list[str]:
        """Names of published models that rewards and critic are."""
        holders = [*self.rewards, *self.heldout_rewards]
        named = [getattr(one, "artifact", None) for one in holders] + [getattr(self.algorithm, "critic", None)]
        return sorted({name for name in named if name is not None})

    @property
    def beside(self) -> tuple[float, float]:
        """Cores and GPUs that the samplers hold."""
        sampling = self.sampling
        return sampling.number * sampling.cpus, sampling.number * sampling.gpus

    def completed(self, data: DataEstimate, mean_tokens: float) -> tuple[DataEstimate, float]:
        """The estimate of prompts with their completions, each as long as it may be, and the mean tokens of both."""
        more = self.more_tokens
        whole = DataEstimate(
            data.samples, data.tokens + more * data.samples, data.longest + more, more / (mean_tokens + more)
        )
        return whole, mean_tokens + more

    def with_companions(self, memory: WorkerMemory, shape: Shape, config: TrainConfig) -> WorkerMemory:
        """A worker's memory with the critic, as large as the policy, and with the frozen reference model, if any."""
        if self.settings.CRITIC:
            parts = memory._asdict()
            memory = memory._replace(**{name: 2 * value for name, value in parts.items() if name != "runtime"})
        if self.settings.needs_reference and (config.adapter is None or config.adapter.start is not None):
            bytes_a_weight = 4 if config.dtype == "float32" else 2
            memory = memory._replace(weights=memory.weights + bytes_a_weight * shape.num_parameters)
        return memory

    def memory_beside(
        self, shape: Shape, config: TrainConfig, longest: int, artifact_bytes: Callable[[str], int]
    ) -> dict[str, int]:
        """Kind of process beside the workers → bytes of all such processes."""
        from trainers.rl.memory import memory_beside

        return memory_beside(self, shape, 4 if config.dtype == "float32" else 2, longest, artifact_bytes)

    @property
    def alone_s(self) -> float:
        """Seconds that a round may take on worker 0 while the others wait: every draw, and one written twice."""
        return (1 + self.rollouts.max_draws) * self.sync.writing_timeout_s

    @property
    def more_tokens(self) -> int:
        """Tokens by which a sequence may be longer than its sample, a prompt."""
        return self.rollouts.max_new_tokens

    @property
    def sequences_a_sample(self) -> int:
        """How many sequences are trained on when each sample was drawn once."""
        return self.rollouts.group * self.settings.epochs

    def facts(self, config: TrainConfig) -> list[tuple[str, str]]:
        """Lines of the plan."""
        wanted, sampling = self.rollouts, self.sampling
        order = (
            f"up to {wanted.max_staleness} {'round' if wanted.max_staleness == 1 else 'rounds'} ahead of training"
            if wanted.max_staleness
            else "in turn with training"
        )
        shared = "shares the learner's cores" if not (sampling.cpus or sampling.gpus) else (
            f"{sampling.cpus:g} cores and {sampling.gpus:g} GPUs each"
        )  # fmt: skip
        rewards = " + ".join(f"{one.weight:g} × {one.label}" for one in self.reward_configs)
        return [
            ("rollouts", f"{wanted.prompts} prompts × {wanted.group} completions a round, {order}"),
            ("sampler", f"{sampling.number} × {sampling.kind}, {shared}"),
            ("reward", rewards),
            ("alarm", self._watch(config)),
        ]

    def _watch(self, config: TrainConfig) -> str:
        """When reward hacking can be seen."""
        needed = self.alarm.measurements + 1
        made = 0 if config.evaluation is None else -(-config.steps // config.evaluation.every_steps)
        if made < needed:
            return f"none: reward hacking is seen from the {needed}th held-out measurement on, and {made} are made"
        return f"reward hacking is looked for from the {needed}th of {made} held-out measurements on"

    def updates(self, batch: int) -> int:
        """Optimizer steps of a round."""
        return self.settings.epochs * self.rollouts.completions // batch


def refuse_unsupported(config: TrainConfig, workers: int) -> None:  # noqa: ARG001 - one signature for all objectives
    """Refuse batches that do not share out a round evenly, an adapter that the sampler cannot write with, and held-out
    rewards that are never asked.

    Raises:
        ConfigValueError: with the figures.
        ConfigError: naming the key.
    """
    objective: Any = config.objective
    objective.sampling.require_fits(config.adapter)
    if objective.heldout_rewards and config.evaluation is None:
        raise ConfigValueError(
            "Held-out rewards are never asked.", got="objective.heldout_rewards without evaluation",
            expected="train.evaluation: {every_steps: …}",
        )  # fmt: skip
    completions, batch = objective.rollouts.completions, config.batch.sequences
    if completions % batch:
        raise ConfigValueError(
            "A round's completions do not make whole optimizer steps.",
            got=f"rollouts: {objective.rollouts.prompts} prompts × group {objective.rollouts.group} = {completions}, "
            f"batch.sequences: {batch}",
            expected="batch.sequences that divides the completions of a round",
        )  # fmt: skip


def feed(training: Training) -> RolloutFeed:
    """Batches of rollouts in place of a data set's."""
    from trainers.rl.feed import RolloutFeed

    return RolloutFeed(training)


class Objective:
    """The algorithm's loss of completions, given their prompts."""

    def __init__(self, config: Config, tokenizer: PreTrainedTokenizerBase) -> None:
        self._config = config
        self._algorithm = algorithm_of(config.algorithm)
        self._pad_id: int = tokenizer.pad_token_id
        self.critic: Any = None
        """Trained beside the policy, if the algorithm has one (`trainers.rl.critic`)."""

    def prepare(self, job: Job) -> None:
        """See that the rewards can judge what this model writes, and make the critic, if the algorithm has one."""
        for reward in [*self._config.reward_configs, *self._config.heldout_configs]:
            reward.require_fits(job.base, job.artifacts)
        if self._config.settings.CRITIC:
            from trainers.rl.critic import make_critic

            self.critic = make_critic(job, getattr(self._config.algorithm, "critic", None))

    @property
    def parameter_groups(self) -> list[ParameterGroup]:
        """The critic's own learning rate."""
        if self.critic is None:
            return []
        return [ParameterGroup(match=r"^critic\.", learning_rate=getattr(self._config.algorithm, "critic_rate", 1.0))]

    def collate(self, examples: list[Example]) -> Batch:
        """Rows of columns `input_ids`, `prompt_length` [1] and `COLUMNS`; completions of one prompt share it.

        Tensors: `input_ids` and `position_ids` [rows, length], `attention_mask` [rows, 1, length, length], `places` and
        `targets` [t] (where each token of a completion is predicted, in the flattened rows, and which it is),
        `sequence` [t], and `COLUMNS` [t].
        """
        import torch

        from trainers.objectives import Batch

        sequences = [example.row["input_ids"] for example in examples]
        starts = [int(example.row["prompt_length"][0]) for example in examples]
        completions = [ids[start:] for ids, start in zip(sequences, starts, strict=True)]
        prompts = [ids[:start] for ids, start in zip(sequences, starts, strict=True)]
        lengths = [len(one) for one in completions]
        trees = pack_trees(prompts, completions, self._pad_id)
        tensors = {
            "input_ids": torch.from_numpy(trees.input_ids),
            "position_ids": torch.from_numpy(trees.position_ids),
            "attention_mask": torch.from_numpy(trees.mask),
            "places": torch.from_numpy(np.concatenate(trees.places)),
            "targets": torch.from_numpy(np.concatenate(completions).astype(np.int64)),
            "sequence": torch.from_numpy(np.repeat(np.arange(len(lengths)), lengths)),
        }
        for name in COLUMNS:
            values = np.concatenate([example.row[name] for example in examples]).astype(np.float32)
            tensors[name] = torch.from_numpy(values)
        counted = [length for example, length in zip(examples, lengths, strict=True) if example.row["weights"][0] > 0]
        terms = sum(counted) if self._config.settings.normalize == "tokens" else len(counted)
        return Batch(tensors, terms=terms, tokens=trees.num_tokens)

    def loss(self, model: PreTrainedModel, tensors: dict[str, torch.Tensor]) -> Loss:
        """The weighted sum of the tokens' losses; without gradient only figures [t]: `logprobs`, and the critic's
        `values` where there is one.
        """
        import torch

        from trainers.losses import selected_logprobs
        from trainers.objectives import Loss

        hidden = decoder_states(model, tensors).flatten(0, 1)[tensors["places"]]  # [t, hidden]
        head: Any = model.get_output_embeddings()
        temperature, chunk = self._config.rollouts.temperature, self._config.head_chunk
        new, entropy = selected_logprobs(head, hidden, tensors["targets"], temperature, chunk)
        values = torch.zeros_like(new) if self.critic is None else self.critic(tensors)
        if not torch.is_grad_enabled():
            figures = {"logprobs": new} | ({} if self.critic is None else {"values": values})
            return Loss(new.new_zeros(()), figures)
        old = tensors["old"].where(tensors["old"] < 0.5, new.detach())  # 1 stands for not scored before
        tokens = Tokens(
            new=new, old=old, reference=tensors["reference"], advantages=tensors["advantages"],
            returns=tensors["returns"], values=values, old_values=tensors["old_values"],
            correction=self._correction(old, tensors["sampled"]), sequence=tensors["sequence"],
            num_sequences=int(tensors["sequence"][-1]) + 1,
        )  # fmt: skip
        found = self._algorithm.loss(self._config.settings, tokens)
        told = {**found.figures, "entropy": entropy, "drift": (old - tensors["sampled"]).abs()}
        shares = self._shares(tensors["weights"], tokens)
        return Loss((tensors["weights"] * found.loss).sum(), {name: (shares * one).sum() for name, one in told.items()})

    def _shares(self, weights: torch.Tensor, tokens: Tokens) -> torch.Tensor:
        """What each token has of a figure, so that figures are means a token, whatever the loss is divided by."""
        import torch

        counted = (weights > 0).float()
        if self._config.settings.normalize == "tokens":
            return counted
        lengths = torch.zeros(tokens.num_sequences, device=weights.device).index_add(
            0, tokens.sequence, torch.ones_like(weights)
        )
        return counted / lengths[tokens.sequence]

    def _correction(self, old: torch.Tensor, sampled: torch.Tensor) -> torch.Tensor:
        bound = self._config.settings.max_correction
        return (old - sampled).exp().clamp(max=bound) if bound is not None else old.new_ones(len(old))
