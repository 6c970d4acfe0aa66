"""Write preferences between good and bad support replies: pairs, and single answers with a label.

The good replies are those of data/support; the bad ones are put together from the sentences in `content.py`, or belong to
another customer's problem. A fixed seed makes every run give the same bytes. `--check` writes nothing and exits 1 if
the files on disk differ.
"""

import argparse
import json
import random
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypedDict, TypeVar

import content

SEED = "northwind-preferences-1"
FOLDER = Path(__file__).resolve().parent
SUPPORT = FOLDER.parent / "support"
REPLY_WORDS = (40, 110)
MAX_DRAWS = 200

T = TypeVar("T")


class Message(TypedDict):
    """One chat message."""

    role: str
    content: str


class Request(TypedDict):
    """What a customer asks, and the good reply."""

    topic: str
    prompt: list[Message]
    reply: str


class ContentError(ValueError):
    """The handwritten content does not suffice for a data set that keeps its promises."""


class Draw:
    """A random source built on `random()`, whose sequence no Python release changes."""

    def __init__(self, seed: str) -> None:
        self._rng = random.Random(seed)

    def pick(self, options: Sequence[T]) -> T:
        """Return one of the options."""
        return options[int(self._rng.random() * len(options))]

    def sample(self, options: Sequence[T], count: int) -> list[T]:
        """Return `count` different options in random order."""
        return self.shuffled(options)[:count]

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """Return the items in random order."""
        keyed = [(self._rng.random(), position) for position in range(len(items))]
        return [items[position] for _, position in sorted(keyed)]


def rude(request: Request, others: Sequence[Request], draw: Draw) -> str:
    """A reply that insults the customer."""
    del others
    parts = [draw.pick(content.RUDE_OPENINGS), *draw.sample(content.RUDE_BODIES, draw.pick([2, 3, 4]))]
    return " ".join([*parts, draw.pick(content.RUDE_CLOSINGS)]).format(subject=content.SUBJECTS[request["topic"]])


def vague(request: Request, others: Sequence[Request], draw: Draw) -> str:
    """A polite reply without any help."""
    del others
    parts = [draw.pick(content.VAGUE_OPENINGS), *draw.sample(content.VAGUE_BODIES, draw.pick([3, 4, 5]))]
    return " ".join([*parts, draw.pick(content.VAGUE_CLOSINGS)]).format(subject=content.SUBJECTS[request["topic"]])


def off_topic(request: Request, others: Sequence[Request], draw: Draw) -> str:
    """A good reply to another topic."""
    return draw.pick([other["reply"] for other in others if other["topic"] != request["topic"]])


def made_up(request: Request, others: Sequence[Request], draw: Draw) -> str:
    """The good reply with steps that follow rules which do not exist."""
    del others
    return _with_steps(request["reply"], draw.sample(content.MADE_UP_STEPS, draw.pick([2, 3, 4])))


def unsafe(request: Request, others: Sequence[Request], draw: Draw) -> str:
    """The good reply with steps that put the customer at risk."""
    del others
    return _with_steps(request["reply"], draw.sample(content.UNSAFE_STEPS, draw.pick([2, 3, 4])))


def _with_steps(reply: str, steps: list[str]) -> str:
    first, *_, last = reply.splitlines()
    return "\n".join([first, *(f"{number}. {step}" for number, step in enumerate(steps, start=1)), last])


FAULTS: dict[str, tuple[Callable[[Request, Sequence[Request], Draw], str], float]] = {
    "rude": (rude, 1.0),
    "unsafe": (unsafe, 1.0),
    "made_up": (made_up, 0.67),
    "off_topic": (off_topic, 0.67),
    "vague": (vague, 0.33),
}
"""What is wrong with a rejected reply: how it is made, and the margin by which the good one is better."""


def requests(part: str, every_turn: bool) -> list[Request]:
    """Return what customers ask in a file of data/support: the last turn of each conversation, or every turn."""
    found: list[Request] = []
    for line in (SUPPORT / f"{part}.jsonl").read_text(encoding="utf-8").splitlines():
        conversation = json.loads(line)
        messages: list[Message] = conversation["messages"]
        for end in range(1, len(messages), 2):
            if every_turn or end == len(messages) - 1:
                found.append(
                    {"topic": conversation["topic"], "prompt": messages[:end], "reply": messages[end]["content"]}
                )
    return found


def pairs(part: str, every_turn: bool, seen: set[str]) -> list[dict[str, Any]]:
    """Return the pairs of one file in random order, the faults dealt out evenly."""
    draw = Draw(f"{SEED}/{part}")
    asked = draw.shuffled(requests(part, every_turn))
    deck = (list(FAULTS) * (len(asked) // len(FAULTS) + 1))[: len(asked)]
    return [pair(request, fault, asked, draw, seen) for request, fault in zip(asked, draw.shuffled(deck), strict=True)]


def pair(request: Request, fault: str, asked: Sequence[Request], draw: Draw, seen: set[str]) -> dict[str, Any]:
    """Return a pair whose rejected reply is of reasonable length and stands in no other pair."""
    make, margin = FAULTS[fault]
    low, high = REPLY_WORDS
    for _ in range(MAX_DRAWS):
        rejected = make(request, asked, draw)
        if rejected not in seen and low <= len(rejected.split()) <= high:
            seen.add(rejected)
            answers = {"chosen": request["reply"], "rejected": rejected}
            told = {name: [{"role": "assistant", "content": text}] for name, text in answers.items()}
            return {"prompt": request["prompt"], **told, "margin": margin, "topic": request["topic"], "fault": fault}
    raise ContentError(f"no new {fault} reply for: {request['prompt'][-1]['content']}")


def labelled(preferences: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return one answer of each pair, good and bad in turn."""
    return [
        {
            "prompt": preference["prompt"],
            "completion": preference["chosen" if index % 2 == 0 else "rejected"],
            "label": index % 2 == 0,
            "topic": preference["topic"],
        }
        for index, preference in enumerate(preferences)
    ]


def build() -> dict[str, list[dict[str, Any]]]:
    """Return the lines of every file."""
    seen: set[str] = set()
    heldout = pairs("heldout", every_turn=True, seen=seen)
    train = pairs("train", every_turn=False, seen=seen)
    return {
        "pairs_train": train,
        "pairs_heldout": heldout,
        "labelled_train": labelled(train),
        "labelled_heldout": labelled(heldout),
    }


def summary(name: str, lines: Sequence[dict[str, Any]]) -> str:
    """Return one line of counts."""
    by = "fault" if "fault" in lines[0] else "label"
    counts = Counter(str(line[by]) for line in lines)
    return f"{name}.jsonl: {len(lines)} lines; " + ", ".join(f"{key} {count}" for key, count in sorted(counts.items()))


def main() -> int:
    """Write all files, or compare them with `--check`."""
    parser = argparse.ArgumentParser(description="Write the preference files next to this script.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file differs")
    check: bool = parser.parse_args().check
    stale = []
    for name, lines in build().items():
        path = FOLDER / f"{name}.jsonl"
        data = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()
        if not check:
            path.write_bytes(data)
        elif not path.is_file() or path.read_bytes() != data:
            stale.append(path.name)
        print(summary(name, lines))
    if stale:
        print(f"{' and '.join(stale)} differ from what generate.py makes; run it without --check", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
