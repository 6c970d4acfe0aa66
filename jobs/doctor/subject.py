"""From the command line to what is looked at."""

from __future__ import annotations

from pathlib import Path

from cluster import records
from cluster.config_file import load_config, read_tree
from cluster.description import ClusterFile
from cluster.errors import ConfigError
from cluster.storage import StorageConfig
from jobs.config import JobConfig
from jobs.doctor.finding import Subject
from jobs.endpoints.config import EndpointConfig

_KEYS: dict[str, type[JobConfig] | type[EndpointConfig] | type[ClusterFile]] = {
    "provider": ClusterFile,
    "data": JobConfig,
    "train": JobConfig,
    "engine": EndpointConfig,
}


def subject_of(config: Path | None, cluster: str | None, storage: Path | None) -> Subject:
    """What the command line names.

    Args:
        config: a job's, an endpoint's or a cluster's file.
        storage: wins over the file's storage root.

    Raises:
        ConfigError: the file is none of these, or not valid.
        ClusterError: no cluster of that name is up.
    """
    loaded = None if config is None else _load(config)
    description = loaded if isinstance(loaded, ClusterFile) else None
    job = None if isinstance(loaded, ClusterFile) else loaded
    root = StorageConfig(root=storage) if storage else job.storage if job is not None else StorageConfig()
    if description is not None and description.storage is not None and storage is None:
        root = StorageConfig(root=description.storage)
    record = None if cluster is None else records.record_of(cluster)
    return Subject(root.location(), job, description, record)


def _load(path: Path) -> JobConfig | EndpointConfig | ClusterFile:
    tree = read_tree(path).tree
    for key, kind in _KEYS.items():
        if key in tree:
            return load_config(kind, path)
    if isinstance(tree.get("model"), str):
        return load_config(EndpointConfig, path)
    if "model" in tree:
        return load_config(JobConfig, path)
    raise ConfigError(
        "The doctor looks at the file of a job, an endpoint or a cluster.", field=str(path),
        got=", ".join(sorted(tree)) or "nothing", expected="one of these",
        fix="of a chain or a sweep name the jobs' own files",
    )  # fmt: skip
