"""Verbs of watching: Prometheus and Grafana, and the live view of a terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from jobs.cli_options import StorageOption, root_of
from jobs.cli_serve import Endpoint

app = typer.Typer(help="Watch runs and endpoints with Prometheus and Grafana.", no_args_is_help=True)
ClusterOption = Annotated[
    str | None, typer.Option("--cluster", metavar="NAME", help="A cluster that was brought up from here.")
]


@app.callback()
def monitor() -> None:
    """Watch runs and endpoints with Prometheus and Grafana."""


@app.command("up")
def monitor_up(
    cluster: ClusterOption = None,
    storage: StorageOption = None,
    listen: Annotated[
        str, typer.Option("--listen", metavar="HOST:PORT", help="Where Prometheus listens; a password beyond loopback.")
    ] = "127.0.0.1:9090",
    to: Annotated[Path, typer.Option("--to", help="Folder for configuration and data.")] = Path("monitoring"),
) -> None:
    """Start Prometheus (and Grafana, if installed) over all runs, endpoints and nodes, until Ctrl-C."""
    from jobs.monitor.up import up

    up(root_of(storage), cluster, listen, to)


@app.command("write")
def write_monitoring(
    name: Endpoint,
    to: Annotated[Path, typer.Option("--to", help="The folder to write.")] = Path("monitoring"),
    storage: StorageOption = None,
) -> None:
    """Write Prometheus' configuration, alert rules and Grafana dashboards for an endpoint that is up."""
    from jobs.endpoints.monitor import write_monitoring as write

    write(root_of(storage), name, to)


def add_verbs(app: typer.Typer) -> None:
    """The verbs that stand by themselves."""

    @app.command()
    def top(
        cluster: ClusterOption = None,
        storage: StorageOption = None,
        once: Annotated[bool, typer.Option("--once", help="Show it once, and end.")] = False,
        as_json: Annotated[bool, typer.Option("--json", help="The same as JSON, once.")] = False,
    ) -> None:
        """A live view of runs, sweeps, endpoints, jobs, GPUs and this machine."""
        from jobs.top.show import show_top

        show_top(storage, cluster, once=once, as_json=as_json)
