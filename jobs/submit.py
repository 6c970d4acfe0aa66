"""Send a job to a running cluster: the same configuration, with this checkout's code and the files that it names.

What is sent is unpacked into the job's working directory:

    job.yaml               the resolved configuration, with cluster.address: auto
    files/KEY/…            the file or folder that KEY of the configuration names
    cluster/ trainers/ serving/ jobs/

Files under storage.root stay where they are: every node sees that folder.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from cluster.errors import ConfigError
from cluster.submit import RemoteJobs
from jobs.config import JobConfig
from jobs.console import console, errors, fact, title
from jobs.paths import absolute, replace_paths
from jobs.plan import read_data
from jobs.words import size
from trainers.models import locate

_CODE = ("cluster", "trainers", "serving", "jobs")
# Ray keeps what is sent in the memory of the head's control store, and takes 500 MB at most.
_MAX_BYTES = 100_000_000
# Ray leaves out what a .gitignore names, and would so leave out parts of a data or model folder in silence.
_SKIPPED = shutil.ignore_patterns("__pycache__", "*.pyc", ".git", ".gitignore", ".rayignore")
_INTERRUPTED = 130


def submit(job: JobConfig, address: str, *, follow: bool, options: Sequence[str] = ()) -> int:
    """Submit, and follow the log if `follow`.

    Args:
        address: the cluster's dashboard, http://HOST:8265.
        options: further options of `raysmith run`.

    Returns:
        The exit code: 0 when the job succeeded (or was sent and is not followed), 1 when it failed or was stopped, 130
        after Ctrl-C, which leaves the job running.

    Raises:
        ConfigError: the address is not a dashboard's, or a file is missing or too large to be sent.
        DataError, ModelError: a file is malformed.
        ClusterError: the cluster does not answer, refuses the token or does not take the job.
    """
    with tempfile.TemporaryDirectory(prefix="raysmith-") as folder:
        config = package(job, Path(folder))
        remote = RemoteJobs(address)
        job_id = remote.send(Path(folder), " ".join(["python -m jobs run job.yaml", *options]), job.name)
    title(f"{job.name}: submitted to {remote.address}")
    fact("job", job_id)
    fact("run directory", f"{config['storage']['root']}/runs/{job.name}, on the cluster")
    fact("log", remote.command("logs --follow", job_id))
    fact("stop", remote.command("stop", job_id))
    if not follow:
        return 0
    try:
        ending = remote.follow(job_id, _show)
    except KeyboardInterrupt:
        errors.print("\nNo longer followed; the job goes on. To see its log again, or to stop it:")
        for verb in ("logs --follow", "stop"):
            errors.print(f"  {remote.command(verb, job_id)}", markup=False)
        return _INTERRUPTED
    (console if ending.succeeded else errors).print(f"\n{job_id}: {ending.text}", markup=False)
    return 0 if ending.succeeded else 1


def package(job: JobConfig, folder: Path) -> dict[str, Any]:
    """Fill `folder` with everything that the job needs on the cluster, checked as far as that can be done here.

    Returns:
        The configuration as it was written to job.yaml.

    Raises:
        ConfigError: a file is missing, or the files are too large.
        DataError, ModelError: a file is malformed.
    """
    for name in _CODE:
        shutil.copytree(Path(__file__).parent.parent / name, folder / name, ignore=_SKIPPED)
    root, room = absolute(job.storage.root), _MAX_BYTES

    def place(key: str, path: Path) -> str:
        nonlocal room
        path = absolute(path)
        if path.is_relative_to(root):
            return str(path)
        needed = _bytes(path, key)
        if needed > room:
            raise ConfigError(
                "A file is too large to be sent along with a job.", field=key, got=f"{path} ({size(needed)})",
                expected=f"at most {size(_MAX_BYTES)} in all",
                fix=f"put it, or a link to it, on storage that the cluster sees: under storage.root, now {root}",
            )  # fmt: skip
        room -= needed
        return _copy(path, folder, Path("files", key, path.name))

    config: dict[str, Any] = replace_paths(job, place)
    _check(job, root)
    config["cluster"]["address"] = "auto"
    config["storage"]["root"] = str(root)
    (folder / "job.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    return config


def _check(job: JobConfig, root: Path) -> None:
    """Refuse what `run` would refuse; files that only the cluster sees are left to it."""
    read_data(job)
    if job.model.path is not None and not absolute(job.model.path).is_relative_to(root):
        locate(job.model)


def _bytes(path: Path, key: str) -> int:
    if not path.exists():
        raise ConfigError(
            "A file that the configuration names is missing.", field=key, got=path, expected="a file to send along",
            fix="check the path; what only the cluster sees must lie under storage.root",
        )  # fmt: skip
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _copy(path: Path, folder: Path, target: Path) -> str:
    if path.is_dir():
        shutil.copytree(path, folder / target, ignore=_SKIPPED)
    else:
        (folder / target).parent.mkdir(parents=True)
        shutil.copyfile(path, folder / target)
    return str(target)


def _show(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
