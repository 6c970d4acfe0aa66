"""The command line: `raysmith VERB CONFIG [key.sub=value …]`.

Everything heavy is imported inside the verbs: `raysmith --help` loads neither torch nor Ray.
"""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from cluster.errors import ConfigError, RaysmithError
from jobs import cli_cluster, cli_doctor, cli_export, cli_jobs, cli_monitor, cli_plan, cli_serve
from jobs.cli_options import ConfigFile, Name, Overrides, StorageOption, Winner, refuse_winner, root_of, show
from jobs.console import console, errors

app = typer.Typer(
    help="Raysmith: train, align, quantize and serve language models on a Ray cluster.",
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
)  # fmt: skip
config_app = typer.Typer(help="Look at configuration files.", no_args_is_help=True)
app.add_typer(config_app, name="config")
app.add_typer(cli_export.app, name="export")
app.add_typer(cli_serve.keys_app, name="keys")
app.add_typer(cli_monitor.app, name="monitor")
app.add_typer(cli_cluster.app, name="cluster")


@app.command()
def run(
    config: ConfigFile,
    overrides: Overrides = None,
    winner: Winner = None,
    keep_serving: Annotated[bool, typer.Option("--keep-serving", help="Leave the endpoint up until Ctrl-C.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Do every stage again, reuse nothing.")] = False,
) -> None:
    """Run a job, or a chain of them: what was finished before is reused, what was cut off is resumed."""
    from jobs.chain import is_chain, load_chain, run_chain
    from jobs.config import load_job

    try:
        if is_chain(config):
            refuse_winner(winner)
            run_chain(load_chain(config, overrides or []), keep_serving=keep_serving, fresh=fresh)
            return
        job = load_job(config, overrides or [], winner)
        from jobs.run import run as run_job

        run_job(job, keep_serving=keep_serving, fresh=fresh)
    except KeyboardInterrupt:
        again = "it without --fresh" if fresh else "the same command"
        errors.print(f"\nStopped. Run {again} to go on from the last checkpoint.")
        raise


@app.command()
def quantize(
    config: ConfigFile,
    overrides: Overrides = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Do every stage again, reuse nothing.")] = False,
) -> None:
    """Quantize a model by several methods, measure them side by side, and publish the one that passes the gate."""
    from jobs.config import load_job
    from jobs.run import run as run_job

    job = load_job(config, overrides or [])
    if job.quantize is None:
        raise ConfigError(
            "The job has no `quantize` section.", field="quantize", got=str(config), expected="quantize: {methods: …}",
            fix="see configs/quantize/all.yaml; `raysmith run` runs jobs without it",
        )  # fmt: skip
    run_job(job, fresh=fresh)


@app.command()
def sweep(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="The sweep's YAML file.")],
    overrides: Overrides = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a sweep that was cut off.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget an earlier sweep of this name.")] = False,
    plan: Annotated[bool, typer.Option("--plan", help="Show what it would do, without allocating anything.")] = False,
) -> None:
    """Try many values of a job's keys, with Ray Tune, and publish the winner."""
    from jobs.sweep.driver import run_sweep, show_plan
    from jobs.sweep.space import load_sweep

    loaded = load_sweep(config, overrides or [])
    if plan:
        show_plan(loaded)
        return
    try:
        run_sweep(loaded, resume=resume, fresh=fresh)
    except KeyboardInterrupt:
        errors.print("\nStopped. Run the same command with --resume to go on.")
        raise


@app.command()
def rollouts(
    name: Annotated[str, typer.Argument(metavar="RUN", help="The run whose rollouts are wanted.")],
    where: Annotated[
        str | None, typer.Option("--where", metavar="FILTER", help="Such as \"reward > 0.5 and completion ~ 'cat'\".")
    ] = None,
    sort: Annotated[
        str | None, typer.Option("--sort", metavar="COLUMN", help="Least first; with - before it, greatest first.")
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="So many, from the beginning.")] = None,
    last: Annotated[int | None, typer.Option("--last", min=1, help="So many, from the end; default: 10.")] = None,
    heldout: Annotated[bool, typer.Option("--heldout", help="Those of held-out measurements.")] = False,
    step: Annotated[
        int | None, typer.Option("--step", help="Only those of the round, or measurement, at this step.")
    ] = None,
    training: Annotated[
        str | None, typer.Option("--training", help="Which, where the run has several; default: the newest.")
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Do not cut long text.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="A line of JSON each; all, without a limit.")] = False,
    storage: StorageOption = None,
) -> None:
    """Look at what a run wrote while it learnt by reinforcement, with the rewards it got."""
    from jobs.rollouts import Query, find, json_lines, panels

    query = Query(where, step, sort, limit, last)
    files = find(root_of(storage), name, training, heldout=heldout)
    if as_json:
        for line in json_lines(files, query):
            print(line)
        return
    for part in panels(files, query, full=full):
        show(part)


@app.command("ls")
def list_artifacts(storage: StorageOption = None) -> None:
    """List the published artifacts."""
    from cluster.artifacts import ArtifactStore
    from jobs.lineage import list_table

    show(list_table(ArtifactStore(root_of(storage))))


@app.command()
def trace(name: Name, storage: StorageOption = None) -> None:
    """Show from what an artifact, or what an endpoint serves, was made: back to the data and the base model."""
    from cluster.artifacts import ArtifactStore
    from jobs.endpoints.listing import served_artifacts
    from jobs.lineage import trace_tree

    root = root_of(storage)
    store = ArtifactStore(root)
    served = served_artifacts(root, name)
    for label, artifact in served.items():
        console.print(f"[bold cyan]Endpoint {name}[/], {label}")
        show(trace_tree(store, store.get(artifact)))
    if not served or name in store.names():
        show(trace_tree(store, store.get(name)))


@app.command()
def diff(a: Name, b: Name, storage: StorageOption = None) -> None:
    """Show what differs between two artifacts: parents, configuration, packages, figures, files."""
    from cluster.artifacts import ArtifactStore
    from jobs.lineage import diff_table

    store = ArtifactStore(root_of(storage))
    show(diff_table(store.get(a), store.get(b)))


@app.command()
def unmerge(name: Name, storage: StorageOption = None) -> None:
    """Say which base and adapter a merged model was made of; it cannot be taken apart."""
    from cluster.artifacts import ArtifactStore
    from jobs.lineage import refuse_unmerge

    store = ArtifactStore(root_of(storage))
    refuse_unmerge(store, store.get(name))


@app.command()
def verify(name: Name, storage: StorageOption = None) -> None:
    """Hash an artifact's files, and those of everything it was made from, again."""
    from cluster.artifacts import ArtifactStore
    from jobs.lineage import ancestors

    store = ArtifactStore(root_of(storage))
    artifact = store.get(name)
    for manifest in (artifact, *ancestors(store, artifact)):
        store.verify(manifest)
        console.print(f"[green]intact[/]  {manifest.name}  ({manifest.id})")


@config_app.command()
def expand(config: ConfigFile, overrides: Overrides = None, winner: Winner = None) -> None:
    """Print the whole configuration, with inherited and default values."""
    import yaml

    from jobs.config import load_job

    print(yaml.safe_dump(load_job(config, overrides or [], winner).resolved(), sort_keys=False), end="")


@config_app.command()
def compare(a: ConfigFile, b: ConfigFile) -> None:
    """Print the keys in which two configurations differ, with all defaults filled in."""
    from rich.markup import escape
    from rich.table import Table

    from cluster.config import leaf_items
    from jobs.config import load_job

    one, two = (dict(leaf_items(load_job(path, []).resolved())) for path in (a, b))
    table = Table(box=None, header_style="bold")
    for column in ("key", str(a), str(b)):
        table.add_column(column, overflow="fold")
    for key in sorted(one.keys() | two.keys()):
        if one.get(key, "—") != two.get(key, "—"):
            table.add_row(key, *(escape(str(values.get(key, "—"))) for values in (one, two)))
    show(table)


@config_app.command()
def schema(
    sweep: Annotated[bool, typer.Option("--sweep", help="Of a sweep's file instead of a job's.")] = False,
    endpoint: Annotated[bool, typer.Option("--endpoint", help="Of an endpoint's file (`raysmith serve`).")] = False,
) -> None:
    """Print the JSON schema of a job file: every key, its type, its meaning."""
    from jobs.config import JobConfig
    from jobs.endpoints.config import EndpointConfig
    from jobs.sweep.config import SweepConfig

    described = EndpointConfig if endpoint else SweepConfig if sweep else JobConfig
    print(json.dumps(described.model_json_schema(), indent=2))


for _part in (cli_plan, cli_jobs, cli_serve, cli_monitor, cli_doctor):
    _part.add_verbs(app)


def _interrupt(_signum: int, _frame: object) -> None:
    raise KeyboardInterrupt


def main() -> None:
    """Entry point of `raysmith` and of `python -m jobs`; typer ends it with 130 on Ctrl-C."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        app()
    except RaysmithError as error:
        errors.print(f"[bold red]{type(error).__name__}[/]", end=": ")
        errors.print(str(error), markup=False)
        sys.exit(error.exit_code)
