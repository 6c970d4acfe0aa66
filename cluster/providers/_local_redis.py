"""The Redis that keeps a local cluster's head state: one that is there, or one of the cluster's own."""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import subprocess
import time
from pathlib import Path

from cluster.description import ClusterFile
from cluster.errors import ConfigError, ResourceError
from cluster.providers._local_nodes import LOOPBACK, REDIS_PASSWORD_VARIABLE, Places
from cluster.providers._local_processes import listens, start
from cluster.storage import write_atomically

_NODE = "redis"
_RETRY_S = 1.0
_CLOSE_S = 5.0
log = logging.getLogger("supervisor")


class Redis:
    """Address, password and, where it is the cluster's own, process.

    Its own one listens on loopback, wants a password, and appends all changes to a file in the cluster's folder.
    """

    def __init__(self, file: ClusterFile, folder: Path, places: Places) -> None:
        given = file.head.redis.address if file.head.redis is not None else None
        self._folder = folder / "redis"
        self._log = folder / "logs" / "redis.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._own = given is None
        self._port = places.ports(_NODE, ("port",))["port"] if self._own else 0
        self._due_at = 0.0
        self.address = given or f"{LOOPBACK}:{self._port}"
        self.namespace = _namespace(file, folder)
        self._password = os.environ.pop(REDIS_PASSWORD_VARIABLE, "")
        if self._own:
            self._password = _kept(folder / "redis_password", 32)

    @property
    def pid(self) -> int | None:
        """Of its own process."""
        return self._process.pid if self._process is not None else None

    @property
    def for_head(self) -> dict[str, str]:
        """What the head needs in its environment."""
        return {
            "RAY_REDIS_ADDRESS": self.address, "RAY_external_storage_namespace": self.namespace,
            REDIS_PASSWORD_VARIABLE: self._password,
        }  # fmt: skip

    def keep(self, environment: dict[str, str]) -> bool:
        """Start it if need be; whether it answers."""
        if not self._own:
            return True
        if self._process is not None and self._process.poll() is not None:
            log.warning("redis ended with %s", self._process.returncode)
            self._process, self._due_at = None, time.monotonic() + _RETRY_S
        if self._process is None and time.monotonic() >= self._due_at:
            self._start(environment)
        return listens(self._port)

    def _start(self, environment: dict[str, str]) -> None:
        self._folder.mkdir(exist_ok=True, mode=0o700)
        settings = {
            "bind": LOOPBACK, "port": self._port, "protected-mode": "yes", "requirepass": self._password,
            "dir": self._folder, "appendonly": "yes", "appendfsync": "everysec", "save": '""',
        }  # fmt: skip
        configuration = self._folder / "redis.conf"  # the password stands in no list of processes
        write_atomically(configuration, "".join(f"{key} {value}\n" for key, value in settings.items()), mode=0o600)
        self._process = start([redis_server(), str(configuration)], environment, self._folder, self._log)
        log.info("redis: process %d", self._process.pid)

    def close(self) -> None:
        """End it; it writes what it has first."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(_CLOSE_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


def require_redis(file: ClusterFile) -> None:
    """Refuse a description whose Redis cannot be used.

    Raises:
        ResourceError: it is to be started, and is not installed.
        ConfigError: it is there, and its password is not known.
    """
    if file.head.redis is None:
        return
    if file.head.redis.address is None:
        redis_server()
    elif not os.environ.get(REDIS_PASSWORD_VARIABLE):
        raise ConfigError(
            "The password of Redis is missing.", field="head.redis.address", got=file.head.redis.address,
            expected=f"${REDIS_PASSWORD_VARIABLE} in the environment",
        )  # fmt: skip


def forget_state(file: ClusterFile, folder: Path) -> None:
    """Remove what the cluster kept in a Redis that is not its own, where the password is known."""
    password = os.environ.get(REDIS_PASSWORD_VARIABLE)
    if file.head.redis is None or file.head.redis.address is None or not password or not folder.is_dir():
        return
    from ray._private.gcs_utils import cleanup_redis_storage

    scheme, _, place = file.head.redis.address.rpartition("://")
    host, _, port = place.rpartition(":")
    cleanup_redis_storage(
        host.strip("[]"), int(port), password, use_ssl=scheme == "rediss", storage_namespace=_namespace(file, folder)
    )


def _namespace(file: ClusterFile, folder: Path) -> str:
    return f"raysmith-{file.name}-{_kept(folder / 'redis_namespace', 4)}"


def redis_server() -> str:
    """The server's program.

    Raises:
        ResourceError: it is not installed.
    """
    if (path := shutil.which("redis-server")) is None:
        raise ResourceError(
            "Redis is not installed.", field="head.redis", expected="redis-server in $PATH",
            fix="apt-get install redis-server, or name one that is there: head.redis.address=HOST:PORT",
        )  # fmt: skip
    return path


def _kept(file: Path, num_bytes: int) -> str:
    """A random word, made once."""
    if not file.is_file():
        write_atomically(file, secrets.token_hex(num_bytes), mode=0o600)
    return file.read_text(encoding="utf-8")
