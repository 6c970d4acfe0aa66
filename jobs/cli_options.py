"""Arguments and options that several verbs have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console, RenderableType

from cluster.errors import ConfigError
from cluster.storage import ENVIRONMENT_VARIABLE, StorageConfig
from jobs.console import console

ConfigFile = Annotated[Path, typer.Argument(metavar="CONFIG", help="The job's YAML file.")]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY.SUB=VALUE]…", help="Values that replace the file's.")
]
Winner = Annotated[
    str | None, typer.Option("--winner", metavar="SWEEP", help="Take the values of a finished sweep's best trial.")
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="An artifact's name or id.")]
StorageOption = Annotated[
    Path | None, typer.Option("--storage", help=f"Storage root; default ${ENVIRONMENT_VARIABLE} or ./raysmith_data.")
]


def root_of(storage: Path | None) -> Path:
    """The storage root."""
    return (StorageConfig(root=storage) if storage else StorageConfig()).path()


def refuse_winner(winner: str | None) -> None:
    """Refuse --winner where the file is a chain.

    Raises:
        ConfigError: it is given.
    """
    if winner is not None:
        raise ConfigError(
            "A sweep's winner has the values of one job.", field="--winner", got=f"{winner}, for a chain",
            expected="a job's file", fix="run the link's own file with --winner",
        )  # fmt: skip


def show(what: RenderableType) -> None:
    """Print, folded to the terminal's width; whole lines where another program reads."""
    Console(highlight=False, width=None if console.is_terminal else 1000).print(what)
