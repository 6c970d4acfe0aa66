"""A judge that follows a written rubric: which of two answers is better, or whether one is good.

The verdict is read from the probabilities of the judge's next token (A or B; yes or no), not from text that it writes.
Judges favour a place in the prompt (Wang et al. 2023, arXiv 2305.17926), so two answers are always compared in both
orders, and the preference is the mean; how often the order decided is told as `position_bias`.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any, Protocol

from cluster.errors import EndpointError, ModelError
from trainers.rl.judge_config import EndpointConfig, JudgeConfig, Verdict, probability

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


class Asked(Protocol):
    """What answers questions with one of two words."""

    def lean(self, questions: list[str], words: tuple[str, str]) -> list[float]:
        """Log-odds of the first word against the second as the next one, a number a question."""
        ...


class RubricJudge:
    """A judge with its rubric."""

    def __init__(self, config: JudgeConfig, folder: Path | None) -> None:
        """Open the model of `folder`, or without one the endpoint that the config names.

        Raises:
            ValueError: there is neither.
        """
        self._config = config
        self._asked: Asked
        if folder is not None:
            self._asked = _Local(folder, config.batch)
        elif config.endpoint is not None:
            self._asked = _Endpoint(config.endpoint)
        else:
            raise ValueError("a judge is a model or an endpoint")

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
            Verdict(0.5 * (probability(one) + probability(-other)), (one > 0) == (other > 0))
            for one, other in zip(odds[: len(straight)], odds[len(straight) :], strict=True)
        ]

    def grade(self, prompts: list[str], answers: list[str]) -> list[float]:
        """Probability that each answer follows the rubric."""
        rubric = self._config.rubric
        questions = [
            _GRADE.format(rubric=rubric, prompt=prompt, answer=answer)
            for prompt, answer in zip(prompts, answers, strict=True)
        ]
        return [probability(odds) for odds in self._asked.lean(questions, _GRADES)]


class _Local:
    """A published model in this process."""

    def __init__(self, folder: Path, batch: int) -> None:
        import torch

        from trainers.models import compute_device, load_model, load_tokenizer

        self._tokenizer, self._batch = load_tokenizer(folder), batch
        model: Any = load_model(folder, torch.bfloat16, "causal_lm")
        self._model = model.to(compute_device())

    def lean(self, questions: list[str], words: tuple[str, str]) -> list[float]:
        """As `Asked.lean`; a word counts with and without a space before it, and with a capital letter."""
        import torch

        from trainers.data.chat import render_prompt, without_marks

        starts = self._starts(words)
        sequences = [
            render_prompt(self._tokenizer, [{"role": "user", "content": without_marks(self._tokenizer, one)}])
            for one in questions
        ]
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

    def _starts(self, words: tuple[str, str]) -> list[list[int]]:
        """First tokens of each word's forms, without those that both words can begin with."""
        forms = [{space + form for space in ("", " ") for form in (word, word.capitalize())} for word in words]
        one, other = ({self._first(form) for form in of_word} for of_word in forms)
        if not one - other or not other - one:
            raise ModelError(
                "The judge's tokenizer cannot tell the two answers by their first token.", field="judge.artifact",
                got=" and ".join(words), fix="another judge, or one behind an endpoint",
            )  # fmt: skip
        return [sorted(one - other), sorted(other - one)]

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
            EndpointError: it does not answer, tells no log-probabilities, or says something else.
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
        if not any(chances):
            raise EndpointError(
                "The judge does not answer with one of the words it is given.", field="judge.endpoint",
                got=f"{self._config.model} begins with {told.content[0].token!r}", expected=" or ".join(words),
                fix="a judge that answers at once (no reasoning first), or a clearer rubric",
            )  # fmt: skip
        first, second = (math.log(chance) if chance > 0 else _LEAST for chance in chances)
        return first - second
