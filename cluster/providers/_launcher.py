"""What machines that Ray's cluster launcher (`ray up`) starts have in common: the providers ssh, aws and gcp.

    FOLDER/cluster.yaml       what `ray up` takes
    ~/.raysmith/clusters/NAME/token            goes to every node as ~/.ray/auth_token, readable by its user alone
    ~/.raysmith/clusters/NAME/redis_password   the same, where the head keeps its state in a Redis

The rendered file names those files and holds nothing of them.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Annotated, Any, ClassVar, NoReturn

import yaml
from pydantic import Field

from cluster import records
from cluster.config import PluginConfig
from cluster.description import ClusterFile
from cluster.errors import ClusterError, ConfigError
from cluster.providers import NodeStatus
from cluster.providers import _tunnel as tunnel
from cluster.providers._launcher_commands import Commands
from cluster.providers._node_types import growth_of
from cluster.providers._secrets import keep_redis_password
from cluster.storage import write_atomically

FILE_NAME = "cluster.yaml"
_ALIVE, _GONE = "raysmith-head-is-alive", "raysmith-head-is-gone"
_TUNNEL_S = 120.0
_JOIN_S = 900.0
"""One after the other, with the download of an image."""
_POLL_S = 1.0
Export = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.-]*:/[A-Za-z0-9._/-]*$")]


class LauncherConfig(PluginConfig):
    """Keys that ssh, aws and gcp share."""

    ssh_user: str = Field(default="ubuntu", pattern=r"^[a-z_][a-z0-9_-]*$")
    """The account on the machines; it needs sudo without a password where packages or storage are set up."""
    ssh_key: Path | None = None
    """Its private key. Unset: ssh's own choice; on a cloud, one that Ray makes."""
    nfs: Export | None = None
    """`HOST:/PATH` of a file system that each node mounts at `storage` (EFS, Filestore, your own). Unset: it is
    mounted already."""


class Launcher(ABC):
    """A provider through `ray up`."""

    REQUIRES: tuple[str, ...] = ()
    """Modules that `ray up` needs here for this platform."""
    NODE_PACKAGES: tuple[str, ...] = ()
    """Pinned packages that the head's autoscaler needs; the images have them."""
    CLOUD = ""
    """Whose metadata tell a spot node that it is to go: `aws` or `gcp`."""
    GROWS = True
    """Whether the autoscaler starts machines."""

    ENVIRONMENT: ClassVar[dict[str, str]] = {}
    """Of `ray up`."""

    def __init__(self, file: ClusterFile) -> None:
        if file.storage is None or not file.storage.is_absolute():
            raise ConfigError(
                "The nodes need a folder that all of them see.", field="storage", got=file.storage,
                expected="an absolute path on the nodes",
                fix="storage: /raysmith, and provider.nfs if the nodes are to mount it",
            )  # fmt: skip
        if file.head.redis is not None and file.head.redis.address is None:
            raise ConfigError(
                "A Redis beside the head would be lost with it.", field="head.redis.address", got=None,
                expected="HOST:PORT of one that is there (ElastiCache, Memorystore, your own)",
            )  # fmt: skip
        self.file = file
        self.platform: dict[str, Any] = self._platform()
        groups = growth_of(file) if self.GROWS else []
        self.commands = Commands(file, file.storage, self.NODE_PACKAGES, self.CLOUD, groups)

    @abstractmethod
    def _platform(self) -> dict[str, Any]:
        """`provider`, `auth`, and the node types if the platform has any.

        Raises:
            ConfigError: the platform has no such machines.
        """

    def launcher_file(self) -> dict[str, Any]:
        """What `ray up` takes."""
        file = self.file
        return {
            "cluster_name": file.name,
            "max_workers": sum(group.max_nodes for group in file.nodes.values()),
            "upscaling_speed": 1.0,
            "idle_timeout_minutes": file.idle_minutes,
            **self.platform,
            "docker": self.commands.docker(),
            "file_mounts": self.commands.mounts(),
            "cluster_synced_files": [],
            "rsync_exclude": [],
            "initialization_commands": self.commands.initialization(),
            "setup_commands": self.commands.setup(),
            "head_setup_commands": [],
            "worker_setup_commands": [],
            "head_start_ray_commands": self.commands.head_start(),
            "worker_start_ray_commands": self.commands.worker_start(),
        }

    def render(self, folder: Path) -> list[Path]:
        """Write `cluster.yaml`."""
        path = folder / FILE_NAME
        text = yaml.safe_dump(self.launcher_file(), sort_keys=False, width=120)
        head = (
            f"# Made by `raysmith cluster render`; `raysmith cluster up` runs `ray up` on it.\n"
            f"# It holds no secret. The token that it names is made by `raysmith cluster up`:\n"
            f"#   {records.folder_of(self.file.name) / 'token'}\n"
        )
        write_atomically(path, head + text)
        return [path]

    def up(self) -> None:
        """Run `ray up`, open the tunnel to the dashboard, and record the cluster."""
        missing = [name for name in self.REQUIRES if importlib.util.find_spec(name) is None]
        if missing:
            raise ClusterError(
                f"`ray up` needs packages for {self.file.provider.kind} that are not installed here.",
                field="provider", got=", ".join(missing), fix=f"pip install {' '.join(self.NODE_PACKAGES)}",
            )  # fmt: skip
        keep_redis_password(self.file)
        record, was_up = tunnel.begin(self.file, self.file.provider.kind)
        records.make_token(self.file.name)
        (path,) = self.render(records.folder_of(self.file.name))
        # A second `up` must not restart Ray under the jobs that run.
        as_it_is = ["--no-restart"] if was_up and not self._head_has_gone(path) else []
        self._ray("up", "--yes", "--no-config-cache", *as_it_is, str(path))
        address = self._ray("get-head-ip", str(path)).split()[-1]
        record = record.model_copy(update={"address": f"{address}:{tunnel.CONTROL_PORT}"})
        ports = ["--port", str(tunnel.port_of(record)), "--remote-port", str(tunnel.DASHBOARD_PORT)]
        tunnel.open_tunnel(record, [*_RAY, "dashboard", *ports, str(path)], _TUNNEL_S)
        if not self.GROWS:
            self._wait_for_all()

    def down(self) -> None:
        """Run `ray down`, close the tunnel, and forget the record."""
        record = records.record_of(self.file.name)
        path = records.folder_of(self.file.name) / FILE_NAME
        if not path.is_file():
            self.render(path.parent)
        self._ray("down", "--yes", str(path))
        self._stop_machines()
        tunnel.close_tunnel(record)
        records.forget(self.file.name)

    def status(self) -> list[NodeStatus]:
        """What the dashboard tells through the tunnel."""
        return tunnel.nodes_of(records.record_of(self.file.name))

    def _wait_for_all(self) -> None:
        """Until every machine has joined: where nothing grows, a job is refused that needs more than is there."""
        wanted = 1 + sum(group.max_nodes for group in self.file.nodes.values())
        deadline, progress = time.monotonic() + _JOIN_S, records.progress_of(self.file.name)
        try:
            while (alive := sum(one.state == "alive" for one in self.status())) < wanted:
                if time.monotonic() > deadline:
                    raise ClusterError(
                        "Some machines did not join the cluster, which is up without them.", field="provider.hosts",
                        got=f"{alive} of {wanted} after {_JOIN_S / 60:.0f} minutes", expected="all of them",
                        fix=f"raysmith cluster status {self.file.name} shows who is there; why the others are not, "
                        "the head's autoscaler says in /tmp/ray/session_latest/logs/monitor.*",
                    )  # fmt: skip
                progress.write(alive, wanted)
                time.sleep(_POLL_S)
        finally:
            progress.clear()

    def _head_has_gone(self, path: Path) -> bool:
        """Whether the head's machine is there without a Ray that answers.

        One that is not there itself is made anew by `ray up`, with Ray.
        """
        try:
            said = self._ray("exec", "--run-env", "host", str(path), self.commands.probe(_ALIVE, _GONE))
        except ClusterError:
            return False  # nobody knows: `ray up` waits for the machine, or makes a new one
        return _GONE in (line.strip() for line in said.splitlines())

    def _stop_machines(self) -> None:
        """What `ray down` leaves running."""
        return

    def _ray(self, *arguments: str) -> str:
        """Run Ray's command, with its log kept beside the record.

        Raises:
            ClusterError: it fails, with its last lines.
        """
        log = records.folder_of(self.file.name) / f"{arguments[0]}.log"
        began = time.monotonic()
        with log.open("wb") as stream:
            done = subprocess.run(  # noqa: S603 a command of ours
                [*_RAY, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                check=False,
                env={**os.environ, **self.ENVIRONMENT},
            )
        if done.returncode:
            self._failed(arguments[0], done.returncode, log, time.monotonic() - began)
        return log.read_text(errors="replace")

    def _failed(self, verb: str, code: int, log: Path, after_s: float) -> NoReturn:
        left = "" if verb == "down" else f"; `raysmith cluster down {self.file.name}` removes what was started"
        raise ClusterError(
            f"`ray {verb}` failed after {after_s:.0f} s.", field="ray",
            got=f"exit code {code}\n{tunnel.last_lines(log)}", fix=f"the whole log: {log}{left}",
        )  # fmt: skip


_RAY = [sys.executable, "-m", "ray.scripts.scripts"]
