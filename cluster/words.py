"""Words for people."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """So many of something: `1 worker`, `1,200 steps`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
