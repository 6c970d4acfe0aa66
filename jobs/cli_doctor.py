"""`raysmith doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from jobs.cli_options import StorageOption, show


def add_verbs(app: typer.Typer) -> None:
    """The verbs that stand by themselves."""
    app.command()(doctor)


def doctor(
    config: Annotated[
        Path | None, typer.Argument(metavar="[CONFIG]", help="A job's, an endpoint's or a cluster's YAML file.")
    ] = None,
    cluster: Annotated[str | None, typer.Option("--cluster", help="Look at a cluster that is up, too.")] = None,
    storage: StorageOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Look at this machine, and say what stands in the way and what to do; exit code 1 if something does."""
    from jobs.doctor.examine import examine, is_healthy
    from jobs.doctor.show import as_json as json_text
    from jobs.doctor.show import summary, table
    from jobs.doctor.subject import subject_of

    answers = list(examine(subject_of(config, cluster, storage)))
    if as_json:
        print(json_text(answers))
    else:
        show(table(answers))
        show(f"\n{summary(answers)}")
    raise typer.Exit(0 if is_healthy(answers) else 1)
