"""What Ray's cluster launcher runs on the machines that it starts: files, set-up, `ray start`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from cluster import growth, records
from cluster.description import ClusterFile
from cluster.preemption import SPOT
from cluster.providers import _tunnel as tunnel
from cluster.providers._local_nodes import LOOPBACK
from cluster.providers._secrets import REDIS_PASSWORD, redis_password_file

_CHECKOUT = Path(__file__).resolve().parents[2]
_HOME = "~/raysmith"
_START = "ray_start.py"
_TOKEN, _PASSWORD = "~/.ray/auth_token", "~/.ray/redis_password"
_IMAGE_BIN = "/opt/raysmith/venv/bin"
_APT = "sudo apt-get -o DPkg::Lock::Timeout=600"
_BOOTED = "if command -v cloud-init > /dev/null; then cloud-init status --wait > /dev/null || true; fi"
"""While a machine of a cloud starts, its own first set-up holds the locks of apt."""
_DRIVER = (
    "if grep -qs 0x10de /sys/bus/pci/devices/*/vendor; then "
    "for _ in $(seq 60); do nvidia-smi -L > /dev/null 2>&1 && break; sleep 10; done; nvidia-smi -L; fi"
)
"""Some images install NVIDIA's driver when they first start."""
_NFS = "hard,timeo=600,retrans=2,noresvport"


class Commands:
    """Those of one cluster.

    Args:
        storage: the folder that every node sees.
        packages: pinned packages that the head's autoscaler needs.
        cloud: whose metadata tell a spot node that it is to go (`aws`, `gcp`).
        groups: how far the cluster may grow (`cluster.growth`); none: it does not.
    """

    def __init__(
        self, file: ClusterFile, storage: Path, packages: tuple[str, ...], cloud: str, groups: list[growth.Group]
    ) -> None:
        self._file, self._storage, self._packages, self._cloud = file, storage, packages, cloud
        self._groups = groups

    def docker(self) -> dict[str, Any]:
        """Ray adds the size of /dev/shm, and NVIDIA's runtime where there are GPUs."""
        if self._file.image is None:
            return {}
        return {
            "image": self._file.image,
            "container_name": self.container,
            "pull_before_run": True,
            "run_options": [
                "--ulimit nofile=65536:65536", "--security-opt no-new-privileges",
                f"--volume {shlex.quote(str(self._storage))}:{shlex.quote(str(self._storage))}",
            ],
        }  # fmt: skip

    @property
    def container(self) -> str:
        """Its name on each machine."""
        return f"raysmith-{self._file.name}"

    def mounts(self) -> dict[str, str]:
        """Path on the nodes → file here."""
        folder = records.folder_of(self._file.name)
        mounts = {_TOKEN: str(folder / "token")}
        if self._file.head.redis is not None:
            mounts[_PASSWORD] = str(redis_password_file(self._file.name))
            mounts[f"{_HOME}/{_START}"] = str(Path(__file__).with_name("_ray_start.py"))
        if self._file.image is None:
            mounts[f"{_HOME}/requirements.lock"] = str(_CHECKOUT / "requirements.lock")
            mounts[f"{_HOME}/environment.sh"] = str(_CHECKOUT / "cluster" / "images" / "environment.sh")
        return mounts

    def initialization(self) -> list[str]:
        """Outside the container, before anything else."""
        booted = [_BOOTED] if self._cloud else []
        if self._cloud and any(group.gpu is not None for group in self._file.nodes.values()):
            booted.append(_DRIVER)
        nfs = getattr(self._file.provider, "nfs", None)
        if nfs is None:
            return booted
        place = shlex.quote(str(self._storage))
        mount = f"sudo mount -t nfs -o nfsvers={{}},{_NFS} {nfs} {place}"
        return [
            *booted,
            "command -v mount.nfs || "
            f"(for _ in 1 2 3 4 5; do {_APT} update -q && break; sleep 20; done; {_APT} install -yq nfs-common)",
            # Version 3 for what knows no other, such as Google's basic Filestore.
            f"sudo mkdir -p {place} && (mountpoint -q {place} || {mount.format('4.1')} || {mount.format('3')})",
            f"test -w {place} || sudo chown $(id -u):$(id -g) {place}",
        ]

    def setup(self) -> list[str]:
        """Inside the container, where there is one."""
        files = " ".join([_TOKEN] + [_PASSWORD] * (self._file.head.redis is not None))
        private = f"chmod 600 {files}"
        if self._file.image is not None:
            # What is mounted has the owner that it has outside.
            refused = "echo 'The user of the image is not the account of the machine.' >&2; exit 1"
            return [f"for file in {files}; do test -O $file || {{ ls -ln $file; id; {refused}; }}; done; {private}"]
        packages = "".join(f" {shlex.quote(one)}" for one in self._packages)
        return [private, f"bash {_HOME}/environment.sh {_HOME}{packages}"]

    def environment(self) -> str:
        """What is exported before `ray`."""
        values = {
            "RAY_AUTH_MODE": "token",
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",
            "RAY_JOB_STOP_WAIT_TIME_S": "30",  # a job that is stopped saves a checkpoint first
            "RAYSMITH_STORAGE": shlex.quote(str(self._storage)),
            # A login shell, which Ray uses, forgets the PATH of an image.
            "PATH": f"{_HOME}/venv/bin:$PATH" if self._file.image is None else f"{_IMAGE_BIN}:$PATH",
        }
        return "".join(f"export {key}={value}; " for key, value in values.items()) + "ulimit -n 65536 || true; "

    def head_start(self) -> list[str]:
        """On the head."""
        more = ""
        if self._groups:
            more += f"export {growth.ENVIRONMENT}={shlex.quote(growth.encode(self._groups))}; "
        if self._file.head.redis is not None:
            more += (
                f"export RAY_REDIS_ADDRESS={shlex.quote(str(self._file.head.redis.address))}; "
                f"export RAY_external_storage_namespace={self._file.name}; "
                f'export {REDIS_PASSWORD}="$(cat {_PASSWORD})"; '
                # With it, no list of processes shows the password.
                f'ray() {{ python {_HOME}/{_START} "$@"; }}; '
            )
        return [
            f"{self.environment()}ray stop --grace-period 30",
            f"{self.environment()}{more}ray start --head --port={tunnel.CONTROL_PORT} --object-manager-port=8076"
            f" --dashboard-host={LOOPBACK} --dashboard-port={tunnel.DASHBOARD_PORT}"
            " --autoscaling-config=~/ray_bootstrap_config.yaml --disable-usage-stats",
        ]

    def worker_start(self) -> list[str]:
        """On the others. `$RAY_NODE_TYPE_NAME` comes from the autoscaler, as does `$RAY_HEAD_IP`."""
        spot = "|".join(name for name, group in self._file.nodes.items() if group.spot)
        warned = f'case "$RAY_NODE_TYPE_NAME" in {spot}) export {SPOT}={self._cloud};; esac; ' if spot else ""
        return [
            f"{self.environment()}ray stop --grace-period 30",
            f"{self.environment()}{warned}ray start --address=$RAY_HEAD_IP:{tunnel.CONTROL_PORT}"
            " --object-manager-port=8076 --disable-usage-stats",
        ]

    def probe(self, alive: str, gone: str) -> str:
        """Prints one of two words: whether Ray's control store is there on the head.

        One that listens and is too busy to answer is there: jobs may run under it.
        """
        listens = f"grep -qs ':{tunnel.CONTROL_PORT:04X} [0-9A-F]*:0000 0A' /proc/net/tcp /proc/net/tcp6"
        asked = (
            f"{self.environment()}for _ in 1 2 3; do timeout 30 ray health-check > /dev/null 2>&1 && "
            f"echo {alive} && exit; {listens} && echo {alive} && exit; sleep 2; done; "
            f"echo {gone}"
        )
        if self._file.image is None:
            return asked
        return f"docker exec {self.container} bash -c {shlex.quote(asked)} || echo {gone}"
