"""Goodput: which share of a run's time went into training steps that were kept, and where the rest went.

What is counted. A run's *account* begins with its first attempt (`raysmith run …`), and ends with the last; a run that
was done opens a new account when it is run again. The driver notes when attempts and trainings begin and end
(`timeline.jsonl`); one that was killed is taken to have ended with the last thing that it, or a worker, wrote. The
workers note the rest (`metrics.jsonl`, `spans.jsonl`: trainers/spans.py). So the whole is made of

    steps        optimizer steps that stand, as worker 0 measured them (with what they waited for data)
    lost         steps that were done again after a restart
    measure      held-out measurements while training
    checkpoint   what saving held the workers up
    start        the rest of training: starts and restarts of workers, and what they had begun when they were cut off
    other        attempts outside training: data, evaluation, quantizing, serving
    gap          between two attempts, when no driver was there

and these add up to it. `goodput` is `steps` as a share of training's time: the trainings, and the gaps in the midst of
one.

A wall clock that is set meanwhile changes nothing in what one machine wrote (`cluster.clock`). Where what ends a
stretch was written on another machine than what began it, their clocks count: a training is then taken to have lasted
at least as long as what was measured in it, a gap at least no time, and `report` tells by how much they disagree.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from cluster.clock import Axis, stamp
from cluster.rundir import read_metrics
from trainers.spans import SPANS_FILE

TIMELINE_FILE = "timeline.jsonl"
PARTS = ("steps", "lost", "measure", "checkpoint", "start", "other", "gap")
_ATTEMPT, _TRAINING = "attempt", "training"
_DONE = "done"
_CLOCKS_S = 1.0
"""Clocks that disagree by less are not worth a word."""


class Timeline:
    """What the driver notes of one attempt."""

    def __init__(self, run_folder: Path, attempt: str) -> None:
        self._file, self._attempt = run_folder / TIMELINE_FILE, attempt

    def write(self, what: str, edge: str, **more: Any) -> None:
        """Note that something begins or ends now."""
        record = {**stamp(), "attempt": self._attempt, "what": what, "edge": edge, **more}
        with self._file.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(record) + "\n")

    def begin(self) -> None:
        """The attempt begins."""
        self.write(_ATTEMPT, "begin")

    def end(self, status: str) -> None:
        """The attempt ends."""
        self.write(_ATTEMPT, "end", status=status)

    @contextmanager
    def training(self, name: str) -> Iterator[None]:
        """A training lasts as long as the `with` block; it is complete if that ends without an error."""
        self.write(_TRAINING, "begin", training=name)
        complete = False
        try:
            yield
            complete = True
        finally:
            self.write(_TRAINING, "end", training=name, complete=complete)


@dataclass
class _Interval:
    begin: float
    end: float
    name: str = ""
    complete: bool = False


@dataclass(frozen=True)
class Goodput:
    """Seconds of each part, and what they come to."""

    seconds: dict[str, float]
    """Part → seconds, in the order of `PARTS`."""
    training_s: float
    """The trainings' time, and the gaps in the midst of one."""
    restarts: int
    """How often workers were started again while the driver lived."""
    lost_steps: int
    attempts: int
    restart_s: list[float] = field(default_factory=list)
    """Of each such restart: from the last step before it to the first after it."""
    written_s: list[float] = field(default_factory=list)
    """Of each checkpoint: from the beginning of its save until it was complete."""
    stall_s: list[float] = field(default_factory=list)
    """Of each save: how long it held the workers up."""
    clocks_s: float = 0.0
    """Seconds by which the times of different machines cannot all be true."""

    @property
    def share(self) -> float:
        """The goodput, 0 to 1."""
        return self.seconds["steps"] / self.training_s if self.training_s > 0 else 0.0

    def report(self) -> dict[str, Any]:
        """As it goes into report.json."""
        return {
            "share": round(self.share, 4),
            "training_s": round(self.training_s, 2),
            "wall_s": round(sum(self.seconds.values()), 2),
            "seconds": {part: round(value, 2) for part, value in self.seconds.items()},
            "restarts": self.restarts,
            "lost_steps": self.lost_steps,
            "attempts": self.attempts,
            **({"clocks_disagree_s": round(self.clocks_s, 2)} if self.clocks_s > _CLOCKS_S else {}),
        }


def goodput_of(run_folder: Path) -> Goodput | None:
    """The goodput of the newest account of a run; None when nothing was trained in it."""
    lines = read_metrics(run_folder / TIMELINE_FILE)
    account = _account(lines)
    spans = [one for one in read_metrics(run_folder / SPANS_FILE) if one["attempt"] in account]
    steps = [one for one in read_metrics(run_folder / "metrics.jsonl") if one["attempt"] in account]
    events = [one for one in read_metrics(run_folder / "events.jsonl") if one.get("attempt") in account]
    axis = Axis()
    lines = [one | {"time": axis.at(one)} for one in lines if one["attempt"] in account]
    attempts = _attempts(lines, account, [*spans, *steps, *events], axis)
    trainings = _trainings(lines, attempts)
    if not trainings:
        return None
    complete = {one.name for one in trainings if one.complete}
    lost, earlier = _gone(spans, complete, account)
    own = {one.name for one in trainings}
    seconds = dict.fromkeys(PARTS, 0.0)
    seconds["steps"] = sum(one["seconds"] for one in steps if one["training"] in own) + earlier
    seconds["lost"] = sum(one["seconds"] for one in lost)
    for part in ("measure", "checkpoint"):
        seconds[part] = sum(one["seconds"] for one in spans if one["what"] == part)
    lasted, measured = sum(one.end - one.begin for one in trainings), sum(seconds.values())
    within = max(lasted, measured)
    seconds["start"] = within - measured
    seconds["other"] = max(0.0, sum(one.end - one.begin for one in attempts.values()) - lasted)
    gaps = _gaps(list(attempts.values()), trainings)
    backwards = sum(-length for length, _ in gaps if length < 0)
    gaps = [(max(0.0, length), inside) for length, inside in gaps]
    seconds["gap"] = sum(length for length, _ in gaps)
    restarts = [one["seconds"] for one in spans if one["what"] == "restart" and one["after"] == one["attempt"]]
    return Goodput(
        seconds, within + sum(length for length, inside in gaps if inside), len(restarts),
        sum(one["steps"] for one in lost), len(attempts), restarts,
        [one["seconds"] for one in spans if one["what"] == "written"],
        [one["seconds"] for one in spans if one["what"] == "checkpoint"], within - lasted + backwards,
    )  # fmt: skip


def _account(lines: list[dict[str, Any]]) -> list[str]:
    """The attempts since the run was last done."""
    found: list[str] = []
    done = False
    for line in lines:
        if line["what"] != _ATTEMPT:
            continue
        if line["edge"] == "begin":
            found = [line["attempt"]] if done else [*found, line["attempt"]]
            done = False
        else:
            done = line["status"] == _DONE
    return found


def _attempts(
    lines: list[dict[str, Any]], account: list[str], signs: list[dict[str, Any]], axis: Axis
) -> dict[str, _Interval]:
    found: dict[str, _Interval] = {}
    for attempt in account:
        own = [one for one in lines if one["attempt"] == attempt]
        begin = next(one["time"] for one in own if one["what"] == _ATTEMPT)
        ends = [one["time"] for one in own if one["what"] == _ATTEMPT and one["edge"] == "end"]
        alive = [one["time"] for one in own] + [axis.at(one) for one in signs if one["attempt"] == attempt]
        # What was lost in it is told by the one that came after it.
        gone = [one for one in signs if one.get("until") and one["attempts"][-1] == attempt]
        alive += [axis.at(one.get("last", {"time": one["until"]})) for one in gone]
        found[attempt] = _Interval(begin, ends[-1] if ends else max([begin, *alive]))
    return found


def _trainings(lines: list[dict[str, Any]], attempts: dict[str, _Interval]) -> list[_Interval]:
    found: list[_Interval] = []
    for attempt, whole in attempts.items():
        begun: _Interval | None = None
        for line in (one for one in lines if one["attempt"] == attempt and one["what"] == _TRAINING):
            if line["edge"] == "begin":
                begun = _Interval(line["time"], whole.end, line["training"])
                found.append(begun)
            elif begun is not None:
                begun.end, begun.complete = line["time"], line["complete"]
                begun = None
    return found


def _gone(spans: list[dict[str, Any]], complete: set[str], account: list[str]) -> tuple[list[dict[str, Any]], float]:
    """Steps whose lines went from metrics.jsonl: those that were lost, and the seconds of those that stand."""
    told = {(one["training"], one["until"]): one for one in spans if one["what"] in ("lost", "earlier")}
    ours = [one for one in told.values() if set(one["attempts"]) <= set(account)]
    standing = [one for one in ours if one["what"] == "earlier" and one["training"] in complete]
    return [one for one in ours if one not in standing], sum(one["seconds"] for one in standing)


def _gaps(attempts: list[_Interval], trainings: list[_Interval]) -> list[tuple[float, bool]]:
    """Between two attempts: seconds, less than none if clocks disagree; and whether a training was under way."""
    found = []
    for before, after in pairwise(attempts):
        last = max((one for one in trainings if one.begin < after.begin), key=lambda one: one.begin, default=None)
        resumed = any(one.begin >= after.begin and last and one.name == last.name for one in trainings)
        found.append((after.begin - before.end, last is not None and not last.complete and resumed))
    return found


def told(goodput: Goodput) -> str:
    """A line for the end of a run."""
    named = {
        "lost": "done again", "measure": "measuring", "checkpoint": "saving", "start": "starts and restarts",
        "gap": "no driver",
    }  # fmt: skip
    rest = {
        words: goodput.seconds[part] / goodput.training_s
        for part, words in named.items()
        if goodput.training_s and goodput.seconds[part] >= 0.005 * goodput.training_s
    }
    shares = ", ".join(f"{words} {share:.0%}" for words, share in rest.items())
    text = f"{goodput.share:.0%} of training's time was steps that stand" + (f"; {shares}" if shares else "")
    if goodput.clocks_s > _CLOCKS_S:
        text += f"; not exact: the machines' clocks disagree by {goodput.clocks_s:.0f} s"
    return text
