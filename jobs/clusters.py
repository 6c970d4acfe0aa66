"""What `raysmith cluster` does with a description, or with the name of a cluster that is up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from cluster import records
from cluster.config import Config
from cluster.config_file import load_config, read_tree
from cluster.description import ClusterFile
from cluster.errors import ConfigError, RaysmithError
from cluster.providers import Provider, provider_of
from cluster.records import ClusterRecord
from jobs.cli_options import show
from jobs.config import load_job
from jobs.console import bar, console, errors, fact, title
from jobs.paths import named_paths

_COLOURS = {"alive": "green", "starting": "yellow", "draining": "yellow", "dead": "red", "failed": "red"}


def render(path: Path, overrides: list[str], folder: Path | None, job: Path | None, endpoint: Path | None) -> None:
    """Write the platform's own files."""
    file = load_config(ClusterFile, path, overrides)
    provider = provider_of(file)
    target = folder if folder is not None else Path(f"{file.name}-{file.provider.kind}")
    also = {key: value for key, value in (("job", job), ("endpoint", endpoint)) if value is not None}
    if also and not getattr(provider, "RENDERS_JOBS", False):
        raise ConfigError(
            "The provider's files hold no jobs.", field=", ".join(f"--{key}" for key in also), got=file.provider.kind,
            expected="kuberay", fix=f"raysmith submit CONFIG --cluster {file.name}, once the cluster is up",
        )  # fmt: skip
    if job is not None and not {"job", "chain"} & read_tree(job).tree.keys():  # those are refused by the provider
        _require_in_storage("--job", job, load_job(job, []), file)
    written: Any = provider.render
    try:
        paths = written(target, **also)
    except OSError as error:
        raise ConfigError(
            "The files cannot be written.", field="--to", got=f"{target} ({error.strerror})", expected="a folder"
        ) from None
    for one in paths:
        console.print(str(one), markup=False)


def _require_in_storage(field: str, path: Path, config: Config, file: ClusterFile) -> None:
    """A pod sees the volume and its image, and nothing of this machine.

    Raises:
        ConfigError: the file names something else.
    """
    names = named_paths(config).items()
    if away := [f"{key}: {one}" for key, one in names if file.storage is None or not one.is_relative_to(file.storage)]:
        raise ConfigError(
            "It names files that its pods do not see.", field=field, got=f"{path} ({', '.join(away)})",
            expected=f"paths under storage ({file.storage}), or what needs no file",
            fix=f"copy them there, or `raysmith submit`, which sends them: raysmith cluster up, then "
            f"raysmith submit {path} --cluster {file.name}",
        )  # fmt: skip


def up(path: Path, overrides: list[str]) -> None:
    """Start a cluster, or bring one that is up to what the description now says."""
    file = load_config(ClusterFile, path, overrides)
    provider = provider_of(file)
    title(f"Cluster {file.name}")
    there = file.name in records.names()
    try:
        with bar("nodes", records.progress_of(file.name)):
            provider.up()
    except KeyboardInterrupt:
        left = file.name in records.names()  # machines elsewhere
        undo = (
            f"`raysmith cluster down {file.name}` removes what was started" if left else "what had started was stopped"
        )
        kept = "it goes on with what it had" if there else undo
        errors.print(f"\nStopped: {kept}.", markup=False)
        raise
    record = records.record_of(file.name)
    fact("dashboard", record.dashboard)
    fact("drivers", record.address)
    fact("token", str(record.token_file))
    console.print(f"\n  raysmith submit CONFIG --cluster {file.name}", markup=False)
    console.print(f"  raysmith cluster status {file.name}\n  raysmith cluster down {file.name}", markup=False)


def down(what: str) -> None:
    """Stop a cluster; nothing is left of it.

    Args:
        what: its name, or the file that it was made from.
    """
    name = what
    if what not in records.names() and Path(what).is_file():
        name = load_config(ClusterFile, Path(what), []).name
        if name not in records.names():  # scripts take down what may be down
            console.print(f"  not up: {name}", markup=False)
            return
    _known(name).down()
    console.print(f"  down: {name}", markup=False)


def show_status(name: str | None) -> None:
    """The nodes of a cluster, or of all that are up."""
    names = [records.record_of(name).name] if name is not None else records.names()
    if not names:
        console.print("  No cluster is up. To start one: raysmith cluster up CLUSTER.yaml")
        return
    table = Table(box=None, header_style="bold")
    for column in ("cluster", "node", "group", "state", "resources", ""):
        table.add_column(column, overflow="fold")
    for one in names:
        for row in _rows(one):
            table.add_row(*row)
    show(table)


def _rows(name: str) -> list[tuple[str, ...]]:
    try:
        nodes = _known(name).status()
    except RaysmithError as error:  # one that cannot be asked hides none of the others
        return [(name, "", "", "[red]unknown[/]", "", escape(error.message))]
    rows = []
    for node in nodes:
        colour = _COLOURS.get(node.state, "red")
        cells = [escape(text) for text in (node.name, node.group, node.state, node.resources, node.detail)]
        rows.append((name, *cells[:2], f"[{colour}]{cells[2]}[/]", *cells[3:]))
    return rows


def _known(name: str) -> Provider:
    """The provider of a cluster that is up."""
    return provider_of(described(records.record_of(name)))


def described(record: ClusterRecord) -> ClusterFile:
    """From what a cluster was made.

    Raises:
        ConfigError: the copy of its description is missing.
    """
    if record.description is None:
        raise ConfigError("The cluster's record names no description.", field=record.name, fix="bring it up again")
    return load_config(ClusterFile, record.description, [])
