"""Write the explanations of quantum computing `train.jsonl` and `heldout.jsonl`.

The content is handwritten (`concepts_*.py`); this script combines it with a fixed seed, so that every run
gives the same bytes. `--check` writes nothing and exits 1 if the files on disk differ.
"""

import argparse
import json
import random
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict, TypeVar

import concepts_algorithms
import concepts_circuits
import concepts_correction
import concepts_entanglement
import concepts_gates
import concepts_hardware
import concepts_measuring
import concepts_nearterm
import concepts_noise
import concepts_qubits
import concepts_unseen
from content import SHARED, Concept, ContentError, check_concept, repeated, reply

SEED = "quantum-1"
REPLY_WORDS = (55, 100)
RUN_WORDS = 5
CONCEPTS = [
    *concepts_qubits.CONCEPTS,
    *concepts_entanglement.CONCEPTS,
    *concepts_gates.CONCEPTS,
    *concepts_circuits.CONCEPTS,
    *concepts_algorithms.CONCEPTS,
    *concepts_nearterm.CONCEPTS,
    *concepts_noise.CONCEPTS,
    *concepts_measuring.CONCEPTS,
    *concepts_correction.CONCEPTS,
    *concepts_hardware.CONCEPTS,
    *concepts_unseen.CONCEPTS,
]
FOLDER = Path(__file__).resolve().parent

T = TypeVar("T")


class Message(TypedDict):
    """One chat message."""

    role: str
    content: str


class Explanation(TypedDict):
    """One line of the output files."""

    messages: list[Message]
    topic: str


def shuffled(items: Sequence[T], rng: random.Random) -> list[T]:
    """Return the items in random order; built on `random()`, whose sequence no Python release changes."""
    keyed = [(rng.random(), position) for position in range(len(items))]
    return [items[position] for _, position in sorted(keyed)]


def explanation(name: str, ask: str, text: str) -> Explanation:
    """Return one question with its reply."""
    return {"messages": [{"role": "user", "content": ask}, {"role": "assistant", "content": text}], "topic": name}


def mixture(concept: Concept, rng: random.Random) -> dict[str, int]:
    """Return the wordings of the third reply: the required ones, and in all two of each kind."""
    rest = [0, 0, 1, 1]
    for number in concept.third.values():
        rest.remove(number)
    free = [part for part in SHARED if part not in concept.third]
    return {**concept.third, **dict(zip(free, shuffled(rest, rng), strict=True))}


def train_of(concept: Concept, rng: random.Random) -> list[Explanation]:
    """Return the training explanations of a concept."""
    if not concept.asks:
        return []
    plans = [dict.fromkeys(SHARED, 0), dict.fromkeys(SHARED, 1), mixture(concept, rng)]
    found = []
    for ask, example, plan in zip(concept.asks, concept.examples, plans, strict=True):
        lines = {part: options[plan[part]] for part, options in concept.wordings().items()}
        found.append(explanation(concept.name, ask, reply({**lines, "example": example})))
    return found


def heldout_of(concept: Concept, rng: random.Random) -> list[Explanation]:
    """Return the held-out explanation of a concept, if it has one."""
    if concept.heldout is None:
        return []
    lines = concept.heldout.lines()
    if "see" not in lines:
        lines["see"] = shuffled(concept.see, rng)[0]
    return [explanation(concept.name, concept.heldout.ask, reply(lines))]


def replies(explanations: Sequence[Explanation]) -> list[str]:
    """Return the assistant messages."""
    return [item["messages"][1]["content"] for item in explanations]


def check_all(train: Sequence[Explanation], heldout: Sequence[Explanation]) -> None:
    """Reject repeated messages, replies that are too short or too long, and held-out lines used in training."""
    both = [*train, *heldout]
    low, high = REPLY_WORDS
    if twice := repeated([message["content"] for item in both for message in item["messages"]]):
        raise ContentError(f"written twice: {twice}")
    if odd := [text for text in replies(both) if not low <= len(text.split()) <= high]:
        raise ContentError(f"not {low} to {high} words: {odd}")
    known = {line for text in replies(train) for line in text.splitlines() if not line.startswith("See also")}
    if leaked := [line for text in replies(heldout) for line in text.splitlines() if line in known]:
        raise ContentError(f"held-out lines that stand in the training file: {leaked}")


def build() -> tuple[list[Explanation], list[Explanation]]:
    """Return the training and the held-out explanations."""
    for concept in CONCEPTS:
        check_concept(concept)
    rngs = {concept.name: random.Random(f"{SEED}/{concept.name}") for concept in CONCEPTS}
    train = [item for concept in CONCEPTS for item in train_of(concept, rngs[concept.name])]
    heldout = [item for concept in CONCEPTS for item in heldout_of(concept, rngs[concept.name])]
    check_all(train, heldout)
    order = random.Random(f"{SEED}/order")
    return shuffled(train, order), shuffled(heldout, order)


def render(explanations: Sequence[Explanation]) -> str:
    """Return the explanations as JSON Lines."""
    return "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in explanations)


def summary(name: str, explanations: Sequence[Explanation]) -> str:
    """Return one line of counts."""
    words = [len(text.split()) for text in replies(explanations)]
    topics = len({item["topic"] for item in explanations})
    return (
        f"{name}: {len(explanations)} explanations, {topics} concepts; "
        f"reply words min/mean/max {min(words)}/{sum(words) / len(words):.1f}/{max(words)}"
    )


def runs(text: str) -> set[tuple[str, ...]]:
    """Return all runs of a few successive words in a text, labels left out."""
    found = set()
    for line in text.splitlines():
        words = re.findall(r"[^\s.,;:]+", line.partition(": ")[2].casefold())
        found |= {tuple(words[start : start + RUN_WORDS]) for start in range(len(words) - RUN_WORDS + 1)}
    return found


def overlap(name: str, train: Sequence[Explanation], heldout: Sequence[Explanation]) -> str:
    """Return one line on how much of some held-out replies also stands in the training file."""
    known = {line for text in replies(train) for line in text.splitlines()}
    lines = [line for text in replies(heldout) for line in text.splitlines()]
    shared = sum(len(line) for line in lines if line in known) / sum(map(len, lines))
    seen = set().union(*map(runs, replies(train)))
    new = [run for text in replies(heldout) for run in runs(text)]
    common = sum(run in seen for run in new) / len(new)
    return (
        f"{name}: {shared:.1%} of the reply characters are in lines of the training file, "
        f"{common:.1%} of the runs of {RUN_WORDS} words occur there"
    )


def main() -> int:
    """Write both files, or compare them with `--check`."""
    parser = argparse.ArgumentParser(description="Write train.jsonl and heldout.jsonl next to this script.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file differs")
    check: bool = parser.parse_args().check
    train, heldout = build()
    stale = []
    for name, explanations in (("train.jsonl", train), ("heldout.jsonl", heldout)):
        path, data = FOLDER / name, render(explanations).encode()
        if not check:
            path.write_bytes(data)
        elif not path.is_file() or path.read_bytes() != data:
            stale.append(name)
        print(summary(name, explanations))
    unseen = [item for item in heldout if item["topic"] not in {known["topic"] for known in train}]
    print(overlap("held out", train, heldout))
    print(overlap(f"{len(unseen)} concepts only held out", train, unseen))
    if stale:
        print(
            f"{' and '.join(stale)} in {FOLDER} differ from what generate.py makes; run it without --check",
            file=sys.stderr,
        )
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
