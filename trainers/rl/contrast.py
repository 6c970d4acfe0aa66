"""A judge for models too small to follow a rubric: which of two opposite instructions makes an answer likelier?

log p(answer | prompt, like) - log p(answer | prompt, unlike) is, for even odds beforehand, the log-odds that the answer
was written under the first instruction (Liu et al. 2024, arXiv 2402.11907). Nothing is written, and no order of answers
can sway it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trainers.rl.judge_config import ContrastConfig, Verdict, probability


class ContrastJudge:
    """A published model and two instructions."""

    def __init__(self, folder: Path, config: ContrastConfig, batch: int) -> None:
        import torch

        from trainers.models import compute_device, load_model, load_tokenizer

        self._config, self._batch = config, batch
        self._tokenizer = load_tokenizer(folder)
        model: Any = load_model(folder, torch.bfloat16, "causal_lm")
        self._model = model.to(compute_device())

    def compare(self, prompts: list[str], firsts: list[str], seconds: list[str]) -> list[Verdict]:
        """The answer with the greater odds is preferred."""
        odds = self._odds(prompts + prompts, firsts + seconds)
        return [
            Verdict(probability(first - second), biased=False)
            for first, second in zip(odds[: len(prompts)], odds[len(prompts) :], strict=True)
        ]

    def grade(self, prompts: list[str], answers: list[str]) -> list[float]:
        """Probability that each answer was written under `like`."""
        return [probability(odds) for odds in self._odds(prompts, answers)]

    def _odds(self, prompts: list[str], answers: list[str]) -> list[float]:
        like = self._logprobs(self._config.like, prompts, answers)
        unlike = self._logprobs(self._config.unlike, prompts, answers)
        return [one - other for one, other in zip(like, unlike, strict=True)]

    def _logprobs(self, instruction: str, prompts: list[str], answers: list[str]) -> list[float]:
        """Log p of each answer, nats."""
        import torch

        from trainers.data.chat import render_prompt, without_marks

        starts = [
            render_prompt(
                self._tokenizer,
                [
                    {"role": "system", "content": instruction},
                    {"role": "user", "content": without_marks(self._tokenizer, prompt)},
                ],
            )
            for prompt in prompts
        ]
        replies = [
            self._tokenizer(without_marks(self._tokenizer, answer), add_special_tokens=False)["input_ids"]
            for answer in answers
        ]
        order = sorted(range(len(starts)), key=lambda index: len(starts[index]) + len(replies[index]))
        found = [0.0] * len(starts)
        with torch.inference_mode():
            for at in range(0, len(order), self._batch):
                members = order[at : at + self._batch]
                sums = self._score([starts[index] for index in members], [replies[index] for index in members])
                for index, value in zip(members, sums, strict=True):
                    found[index] = value
        return found

    def _score(self, starts: list[list[int]], replies: list[list[int]]) -> list[float]:
        """Sums of log p over the tokens of each reply; rows are padded on the right."""
        import torch

        rows = [start + reply for start, reply in zip(starts, replies, strict=True)]
        longest = max(map(len, rows))
        pad, device = self._tokenizer.pad_token_id, self._model.device
        ids = torch.tensor([row + [pad] * (longest - len(row)) for row in rows], device=device)
        hidden = self._model.get_decoder()(input_ids=ids, use_cache=False).last_hidden_state
        head = self._model.get_output_embeddings()
        sums = []
        for row, (start, reply) in enumerate(zip(starts, replies, strict=True)):
            places = slice(len(start) - 1, len(start) + len(reply) - 1)
            logprobs = head(hidden[row, places]).float().log_softmax(-1)  # [tokens of the reply, vocabulary]
            wanted = torch.tensor(reply, dtype=torch.long, device=device)[:, None]
            sums.append(float(logprobs.gather(1, wanted).sum()))
        return sums
