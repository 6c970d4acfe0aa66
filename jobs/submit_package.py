"""The folder that is sent with a job: its configuration, this checkout's code, and the files that it names.

It is unpacked into the job's working directory:

    job.yaml               the resolved configuration, with cluster.address: auto; a sweep's job, a chain's links
    files/KEY/…            the file or folder that KEY of the configuration names
    cluster/ trainers/ serving/ jobs/

Files under storage.root stay where they are: every node sees that folder.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import yaml

from cluster.config_file import Tree
from cluster.errors import ConfigError
from jobs.parcel import ENTRY, Parcel
from jobs.paths import absolute
from jobs.words import size

_CODE = ("cluster", "trainers", "serving", "jobs")
# Ray keeps what is sent in the memory of the head's control store, and takes 500 MB at most.
_MAX_BYTES = 100_000_000
# Ray leaves out what a .gitignore names, and would so leave out parts of a data or model folder in silence.
_SKIPPED = shutil.ignore_patterns("__pycache__", "*.pyc", ".git", ".gitignore", ".rayignore")


def package(parcel: Parcel, folder: Path) -> dict[str, Tree]:
    """Fill `folder` with everything that the job needs on the cluster, checked as far as that can be done here.

    Returns:
        The YAML files as they were written.

    Raises:
        ConfigError: a file is missing, or the files are too large.
        DataError, ModelError: a file is malformed.
    """
    for name in _CODE:
        shutil.copytree(Path(__file__).parent.parent / name, folder / name, ignore=_SKIPPED)
    room, sent = _MAX_BYTES, dict[Path, str]()

    def place(key: str, path: Path) -> str:
        nonlocal room
        path = absolute(path)
        if path.is_relative_to(parcel.root):
            return str(path)
        if path in sent:
            return sent[path]
        needed = _bytes(path, key)
        if needed > room:
            raise ConfigError(
                "A file is too large to be sent along with a job.", field=key, got=f"{path} ({size(needed)})",
                expected=f"at most {size(_MAX_BYTES)} in all",
                fix=f"put it, or a link to it, on storage that the cluster sees: under storage.root, now {parcel.root}",
            )  # fmt: skip
        room -= needed
        sent[path] = _copy(path, folder, Path("files", key, path.name))
        return sent[path]

    files = parcel.render(place)
    parcel.check()
    for name, tree in files.items():
        if name != ENTRY or "cluster" in tree:
            tree["cluster"] = {**(tree.get("cluster") or {}), "address": "auto"}
        (folder / name).write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")
    return files


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
        (folder / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, folder / target)
    return str(target)
