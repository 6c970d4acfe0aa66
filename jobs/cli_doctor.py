"""`raysmith doctor`."""

from __future__ import annotations

import typer


def add_verbs(app: typer.Typer) -> None:
    """The verbs that stand by themselves."""
