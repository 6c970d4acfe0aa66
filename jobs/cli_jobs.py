"""Verbs of jobs on a running cluster: submit, and what follows."""

from __future__ import annotations

from typing import Annotated

import typer

from jobs.cli_options import ConfigFile, Overrides


def add_verbs(app: typer.Typer) -> None:
    """The verbs that stand by themselves."""
    for verb in (submit,):
        app.command()(verb)


def submit(
    config: ConfigFile,
    overrides: Overrides = None,
    address: Annotated[str, typer.Option(help="The cluster's dashboard, http://HOST:8265.")] = "http://127.0.0.1:8265",
    no_follow: Annotated[bool, typer.Option("--no-follow", help="Do not wait for the job's end.")] = False,
    keep_serving: Annotated[bool, typer.Option("--keep-serving", help="Leave the endpoint up until stopped.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Do every stage again, reuse nothing.")] = False,
) -> None:
    """Send a job to a running Ray cluster and follow its log."""
    from jobs.config import load_job
    from jobs.submit import submit as submit_job

    job = load_job(config, overrides or [])
    options = ["--keep-serving"] * keep_serving + ["--fresh"] * fresh
    raise typer.Exit(submit_job(job, address, follow=not no_follow, options=options))
