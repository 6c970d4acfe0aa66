"""The password of the Redis that keeps a head's state: given once by the environment, kept beside the token."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from cluster import records
from cluster.description import ClusterFile
from cluster.errors import ConfigError
from cluster.storage import write_atomically

REDIS_PASSWORD = "RAYSMITH_REDIS_PASSWORD"  # noqa: S105 a variable's name


def redis_password_file(name: str) -> Path:
    """Where a cluster's is kept, readable by the account alone."""
    return records.folder_of(name) / "redis_password"


def keep_redis_password(file: ClusterFile) -> None:
    """Keep the one of the environment, or the one that was kept before; a Redis that is started here gets a new one.

    Raises:
        ConfigError: the Redis is there already, and nobody has said its password.
    """
    if file.head.redis is None:
        return
    kept = redis_password_file(file.name)
    if given := os.environ.get(REDIS_PASSWORD):
        write_atomically(kept, given, mode=0o600)
    elif kept.is_file() and kept.stat().st_size:
        return
    elif file.head.redis.address is None:
        write_atomically(kept, secrets.token_hex(32), mode=0o600)
    else:
        raise ConfigError(
            "The password of Redis is missing.", field="head.redis.address", got=file.head.redis.address,
            expected=f"${REDIS_PASSWORD} in the environment, the first time",
        )  # fmt: skip
