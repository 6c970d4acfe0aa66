"""Configuration of rollouts and rewards: what `train.objective: {kind: rl}` holds beside its algorithm."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from cluster.config import Config, PluginConfig
from cluster.errors import ConfigValueError


class RolloutsConfig(Config):
    """What is written in a round, and how."""

    prompts: PositiveInt = 8
    """Prompts of a round."""
    group: PositiveInt = 8
    """Completions of each prompt."""
    max_new_tokens: PositiveInt = 256
    """Length limit of a completion."""
    temperature: PositiveFloat = 1.0
    """Logits are divided by it, when completions are drawn and when they are trained on."""
    max_staleness: NonNegativeInt = 0
    """Rounds by which the weights that write may be older than those that are trained. 0: writing and training take
    turns (synchronous); 1 or more: they go on beside each other, and that many rounds are written ahead."""
    only_mixed_groups: bool = False
    """Train only on prompts whose completions differ in reward, and write more prompts until there are enough (DAPO's
    dynamic sampling, arXiv 2503.14476, section 3.2)."""
    max_draws: PositiveInt = 4
    """How often a round draws prompts at most, where only mixed groups are wanted."""

    @property
    def completions(self) -> int:
        """Completions of a round."""
        return self.prompts * self.group


class RewardConfig(PluginConfig):
    """Base of the `Config` of every reward function (`trainers/rewards`)."""

    weight: float = 1.0
    """Factor on this component in the sum."""
    timeout_s: PositiveFloat = 10.0
    """Seconds that one completion's score may take; what takes longer has failed."""
    name: str | None = None
    """What metrics and rollouts call it; default: its kind."""

    @property
    def label(self) -> str:
        """The component's name."""
        return self.name or self.kind

    def require_fits(self, base: Path, artifacts: Mapping[str, Path]) -> None:
        """Refuse a policy whose completions this reward cannot judge, before anything is written.

        Args:
            base: the folder of the model that is trained.

        Raises:
            ModelError: with what would fit.
        """


class SyncConfig(Config):
    """How weights come to the samplers, and what is watched."""

    timeout_s: PositiveFloat = 300.0
    """Seconds in which a sampler must have taken over new weights; with rounds written ahead, it first ends those."""
    writing_timeout_s: PositiveFloat = 3600.0
    """Seconds in which a sampler must have written its share of a round; one that has not is ended and replaced. Once
    it is known how long completions take, so is one that takes longer than `train.watchdog` allows (`factor` times as
    long, and at least `least_s`); the one in its place is given all of this time."""
    max_drift: PositiveFloat = 0.05
    """Mean |Δ log p|, nats a token, between sampler and learner on fresh rollouts of the same version, above which an
    alarm is raised: rounding gives 0.001 to 0.02, other weights or another template much more. Where rounds are
    written ahead, only the first is fresh: later drift is also that of the weights."""
    max_sampler_failures: NonNegativeInt = 3
    """Deaths of samplers in a round that are survived by starting them anew."""


class ScoringConfig(Config):
    """Who judges, and what is done when that fails."""

    max_failed: float = Field(default=0.5, ge=0, le=1)
    """Share of a round's completions whose reward may fail; above it training stops with the reason."""
    workers: PositiveInt = 1
    """Processes that score."""


class AlarmConfig(Config):
    """Watch for reward hacking: the training reward rises while the held-out metric falls."""

    metric: Literal["reward", "components"] = "reward"
    """`reward`: the sum of the held-out rewards; `components`: any of them."""
    measurements: PositiveInt = 3
    """So many held-out measurements on end must be below the best …"""
    drop: PositiveFloat = 0.1
    """… by this share of the metric's range so far, while the training reward rose."""


def require_names_differ(rewards: list[RewardConfig], key: str) -> None:
    """Refuse two components of one name.

    Raises:
        ConfigValueError: naming them.
    """
    labels = [reward.label for reward in rewards]
    if doubled := sorted({label for label in labels if labels.count(label) > 1}):
        raise ConfigValueError(
            "Two rewards have the same name.", got=f"{key}: {', '.join(doubled)}", expected="a `name:` for each"
        )
