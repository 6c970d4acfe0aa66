"""Verbs of clusters: render, up, down, status."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from jobs.cli_options import Overrides

app = typer.Typer(help="Describe, start and stop clusters.", no_args_is_help=True)

ClusterYaml = Annotated[Path, typer.Argument(metavar="CLUSTER.yaml", help="The cluster's YAML file.")]


@app.callback()
def cluster() -> None:
    """Describe, start and stop clusters."""


@app.command("render")
def render(
    config: ClusterYaml,
    overrides: Overrides = None,
    to: Annotated[
        Path | None, typer.Option("--to", metavar="FOLDER", help="Where the files go; default: NAME-PROVIDER here.")
    ] = None,
    job: Annotated[
        Path | None, typer.Option("--job", metavar="FILE", help="Also a job that the platform runs itself (kuberay).")
    ] = None,
    endpoint: Annotated[
        Path | None,
        typer.Option("--endpoint", metavar="FILE", help="Also an endpoint that the platform keeps (kuberay)."),
    ] = None,
) -> None:
    """Write the platform's own files of a cluster (`ray up` files, manifests, a script); start nothing."""
    from jobs.clusters import render as render_cluster

    render_cluster(config, overrides or [], to, job, endpoint)


@app.command("up")
def up(config: ClusterYaml, overrides: Overrides = None) -> None:
    """Start a cluster and wait until it is there; one that is up gets the number of nodes that the file now says."""
    from jobs.clusters import up as bring_up

    bring_up(config, overrides or [])


@app.command("down")
def down(
    what: Annotated[str, typer.Argument(metavar="NAME", help="The cluster's name, or the file it was made from.")],
) -> None:
    """Stop a cluster and all that runs on it."""
    from jobs.clusters import down as take_down

    take_down(what)


@app.command("status")
def status(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="One cluster; default: all that are up.")] = None,
) -> None:
    """Show the nodes of the clusters that are up."""
    from jobs.clusters import show_status

    show_status(name)
