"""The verb `plan`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cluster.errors import ConfigError
from jobs.cli_options import ConfigFile, Overrides, Winner, refuse_winner

_RELIABILITY = "With --reliability"


def plan(
    config: ConfigFile,
    overrides: Overrides = None,
    winner: Winner = None,
    reliability: Annotated[
        bool,
        typer.Option("--reliability", help="How often to save, and what failures leave of 8 to 16,384 GPUs' time."),
    ] = False,
    node_mtbf_days: Annotated[
        float | None,
        typer.Option(min=1e-6, rich_help_panel=_RELIABILITY, help="Mean time between failures of a node, days."),
    ] = None,
    stall_s: Annotated[
        float | None,
        typer.Option(min=0.0, rich_help_panel=_RELIABILITY, help="What a save holds the workers up, seconds."),
    ] = None,
    writing_s: Annotated[
        float | None,
        typer.Option(min=0.0, rich_help_panel=_RELIABILITY, help="Until it is complete after that, seconds."),
    ] = None,
    recovery_s: Annotated[
        float | None,
        typer.Option(
            min=0.0, rich_help_panel=_RELIABILITY, help="From a failure that is seen to the next step, seconds."
        ),
    ] = None,
    detection_s: Annotated[
        float | None,
        typer.Option(min=0.0, rich_help_panel=_RELIABILITY, help="Until a failure is seen, seconds."),
    ] = None,
    step_s: Annotated[
        float | None, typer.Option(min=1e-6, rich_help_panel=_RELIABILITY, help="An optimizer step, seconds.")
    ] = None,
    gpus_per_node: Annotated[
        int | None, typer.Option(min=1, rich_help_panel=_RELIABILITY, help="GPUs that fail together; default: 8.")
    ] = None,
    seed: Annotated[int, typer.Option(rich_help_panel=_RELIABILITY, help="Of the simulation.")] = 0,
    plot: Annotated[
        Path | None, typer.Option(rich_help_panel=_RELIABILITY, metavar="FILE", help="Draw it into this PNG file, too.")
    ] = None,
) -> None:
    """Show what a job, or a chain of them, would do and need, without allocating anything."""
    from jobs.chain import is_chain, load_chain, show_chain
    from jobs.config import load_job
    from jobs.plan import show_plan
    from jobs.reliability import Given, show_reliability

    if is_chain(config):
        refuse_winner(winner)
        if reliability:
            raise ConfigError(
                "Reliability is planned for one training.", field="--reliability", got=f"{config}, a chain",
                expected="a job's file", fix="plan the link's own file",
            )  # fmt: skip
        show_chain(load_chain(config, overrides or []))
        return
    job = load_job(config, overrides or [], winner)
    if reliability:
        given = Given(node_mtbf_days, stall_s, writing_s, recovery_s, detection_s, step_s, gpus_per_node, seed)
        show_reliability(job, given, plot)
        return
    show_plan(job)


def add_verbs(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command()(plan)
