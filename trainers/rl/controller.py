"""What worker 0 does beside training: has prompts completed by samplers and the completions judged.

A round, in prose: send the weights; have the prompts of the rounds to come completed, as many ahead as may be stale;
take this round's completions; judge them. Prompts are drawn from the data by number (`trainers.data.sampler`), and each
round's file names the draws it used: a training that goes on after a kill takes up the next that no round has used.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from trainers.data.sampler import global_batch
from trainers.evaluate import spread
from trainers.rewards import Sample
from trainers.rl.judging import Judges
from trainers.rl.rollouts import Rollout
from trainers.rl.weights import Weights
from trainers.rl.writing import Samplers, Writing, setup_of
from trainers.samplers import Completion, Prompt, Sampling

if TYPE_CHECKING:
    from trainers.data.store import TokenData
    from trainers.loop import Training

GREEDY = 0.0


class Asked(NamedTuple):
    """A prompt that is being completed."""

    example: int
    epoch: int
    prompt: Prompt
    record: dict[str, Any]


class Draw(NamedTuple):
    """The prompts of one draw."""

    number: int
    asked: list[Asked]
    writing: Writing


class Controller:
    """Samplers and judges of one training."""

    def __init__(self, training: Training, used_draws: Iterable[int]) -> None:
        from trainers.models import load_tokenizer

        job, config = training.job, training.config
        objective: Any = config.objective
        self._config, self._objective = config, objective
        self._data, self._heldout = training.data, training.heldout
        self._tokenizer = load_tokenizer(job.base)
        stores = [self._data] if self._heldout is None else [self._data, self._heldout]
        longest = max(int(one.lengths.max()) for one in stores) + objective.rollouts.max_new_tokens
        self._samplers = Samplers(
            objective.sampling, setup_of(job.base, config, self._tokenizer, job.threads, longest), objective.sync,
            config.watchdog,
        )  # fmt: skip
        scoring = objective.scoring
        self._judges = Judges(objective.reward_configs, job.artifacts, scoring.workers, scoring.max_failed)
        self._heldout_judges = self._judges
        if objective.heldout_rewards and self._heldout is not None:
            self._heldout_judges = Judges(objective.heldout_configs, job.artifacts, 1, scoring.max_failed)
        self._used = set(used_draws)
        self._ahead: dict[int, Draw] = {}
        self._last_round = -(-config.steps // objective.updates(config.batch.sequences)) - 1

    def send(self, version: int, weights: Weights) -> None:
        """Send the samplers weights that have had `version` optimizer steps, if they do not have them yet."""
        if self._samplers.version != version:
            self._samplers.send(version, weights)

    def round(self, number: int) -> tuple[list[Rollout], list[int]]:
        """The judged rollouts of a round, those that are not trained on included, and the draws it used."""
        rollouts_config = self._objective.rollouts
        for ahead in range(number, min(number + rollouts_config.max_staleness, self._last_round) + 1):
            if ahead not in self._ahead:
                self._ahead[ahead] = self._begin()
        draw = self._ahead.pop(number)
        groups, draws = self._finish(draw), [draw.number]
        if rollouts_config.only_mixed_groups:
            mixed, same = _split(groups)
            while len(mixed) < rollouts_config.prompts and len(draws) < rollouts_config.max_draws:
                draw = self._begin()
                more_mixed, more_same = _split(self._finish(draw))
                mixed, same, draws = mixed + more_mixed, same + more_same, [*draws, draw.number]
            groups = mixed + same
        for at, group in enumerate(groups):
            for rollout in group:
                rollout.group, rollout.trained = at, at < rollouts_config.prompts
        return [rollout for group in groups for rollout in group], draws

    def _begin(self) -> Draw:
        number = next(number for number in range(len(self._used) + 1) if number not in self._used)
        self._used.add(number)
        config, wanted = self._config, self._objective.rollouts
        drawn = global_batch(config.seed, number, wanted.prompts, self._data.counts, self._data.weights)
        asked = []
        for place, (example, epoch) in enumerate(zip(drawn.indices.tolist(), drawn.epochs.tolist(), strict=True)):
            seeds = np.random.SeedSequence([config.seed, number, place]).generate_state(wanted.group, np.uint64)
            asked.append(self._ask(self._data, example, epoch, [int(seed) >> 1 for seed in seeds]))
        sampling = Sampling(wanted.max_new_tokens, wanted.temperature)
        return Draw(number, asked, self._samplers.begin([one.prompt for one in asked], sampling))

    def _ask(self, data: TokenData, example: int, epoch: int, seeds: list[int]) -> Asked:
        row = data[example]
        record = json.loads(row["record"].astype(np.uint8).tobytes())
        return Asked(example, epoch, Prompt(row["input_ids"].tolist(), seeds), record)

    def _finish(self, draw: Draw) -> list[list[Rollout]]:
        """Judged rollouts, a list a prompt."""
        return self._judged(draw.asked, self._samplers.finish(draw.writing), self._judges)

    def _judged(
        self, asked: list[Asked], written: list[tuple[int, list[Completion]]], judges: Judges
    ) -> list[list[Rollout]]:
        groups = []
        for at, (one, (version, completions)) in enumerate(zip(asked, written, strict=True)):
            prompt = self._decode(one.prompt.ids, keep_marks=True)
            groups.append([
                Rollout(
                    prompt=prompt, completion=self._decode(completion.ids), prompt_ids=one.prompt.ids,
                    completion_ids=completion.ids, logprobs=completion.logprobs, version=version,
                    example=one.example, epoch=one.epoch, group=at, seed=seed, ended=completion.ended,
                )
                for completion, seed in zip(completions, one.prompt.seeds, strict=True)
            ])  # fmt: skip
        samples = [
            Sample(rollout.prompt, rollout.completion, rollout.ids, len(rollout.prompt_ids), rollout.ended, one.record)
            for one, group in zip(asked, groups, strict=True)
            for rollout in group
        ]
        every = [rollout for group in groups for rollout in group]
        for rollout, rewards in zip(every, judges.judge(samples), strict=True):
            rollout.rewards, rollout.reward = rewards, judges.total(rewards)
        return groups

    def _decode(self, ids: list[int], *, keep_marks: bool = False) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=not keep_marks))

    def measure(self) -> list[Rollout]:
        """Judged greedy completions of held-out prompts, one each, by the weights that were sent last."""
        data, evaluation = self._heldout, self._config.evaluation
        if data is None or evaluation is None:
            return []
        asked = [self._ask(data, example, 0, [0]) for example in spread(len(data), evaluation.sequences)]
        sampling = Sampling(self._objective.rollouts.max_new_tokens, GREEDY)
        written = self._samplers.finish(self._samplers.begin([one.prompt for one in asked], sampling))
        return [rollout for group in self._judged(asked, written, self._heldout_judges) for rollout in group]

    @property
    def failures(self) -> dict[str, int]:
        """Component → rewards that failed so far."""
        return dict(self._judges.failed)

    def close(self) -> None:
        """End all actors."""
        for part in {id(one): one for one in (self._samplers, self._judges, self._heldout_judges)}.values():
            part.close()


def _split(groups: list[list[Rollout]]) -> tuple[list[list[Rollout]], list[list[Rollout]]]:
    """Groups whose rewards differ, and the others."""
    mixed: list[list[Rollout]] = []
    same: list[list[Rollout]] = []
    for group in groups:
        rewards = [rollout.reward for rollout in group if np.isfinite(rollout.reward)]
        (mixed if rewards and max(rewards) > min(rewards) else same).append(group)
    return mixed, same
