"""Verbs of watching: Prometheus and Grafana, and the live view of a terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from jobs.cli_options import StorageOption, root_of
from jobs.cli_serve import Endpoint

app = typer.Typer(help="Watch runs and endpoints with Prometheus and Grafana.", no_args_is_help=True)


@app.callback()
def monitor() -> None:
    """Watch runs and endpoints with Prometheus and Grafana."""


@app.command("write")
def write_monitoring(
    name: Endpoint,
    to: Annotated[Path, typer.Option("--to", help="The folder to write.")] = Path("monitoring"),
    storage: StorageOption = None,
) -> None:
    """Write Prometheus' configuration, alert rules and a Grafana dashboard for an endpoint that is up."""
    from jobs.endpoints.monitor import write_monitoring as write

    write(root_of(storage), name, to)


def add_verbs(app: typer.Typer) -> None:
    """The verbs that stand by themselves."""
