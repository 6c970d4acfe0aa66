"""Write the table of docs/reliability.md from what the suite found: `python -m tests.faults.table RESULTS.json`."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from tests.faults.results import WORKLOADS

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "reliability.md"
BEGIN, END = "<!-- table: python -m tests.faults.table -->", "<!-- end of table -->"
_SHOWN = 230


def rows(found: dict[str, Any]) -> list[str]:
    """Of the table, in Markdown."""
    cases = sorted(found["cases"].values(), key=lambda case: WORKLOADS.index(case["workload"]))
    lines = [
        "| run | fault | what the user sees | what is lost | back after | hand |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for case in cases:
        back = "—" if case["recover_s"] is None else f"{case['recover_s']:.0f} s"
        lost = case["lost"] if case["passed"] else f"**failed:** {_cell(case['problem'])}"
        saw = _cell(case["saw"]) or "nothing but a pause"
        lines.append(f"| {case['workload']} | {case['fault']} | {saw} | {lost} | {back} | {case['hand']} |")
    return lines


def _cell(text: str) -> str:
    text = re.sub(r"node with node id: \w+ and address: \S+ and node name: (\S+)", r"node … \1", text)
    text = re.sub(r"[|<>`*_]", lambda found: f"\\{found[0]}", text)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1].rstrip("\\ ") + "…"


def summary(found: dict[str, Any]) -> str:
    """One sentence on when and where."""
    cases, machine = found["cases"].values(), found["machine"]
    passed = sum(case["passed"] for case in cases)
    alone = sum(case["passed"] and case["hand"] == "none" for case in cases)
    dates = sorted(case["date"] for case in cases)
    versions = ", ".join(
        f"{name} {machine[name]}" for name in ("ray", "torch", "deepspeed", "transformers", "python") if name in machine
    )
    return (
        f"{len(cases)} cases, {passed} passed, {alone} of them without the user's hand; "
        f"{dates[0]} to {dates[-1][-5:]} UTC, "
        f"{machine['cores']} cores, {machine['memory_gib']} GiB, Linux {machine['kernel']}; {versions}."
    )


def main(results: Path) -> None:
    """Put the table into the document."""
    found = json.loads(results.read_text())
    text = DOCUMENT.read_text()
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    table = "\n".join([summary(found), "", *rows(found)])
    DOCUMENT.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
