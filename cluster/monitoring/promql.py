"""Expressions of Prometheus's query language that rules and dashboards share; all of them return its text."""

from __future__ import annotations

from collections.abc import Sequence


def total(name: str, by: Sequence[str], where: str = "") -> str:
    """Sum of a gauge, for each combination of the labels `by`; `where` selects by labels."""
    return f"sum by ({', '.join(by)}) ({_selected(name, where)})"


def newest(name: str, by: Sequence[str] = ("run",), where: str = "") -> str:
    """The greatest value of a gauge, for each combination of the labels `by`."""
    return f"max by ({', '.join(by)}) ({_selected(name, where)})"


def rate(name: str, by: Sequence[str], window: str, where: str = "") -> str:
    """How fast a counter grows, a second."""
    return f"sum by ({', '.join(by)}) (rate({_selected(name, where)}[{window}]))"


def increase(name: str, by: Sequence[str], window: str, where: str = "") -> str:
    """By how much a counter grew within the window."""
    return f"sum by ({', '.join(by)}) (increase({_selected(name, where)}[{window}]))"


def share(name: str, by: Sequence[str], window: str, part: str, where: str = "") -> str:
    """Which share of a counter's growth `part` selects, 0 … 1; 0 where it selects nothing."""
    whole = rate(name, by, window, where)
    return f"({rate(name, by, window, ','.join(filter(None, (where, part))))} or 0 * {whole}) / {whole}"


def quantile(q: float, name: str, by: Sequence[str], window: str, where: str = "") -> str:
    """A quantile of a histogram, in its unit."""
    return f"histogram_quantile({q:g}, {rate(f'{name}_bucket', (*by, 'le'), window, where)})"


def _selected(name: str, where: str) -> str:
    return f"{name}{{{where}}}" if where else name
