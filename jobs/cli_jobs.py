"""Verbs of jobs on a running cluster: submit, and what follows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from jobs.cli_options import Overrides, Winner, show

Cluster = Annotated[
    str | None, typer.Option("--cluster", metavar="NAME", help="One that is up by that name: `raysmith cluster up`.")
]
Address = Annotated[str | None, typer.Option(help="Or its dashboard, http://HOST:8265.")]
JobName = Annotated[str, typer.Argument(metavar="JOB", help="The job's name, or its id: see `raysmith jobs`.")]
NoFollow = Annotated[bool, typer.Option("--no-follow", help="Do not wait for the job's end.")]
Retries = Annotated[
    int, typer.Option("--retries", min=0, help="How often it is sent again if the cluster loses it while followed.")
]


def add_verbs(app: typer.Typer) -> None:
    """The verbs that stand by themselves."""
    for verb in (submit, jobs, logs, stop, resume):
        app.command()(verb)


def submit(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="The YAML file of a job, chain, sweep or endpoint.")
    ],
    overrides: Overrides = None,
    cluster: Cluster = None,
    address: Address = None,
    run_as: Annotated[
        str | None, typer.Option("--as", metavar="VERB", help="run, quantize, sweep, serve; default: what the file is.")
    ] = None,
    winner: Winner = None,
    priority: Annotated[
        int | None, typer.Option("--priority", min=-1000, max=1000, help="Place in the queue; higher goes first.")
    ] = None,
    no_follow: NoFollow = False,
    keep_serving: Annotated[bool, typer.Option("--keep-serving", help="Leave the endpoint up until stopped.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Do every stage again, reuse nothing.")] = False,
    resume_sweep: Annotated[
        bool, typer.Option("--resume", help="Of a sweep: there must be one to go on with.")
    ] = False,
    retries: Retries = 3,
    environment: Annotated[
        str, typer.Option("--environment", help="The nodes' own Python (node), or with the lock installed (lock).")
    ] = "node",
    entrypoint_cpus: Annotated[
        float, typer.Option("--entrypoint-cpus", min=0, help="Cores kept for the driver, which waits most of the time.")
    ] = 0.0,
) -> None:  # fmt: skip
    """Send a job, chain, sweep or endpoint to a running Ray cluster and follow its log."""
    from cluster.errors import ConfigError
    from jobs.parcel import load_parcel
    from jobs.submit import Way
    from jobs.submit import submit as submit_parcel
    from jobs.targets import target_of

    for option, value, known in (
        ("--as", run_as or "run", ("run", "quantize", "sweep", "serve")),
        ("--environment", environment, ("node", "lock")),
    ):  # fmt: skip
        if value not in known:
            raise ConfigError("Not a value of that option.", field=option, got=value, expected=", ".join(known))
    target = target_of(cluster, address)
    options = ["--keep-serving"] * keep_serving + ["--fresh"] * fresh + ["--resume"] * resume_sweep
    parcel = load_parcel(
        config, overrides or [], verb=run_as, winner=winner, options=options, priority=priority,  # type: ignore[arg-type]  # looked at above
        storage=target.record.storage if target.record is not None else None,
    )  # fmt: skip
    way = Way(not no_follow, retries, environment, entrypoint_cpus)  # type: ignore[arg-type]  # looked at above
    raise typer.Exit(submit_parcel(parcel, target, way))


def jobs(cluster: Cluster = None, address: Address = None) -> None:
    """List the jobs that were submitted to a cluster: state, place in the queue, exit code."""
    from jobs.submitted import table
    from jobs.targets import target_of

    show(table(target_of(cluster, address)))


def logs(
    name: JobName,
    follow: Annotated[
        bool, typer.Option("-f", "--follow", help="Until the job ends; the exit code is its own.")
    ] = False,
    cluster: Cluster = None,
    address: Address = None,
) -> None:
    """Print the log of a submitted job."""
    from jobs.submitted import logs as print_logs
    from jobs.targets import target_of

    raise typer.Exit(print_logs(target_of(cluster, address), name, follow=follow))


def stop(name: JobName, cluster: Cluster = None, address: Address = None) -> None:
    """Stop a submitted job as Ctrl-C would; `raysmith resume` goes on with it."""
    from jobs.submitted import stop as stop_job
    from jobs.targets import target_of

    stop_job(target_of(cluster, address), name)


def resume(
    name: JobName,
    cluster: Cluster = None,
    address: Address = None,
    no_follow: NoFollow = False,
    retries: Retries = 3,
) -> None:
    """Send a job again as it was sent, with the code of this checkout; it goes on from its last checkpoint."""
    from jobs.submitted import resume as resume_job
    from jobs.targets import target_of

    raise typer.Exit(resume_job(target_of(cluster, address), name, follow=not no_follow, retries=retries))
