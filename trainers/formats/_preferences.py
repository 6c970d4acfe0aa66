"""What the formats of preferences share: reading prompts and completions, rendering them, files and reports.

A prompt and its completions are text or messages: a prompt as text is a user's message, a completion as text an
assistant's. Data sets hold messages, as TRL's conversational formats do, so that TRL reads them as they are.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from cluster.config import digest, file_digest
from cluster.errors import DataError
from cluster.progress import ProgressFile
from trainers.config import DataConfig
from trainers.data.chat import Messages, Rendered, check, check_turn, read_records, render
from trainers.data.store import StoreWriter, id_dtype, tokenizer_digest
from trainers.formats import HELDOUT, TRAIN, DataEstimate

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PARTS = (TRAIN, HELDOUT)

# English text under a vocabulary of 32k to 130k; the turn markers of a chat template.
_CHARS_PER_TOKEN = 4.0
_TOKENS_PER_TURN = 6
_TOKENS_PER_CONVERSATION = 24  # a default system prompt, which many templates add


class FilesConfig(DataConfig):
    """Base of the formats that read two JSONL files."""

    train: Path
    """JSONL, one example a line."""
    heldout: Path
    """JSONL of the same form, never trained on."""


@dataclass
class Counts:
    """What tokenizing did to a file."""

    samples: int = 0
    too_long: int = 0
    tokens: int = 0
    trained_tokens: int = 0
    """Tokens of the completions."""
    longest: int = 0
    """Tokens of the longest conversation, kept or not."""
    too_long_lines: list[int] = field(default_factory=list)


class Conversation(NamedTuple):
    """A prompt and one completion as tokens."""

    input_ids: list[int]
    prompt_length: int
    """Tokens before the completion: what the model is given when it is asked."""


class Tokenized(NamedTuple):
    """One example of a format, not yet in a store."""

    row: dict[str, Any]
    conversations: Sequence[Conversation]


def identity(config: FilesConfig) -> list[str]:
    """Hashes of the two files.

    Raises:
        DataError: one is missing.
    """
    for part in PARTS:
        _require_file(config, part)
    return [file_digest(config.train), file_digest(config.heldout)]


def _require_file(config: FilesConfig, part: str) -> None:
    path: Path = getattr(config, part)
    if not path.is_file():
        raise DataError("A data file is missing.", field=f"data.{part}", got=path, expected="a JSONL file")


def estimate(config: FilesConfig, examples: Iterable[tuple[Messages, Sequence[Messages]]]) -> DataEstimate:
    """Tokens guessed from characters.

    Args:
        examples: prompt and completions of each training example; an example's tokens are those of all its
            conversations, and it is left out when one of them is longer than `max_length`.
    """
    _require_file(config, HELDOUT)
    lengths, tokens, trained = [], 0, 0
    for prompt, completions in examples:
        before = _guess(prompt) + _TOKENS_PER_CONVERSATION
        sizes = [_guess(completion) for completion in completions]
        if before + max(sizes) > config.max_length:
            continue
        lengths.append(before * len(sizes) + sum(sizes))
        tokens, trained = tokens + lengths[-1], trained + sum(sizes)
    lengths = lengths or [config.max_length]
    return DataEstimate(len(lengths), sum(lengths), max(lengths), trained / tokens if tokens else 1.0)


def _guess(messages: Messages) -> int:
    return int(sum(len(turn["content"]) / _CHARS_PER_TOKEN + _TOKENS_PER_TURN for turn in messages))


def records(path: Path, form: str, keys: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (file:line, JSON object with these keys) from JSONL.

    Raises:
        DataError: naming file and line: as `trainers.data.chat.read_records`, or no object, or a key is missing.
    """
    for number, record in read_records(path, form):
        where = f"{path}:{number}"
        missing = [key for key in keys if key not in record] if isinstance(record, dict) else list(keys)
        if missing:
            raise DataError("A line is not of the right form.", field=where, got=f"no {missing[0]}", expected=form)
        yield where, record


def read_prompt(value: Any, where: str) -> Messages:
    """The messages of a prompt.

    Raises:
        DataError: it is not text or messages, is empty, or ends with the assistant's turn.
    """
    messages = _turns(value, "user", "prompt", where)
    if messages[-1]["role"] == "assistant":
        raise DataError(
            "The prompt ends with the assistant's turn.", field=where, got=repr(messages[-1]["content"])[:80],
            expected="a prompt that the completion answers", fix="move that turn into the completion",
        )  # fmt: skip
    return messages


def read_completion(value: Any, name: str, where: str) -> Messages:
    """The messages of a completion.

    Raises:
        DataError: it is not text or messages, is empty, or does not begin and end with the assistant's turn.
    """
    messages = _turns(value, "assistant", name, where)
    roles = [turn["role"] for turn in messages]
    if roles[0] != "assistant" or roles[-1] != "assistant":
        raise DataError(
            f"`{name}` is not the assistant's.", field=where, got=", ".join(roles),
            expected="messages that begin and end with the assistant's", fix="put what comes before into `prompt`",
        )  # fmt: skip
    return messages


def _turns(value: Any, role: str, name: str, where: str) -> Messages:
    turns = [{"role": role, "content": value}] if isinstance(value, str) else value
    if not isinstance(turns, list) or not turns:
        raise DataError(
            f"`{name}` is neither text nor messages.", field=where, got=repr(value)[:80],
            expected='"text" or [{"role", "content"}]',
        )  # fmt: skip
    checked = [check_turn(turn, where) for turn in turns]
    if any(turn["role"] != "system" and not turn["content"].strip() for turn in checked):
        raise DataError(f"`{name}` is empty.", field=where, got=repr(value)[:80], expected="a message with text")
    return checked


def render_completion(
    tokenizer: PreTrainedTokenizerBase, prompt: Messages, completion: Messages, where: str
) -> Conversation:
    """Prompt and completion through the chat template.

    Raises:
        DataError: as `trainers.data.chat.render` and `check`.
    """
    messages = [*prompt, *completion]
    rendered: Rendered = render(tokenizer, messages, where)
    check(tokenizer, messages, rendered, where)
    answered = sum(turn["role"] == "assistant" for turn in prompt)
    return Conversation(rendered.input_ids, rendered.trained.index(answered + 1))


def collect(progress: ProgressFile, config: FilesConfig, folder: Path, read: Callable[[Path], Iterator[Any]]) -> None:
    """Write each part's examples as JSONL, line for line.

    Args:
        read: yields (file:line, plain data) of a file.

    Raises:
        DataError: as `read`, or held-out examples are also trained on.
    """
    seen: dict[str, set[str]] = {part: set() for part in PARTS}
    for index, part in enumerate(PARTS):
        progress.write(index, len(PARTS), part)
        with (folder / f"{part}.jsonl").open("w", encoding="utf-8") as stream:
            for _, example in read(getattr(config, part)):
                seen[part].add(digest(example))
                stream.write(json.dumps(example, ensure_ascii=False) + "\n")
    if shared := len(seen[TRAIN] & seen[HELDOUT]):
        raise DataError(
            "Held-out examples are also trained on, so nothing could be measured with them.", field="data.heldout",
            got=f"{shared} of {len(seen[HELDOUT])} are in data.train", expected="none",
            fix="take them out of one of the two files",
        )  # fmt: skip


def tokenize(
    progress: ProgressFile,
    config: FilesConfig,
    tokenizer: Path,
    dataset: Path,
    folder: Path,
    columns: dict[str, str],
    read: Callable[[PreTrainedTokenizerBase, Path], Iterator[Tokenized]],
) -> dict[str, Any]:
    """Write the stores, and report.

    Args:
        columns: column → numpy type, `ids` for token ids; `line` (which line of the data set's file it is) is added.
        read: yields the examples of a file, line for line.

    Raises:
        DataError: as `read`, or every example is too long.
    """
    from trainers.models import load_tokenizer

    loaded, digest_ = load_tokenizer(tokenizer), tokenizer_digest(tokenizer)
    types = {name: id_dtype(len(loaded)) if dtype == "ids" else dtype for name, dtype in columns.items()}
    report: dict[str, Any] = {}
    for index, part in enumerate(PARTS):
        progress.write(index, len(PARTS), part)
        with StoreWriter(folder / part, digest_, types | {"line": "uint32"}) as writer:
            counts, first = _fill(writer, read(loaded, dataset / f"{part}.jsonl"), config.max_length)
        report[part] = asdict(counts)
        if part == TRAIN:
            pieces = [str(loaded.decode([token])) for token in first.input_ids]
            report["example"] = [[piece, int(place >= first.prompt_length)] for place, piece in enumerate(pieces)]
    return report


def _fill(writer: StoreWriter, examples: Iterator[Tokenized], max_length: int) -> tuple[Counts, Conversation]:
    counts, first = Counts(), None
    for line, (row, conversations) in enumerate(examples, start=1):
        longest = max(len(conversation.input_ids) for conversation in conversations)
        counts.longest = max(counts.longest, longest)
        if longest > max_length:
            counts.too_long += 1
            counts.too_long_lines.append(line)
            continue
        first = first or conversations[0]
        num_tokens = sum(len(conversation.input_ids) for conversation in conversations)
        writer.add(row | {"line": [line]}, num_tokens)
        counts.samples += 1
        counts.tokens += num_tokens
        counts.trained_tokens += num_tokens - sum(conversation.prompt_length for conversation in conversations)
    if first is None:
        raise DataError(
            "Every example is too long.", field="data.max_length", got=f"longest has {counts.longest} tokens",
            expected=f"at most {max_length}", fix="raise data.max_length",
        )  # fmt: skip
    return counts, first


def facts(report: dict[str, Any], noun: str) -> Iterator[tuple[str, str]]:
    """Counts of both files."""
    for part in PARTS:
        counts = report[part]
        share = counts["trained_tokens"] / counts["tokens"]
        yield (
            part,
            f"{counts['samples'] + counts['too_long']} {noun}, {counts['tokens']:,} tokens, {share:.0%} of them in "
            f"completions, longest {counts['longest']}, left out as too long: {counts['too_long']}",
        )
