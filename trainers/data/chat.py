"""Conversations: read JSONL, render with the model's chat template, mark the tokens that are trained, check.

Trained are the assistant's tokens and the end-of-turn token that follows them: a model that never sees the end of a
turn trained never stops.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Messages = list[dict[str, str]]
_ROLES = ("system", "user", "assistant")
_MAX_LINE_BYTES = 10_000_000


@dataclass(frozen=True)
class Rendered:
    """One conversation as tokens: `input_ids` [n] and `trained` [n], the number of the assistant turn (from 1) where
    the loss counts, else 0.
    """

    input_ids: list[int]
    trained: list[int]


@dataclass
class Counts:
    """What rendering did to a file."""

    conversations: int = 0
    too_long: int = 0
    tokens: int = 0
    trained_tokens: int = 0
    longest: int = 0
    too_long_lines: list[int] = field(default_factory=list)


def read_conversations(path: Path) -> Iterator[tuple[int, Messages]]:
    """Yield (line number, messages) from JSONL.

    Raises:
        DataError: naming file and line: missing file, not UTF-8, not JSON, wrong form, no assistant turn, empty file.
    """
    for number, record in read_records(path, '{"messages": […]}'):
        yield number, _messages(record, f"{path}:{number}")


def read_records(path: Path, form: str) -> Iterator[tuple[int, Any]]:
    """Yield (line number, JSON value) from JSONL.

    Args:
        form: what a line should look like, for the errors.

    Raises:
        DataError: naming file and line: missing file, not UTF-8, not JSON, empty file.
    """
    number = 0
    for number, line in enumerate(_lines(path), start=1):
        where = f"{path}:{number}"
        if len(line) > _MAX_LINE_BYTES:
            raise DataError("A line is far too long for one conversation.", field=where, expected="under 10 MB")
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(
                "A line is not JSON.", field=where, got=repr(line[:60]), expected=form, fix=str(error)
            ) from None
        yield number, record
    if number == 0:
        raise DataError("The data file is empty.", field=str(path), expected=f"one {form} a line")


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as stream:
            while line := stream.readline(_MAX_LINE_BYTES + 1):
                yield line
    except OSError as error:
        raise DataError(
            "The data file cannot be read.", field="data", got=f"{path} ({error.strerror})",
            expected="a readable JSONL file", fix="check the path; relative ones start at the working directory",
        ) from None  # fmt: skip


def _messages(record: Any, where: str) -> Messages:
    messages = record.get("messages") if isinstance(record, dict) else None
    if not isinstance(messages, list) or not messages:
        raise DataError("A conversation has no messages.", field=where, expected='{"messages": [{"role", "content"}]}')
    checked = [check_turn(turn, where) for turn in messages]
    if not any(turn["role"] == "assistant" and turn["content"].strip() for turn in checked):
        raise DataError(
            "A conversation has nothing to train on.", field=where, got="no assistant message with text",
            expected="at least one", fix="remove the line or add the assistant's answer",
        )  # fmt: skip
    return checked


def check_turn(turn: Any, where: str) -> dict[str, str]:
    """One message, with its role and content and nothing else.

    Raises:
        DataError: it is not of the right form, or its text is not Unicode.
    """
    if not isinstance(turn, dict) or turn.get("role") not in _ROLES or not isinstance(turn.get("content"), str):
        raise DataError(
            "A message is not of the right form.", field=where, got=repr(turn)[:80],
            expected=f'{{"role": one of {", ".join(_ROLES)}, "content": text}}',
        )  # fmt: skip
    if re.search("[\ud800-\udfff]", turn["content"]):
        raise DataError(
            "A message's text is not Unicode.", field=where, got="half of a surrogate pair, such as \\ud83d",
            expected="whole characters", fix="the text was cut inside an emoji: remove the half that is left",
        )  # fmt: skip
    return {"role": turn["role"], "content": turn["content"]}


def render(tokenizer: PreTrainedTokenizerBase, messages: Messages, where: str = "messages") -> Rendered:
    """Tokens of a conversation and which of them are trained.

    Each assistant turn is found by rendering what precedes it with the generation prompt: exactly what the model will
    be given when it is asked, whatever the template looks like.

    Raises:
        DataError: the template refuses the conversation (roles that do not alternate, say), or rewrites earlier turns,
            so that a turn's tokens cannot be told from its context.
    """
    with _told_where(where):
        return _render(tokenizer, messages, where)


def render_prompt(tokenizer: PreTrainedTokenizerBase, messages: Messages, where: str = "messages") -> list[int]:
    """Tokens that the model is given to answer these messages.

    Raises:
        DataError: the template refuses them.
    """
    with _told_where(where):
        return _template(tokenizer, messages, prompt=True)


def without_marks(tokenizer: PreTrainedTokenizerBase, text: str) -> str:
    """A text that someone else wrote, without what the tokenizer would read as a mark of the template.

    After the end of a turn, for one, an answer could speak for its judge.
    """
    marks = sorted(set(tokenizer.get_added_vocab()) | set(tokenizer.all_special_tokens), key=len, reverse=True)
    pattern = re.compile("|".join(map(re.escape, marks))) if marks else None
    while pattern is not None and pattern.search(text):  # again: what is left may make up another
        text = pattern.sub("", text)
    return text


@contextmanager
def _told_where(where: str) -> Iterator[None]:
    from jinja2 import TemplateError

    try:
        yield
    except TemplateError as error:
        raise DataError(
            "The chat template refuses the conversation.", field=where, got=str(error),
            expected="roles in the order that the model's template knows",
        ) from None  # fmt: skip


def _render(tokenizer: PreTrainedTokenizerBase, messages: Messages, where: str) -> Rendered:
    ids = _template(tokenizer, messages, prompt=False)
    trained, answers = [0] * len(ids), 0
    for index, turn in enumerate(messages):
        if turn["role"] != "assistant":
            continue
        answers += 1
        before = _template(tokenizer, messages[:index], prompt=True)
        through = _template(tokenizer, messages[: index + 1], prompt=False)
        if ids[: len(before)] != before or ids[: len(through)] != through:
            raise DataError(
                "The chat template rewrites earlier turns, so the trained tokens cannot be told from the others.",
                field=where, got=f"turn {index + 1} of {len(messages)}", expected="a template that only appends",
                fix="split the conversation into one example a turn; begin no answer with empty lines",
            )  # fmt: skip
        end = _end_of_turn(through, len(before), tokenizer)
        trained[len(before) : end] = [answers] * (end - len(before))
    return Rendered(ids, trained)


def _template(tokenizer: PreTrainedTokenizerBase, messages: Messages, *, prompt: bool) -> list[int]:
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt)
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _end_of_turn(ids: list[int], start: int, tokenizer: PreTrainedTokenizerBase) -> int:
    # The template may put a newline after the end-of-turn token; at generation nothing comes after it.
    for position in range(len(ids) - 1, start - 1, -1):
        if ids[position] == tokenizer.eos_token_id:
            return position + 1
    return len(ids)


def check(tokenizer: PreTrainedTokenizerBase, messages: Messages, rendered: Rendered, where: str) -> None:
    """Refuse a rendered conversation that would teach the wrong thing, or nothing.

    Raises:
        DataError: an empty mask, an end of turn that is never trained, or a template that loses content.
    """
    if not any(rendered.trained):
        raise DataError("No token of the conversation is trained.", field=where, expected="the assistant's tokens")
    ends = [i for i, token in enumerate(rendered.input_ids) if token == tokenizer.eos_token_id and rendered.trained[i]]
    if len(ends) != sum(turn["role"] == "assistant" for turn in messages):
        raise DataError(
            "The end-of-turn token is not trained after each answer: the model would not learn to stop.",
            field=where, got=f"{len(ends)} trained {tokenizer.eos_token!r} tokens",
            expected="one an assistant turn", fix="use a chat template that ends each turn with the eos token",
        )  # fmt: skip
    shown = "".join(str(tokenizer.decode(rendered.input_ids)).split())
    for turn in messages:
        if "".join(turn["content"].split()) not in shown:
            raise DataError(
                "The chat template loses a message's text.", field=where,
                got=f"{turn['role']}: {turn['content'][:60]!r}", expected="the text in the rendered conversation",
                fix="check the template's handling of this role and the tokenizer's special tokens",
            )  # fmt: skip


def render_file(tokenizer: PreTrainedTokenizerBase, path: Path, max_length: int) -> tuple[list[Rendered], Counts]:
    """Read, render and check a whole file.

    Raises:
        DataError: as above, or every conversation is longer than `max_length` tokens.
    """
    examples, counts = [], Counts()
    for number, messages in read_conversations(path):
        where = f"{path}:{number}"
        rendered = render(tokenizer, messages, where)
        check(tokenizer, messages, rendered, where)
        counts.conversations += 1
        counts.longest = max(counts.longest, len(rendered.input_ids))
        if len(rendered.input_ids) > max_length:
            counts.too_long += 1
            counts.too_long_lines.append(number)
            continue
        counts.tokens += len(rendered.input_ids)
        counts.trained_tokens += sum(turn > 0 for turn in rendered.trained)
        examples.append(rendered)
    if not examples:
        raise DataError(
            "Every conversation is too long.", field="data.max_length", got=f"longest has {counts.longest} tokens",
            expected=f"at most {max_length}", fix="raise data.max_length",
        )  # fmt: skip
    return examples, counts
