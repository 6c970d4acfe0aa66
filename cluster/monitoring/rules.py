"""Alert rules, written as Prometheus reads them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Alert:
    """One alert; its texts may hold Prometheus's templates, such as `{{ $labels.model }}`."""

    name: str
    expression: str

    severity: Literal["critical", "warning", "info"]
    """critical: requests fail now. warning: they will, or slowly. info: worth knowing."""

    lasting: str
    """How long the expression must hold before the alert fires, as Prometheus writes durations."""

    summary: str
    description: str

    fix: str
    """What to do, one sentence."""

    def as_rule(self) -> dict[str, Any]:
        """The alert as an entry of a rule group."""
        return {
            "alert": self.name,
            "expr": self.expression,
            "for": self.lasting,
            "labels": {"severity": self.severity},
            "annotations": {"summary": self.summary, "description": f"{self.description} Fix: {self.fix}"},
        }


def rule_file(group: str, alerts: Iterable[Alert]) -> dict[str, Any]:
    """A rule file with one group."""
    return {"groups": [{"name": group, "rules": [alert.as_rule() for alert in alerts]}]}
