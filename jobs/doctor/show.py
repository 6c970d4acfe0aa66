"""The answers, for a terminal and for programs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table

from jobs.doctor.examine import Answer, is_healthy
from jobs.doctor.finding import State

_STYLES: dict[State, str] = {"ok": "green", "warning": "yellow", "problem": "bold red", "not applicable": "dim"}
_ORDER: tuple[State, ...] = ("problem", "warning", "ok", "not applicable")
_SHORT = {"not applicable": "–"}


def table(answers: Sequence[Answer]) -> Table:
    """One line a finding; what is to be done stands under it."""
    shown = Table(box=None, header_style="bold", pad_edge=False)
    shown.add_column("area", no_wrap=True)
    shown.add_column("check", no_wrap=True)
    shown.add_column("", no_wrap=True)
    shown.add_column("found", overflow="fold", ratio=1)
    area = ""
    for answer in answers:
        finding = answer.finding
        text = escape(finding.found)
        if finding.fix and finding.state in ("warning", "problem"):
            text += f"\n[italic]→ {escape(finding.fix)}[/]"
        style = _STYLES[finding.state]
        state = f"[{style}]{_SHORT.get(finding.state, finding.state)}[/]"
        shown.add_row(answer.area if answer.area != area else "", escape(finding.name), state, text)
        area = answer.area
    return shown


def summary(answers: Sequence[Answer]) -> str:
    """One line that counts."""
    counts = Counter(answer.finding.state for answer in answers)
    many = {"problem": "problems", "warning": "warnings"}
    said = [
        f"{counts[state]} {many.get(state, state) if counts[state] > 1 else state}" for state in _ORDER if counts[state]
    ]
    return ", ".join(said)


def as_json(answers: Sequence[Answer]) -> str:
    """All of it: `{"healthy": …, "findings": [{"area", "name", "state", "found", "fix"}, …]}`."""
    findings = [{"area": answer.area, **answer.finding._asdict()} for answer in answers]
    return json.dumps({"healthy": is_healthy(list(answers)), "findings": findings}, indent=2)
