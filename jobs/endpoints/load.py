"""`raysmith bench`: which endpoint, with whose key, and where the results go."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

from cluster.config_file import Loaded, apply_overrides, validate
from cluster.errors import ConfigError
from jobs.bench.config import LoadConfig
from jobs.bench.driver import bench
from jobs.endpoints.folder import EndpointFolder
from serving.table import ADAPTER_SEPARATOR


def bench_endpoint(
    root: Path, name: str, assignments: list[str], to: Path | None, url: str | None, *, allow_remote: bool
) -> None:
    """Put a load on an endpoint of this storage, or on another server.

    Args:
        assignments: keys of the load, `key=value`.
        url: another server's base URL; `name` is then the model that it is asked for.

    Raises:
        ConfigError: a key of the load is wrong, or there is no API key for another server.
        EndpointError: the endpoint is not up.
    """
    load = validate(LoadConfig, apply_overrides(Loaded({}, {}), assignments))
    when = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    if url is not None:
        key = os.environ.get("OPENAI_API_KEY")
        if key is None:
            raise ConfigError(
                "There is no API key for that server.", field="$OPENAI_API_KEY", got="unset", expected="a key"
            )
        bench(url, name, key, load, to or Path(f"bench-{when}"), allow_remote=allow_remote)
        return
    folder = EndpointFolder(root, name.partition(ADAPTER_SEPARATOR)[0])
    state = folder.require_up()
    bench(state.url, name, folder.operator_key(), load, to or folder.path / "bench" / when, allow_remote=allow_remote)
