"""Verbs of clusters: render, up, down, status."""

from __future__ import annotations

import typer

app = typer.Typer(help="Describe, start and stop clusters.", no_args_is_help=True)


@app.callback()
def cluster() -> None:
    """Describe, start and stop clusters."""
