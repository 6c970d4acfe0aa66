"""What the cases of every kind of run ask of it: that it goes on, and ends as if nothing had happened."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest

from tests.faults.client import Command
from tests.faults.machine import wait_until
from tests.faults.results import Case
from tests.faults.storage import EVERY, STEPS

ASYNCHRONOUS = 15
"""Steps that may pass while a checkpoint is still being written."""
END_S = 300.0


def resumes(command: Command) -> list[int]:
    """At which steps it was resumed."""
    found = [re.search(r"resumed at step (\d+)", event) for event in command.events()]
    return [int(one[1]) for one in found if one]


def ends_as_if_nothing_had_happened(
    case: Case, command: Command, whole: Any, since: float, *, restarts: int | None = 1, last: int = STEPS
) -> None:
    """Every step's loss and samples are those of the uninterrupted run; only the steps since a checkpoint ran again.

    Args:
        since: when the fault was.
        restarts: how often the workers may have been started again; None: any number.
        last: the run's last step, where it is longer than the uninterrupted one.
    """
    ends(case, command)
    steps = command.steps()
    before, after = command.pause(since)
    case.recover_s = round(after - since, 1)
    at = resumes(command)
    case.figures |= {"last step before the pause": before, "resumed at": at}
    if not at:
        case.lost = "nothing"
    else:
        case.lost = f"{max(before - at[-1], 0)} steps, trained again (a checkpoint every {EVERY})"
    assert [one["step"] for one in steps] == list(range(1, last + 1))
    assert [one["samples"] for one in steps[:STEPS]] == whole.samples, "each sample once, in its place"
    assert [one["loss"] for one in steps[:STEPS]] == pytest.approx(whole.losses, rel=1e-5)
    assert restarts is None or len(at) == restarts, command.events()
    assert not at or before - at[-1] <= EVERY + ASYNCHRONOUS, (before, at)


def goes_on(case: Case, command: Command, step: int, since: float, cluster: Any = None, further: int = EVERY) -> None:
    """Wait for the run to go on; where the user's command ends instead, do what a user can: the same command again."""
    wait_until(lambda: command.step() > step + further or command.ended(), 300, f"news:\n{command.tail()}", 0.2)
    if command.ended() and command.step() <= step + further:
        case.saw = summarised(command.said().strip().splitlines()[-12:])
        case.hand = "the same command again"
        case.figures["command ended after s"] = round(time.monotonic() - since, 1)
        if cluster is not None:
            cluster.ready()
        command.start()


def ends(case: Case, command: Command) -> None:
    """Wait for the end of a command; what it said beside the course of the training is what the user saw."""
    assert command.wait(END_S) == 0, command.tail(30)
    if not case.saw:
        lines = command.said().splitlines()
        first = next((number for number, line in enumerate(lines) if "train: " in line or line.strip() == "Train"), 0)
        case.saw = summarised(lines[first:])


_TELLING = re.compile(
    r"\s*(hang[ :]|\d+ workers? |all workers are gone|\S+\.\d+: (?!succeeded)|Sent again|\w+Error: |got: |fix: |"
    r"checkpoint at|No longer|queue .*wait)"
)


def summarised(lines: list[str]) -> str:
    """What tells of the fault: our lines whole; of Ray's notices, of which some quote logs, the first sentence."""
    found: list[str] = []
    for line in lines:
        if line.startswith("(") and ": WARNING: " not in line and ") WARNING" not in line:
            found.append("Ray: " + line.partition(") ")[2].partition(". ")[0])
        elif not line.startswith(("    ", "[", "20")) and "train: " not in line and _TELLING.match(line):
            found.append(line.strip())
    return " / ".join(dict.fromkeys(found))
