"""Write the customer-support conversations `train.jsonl` and `heldout.jsonl`.

The content is handwritten (`topics_*.py`); this script combines it with a fixed seed, so that every run
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

import topics_account
import topics_app
import topics_billing
import topics_orders
import topics_signin
from content import SLOTS, Ask, Topic

SEED = "northwind-1"
REPLY_WORDS = (55, 95)
MAX_DRAWS = 200
CONTACT = "write to support@northwind.example or call 0800 555 0142; we answer within one hour."
CLOSINGS = [
    *["If that does not help"] * 6,
    "If you are still stuck",
    "If anything is still unclear",
]
TOPICS = [
    *topics_account.TOPICS,
    *topics_billing.TOPICS,
    *topics_orders.TOPICS,
    *topics_app.TOPICS,
    *topics_signin.TOPICS,
]
FOLDER = Path(__file__).resolve().parent

T = TypeVar("T")


class Message(TypedDict):
    """One chat message."""

    role: str
    content: str


class Conversation(TypedDict):
    """One line of the output files."""

    messages: list[Message]
    topic: str


class ContentError(ValueError):
    """The handwritten content cannot be turned into a data set that keeps its promises."""


@dataclass
class Draw:
    """The random source of one topic and the count of how often each sentence was used."""

    rng: random.Random
    used: Counter[str] = field(default_factory=Counter)

    def pick(self, options: Sequence[T]) -> T:
        """Return one of the options; built on `random()`, whose sequence no Python release changes."""
        return options[int(self.rng.random() * len(options))]

    def fresh(self, options: Sequence[str]) -> str:
        """Return one of the least used options and count it."""
        fewest = min(self.used[option] for option in options)
        chosen = self.pick([option for option in options if self.used[option] == fewest])
        self.used[chosen] += 1
        return chosen

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """Return the items in random order."""
        keyed = [(self.rng.random(), position) for position in range(len(items))]
        return [items[position] for _, position in sorted(keyed)]

    def slots(self) -> dict[str, str]:
        """Return a value for every placeholder, so that a conversation keeps to one order, device or date."""
        return {name: self.pick(values) for name, values in SLOTS.items()}


def slots_in(text: str) -> set[str]:
    """Return the names of the placeholders in a text."""
    return set(re.findall(r"\{(\w+)\}", text))


def fill(text: str, values: dict[str, str]) -> str:
    """Return the text with its placeholders replaced."""
    return re.sub(r"\{(\w+)\}", lambda match: values[match[1]], text)


def fitting(options: Sequence[str], ask: Ask) -> list[str]:
    """Return the options that name only details the customer has given."""
    found = [option for option in options if slots_in(option) <= slots_in(ask.text)]
    if not found:
        raise ContentError(f"none of {list(options)} fits: {ask.text}")
    return found


def choose_empathy(topic: Topic, ask: Ask, draw: Draw) -> str:
    """Return the ask's own sentence, or one of the topic's."""
    return ask.empathy or draw.fresh(fitting(topic.empathy, ask))


def choose_steps(topic: Topic, ask: Ask, draw: Draw) -> list[str]:
    """Return the ask's own steps, or one wording of each step of a plan."""
    if ask.steps:
        return ask.steps
    plans = {f"plan {number}": plan for number, plan in enumerate(topic.plans)}
    plan = plans[draw.fresh(list(plans))] if ask.plan is None else topic.plans[ask.plan]
    return [draw.fresh(fitting(wordings, ask)) for wordings in plan]


def reply(empathy: str, steps: Sequence[str], draw: Draw) -> str:
    """Return an assistant message: one empathic sentence, numbered steps, the contact line."""
    numbered = [f"{number}. {step}" for number, step in enumerate(steps, start=1)]
    return "\n".join([empathy, *numbered, f"{draw.pick(CLOSINGS)}, {CONTACT}"])


def compose(topic: Topic, ask: Ask, draw: Draw) -> list[Message]:
    """Return the messages of one conversation."""
    values = draw.slots()
    texts = [ask.text, reply(choose_empathy(topic, ask, draw), choose_steps(topic, ask, draw), draw)]
    if ask.then is not None:
        texts += [ask.then.text, reply(ask.then.empathy, ask.then.steps, draw)]
    roles = ("user", "assistant", "user", "assistant")
    return [{"role": role, "content": fill(text, values)} for role, text in zip(roles, texts, strict=False)]


def lengths(conversations: Sequence[Conversation]) -> list[int]:
    """Return the number of words of every reply."""
    return [
        len(message["content"].split())
        for conversation in conversations
        for message in conversation["messages"]
        if message["role"] == "assistant"
    ]


def converse(topic: Topic, ask: Ask, draw: Draw, seen: set[str]) -> Conversation:
    """Return a conversation with nothing repeated and every reply in the word range."""
    low, high = REPLY_WORDS
    for _ in range(MAX_DRAWS):
        messages = compose(topic, ask, draw)
        conversation: Conversation = {"messages": messages, "topic": topic.name}
        texts = {message["content"] for message in messages}
        words = lengths([conversation])
        if low <= min(words) and max(words) <= high and not texts & seen:
            seen |= texts
            return conversation
    raise ContentError(f"{topic.name}: no new reply of {low} to {high} words for: {ask.text}")


def ungrounded(ask: Ask) -> set[str]:
    """Return the details that an answer names although the customer has not given them."""
    given = slots_in(ask.text)
    loose = slots_in(" ".join([ask.empathy, *ask.steps])) - given
    if ask.then is not None:
        given |= slots_in(ask.then.text)
        loose |= slots_in(" ".join([ask.then.empathy, *ask.then.steps])) - given
    return loose


def check_content() -> None:
    """Reject ungrounded answers and phrasings written twice, also across the two sides of the split."""
    texts: Counter[str] = Counter()
    for ask in (ask for topic in TOPICS for ask in [*topic.asks, *topic.heldout]):
        if loose := ungrounded(ask):
            raise ContentError(f"{sorted(loose)} not given by the customer in: {ask.text}")
        texts.update([ask.text.casefold(), *([ask.then.text.casefold()] if ask.then else [])])
    if twice := [text for text, count in texts.items() if count > 1]:
        raise ContentError(f"phrasings written twice: {twice}")


def build() -> tuple[list[Conversation], list[Conversation]]:
    """Return the training and the held-out conversations."""
    check_content()
    seen: set[str] = set()
    draws = {topic.name: Draw(random.Random(f"{SEED}/{topic.name}")) for topic in TOPICS}
    heldout = [converse(topic, ask, draws[topic.name], seen) for topic in TOPICS for ask in topic.heldout]
    train = [converse(topic, ask, draws[topic.name], seen) for topic in TOPICS for ask in topic.asks]
    order = Draw(random.Random(f"{SEED}/order"))
    return order.shuffled(train), [heldout[0], *order.shuffled(heldout[1:])]


def render(conversations: Sequence[Conversation]) -> str:
    """Return the conversations as JSON Lines."""
    return "".join(json.dumps(conversation, ensure_ascii=False) + "\n" for conversation in conversations)


def summary(name: str, conversations: Sequence[Conversation]) -> str:
    """Return one line of counts."""
    words = lengths(conversations)
    two_turns = sum(bool(conversation["messages"][2:]) for conversation in conversations)
    topics = len({conversation["topic"] for conversation in conversations})
    return (
        f"{name}: {len(conversations)} conversations, {two_turns} of them with two turns; {topics} topics; "
        f"{len(words)} replies, words min/mean/max {min(words)}/{sum(words) / len(words):.1f}/{max(words)}"
    )


def main() -> int:
    """Write both files, or compare them with `--check`."""
    parser = argparse.ArgumentParser(description="Write train.jsonl and heldout.jsonl next to this script.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file differs")
    check: bool = parser.parse_args().check
    train, heldout = build()
    stale = []
    for name, conversations in (("train.jsonl", train), ("heldout.jsonl", heldout)):
        path, data = FOLDER / name, render(conversations).encode()
        if not check:
            path.write_bytes(data)
        elif not path.is_file() or path.read_bytes() != data:
            stale.append(name)
        print(summary(name, conversations))
    if stale:
        print(
            f"{' and '.join(stale)} in {FOLDER} differ from what generate.py makes; run it without --check",
            file=sys.stderr,
        )
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
