"""Send a job, chain, sweep or endpoint to a running cluster, follow it, and send it again when the cluster lost it."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Literal, NamedTuple

import yaml

from cluster import records
from cluster.errors import ClusterError, ConfigError
from cluster.storage import read_json, write_json
from cluster.submit import Ending, JobView, RemoteJobs
from jobs.console import console, errors, fact, title
from jobs.parcel import ENTRY, Parcel, load_parcel
from jobs.submit_package import package
from jobs.targets import Target

Environment = Literal["node", "lock"]
_INTERRUPTED = 130
_KEPT = 200
"""Submissions that are remembered, of all clusters together."""
_TAKEN = 20
_PAUSE_S = 5.0


class Way(NamedTuple):
    """How something is sent."""

    follow: bool = True
    retries: int = 3
    """How often it is sent again when the cluster lost it."""
    environment: Environment = "node"
    """`node`: the Python of the nodes, as it is. `lock`: with requirements.lock installed into one of the job's own."""
    cpus: float = 0.0
    """Cores kept for the driver."""


def submit(parcel: Parcel, target: Target, way: Way) -> int:
    """Send it, unless it is there already, and follow its log if `way.follow`.

    Returns:
        The exit code: the driver's own when it was followed to its end, 143 when it was stopped, 0 when it was sent and
        is not followed, 130 after Ctrl-C, which leaves the job running.

    Raises:
        ConfigError: the address is not a dashboard's, a file is missing or too large to be sent, or a job of that name
            runs with another configuration.
        DataError, ModelError: a file is malformed.
        ClusterError: the cluster does not answer, refuses the token or does not take the job.
    """
    remote = target.connect()
    with tempfile.TemporaryDirectory(prefix="raysmith-") as folder:
        package(parcel, Path(folder))
        job_id, sent = _send_once(remote, parcel, Path(folder), target, way)
    title(f"{parcel.name}: {'submitted to' if sent else 'already there, on'} {remote.address}")
    fact("job", job_id)
    if not sent:
        fact("", "it has the same configuration; its code is that of when it was sent")
    fact("run directory", f"{parcel.folder}, on the cluster")
    fact("log", f"raysmith logs -f {parcel.name} {target.option}")
    fact("stop", f"raysmith stop {parcel.name} {target.option}")
    return _follow(remote, parcel, job_id, target, way) if way.follow else 0


def _send_once(remote: RemoteJobs, parcel: Parcel, folder: Path, target: Target, way: Way) -> tuple[str, bool]:
    """The id of the job, and whether it was sent now: not when it runs already.

    Ids are NAME.1, NAME.2 …, and Ray takes each once: of two that submit at the same moment, one finds the other's.
    """
    content = parcel.content()
    for _ in range(_TAKEN):
        earlier = [one for one in remote.jobs() if one.name == parcel.name]
        active = next((one for one in earlier if one.ending is None), None)
        if active is not None:
            if active.metadata.get("raysmith_content") != content:
                raise _other_content(parcel, active, target)
            return active.id, False
        job_id = f"{parcel.name}.{max(map(_number, earlier), default=0) + 1}"
        metadata = {
            "raysmith": parcel.name, "raysmith_verb": parcel.verb, "raysmith_content": content,
            "raysmith_folder": str(parcel.folder),
        }  # fmt: skip
        taken = remote.send(
            folder, parcel.entrypoint(), job_id, metadata, packages=_packages(way.environment), cpus=way.cpus
        )
        if taken:
            _remember(parcel, target, way)
            return job_id, True
    raise ClusterError("The cluster takes no id for the job.", field="name", got=parcel.name, fix="try again")


def _other_content(parcel: Parcel, active: JobView, target: Target) -> ConfigError:
    return ConfigError(
        "A job of that name runs with another configuration.", field="name", got=f"{parcel.name} ({active.id})",
        expected="the same configuration, or a name of its own",
        fix=f"raysmith stop {parcel.name} {target.option}, and submit again; or give this one another `name`",
    )  # fmt: skip


def _number(job: JobView) -> int:
    last = job.id.rpartition(".")[2]
    return int(last) if last.isdecimal() else 0


def _packages(environment: Environment) -> dict[str, Any]:
    """Keys of Ray's runtime environment.

    The lock is installed beside the nodes' own torch, whose build is theirs to choose, into an environment that Ray
    makes on each node once and keeps; DeepSpeed imports that torch while it is built (decision 0001).
    """
    if environment == "node":
        return {}
    lock = Path(__file__).parent.parent / "requirements.lock"
    if not lock.is_file():
        raise ConfigError("The lock is not beside the code.", field="--environment", got="lock", expected=str(lock))
    lines = [line.strip() for line in lock.read_text(encoding="utf-8").splitlines()]
    pinned = [line for line in lines if line and not line.startswith("#")]
    options = ["--no-deps", "--no-build-isolation", "--disable-pip-version-check"]
    return {"pip": {"packages": pinned, "pip_check": False, "pip_install_options": options}}


def _follow(remote: RemoteJobs, parcel: Parcel, job_id: str, target: Target, way: Way) -> int:
    left = way.retries
    try:
        while True:
            ending = remote.follow(job_id, show, note)
            if not ending.lost or not left:
                return told(job_id, ending)
            left -= 1
            errors.print(f"\n{job_id}: {ending.text}", markup=False)
            errors.print(f"Sent again ({way.retries - left} of {way.retries}); it goes on from its last checkpoint.")
            job_id = _send_again(remote, parcel.going_on(), target, way)
    except KeyboardInterrupt:
        errors.print("\nNo longer followed; the job goes on. To see its log again, or to stop it:")
        for verb in ("logs -f", "stop"):
            errors.print(f"  raysmith {verb} {parcel.name} {target.option}", markup=False)
        return _INTERRUPTED


def _send_again(remote: RemoteJobs, parcel: Parcel, target: Target, way: Way) -> str:
    """Send what was lost; a head that was just restarted may need a moment before it takes jobs."""
    with tempfile.TemporaryDirectory(prefix="raysmith-") as folder:
        package(parcel, Path(folder))
        for attempt in range(_TAKEN):
            try:
                return _send_once(remote, parcel, Path(folder), target, way)[0]
            except ClusterError:
                if attempt == _TAKEN - 1:
                    raise
                time.sleep(_PAUSE_S)
    raise ClusterError("The cluster does not take the job again.", field="name", got=parcel.name)


def told(job_id: str, ending: Ending) -> int:
    """Say how a job ended; its exit code."""
    (errors if ending.exit_code else console).print(f"\n{job_id}: {ending.text}", markup=False)
    return ending.exit_code


def show(text: str) -> None:
    """Pass a piece of a log on as it is."""
    sys.stdout.write(text)
    sys.stdout.flush()


def note(text: str) -> None:
    """Say something that is not of the log."""
    errors.print(text, markup=False)


def _folder() -> Path:
    return records.home() / "submitted"


def _remember(parcel: Parcel, target: Target, way: Way) -> None:
    """Keep what was sent, for `resume`: the configuration, not the code, nor the files that it names."""
    kept = {
        "verb": parcel.verb, "name": parcel.name, "options": list(parcel.options), "files": parcel.files(),
        "environment": way.environment, "cpus": way.cpus, "sent": time.time(),
    }  # fmt: skip
    write_json(_folder() / target.key / f"{parcel.name}.json", kept, mode=0o600)
    files = sorted(_folder().glob("*/*.json"), key=lambda file: file.stat().st_mtime)
    for file in files[:-_KEPT]:
        file.unlink(missing_ok=True)


def submitted(name: str, target: Target) -> tuple[Parcel, Way]:
    """What was sent last under a name, to go on with.

    Raises:
        ConfigError: nothing was sent from this account.
    """
    found = read_json(_folder() / target.key / f"{name}.json")
    if found is None:
        there = ", ".join(sorted(file.stem for file in (_folder() / target.key).glob("*.json")))
        raise ConfigError(
            "Nothing of that name was submitted to that cluster from this account.", field="NAME", got=name,
            expected=there or "none yet", fix="raysmith submit CONFIG: what an earlier run finished is reused",
        )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="raysmith-") as folder:
        for file, tree in found["files"].items():
            Path(folder, file).write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")
        parcel = load_parcel(Path(folder, ENTRY), verb=found["verb"], options=found["options"])
    return parcel.going_on(), Way(environment=found["environment"], cpus=found["cpus"])
