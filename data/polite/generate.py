"""Write the polite and grumpy office texts: conversations, preference pairs and prompts for the RLHF recipe.

The texts are handwritten (`content.py`, `kinds_*.py`); this script combines them with a fixed seed, so that every run
gives the same bytes. `--check` writes nothing and exits 1 if the files on disk differ. Either way, content that breaks a
rule of the README exits 1 with the reason.
"""

import argparse
import json
import random
import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import kinds_advice
import kinds_complaints
import kinds_favours
import kinds_jokes
import kinds_jokes_more
import kinds_people
import kinds_talk
from content import CLOSERS, GREETINGS, OPENERS, VALUES, Kind

SEED = "kind-words-1"
FOLDER = Path(__file__).resolve().parent
KINDS: list[Kind] = [
    *kinds_jokes.KINDS,
    *kinds_jokes_more.KINDS,
    *kinds_talk.KINDS,
    *kinds_favours.KINDS,
    *kinds_advice.KINDS,
    *kinds_complaints.KINDS,
    *kinds_people.KINDS,
]
WORDS = (10, 40)
MOST_DIFFERENCE = 0.05
RUN = 6
AT_LEAST = {"asks": 50, "warm": 60, "grumpy": 60}
GREETED = 0.4
SIDES = ("train", "judge", "heldout")
SFT = {"sft_train.jsonl": (240, "train"), "sft_heldout.jsonl": (40, "heldout")}
PAIRS = {
    "pairs_train.jsonl": (400, "train"),
    "pairs_heldout.jsonl": (80, "heldout"),
    "pairs_judge.jsonl": (300, "judge"),
}
PROMPTS = {"prompts_train.jsonl": (300, "train"), "prompts_heldout.jsonl": (60, "prompts")}
MANNERS = ("warm", "grumpy")

T = TypeVar("T")
Row = dict[str, Any]


class ContentError(ValueError):
    """The handwritten content cannot be turned into a data set that keeps its promises."""


def lines(text: str) -> list[str]:
    """Return the texts of a block, one a line."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def words(text: str) -> int:
    """Return the number of words."""
    return len(text.split())


def placeholders(text: str) -> set[str]:
    """Return the names of the placeholders in a text."""
    return set(re.findall(r"\{(\w+)\}", text))


def runs(text: str) -> set[str]:
    """Return every run of `RUN` words of a text, without case and punctuation."""
    found = re.findall(r"[\w{}]+", text.lower())
    return {" ".join(found[start : start + RUN]) for start in range(len(found) - RUN + 1)}


def fill(text: str, values: Mapping[str, str]) -> str:
    """Return the text with its placeholders replaced and `a` before a vowel made `an`."""
    filled = re.sub(r"\{(\w+)\}", lambda match: values[match[1]], text)
    return re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", filled)


@dataclass
class Writer:
    """A random source, how often each piece was used, and the texts already written."""

    rng: random.Random
    used: Counter[str] = field(default_factory=Counter)
    replies: set[str] = field(default_factory=set)

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

    def values(self, names: Iterable[str], side: str) -> dict[str, str]:
        """Return a value for each placeholder."""
        pools = VALUES["heldout" if side == "prompts" else side]
        return {name: self.fresh(pools[name].split("|")) for name in sorted(names)}

    def ask(self, kind: Kind, side: str, seen: set[str]) -> tuple[str, dict[str, str]]:
        """Return a request that is not in `seen`, and the values of its placeholders."""
        greetings = GREETINGS["heldout" if side == "prompts" else side].split("|")
        for _ in range(200):
            text = self.fresh(lines(kind.asks[side]))
            values = self.values(placeholders(text), side)
            ask = fill(text, values)
            if ask in seen or (values and self.rng.random() < GREETED):
                ask = f"{self.fresh(greetings)} {ask}"
            if ask not in seen:
                seen.add(ask)
                return ask, values
        raise ContentError(f"{kind.name}: too few {side} requests")

    def reply(self, kind: Kind, manner: str, side: str, values: Mapping[str, str], goal: float | None = None) -> str:
        """Return a reply that no file has yet: a body, mostly with an opener or a closer or both.

        With a goal, opener and closer are there or not as brings the number of words closest to it.
        """
        group = kind.group if manner == "warm" else "grumpy"
        for _ in range(200):
            body = self.fresh(lines(getattr(kind, manner)[side]))
            opener = self.fresh(OPENERS[group][side].split("|"))
            closer = self.fresh(CLOSERS[group][side].split("|"))
            shapes = self.shuffled([(opener, body), (body, closer), (opener, body, closer), (body,)])
            known = {**self.values(["other"], side), **values}
            texts = [fill(" ".join(shape), known) for shape in shapes]
            texts = [text for text in texts if WORDS[0] <= words(text) <= WORDS[1] and text not in self.replies]
            if texts:
                text = texts[0] if goal is None else min(texts, key=lambda text: abs(words(text) - goal))
                self.replies.add(text)
                return text
        raise ContentError(f"{kind.name}: too few {manner} {side} replies")


def drawn(count: int) -> list[Kind]:
    """Return `count` kinds, each as often as its weight says."""
    whole = sum(kind.weight for kind in KINDS)
    shares = [(count * kind.weight / whole, position) for position, kind in enumerate(KINDS)]
    counts = [int(share) for share, _ in shares]
    for _, position in sorted(shares, key=lambda share: int(share[0]) - share[0])[: count - sum(counts)]:
        counts[position] += 1
    return [kind for kind, number in zip(KINDS, counts, strict=True) for _ in range(number)]


def turn(role: str, content: str) -> dict[str, str]:
    """Return one chat message."""
    return {"role": role, "content": content}


def build() -> dict[str, list[Row]]:
    """Return the lines of each file."""
    writer = Writer(random.Random(SEED))
    files: dict[str, list[Row]] = {}
    seen: set[str]
    asked: dict[str, set[str]] = {}
    for name, (count, side) in PAIRS.items():
        seen, files[name], ahead = asked.setdefault(name, set()), [], 0
        for kind in drawn(count):
            ask, values = writer.ask(kind, side, seen)
            chosen = writer.reply(kind, "warm", side, values)
            rejected = writer.reply(kind, "grumpy", side, values, words(chosen) + ahead)
            ahead += words(chosen) - words(rejected)
            row = {"prompt": [turn("user", ask)]}
            files[name].append(row | {"chosen": [turn("assistant", chosen)], "rejected": [turn("assistant", rejected)]})
    for name, (count, side) in SFT.items():
        # Held-out requests are not used twice; training requests may come again in another training file.
        seen, files[name] = set(asked["pairs_heldout.jsonl"]) if side == "heldout" else set(), []
        for position, kind in enumerate(drawn(count)):
            ask, values = writer.ask(kind, side, seen)
            reply = writer.reply(kind, MANNERS[position % 2], side, values)
            files[name].append({"messages": [turn("user", ask), turn("assistant", reply)]})
    for name, (count, side) in PROMPTS.items():
        seen = set()
        files[name] = [{"prompt": writer.ask(kind, side, seen)[0]} for kind in drawn(count)]
    return {name: writer.shuffled(rows) for name, rows in sorted(files.items())}


def prompts_of(rows: Sequence[Row]) -> list[str]:
    """Return the user messages of a file."""
    return [
        row["messages"][0]["content"]
        if "messages" in row
        else row["prompt"]
        if isinstance(row["prompt"], str)
        else row["prompt"][0]["content"]
        for row in rows
    ]


def replies_of(rows: Sequence[Row], keys: Sequence[str] = ("messages", "chosen", "rejected")) -> list[str]:
    """Return the assistant messages of a file."""
    return [row[key][-1]["content"] for row in rows for key in keys if key in row]


def mean(values: Sequence[int]) -> float:
    """Return the mean."""
    return sum(values) / len(values)


def check_pieces() -> None:
    """Reject handwritten texts that do not fit together or that stand on two sides of the split."""
    for what, least in AT_LEAST.items():
        sides = {side: [text for kind in KINDS for text in lines(getattr(kind, what)[side])] for side in SIDES}
        if what == "asks":
            sides["prompts"] = [text for kind in KINDS for text in lines(kind.asks["prompts"])]
        every = [text for texts in sides.values() for text in texts]
        if twice := [text for text, count in Counter(every).items() if count > 1]:
            raise ContentError(f"written twice: {twice}")
        if len(every) < least:
            raise ContentError(f"only {len(every)} {what}, not {least}")
        for one, other in ((one, other) for one in sides for other in sides if one < other):
            if shared := {run for text in sides[one] for run in runs(text)} & {
                run for text in sides[other] for run in runs(text)
            }:
                raise ContentError(f"{what} of {one} and {other} share {sorted(shared)}")
    for kind in KINDS:
        given = set.intersection(*(placeholders(text) for side in kind.asks.values() for text in lines(side)))
        for text in lines("\n".join([*kind.warm.values(), *kind.grumpy.values()])):
            if loose := placeholders(text) - given - {"other"}:
                raise ContentError(f"{kind.name}: {sorted(loose)} not in every request: {text}")
    for pieces in ({"greetings": GREETINGS}, OPENERS, CLOSERS):
        for group, by_side in pieces.items():
            count = Counter(piece for side in SIDES for piece in by_side[side].split("|"))
            if twice := [piece for piece, number in count.items() if number > 1]:
                raise ContentError(f"{group}: on two sides or twice: {twice}")


def check_files(files: Mapping[str, Sequence[Row]]) -> None:
    """Reject files that break a promise of the README."""
    asked = {name: prompts_of(rows) for name, rows in files.items()}
    replied = {name: replies_of(rows) for name, rows in files.items()}
    for name, texts in [*asked.items(), *replied.items()]:
        if twice := [text for text, count in Counter(texts).items() if count > 1]:
            raise ContentError(f"{name}: twice: {twice}")
        if broken := [text for text in texts if re.search(r"[{}|]|\.\.|  |(^|[.!?] )[a-z]|[^.!?]$", text)]:
            raise ContentError(f"{name}: slips: {broken}")
    train = [name for name in files if name.endswith("_train.jsonl")]
    rules = [(name, train) for name in files if name.endswith("_heldout.jsonl")]
    rules.append(("pairs_judge.jsonl", [name for name in files if name != "pairs_judge.jsonl"]))
    rules.append(("prompts_heldout.jsonl", [name for name in files if name != "prompts_heldout.jsonl"]))
    for name, others in rules:
        for other in others:
            for what, texts in (("requests", asked), ("replies", replied)):
                if shared := set(texts[name]) & set(texts[other]):
                    raise ContentError(f"{name} and {other} share {what}: {sorted(shared)}")
    for name in PAIRS:
        chosen, rejected = ([words(text) for text in replies_of(files[name], [key])] for key in ("chosen", "rejected"))
        if abs(mean(chosen) / mean(rejected) - 1) > MOST_DIFFERENCE:
            raise ContentError(f"{name}: chosen has {mean(chosen):.1f} words, rejected {mean(rejected):.1f}")


def summary(name: str, rows: Sequence[Row]) -> str:
    """Return one line of counts."""
    text = f"{name}: {len(rows)} lines; mean words: request {mean([words(ask) for ask in prompts_of(rows)]):.1f}"
    for key in ("messages", "chosen", "rejected"):
        if replies := replies_of(rows, [key]):
            text += f", {'reply' if key == 'messages' else key} {mean([words(reply) for reply in replies]):.1f}"
    return text


def main() -> int:
    """Write the files, or compare them with `--check`."""
    parser = argparse.ArgumentParser(description="Write the JSON Lines files next to this script.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file differs")
    check: bool = parser.parse_args().check
    try:
        check_pieces()
        files = build()
        check_files(files)
    except ContentError as error:
        print(error, file=sys.stderr)
        return 1
    stale = []
    for name, rows in files.items():
        path, data = FOLDER / name, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
        if not check:
            path.write_bytes(data)
        elif not path.is_file() or path.read_bytes() != data:
            stale.append(name)
        print(summary(name, rows))
    counts = {
        what: sum(len(lines(text)) for kind in KINDS for text in getattr(kind, what).values()) for what in AT_LEAST
    }
    print(f"{len(KINDS)} kinds; handwritten: {counts}")
    if stale:
        print(f"{', '.join(stale)} differ from what generate.py makes; run it without --check", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
