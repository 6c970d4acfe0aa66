"""Searchers, one file each: `Config` (its YAML keys) and `propose`.

A file name in this folder is a value of a sweep's `search`; a new searcher is a new file, and nothing else. A searcher
keeps no state: what it proposes follows from the trials so far, so a sweep that was killed goes on as it was.

    def propose(config, space, seed, number, history) -> Point | None

gives the point of trial `number` (None: there are no more); `history` are the trials before it, lower scores being
better.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class Tried(NamedTuple):
    """An earlier trial, as a searcher sees it."""

    point: dict[str, Any]
    score: float | None
    """Lower is better; None while it runs or if it failed."""
    running: bool
