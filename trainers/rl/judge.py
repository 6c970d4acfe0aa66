"""A judge: a language model that says, by a written rubric, which of two answers is better, or how good one is.

RLAIF (Bai et al. 2022, arXiv 2212.08073; Lee et al. 2023, arXiv 2309.00267). The verdict is read from the probabilities
of the judge's next token (A or B; yes or no), not from text that it writes. Judges favour a place in the prompt (Wang
et al. 2023, arXiv 2305.17926), so two answers are always compared in both orders, and the preference is the mean; how
often the order decided is told as `position_bias`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from pydantic import PositiveFloat, PositiveInt, model_validator

from cluster.config import Config
from cluster.errors import ConfigValueError, EndpointError
from trainers.adapter_config import ArtifactName

_COMPARE = """\
{rubric}

Request: {prompt}

Reply A: {first}

Reply B: {second}

Which reply is better by the rule above? Answer with one letter, A or B."""
_GRADE = """\
{rubric}

Request: {prompt}

Reply: {answer}

Does the reply follow the rule above? Answer with one word, yes or no."""
_PAIR, _GRADES = ("A", "B"), ("yes", "no")
_LEAST = -20.0
"""Log-probability of a word that is not among the most probable ones that an endpoint tells."""


class EndpointConfig(Config):
    """An OpenAI-compatible endpoint that gives log-probabilities."""

    url: str
    """Such as http://127.0.0.1:8000/v1."""
    model: str
    """The model's name there."""
    key_variable: str = "RAYSMITH_JUDGE_KEY"
    """Environment variable with the API key; the key itself is never written into a configuration."""
    timeout_s: PositiveFloat = 60.0
    """Seconds for an answer."""


class JudgeConfig(Config):
    """Who judges, and by what."""

    rubric: str
    """The rule, in the judge's own language: what makes an answer good."""
    artifact: ArtifactName | None = None
    """A published model that judges on this machine …"""
    endpoint: EndpointConfig | None = None
    """… or one behind an endpoint."""
    batch: PositiveInt = 8
    """Questions that a local judge reads at once."""

    @model_validator(mode="after")
    def _one_judge(self) -> JudgeConfig:
        if (self.artifact is None) == (self.endpoint is None):
            raise ConfigValueError(
                "Exactly one judge is needed.", got="both" if self.artifact else "none",
                expected="artifact or endpoint",
            )  # fmt: skip
        return self


class Verdict(NamedTuple):
    """What a judge says of two answers."""

    preference: float
    """Probability that the first is better, a mean over both orders."""
    biased: bool
    """Whether swapping them turned the verdict round."""


class Asked(Protocol):
    """What answers questions with one of two words."""

    def lean(self, questions: list[str], words: tuple[str, str]) -> list[float]:
        """Log-odds of the first word against the second as the next one, a number a question."""
        ...


class Judge:
    """A judge with its rubric."""

    def __init__(self, config: JudgeConfig, artifacts: Mapping[str, Path]) -> None:
        self._config = config
        self._asked: Asked = (
            _Endpoint(config.endpoint)
            if config.endpoint is not None
            else _Local(artifacts[config.artifact or ""], config.batch)
        )

    def compare(self, prompts: list[str], firsts: list[str], seconds: list[str]) -> list[Verdict]:
        """Verdicts about pairs of answers."""
        rubric = self._config.rubric
        straight = [
            _COMPARE.format(rubric=rubric, prompt=prompt, first=first, second=second)
            for prompt, first, second in zip(prompts, firsts, seconds, strict=True)
        ]
        swapped = [
            _COMPARE.format(rubric=rubric, prompt=prompt, first=second, second=first)
            for prompt, first, second in zip(prompts, firsts, seconds, strict=True)
        ]
        odds = self._asked.lean(straight + swapped, _PAIR)
        return [
            Verdict(0.5 * (_sigmoid(one) + _sigmoid(-other)), (one > 0) == (other > 0))
            for one, other in zip(odds[: len(straight)], odds[len(straight) :], strict=True)
        ]

    def grade(self, prompts: list[str], answers: list[str]) -> list[float]:
        """Probability that each answer follows the rubric."""
        rubric = self._config.rubric
        questions = [
            _GRADE.format(rubric=rubric, prompt=prompt, answer=answer)
            for prompt, answer in zip(prompts, answers, strict=True)
        ]
        return [_sigmoid(odds) for odds in self._asked.lean(questions, _GRADES)]


def _sigmoid(odds: float) -> float:
    return 1.0 / (1.0 + math.exp(-max(min(odds, 500.0), -500.0)))


class _Local:
    """A published model in this process."""

    def __init__(self, folder: Path, batch: int) -> None:
        import torch

        from trainers.models import compute_device, load_model, load_tokenizer

        self._tokenizer, self._batch = load_tokenizer(folder), batch
        model: Any = load_model(folder, torch.bfloat16, "causal_lm")
        self._model = model.to(compute_device())

    def lean(self, questions: list[str], words: tuple[str, str]) -> list[float]:
        """As `Asked.lean`; a word counts with and without a space before it."""
        import torch

        from trainers.data.chat import render_prompt

        starts = [sorted({self._first(word), self._first(f" {word}")}) for word in words]
        sequences = [render_prompt(self._tokenizer, [{"role": "user", "content": one}]) for one in questions]
        order = sorted(range(len(sequences)), key=lambda index: len(sequences[index]))
        found = [0.0] * len(sequences)
        with torch.inference_mode():
            for start in range(0, len(order), self._batch):
                members = order[start : start + self._batch]
                scores = self._next([sequences[index] for index in members])
                odds = scores[:, starts[0]].logsumexp(-1) - scores[:, starts[1]].logsumexp(-1)
                for index, value in zip(members, odds.tolist(), strict=True):
                    found[index] = value
        return found

    def _first(self, word: str) -> int:
        return int(self._tokenizer(word, add_special_tokens=False)["input_ids"][0])

    def _next(self, sequences: list[list[int]]) -> Any:
        """Log-probabilities [n, vocabulary] of what comes after each sequence; rows are padded on the right."""
        import torch

        longest = max(map(len, sequences))
        ids = torch.tensor([one + [self._tokenizer.pad_token_id] * (longest - len(one)) for one in sequences])
        ends = torch.tensor([len(one) - 1 for one in sequences], device=self._model.device)
        hidden = self._model.get_decoder()(input_ids=ids.to(self._model.device), use_cache=False).last_hidden_state
        last = hidden[torch.arange(len(sequences), device=self._model.device), ends]
        return self._model.get_output_embeddings()(last).float().log_softmax(-1)


class _Endpoint:
    """A model behind an OpenAI-compatible endpoint."""

    def __init__(self, config: EndpointConfig) -> None:
        from openai import OpenAI

        key = os.environ.get(config.key_variable, "none")
        self._config = config
        self._client = OpenAI(base_url=config.url, api_key=key, timeout=config.timeout_s, max_retries=2)

    def lean(self, questions: list[str], words: tuple[str, str]) -> list[float]:
        """As `Asked.lean`, a request a question.

        Raises:
            EndpointError: it does not answer, or tells no log-probabilities.
        """
        return [self._ask(question, words) for question in questions]

    def _ask(self, question: str, words: tuple[str, str]) -> float:
        import openai

        try:
            answer = self._client.chat.completions.create(
                model=self._config.model, messages=[{"role": "user", "content": question}], max_tokens=1,
                temperature=0.0, logprobs=True, top_logprobs=20,
            )  # fmt: skip
        except openai.APIError as error:
            raise EndpointError(
                "The judge does not answer.", field="judge.endpoint.url", got=f"{self._config.url}: {error.message}",
                fix=f"is the endpoint up, and its key in ${self._config.key_variable}?",
            ) from None  # fmt: skip
        told = answer.choices[0].logprobs
        if told is None or not told.content:
            raise EndpointError(
                "The judge tells no log-probabilities.", field="judge.endpoint", got=self._config.model,
                expected="an endpoint with `logprobs` and `top_logprobs`",
            )  # fmt: skip
        chances = [0.0, 0.0]
        for token in told.content[0].top_logprobs:
            for place, word in enumerate(words):
                if token.token.strip().lower() == word.lower():
                    chances[place] += math.exp(token.logprob)
        first, second = (math.log(chance) if chance > 0 else _LEAST for chance in chances)
        return first - second
