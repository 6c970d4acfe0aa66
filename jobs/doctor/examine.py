"""All checks, one file each in `jobs/doctor/checks`: `AREA` and `check`. A new file is a new area, and nothing else."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from typing import NamedTuple, cast

from jobs.doctor.finding import Check, Finding, Subject

PACKAGE = "jobs.doctor.checks"


class Answer(NamedTuple):
    """A finding, and the area it belongs to."""

    area: str
    finding: Finding


def areas() -> list[str]:
    """The names of the files."""
    folders = importlib.import_module(PACKAGE).__path__
    return sorted(info.name for info in pkgutil.iter_modules(folders) if not info.name.startswith("_"))


def examine(subject: Subject) -> Iterator[Answer]:
    """The answers of all areas; what a check cannot look at is a finding, too."""
    for name in areas():
        module = cast("Check", importlib.import_module(f"{PACKAGE}.{name}"))
        try:
            for finding in module.check(subject):
                yield Answer(module.AREA, finding)
        except Exception as error:  # one area that cannot be looked at must not hide the others
            reason = (str(error).strip().splitlines() or [""])[0][:200]
            yield Answer(
                module.AREA,
                Finding(name, "warning", f"could not be looked at: {type(error).__name__}: {reason}", "look yourself"),
            )


def is_healthy(answers: list[Answer]) -> bool:
    """Whether nothing stands in the way."""
    return all(answer.finding.state != "problem" for answer in answers)
