"""Write the legal summaries `train.jsonl` and `heldout.jsonl`.

The content is handwritten (`topics_*.py`); this script fills its placeholders with a fixed seed, so that every run
gives the same bytes. `--check` writes nothing and exits 1 if the files on disk differ.
"""

import argparse
import json
import random
import re
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict, TypeVar

import topics_business
import topics_data
import topics_finance
import topics_goods
import topics_heldout
import topics_property
import topics_work
from content import HELDOUT_NAMES, HELDOUT_REQUESTS, TRAIN_NAMES, TRAIN_REQUESTS, Template, Topic

SEED = "plain-words-1"
TRAIN_USES = (4, 3, 3)
PASSAGE_WORDS = (50, 100)
REPLY_WORDS = (45, 85)
MOST_WORDS = 229
RUN = 6
LABELS = ("Summary", "Who", "Must", "Unless", "Watch out")
ONE_SENTENCE = ("Summary", "Watch out")
NUMBER_WORDS = re.compile(
    "two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|fifteen|(?:twen|thir|for|fif|six|seven|eigh|nine)ty"
    "|hundred|thousand|half|third|quarter|double|twice"
)
TOPICS = [
    *topics_property.TOPICS,
    *topics_work.TOPICS,
    *topics_business.TOPICS,
    *topics_data.TOPICS,
    *topics_goods.TOPICS,
    *topics_finance.TOPICS,
    *topics_heldout.TOPICS,
]
FOLDER = Path(__file__).resolve().parent

T = TypeVar("T")


class Message(TypedDict):
    """One chat message."""

    role: str
    content: str


class Example(TypedDict):
    """One line of the output files."""

    messages: list[Message]
    topic: str


class ContentError(ValueError):
    """The handwritten content cannot be turned into a data set that keeps its promises."""


@dataclass(frozen=True)
class Filled:
    """An example before it is written: the passage and the parts of the reply, without placeholders."""

    topic: Topic
    passage: str
    parts: dict[str, str]

    @property
    def reply(self) -> str:
        """The assistant message, each part on its own line."""
        return "\n".join(f"{label}: {text}" for label, text in self.parts.items())


@dataclass
class Draw:
    """A random source and the count of how often each option was used."""

    rng: random.Random
    used: Counter[str] = field(default_factory=Counter)

    def fresh(self, options: Sequence[str]) -> str:
        """Return one of the least used options and count it; built on `random()`, the same in every Python release."""
        fewest = min(self.used[option] for option in options)
        least = [option for option in options if self.used[option] == fewest]
        chosen = least[int(self.rng.random() * len(least))]
        self.used[chosen] += 1
        return chosen

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """Return the items in random order."""
        keyed = [(self.rng.random(), position) for position in range(len(items))]
        return [items[position] for _, position in sorted(keyed)]


def placeholders(text: str) -> set[str]:
    """Return the names of the placeholders in a text."""
    return set(re.findall(r"\{(\w+)\}", text))


def fill(text: str, values: dict[str, str]) -> str:
    """Return the text on one line with its placeholders replaced."""
    return re.sub(r"\{(\w+)\}", lambda match: values[match[1]], " ".join(text.split()))


def split_reply(reply: str) -> dict[str, str]:
    """Return the parts of a reply by label."""
    pattern = " ".join(rf"{label}: (.+)" for label in LABELS)
    match = re.fullmatch(pattern, " ".join(reply.split()))
    if match is None:
        raise ContentError(f"not the parts {', '.join(LABELS)} in this order: {reply}")
    return dict(zip(LABELS, match.groups(), strict=True))


def check_template(template: Template, uses: int, names: dict[str, list[str]]) -> None:
    """Reject a template whose placeholders do not fit together."""
    own = {name for key in template.slots for name in key.split("|")}
    given = placeholders(template.passage)
    known = own | {f"{name}{number}" for name in names for number in ("", "2")}
    if loose := (placeholders(template.reply) - given) | (own - given) | (given - known):
        raise ContentError(f"{sorted(loose)} not in the passage, or without values: {template.passage}")
    for key, values in template.slots.items():
        width = len(key.split("|"))
        if len(set(values)) < max(uses, len(values)) or any(len(value.split("|")) != width for value in values):
            raise ContentError(f"values of {key!r} are too few, repeated or of different widths: {template.passage}")


def rows(template: Template, uses: int, draw: Draw, names: dict[str, list[str]]) -> list[dict[str, str]]:
    """Return the placeholder values of each use of a template; no use repeats another one's value."""
    columns = {key: draw.shuffled(values) for key, values in sorted(template.slots.items())}
    found = []
    for use in range(uses):
        row: dict[str, str] = {}
        for key, values in columns.items():
            row |= zip(key.split("|"), values[use].split("|"), strict=True)
        for name, pool in names.items():
            row[name] = draw.fresh(pool) if name in placeholders(template.passage) else ""
            others = [option for option in pool if option != row[name]]
            row[f"{name}2"] = draw.fresh(others) if f"{name}2" in placeholders(template.passage) else ""
        found.append(row)
    return found


def words_of(text: str) -> list[str]:
    """Return the words of a text, in lower case and without punctuation around them."""
    return re.findall(r"[a-z0-9£€$%]+(?:[.,'’&-][a-z0-9£€$%]+)*", text.lower())


def runs(text: str) -> set[tuple[str, ...]]:
    """Return every run of `RUN` words in a text."""
    words = words_of(text)
    return {tuple(words[start : start + RUN]) for start in range(len(words) - RUN + 1)}


def ungrounded(passage: str, parts: dict[str, str]) -> set[str]:
    """Return the numbers, number words and names of a reply that are not in the passage."""
    text = " ".join(parts.values())
    given = set(words_of(passage))
    loose = {
        word
        for word in words_of(text)
        if (re.search(r"\d", word) or NUMBER_WORDS.fullmatch(word)) and word not in given
    }
    inside = re.findall(
        r"(?<![.:] )(?<!^)\b[A-Z][\w’'-]*", " ".join(f"{label}: {text}" for label, text in parts.items())
    )
    return loose | {word for word in inside if word.lower() not in given and word not in LABELS}


def check_filled(filled: Filled) -> None:
    """Reject an example that breaks a promise of the README."""
    problems = []
    for what, text, (low, high) in (("passage", filled.passage, PASSAGE_WORDS), ("reply", filled.reply, REPLY_WORDS)):
        if not low <= (count := len(text.split())) <= high:
            problems.append(f"{what} has {count} words")
    if ".." in filled.passage or "  " in filled.passage:
        problems.append("a slip in the punctuation of the passage")
    if loose := ungrounded(filled.passage, filled.parts):
        problems.append(f"not in the passage: {sorted(loose)}")
    for label, text in filled.parts.items():
        if not (text.endswith(".") and text[0] == text[0].upper()) or ".." in text or "{" in text:
            problems.append(f"{label} is not a sentence")
        if label in ONE_SENTENCE and re.search(r"[.;!?] ", text):
            problems.append(f"{label} is more than one sentence")
    if "none" in filled.parts["Unless"].lower().split() and filled.parts["Unless"] != "None stated.":
        problems.append("Unless has neither exceptions nor 'None stated.'")
    if problems:
        raise ContentError(f"{filled.topic.name}: {'; '.join(problems)}\n{filled.passage}\n{filled.reply}")


def fill_all(
    topic: Topic, templates: Sequence[Template], uses: Sequence[int], draw: Draw, heldout: bool
) -> list[Filled]:
    """Return all examples of one side of a topic."""
    names = HELDOUT_NAMES if heldout else TRAIN_NAMES
    found = []
    for template, count in zip(templates, uses, strict=True):
        check_template(template, count, names)
        parts = split_reply(template.reply)
        for row in rows(template, count, draw, names):
            texts = {label: fill(text, row) for label, text in parts.items()}
            found.append(Filled(topic, fill(template.passage, row), texts))
            check_filled(found[-1])
    return found


def check_split(train: Sequence[Filled], heldout: Sequence[Filled]) -> None:
    """Reject texts that occur twice and held-out texts that share a run of words with a training text."""
    texts = Counter(text for filled in [*train, *heldout] for text in (filled.passage, filled.reply))
    if twice := [text for text, count in texts.items() if count > 1]:
        raise ContentError(f"written twice: {twice}")
    for what in ("passage", "reply"):
        known = {run for filled in train for run in runs(getattr(filled, what))}
        for filled in heldout:
            if shared := runs(getattr(filled, what)) & known:
                raise ContentError(f"{filled.topic.name}: held-out {what} shares {[' '.join(run) for run in shared]}")


def ask(filled: Filled, requests: Sequence[str], draw: Draw) -> Example:
    """Return the example with a request around the passage."""
    request = fill_request(draw.fresh(requests), filled)
    if len(request.split()) + len(filled.reply.split()) > MOST_WORDS:
        raise ContentError(f"{filled.topic.name}: more than {MOST_WORDS} words in all: {request}")
    messages: list[Message] = [{"role": "user", "content": request}, {"role": "assistant", "content": filled.reply}]
    return {"messages": messages, "topic": filled.topic.name}


def fill_request(request: str, filled: Filled) -> str:
    """Return the user message."""
    return request.replace("{document}", filled.topic.document).replace("{passage}", filled.passage)


def build() -> tuple[list[Example], list[Example]]:
    """Return the training and the held-out examples."""
    both = set(TRAIN_REQUESTS) & set(HELDOUT_REQUESTS)
    for name, pool in TRAIN_NAMES.items():
        both |= set(pool) & set(HELDOUT_NAMES[name])
    if both:
        raise ContentError(f"on both sides of the split: {sorted(both)}")
    draws = {side: Draw(random.Random(f"{SEED}/{side}")) for side in ("train", "heldout", "order")}
    train = [
        filled
        for topic in TOPICS
        for filled in fill_all(topic, topic.train, TRAIN_USES if topic.train else (), draws["train"], heldout=False)
    ]
    heldout = [
        filled
        for topic in TOPICS
        for filled in fill_all(topic, topic.heldout, [1] * len(topic.heldout), draws["heldout"], heldout=True)
    ]
    check_split(train, heldout)
    order = draws["order"]
    return (
        [ask(filled, TRAIN_REQUESTS, order) for filled in order.shuffled(train)],
        [ask(filled, HELDOUT_REQUESTS, order) for filled in order.shuffled(heldout)],
    )


def render(examples: Sequence[Example]) -> str:
    """Return the examples as JSON Lines."""
    return "".join(json.dumps(example, ensure_ascii=False) + "\n" for example in examples)


def spread(values: Sequence[int]) -> str:
    """Return smallest, mean and largest value."""
    return f"{min(values)}/{sum(values) / len(values):.1f}/{max(values)}"


def summary(name: str, examples: Sequence[Example]) -> str:
    """Return one line of counts."""
    asked, replied = ([len(example["messages"][turn]["content"].split()) for example in examples] for turn in (0, 1))
    both = [question + reply for question, reply in zip(asked, replied, strict=True)]
    topics = len({example["topic"] for example in examples})
    bare = sum("Unless: None stated." in example["messages"][1]["content"] for example in examples)
    return (
        f"{name}: {len(examples)} examples, {topics} topics, {bare} without an exception; words min/mean/max: "
        f"user {spread(asked)}, reply {spread(replied)}, both {spread(both)}"
    )


def overlap(train: Sequence[Example], heldout: Sequence[Example]) -> str:
    """Return how much of the held-out replies also stands in the training file."""
    known = {line for example in train for line in example["messages"][1]["content"].split("\n")}
    lines = [line for example in heldout for line in example["messages"][1]["content"].split("\n")]
    shared = sum(len(line) for line in lines if line in known) / sum(map(len, lines))
    vocabulary = {word for example in train for message in example["messages"] for word in words_of(message["content"])}
    words = [word for line in lines for word in words_of(line)]
    new = sum(word not in vocabulary for word in words) / len(words)
    return (
        f"overlap: {shared:.1%} of the characters of the held-out replies are lines of a training reply; "
        f"{new:.1%} of their words are nowhere in the training file"
    )


def main() -> int:
    """Write both files, or compare them with `--check`."""
    parser = argparse.ArgumentParser(description="Write train.jsonl and heldout.jsonl next to this script.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file differs")
    check: bool = parser.parse_args().check
    train, heldout = build()
    stale = []
    for name, examples in (("train.jsonl", train), ("heldout.jsonl", heldout)):
        path, data = FOLDER / name, render(examples).encode()
        if not check:
            path.write_bytes(data)
        elif not path.is_file() or path.read_bytes() != data:
            stale.append(name)
        print(summary(name, examples))
    print(overlap(train, heldout))
    if stale:
        print(
            f"{' and '.join(stale)} in {FOLDER} differ from what generate.py makes; run it without --check",
            file=sys.stderr,
        )
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
