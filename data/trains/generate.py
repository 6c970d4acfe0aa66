"""Write the word problems `prompts_*.jsonl` and the worked examples `sft_*.jsonl`.

The templates are handwritten; this script fills them with a fixed seed, so that every run gives the same bytes.
`--check` writes nothing and exits 1 if the files on disk differ.
"""

import argparse
import json
import random
import re
from collections import Counter
from collections.abc import Iterable
from operator import add, floordiv, mul, sub
from pathlib import Path
from typing import NamedTuple, TypeVar

SEED = "trains-4"
MOST_WORDS = 29
HELDOUT_ONLY = 2  # so many templates at the end of each kind's list are used in prompts_heldout alone
FOLDER = Path(__file__).resolve().parent
FILES = {  # the side of the split that a file takes its numbers from, and its lines of each kind
    "prompts_train": ("train", (240, 240, 270, 180, 120, 225, 225)),
    "prompts_heldout": ("heldout", (32, 32, 36, 24, 16, 30, 30)),
    "sft_train": ("train", (4, 4, 4, 3, 2, 4, 3)),
    "sft_heldout": ("sft_heldout", (7, 6, 7, 5, 3, 6, 6)),
}
SIDES = {0: "heldout", 1: "sft_heldout", 5: "heldout"}  # of every ten triples; the others are for training
OPERATORS = {"/": floordiv, "*": mul, "-": sub, "+": add}
VEHICLES = {  # by their highest speed in km/h
    90: ["train", "bus", "car", "lorry", "van", "taxi", "coach", "motorbike", "speedboat"],
    50: ["boat", "ferry", "tram", "ship", "scooter", "tractor"],
    30: ["cyclist", "skater", "barge", "cart"],
}
NAMES = ["Tom", "Anna", "Ben", "Mia", "Sam", "Lena", "Max", "Nora", "Paul", "Ida", "Omar", "Ruth", "Leo", "Zoe", "Karl"]
THINGS = ["apple", "pear", "plum", "pen", "card", "book", "cake", "ball", "stamp", "mug", "shell", "ticket", "marble"]

T = TypeVar("T")


class Kind(NamedTuple):
    """A kind of problem: `a operator b`, with `{a}` and `{b}` in its templates."""

    name: str
    operator: str
    numbers: list[tuple[int, int]]
    templates: list[str]


class Problem(NamedTuple):
    """A word problem and its equation."""

    kind: Kind
    prompt: str
    a: int
    b: int
    answer: int


TRIPS = [(speed, hours) for speed in range(10, 91, 10) for hours in range(2, 7)]
KINDS = [
    Kind("time", "/", [(speed * hours, speed) for speed, hours in TRIPS], [
        "A {v} goes {b} km/h. How long does it take for {a} km?",
        "A {v} covers {a} km at {b} km/h. How many hours does that take?",
        "How many hours does a {v} need for {a} km at {b} km/h?",
        "The next town is {a} km away. A {v} travels at {b} km/h. How many hours is the trip?",
        "At a steady {b} km/h, how long does a {v} take to cover {a} km, in hours?",
        "Every hour a {v} gets {b} km further. After how many hours are {a} km done?",
        "A {v} has {a} km ahead and keeps a speed of {b} km/h. How many hours are left?",
        "A route is {a} km long. How many hours does a {v} spend on it at {b} km/h?",
        "{n} waits for a {v} that is {a} km away and comes at {b} km/h. How many hours is the wait?",
        "A {v} leaves at {b} km/h. How many hours have passed when {a} km are done?",
        "{n} sees a {v} set off on a trip of {a} km, at {b} km/h. In how many hours is it over?",
    ]),
    Kind("speed", "/", [(speed * hours, hours) for speed, hours in TRIPS], [
        "A {v} goes {a} km in {b} hours. How fast is that in km/h?",
        "In {b} hours a {v} covers {a} km. What is the speed in km/h?",
        "How fast must a {v} go to cover {a} km in {b} hours? Answer in km/h.",
        "A {v} needs {b} hours for {a} km. How many km does the {v} go in one hour?",
        "A trip is {a} km long and takes a {v} {b} hours. What is the average speed in km/h?",
        "It takes a {v} {b} hours to reach a town {a} km away. How many km/h is that?",
        "After {b} hours at the same speed, a {v} has gone {a} km. What is that speed in km/h?",
        "{n} sees a {v} leave. After {b} hours the {v} is {a} km away. What is the speed in km/h?",
        "A {v} has {a} km to go and {b} hours left. What speed in km/h is needed?",
        "{n} times a {v}: {a} km in {b} hours. How many km/h is that?",
        "What speed in km/h takes a {v} over {a} km in exactly {b} hours?",
    ]),
    Kind("distance", "*", TRIPS, [
        "A {v} goes {a} km/h for {b} hours. How many km is that?",
        "How far does a {v} get in {b} hours at {a} km/h? Answer in km.",
        "A {v} travels for {b} hours at a speed of {a} km/h. How far does the {v} go, in km?",
        "At {a} km/h, how many km does a {v} cover in {b} hours?",
        "A {v} covers {a} km every hour. How many km is that in {b} hours?",
        "A trip takes a {v} {b} hours at {a} km/h. How long is the trip in km?",
        "{n} watches a {v} leave at {a} km/h. How many km away is the {v} after {b} hours?",
        "A {v} sets off and moves at {a} km/h. What distance in km is covered after {b} hours?",
        "A {v} keeps going for {b} hours, {a} km in each of them. What is the distance in km?",
        "For {b} hours a {v} does not stop and holds {a} km/h. How many km does the {v} travel?",
        "{n} asks how far a {v} comes in {b} hours at {a} km/h. What is the answer in km?",
    ]),
    Kind("price", "*", [(count, price) for count in range(2, 11) for price in range(2, 7)], [
        "{n} buys {a} {x} for {b} {c} each. How many {c} does {n} pay?",
        "One {o} costs {b} {c}. How many {c} do {a} {x} cost?",
        "A shop sells {x} at {b} {c} each. What is the price of {a} {x} in {c}?",
        "{n} has {a} {x} in the basket, {b} {c} each. What is the bill in {c}?",
        "Each {o} is {b} {c}. {n} takes {a} of them. How many {c} is that?",
        "How many {c} does {n} need for {a} {x} at {b} {c} each?",
        "{n} sells {a} {x} and gets {b} {c} for every {o}. How many {c} does {n} get?",
        "{n} pays {b} {c} for each of {a} {x}. How many {c} is that all together?",
        "At {b} {c} apiece, how many {c} do {a} {x} cost?",
        "{n} orders {a} {x}. Every {o} is {b} {c}. What is the total in {c}?",
        "Each of {a} people buys one {o} for {b} {c}. How many {c} do they spend?",
    ]),
    Kind("share", "/", [(people * each, people) for people in range(2, 7) for each in range(2, 11)], [
        "{n} shares {a} {x} equally among {b} friends. How many {x} does each friend get?",
        "A group of {b} children shares {a} {x} equally. How many {x} does each child get?",
        "{n} puts {a} {x} into {b} bags, the same number in each. How many {x} are in one bag?",
        "There are {a} {x} for {b} tables, the same number on each. How many {x} are on one table?",
        "In a game, {a} {x} go equally to {b} players. How many {x} does each player have?",
        "All in all {b} boxes hold {a} {x}, each the same number. How many {x} are in one box?",
        "A teacher gives {a} {x} to {b} pupils, the same number to each. How many does one pupil get?",
        "How many {x} does each of {b} children get if {a} {x} are split equally?",
        "{n} buys {b} {x}, all at the same price, for {a} {c}. How many {c} does one {o} cost?",
        "A shop spreads {a} {x} over {b} shelves, equally. How many {x} are on each shelf?",
        "For {b} equal {x} {n} pays {a} {c} in all. What is the price of one {o} in {c}?",
    ]),
    Kind("left", "-", [(a, b) for a in range(4, 11) for b in range(2, a - 1)], [
        "{n} has {a} {x} and gives away {b}. How many {x} are left?",
        "{n} buys {a} {x}. {m} takes {b} of them. How many {x} does {n} still have?",
        "There are {a} {x} in a box. {n} takes out {b}. How many {x} stay in the box?",
        "{n} loses {b} of {a} {x}. How many {x} remain?",
        "{n} has {a} {x} and {m} has {b}. How many more {x} does {n} have?",
        "{n} needs {a} {x} and already has {b}. How many {x} are missing?",
        "One {o} costs {b} {c}. {n} pays with {a} {c}. How many {c} does {n} get back?",
        "A {v} has done {b} of {a} km. How many km are left?",
        "A {v} needs {b} hours for a trip that once took {a} hours. How many hours does that save?",
        "Out of {a} {x}, {n} hands {b} to {m}. How many {x} does {n} keep?",
        "{n} is {b} years old and {m} is {a}. How many years older is {m}?",
    ]),
    Kind("total", "+", [(a, b) for a in range(2, 11) for b in range(2, 11)], [
        "{n} has {a} {x} and buys {b} more. How many {x} does {n} have now?",
        "{n} has {a} {x} and {m} has {b}. How many {x} do they have together?",
        "{n} finds {a} {x} in the morning and {b} in the evening. How many {x} is that in all?",
        "There are {a} {x} in one box and {b} in another. How many {x} are in both?",
        "{m} gives {b} {x} to {n}, who had {a} before. How many {x} does {n} have now?",
        "{n} gives away {a} {x} and keeps {b}. How many {x} did {n} have at first?",
        "A {v} goes {a} km, stops, and goes {b} km more. How many km is that in all?",
        "A {v} travels for {a} hours and then for {b} hours more. How many hours is that?",
        "{n} pays {a} {c} for a hat and {b} {c} for a scarf. How many {c} is that?",
        "{n} takes {b} {x} out of a bag and {a} are still in it. How many {x} were there before?",
        "{n} reads {a} pages today and {b} pages tomorrow. How many pages is that?",
    ]),
]  # fmt: skip


def triple(kind: Kind, a: int, b: int) -> tuple[int, ...]:
    """Return the numbers of a problem and its answer, whatever their order."""
    return tuple(sorted((a, b, OPERATORS[kind.operator](a, b))))


def shuffled(items: Iterable[T], rng: random.Random) -> list[T]:
    """Return the items in random order; built on `random()`, the same in every Python release."""
    return sorted(items, key=lambda _: rng.random())


def split() -> dict[tuple[int, ...], str]:
    """Return the side of every triple, the same one for all kinds in which it occurs."""
    sides: dict[tuple[int, ...], str] = {}
    for kind in KINDS:
        new = sorted({triple(kind, a, b) for a, b in kind.numbers} - set(sides))
        for position, numbers in enumerate(shuffled(new, random.Random(f"{SEED}/{kind.name}"))):
            sides[numbers] = SIDES.get(position % 10, "train")
    return sides


def fill(template: str, kind: Kind, a: int, b: int, rng: random.Random) -> str:
    """Return the template with its placeholders replaced, the vehicle fitting the speed."""
    speed = {"time": b, "speed": a // b, "distance": a}.get(kind.name, 0)
    vehicles = [name for highest, names in VEHICLES.items() for name in names if speed <= highest]
    v, o, c = (shuffled(pool, rng)[0] for pool in (vehicles, THINGS, ["euros", "dollars", "coins"]))
    n, m = shuffled(NAMES, rng)[:2]
    return template.format(a=a, b=b, v=v, n=n, m=m, x=f"{o}s", o=o, c=c)


def build() -> dict[str, list[Problem]]:
    """Return the problems of every file, all prompts different, numbers and templates used about equally often."""
    sides, files, seen = split(), {}, set[str]()
    for file, (side, counts) in FILES.items():
        rng, problems = random.Random(f"{SEED}/{file}"), list[Problem]()
        for kind, count in zip(KINDS, counts, strict=True):
            numbers = shuffled([pair for pair in kind.numbers if sides[triple(kind, *pair)] == side], rng)
            uses = Counter(dict.fromkeys(kind.templates[: None if file == "prompts_heldout" else -HELDOUT_ONLY], 0))
            for line in range(count):
                a, b = numbers[line % len(numbers)]
                template, prompt = min(shuffled(uses, rng), key=uses.__getitem__), ""
                while not prompt or prompt in seen:
                    prompt = fill(template, kind, a, b, rng)
                uses[template] += 1
                seen.add(prompt)
                problems.append(Problem(kind, prompt, a, b, OPERATORS[kind.operator](a, b)))
        files[file] = shuffled(problems, rng)
    return files


def render(file: str, problem: Problem) -> str:
    """Return the line of a problem."""
    kind, prompt, a, b, answer = problem
    if file.startswith("prompts"):
        return json.dumps({"prompt": prompt, "answer": str(answer), "kind": kind.name})
    reply = f"{a} {kind.operator} {b} = {answer}\n#### {answer}"
    return json.dumps({"messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": reply}]})


def verify(files: dict[str, list[Problem]]) -> None:
    """Stop if an answer is wrong, a prompt too long, or numbers are on two sides of the split."""
    sides: dict[tuple[int, ...], str] = {}
    for file, problems in files.items():
        for problem in problems:
            kind, prompt, a, b, answer = problem
            low, high = sorted(int(number) for number in re.findall(r"\d+", prompt))
            right = {"/": low * answer == high, "*": low * high == answer, "-": high - low == answer}
            if not right.get(kind.operator, low + high == answer) or [low, high] != sorted((a, b)) or answer < 1:
                raise SystemExit(f"{kind.name}: {answer} is wrong: {prompt}")
            line, form = json.loads(render(file, problem)), rf"(\d+ [-+*/] \d+ = {answer}\n#### )?{answer}"
            given = line["answer"] if "answer" in line else line["messages"][1]["content"]
            if not re.fullmatch(form, given) or len(prompt.split()) > MOST_WORDS:
                raise SystemExit(f"{file}: not the form of an answer, or more than {MOST_WORDS} words: {line}")
            if sides.setdefault(triple(kind, a, b), FILES[file][0]) != FILES[file][0]:
                raise SystemExit(f"{file}: {a}, {b} and {answer} are also in a file of another side: {prompt}")


def main() -> None:
    """Write the files, or compare them with those on disk."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file differs")
    check = parser.parse_args().check
    files = build()
    verify(files)
    for file, problems in files.items():
        path, text = FOLDER / f"{file}.jsonl", "".join(f"{render(file, problem)}\n" for problem in problems)
        if not check:
            path.write_text(text, encoding="utf-8", newline="\n")
        elif not path.is_file() or path.read_bytes() != text.encode():
            raise SystemExit(f"{path.name} differs from what generate.py writes")
        print(f"{path.name}: {len(problems)} lines", dict(Counter(problem.kind.name for problem in problems)))


if __name__ == "__main__":
    main()
