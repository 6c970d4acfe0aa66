"""The jobs that were submitted to a cluster: list them, read their logs, stop them, go on with them."""

from __future__ import annotations

import re
import time
from datetime import datetime

from rich.table import Table

from cluster.errors import ClusterError, ConfigError
from cluster.queue import LET_IN, WAITING
from cluster.submit import JobView, RemoteJobs
from jobs.console import console, errors, fact
from jobs.submit import Way, note, show, submit, submitted, told
from jobs.targets import Target
from jobs.words import duration

_STATES = {
    "PENDING": "starting", "RUNNING": "running", "SUCCEEDED": "done", "FAILED": "failed", "STOPPED": "stopped",
}  # fmt: skip
_QUEUE = re.compile(rf"^\s+queue\s+({WAITING} \d+ of \d+|{LET_IN})", re.MULTILINE)
_INTERRUPTED = 130


def table(target: Target) -> Table | str:
    """Every job that was submitted with `raysmith submit`, the newest last."""
    remote = target.connect()
    found = Table(box=None, header_style="bold")
    for column in ("name", "id", "verb", "state", "since", "took", "exit", "directory"):
        found.add_column(column, overflow="fold")
    jobs = [job for job in remote.jobs() if job.name]
    if not jobs:
        return f"No job was submitted to {target.dashboard}: raysmith submit CONFIG {target.option}"
    for job in jobs:
        exit_code = "" if job.ending is None else str(job.ending.exit_code)
        found.add_row(
            job.name, job.id, job.metadata.get("raysmith_verb", ""), state(remote, job),
            f"{datetime.fromtimestamp(job.started):%m-%d %H:%M}", duration((job.ended or time.time()) - job.started),
            exit_code, job.metadata.get("raysmith_folder", ""),
        )  # fmt: skip
    return found


def state(remote: RemoteJobs, job: JobView) -> str:
    """In words; while a driver waits in the queue, its place, which it writes into its log."""
    if job.status == "RUNNING":
        try:
            told_last = _QUEUE.findall(remote.log(job.id))
        except ClusterError:  # its node does not answer: the table has the rest
            told_last = []
        if told_last and told_last[-1].startswith(WAITING):
            place: str = told_last[-1]
            return place
    if job.ending is not None and job.ending.lost:
        return "lost"
    return _STATES.get(job.status, job.status.lower())


def find(remote: RemoteJobs, name: str) -> JobView:
    """The job of an id, or the newest of a name.

    Raises:
        ConfigError: there is none.
    """
    jobs = remote.jobs()
    found = [one for one in jobs if one.id == name] or [one for one in jobs if one.name == name]
    if not found:
        raise ConfigError(
            "The cluster knows no job of that name or id.", field="NAME", got=name,
            expected=", ".join(sorted({one.name for one in jobs if one.name})) or "none was submitted",
            fix="raysmith jobs; after the head was restarted without Redis, `raysmith resume NAME`",
        )  # fmt: skip
    return found[-1]


def logs(target: Target, name: str, *, follow: bool) -> int:
    """Print a job's log, to its end if `follow`; the exit code is then the driver's."""
    remote = target.connect()
    job = find(remote, name)
    if not follow:
        show(remote.log(job.id))
        return 0
    try:
        ending = remote.follow(job.id, show, note)
    except KeyboardInterrupt:
        errors.print(f"\nNo longer followed; the job goes on. raysmith stop {job.id} {target.option}", markup=False)
        return _INTERRUPTED
    if ending.lost:
        errors.print(f"\nTo go on with it: raysmith resume {job.name} {target.option}", markup=False)
    return told(job.id, ending)


def stop(target: Target, name: str) -> None:
    """Stop a job as Ctrl-C would, and wait for it."""
    remote = target.connect()
    job = find(remote, name)
    if job.ending is not None:
        fact(job.id, f"{job.ending.text} before")
        return
    console.print(f"  Stopping {job.id}: it ends what it has begun to write.", markup=False)
    ending = remote.stop(job.id)
    fact(job.id, ending.text)
    if job.metadata.get("raysmith_verb") != "serve":
        fact("go on", f"raysmith resume {job.name} {target.option}: from its last checkpoint")


def resume(target: Target, name: str, *, follow: bool, retries: int) -> int:
    """Send again what was sent under a name, or id, with the code of this checkout; see `jobs.submit.submit`."""
    known = re.fullmatch(r"(.+)\.\d+", name)
    parcel, way = submitted(known[1] if known else name, target)
    return submit(parcel, target, Way(follow, retries, way.environment, way.cpus))
