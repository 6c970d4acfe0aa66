"""What machines that Ray's cluster launcher (`ray up`) starts have in common: the providers ssh, aws and gcp.

    FOLDER/cluster.yaml       what `ray up` takes
    ~/.raysmith/clusters/NAME/token            goes to every node as ~/.ray/auth_token, readable by its user alone
    ~/.raysmith/clusters/NAME/redis_password   the same, where the head keeps its state in a Redis

The rendered file names those files and holds nothing of them.
"""

from __future__ import annotations

import importlib.util
import os
import shlex
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
from cluster.storage import write_atomically

FILE_NAME = "cluster.yaml"
REDIS_PASSWORD = "RAYSMITH_REDIS_PASSWORD"  # noqa: S105 a variable's name
_CHECKOUT = Path(__file__).resolve().parents[2]
_HOME = "~/raysmith"
_TUNNEL_S = 120.0
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
    """Pinned packages that the head's autoscaler needs; installed without their dependencies, which the lock has."""

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
        self.storage = file.storage
        self.platform: dict[str, Any] = self._platform()

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
            "docker": self._docker(),
            "file_mounts": self._mounts(),
            "cluster_synced_files": [],
            "rsync_exclude": [],
            "initialization_commands": self._initialization(),
            "setup_commands": self._setup(),
            "head_setup_commands": [],
            "worker_setup_commands": [],
            "head_start_ray_commands": self._head_start(),
            "worker_start_ray_commands": self._worker_start(),
        }

    def render(self, folder: Path) -> list[Path]:
        """Write `cluster.yaml`."""
        path = folder / FILE_NAME
        text = yaml.safe_dump(self.launcher_file(), sort_keys=False, width=120)
        head = (
            f"# Made by `raysmith cluster render`; `raysmith cluster up` runs `ray up` on it.\n"
            f"# It holds no secret. The token that it names is made by `raysmith cluster up`:\n"
            f"#   {self._secret('token')}\n"
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
        record, was_up = tunnel.begin(self.file, self.file.provider.kind)
        records.make_token(self.file.name)
        self._keep_redis_password()
        (path,) = self.render(records.folder_of(self.file.name))
        # A second `up` must not restart Ray under the jobs that run.
        self._ray("up", "--yes", "--no-config-cache", *(["--no-restart"] if was_up else []), str(path))
        address = self._ray("get-head-ip", str(path)).split()[-1]
        record = record.model_copy(update={"address": f"{address}:{tunnel.CONTROL_PORT}"})
        ports = ["--port", str(tunnel.port_of(record)), "--remote-port", str(tunnel.DASHBOARD_PORT)]
        tunnel.open_tunnel(record, [*_RAY, "dashboard", *ports, str(path)], _TUNNEL_S)

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

    def _stop_machines(self) -> None:
        """What `ray down` leaves running."""
        return

    def _secret(self, name: str) -> Path:
        return records.folder_of(self.file.name) / name

    def _keep_redis_password(self) -> None:
        if self.file.head.redis is not None:
            password = os.environ.get(REDIS_PASSWORD, "")
            write_atomically(self._secret("redis_password"), password, mode=0o600)

    def _docker(self) -> dict[str, Any]:
        if self.file.image is None:
            return {}
        return {
            "image": self.file.image,
            "container_name": f"raysmith-{self.file.name}",
            "pull_before_run": True,
            "run_options": [
                "--ulimit nofile=65536:65536", "--security-opt no-new-privileges",
                f"--volume {shlex.quote(str(self.storage))}:{shlex.quote(str(self.storage))}",
            ],
        }  # fmt: skip

    def _mounts(self) -> dict[str, str]:
        mounts = {"~/.ray/auth_token": str(self._secret("token"))}
        if self.file.head.redis is not None:
            mounts["~/.ray/redis_password"] = str(self._secret("redis_password"))
        if self.file.image is None:
            mounts[f"{_HOME}/requirements.lock"] = str(_CHECKOUT / "requirements.lock")
            mounts[f"{_HOME}/environment.sh"] = str(_CHECKOUT / "cluster" / "images" / "environment.sh")
        return mounts

    def _initialization(self) -> list[str]:
        """Outside the container, before anything else."""
        nfs = getattr(self.file.provider, "nfs", None)
        if nfs is None:
            return []
        place = shlex.quote(str(self.storage))
        return [
            "command -v mount.nfs4 || (sudo apt-get update -q && sudo apt-get install -yq nfs-common)",
            f"sudo mkdir -p {place} && (mountpoint -q {place} || "
            f"sudo mount -t nfs4 -o nfsvers=4.1,hard,timeo=600,retrans=2,noresvport {nfs} {place})",
            f"test -w {place} || sudo chown $(id -u):$(id -g) {place}",
        ]

    def _setup(self) -> list[str]:
        private = "chmod 600 ~/.ray/auth_token" + (" ~/.ray/redis_password" if self.file.head.redis else "")
        if self.file.image is not None:
            return []  # what is mounted keeps the mode that it was copied with
        packages = "".join(f" {shlex.quote(one)}" for one in self.NODE_PACKAGES)
        return [private, f"bash {_HOME}/environment.sh {_HOME}{packages}"]

    def _environment(self) -> str:
        values = {
            "RAY_AUTH_MODE": "token",
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",
            "RAY_JOB_STOP_WAIT_TIME_S": "30",  # a job that is stopped saves a checkpoint first
            "RAYSMITH_STORAGE": shlex.quote(str(self.storage)),
        }
        if self.file.image is None:
            values["PATH"] = f"{_HOME}/venv/bin:$PATH"
        return "".join(f"export {key}={value}; " for key, value in values.items()) + "ulimit -n 65536 || true; "

    def _head_start(self) -> list[str]:
        redis, options = "", ""
        if self.file.head.redis is not None:
            redis = (
                f"export RAY_REDIS_ADDRESS={shlex.quote(str(self.file.head.redis.address))}; "
                f"export RAY_external_storage_namespace={self.file.name}; "
            )
            options = ' --redis-password="$(cat ~/.ray/redis_password)"'
        return [
            f"{self._environment()}ray stop --grace-period 30",
            f"{self._environment()}{redis}ray start --head --port={tunnel.CONTROL_PORT} --object-manager-port=8076"
            f" --dashboard-host={tunnel.LOOPBACK} --dashboard-port={tunnel.DASHBOARD_PORT}"
            f" --autoscaling-config=~/ray_bootstrap_config.yaml --disable-usage-stats{options}",
        ]  # fmt: skip

    def _worker_start(self) -> list[str]:
        return [
            f"{self._environment()}ray stop --grace-period 30",
            f"{self._environment()}ray start --address=$RAY_HEAD_IP:{tunnel.CONTROL_PORT} --object-manager-port=8076"
            " --disable-usage-stats",
        ]  # fmt: skip

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
