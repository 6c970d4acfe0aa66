"""Connect to Ray: an embedded cluster of this machine, or a running one. The job's code is the same for both."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import psutil
from pydantic import Field, PositiveInt

from cluster.config import Config
from cluster.errors import ClusterError, RaysmithError, ResourceError
from cluster.token import keep_token

if TYPE_CHECKING:
    from ray import ObjectRef

T = TypeVar("T")
_LOOPBACK = "127.0.0.1"
_CONNECT_S = 10.0
_HIDE_GPUS = {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1"}
"""A worker without GPUs must not see the machine's."""
# Read by Ray when it is imported.
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    **_HIDE_GPUS,
    "RAY_TRAIN_ENABLE_CONTROLLER_LOGGING": "0",
    # A thread that asks once more when Ray has been shut down would otherwise start a cluster of its own.
    "RAY_ENABLE_AUTO_CONNECT": "0",
}
# A head runs code for whoever reaches its ports, so an embedded one gets both a token and loopback; without the second
# variable `ray.init` replaces a loopback address by the machine's own.
_TOKEN = {"RAY_AUTH_MODE": "token"}
_STAY_ON_LOOPBACK = ("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
_EMBEDDED = {**_ENVIRONMENT, **_TOKEN, _STAY_ON_LOOPBACK[0]: _STAY_ON_LOOPBACK[1]}


class WorkerRange(Config):
    """An elastic number of workers: training starts with `min`, and is restarted with more as they become free."""

    min: PositiveInt
    """Fewer than these, and training waits."""
    max: PositiveInt
    """More are not taken."""


class ClusterConfig(Config):
    """Which Ray cluster runs the job, and what each training worker gets."""

    address: str = "local"
    """`local`: a cluster inside this process, on loopback, gone when it ends. `auto`: the one this machine belongs
    to. `HOST:PORT`: that head node. `ray://HOST:PORT`: a remote one through Ray's client."""
    workers: PositiveInt | WorkerRange = 1
    """Training workers (data-parallel processes): a number, or `{min: …, max: …}` for as many as there is room for."""
    cpus_per_worker: float = Field(default=1.0, gt=0)
    """CPU cores a training worker; also its number of compute threads."""
    gpus_per_worker: int = Field(default=0, ge=0, le=1)
    """GPUs a training worker: 0 or 1 (one process drives one GPU)."""
    num_cpus: PositiveInt | None = None
    """Cores that an embedded cluster offers; default: all of this machine."""
    priority: int = Field(default=0, ge=-1000, le=1000)
    """Place in the queue of a cluster that several share (docs/jobs.md): a higher one goes first; who runs, stays."""

    @property
    def min_workers(self) -> int:
        """The fewest workers that training starts with."""
        return self.workers.min if isinstance(self.workers, WorkerRange) else self.workers

    @property
    def max_workers(self) -> int:
        """The most workers that training takes."""
        return self.workers.max if isinstance(self.workers, WorkerRange) else self.workers

    @property
    def worker_range(self) -> int | tuple[int, int]:
        """As Ray Train's ScalingConfig takes it."""
        return (self.min_workers, self.max_workers) if isinstance(self.workers, WorkerRange) else self.workers


class Capacity(NamedTuple):
    """What a cluster has in all."""

    cpus: float
    gpus: float
    memory_bytes: int
    largest_node_cpus: float
    """Cores of the largest node: more than these no single task can be given."""


NOTHING = Capacity(cpus=0, gpus=0, memory_bytes=0, largest_node_cpus=0)


@contextmanager
def connected(config: ClusterConfig, keep_logs: Path | None = None) -> Iterator[Capacity]:
    """Connect for the length of a `with` block.

    Args:
        keep_logs: where an embedded cluster's worker logs go when it ends; otherwise they go with it.

    Raises:
        ClusterError: the cluster cannot be reached or refuses the token.
    """
    if config.address.startswith(f"{_LOOPBACK}:"):  # Ray would ask at the machine's own address, where nothing listens
        os.environ.setdefault(*_STAY_ON_LOOPBACK)
    prepare_environment(embedded=config.address == "local")
    import ray

    arguments, temporary = _arguments(config)
    connected_already = ray.is_initialized()  # Ray refuses a second connection; the first one is not ours to end
    try:
        _connect(config.address, arguments)
        yield _capacity()
    finally:
        if not connected_already:
            ray.shutdown()
        if temporary:
            if keep_logs is not None:
                _copy_logs(temporary, keep_logs)
            shutil.rmtree(temporary, ignore_errors=True)


def _capacity() -> Capacity:
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return Capacity(
        cpus=sum(node.get("CPU", 0.0) for node in nodes),
        gpus=sum(node.get("GPU", 0.0) for node in nodes),
        memory_bytes=int(sum(node.get("memory", 0) for node in nodes)),
        largest_node_cpus=max((node.get("CPU", 0.0) for node in nodes), default=0.0),
    )


def _connect(address: str, arguments: dict[str, Any]) -> None:
    import ray
    from ray.exceptions import AuthenticationError

    try:
        if address == "auto":
            arguments = {**arguments, "address": _found()}
        _require_listener(arguments["address"])
        with _own_sigterm():
            ray.init(**arguments)
    except (ConnectionError, AuthenticationError) as error:
        raise ClusterError(
            "The Ray cluster cannot be reached, or refuses the token.", field="cluster.address", got=address,
            expected="local, auto, HOST:PORT or ray://HOST:PORT of a running head",
            fix=f"start one with `ray start --head`, share its ~/.ray/auth_token, or use `local` ({error})",
        ) from None  # fmt: skip


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """Keep what SIGTERM does here: Ray would end the process where it stands."""
    mine = signal.getsignal(signal.SIGTERM)
    yield
    if threading.current_thread() is threading.main_thread() and mine is not None:
        signal.signal(signal.SIGTERM, mine)


def _found() -> str:
    """The cluster that this machine belongs to.

    Ray's own search also takes clusters embedded in other programs, whose head may listen on loopback alone, and then
    retries for ever.
    """
    from ray._common.utils import get_ray_address_file

    if address := os.environ.get("RAY_ADDRESS"):
        return address
    file = Path(get_ray_address_file(None))
    if not file.is_file():
        raise ConnectionError("no cluster was started on this machine: neither $RAY_ADDRESS nor " + str(file))
    return file.read_text().strip()


def _require_listener(address: str) -> None:
    # Ray itself retries an address where nothing listens for minutes.
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdecimal():
        return
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_S).close()
    except OSError as error:
        raise ConnectionError(error) from None


def prepare_environment(*, embedded: bool) -> None:
    """Set what Ray reads from the environment, and leave what the user has set. Call it before Ray is imported.

    Ray uses a token with a running cluster only when told to, and then refuses to go on without one, although a cluster
    may well have none: so it is told to when there is a token.
    """
    if embedded and not _is_given():
        keep_token()
    running = {**_ENVIRONMENT, **_TOKEN} if _has_token() else _ENVIRONMENT
    for key, value in (_EMBEDDED if embedded else running).items():
        os.environ.setdefault(key, value)


def _has_token() -> bool:
    return _is_given() or (Path.home() / ".ray" / "auth_token").is_file()


def _is_given() -> bool:
    return any(os.environ.get(key) for key in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))


def _remove_abandoned(parent: Path) -> None:
    # What a killed driver could not remove; other users' folders stay.
    for folder in parent.glob("rs-*-*"):
        pid = folder.name.split("-")[1]
        if pid.isdecimal() and not psutil.pid_exists(int(pid)) and folder.stat().st_uid == os.getuid():
            shutil.rmtree(folder, ignore_errors=True)


def _copy_logs(temporary: Path, target: Path) -> None:
    for log in temporary.glob("session_latest/logs/**/*"):
        if log.is_file() and log.stat().st_size and log.suffix in {".out", ".err", ".log"}:
            target.mkdir(exist_ok=True)
            shutil.copyfile(log, target / log.name)


def _arguments(config: ClusterConfig) -> tuple[dict[str, Any], Path | None]:
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "error", "ignore_reinit_error": False}
    if config.address != "local":
        # Workers of a running cluster do not have this process's environment.
        running = {**quiet, "address": config.address, "runtime_env": {"env_vars": _HIDE_GPUS}}
        # Of several nodes on one machine (cluster/providers/local.py), a job's driver belongs to the one that it is on.
        own = os.environ.get("RAYSMITH_RAY_FOLDER") if config.address == "auto" else None
        return {**running, **({"_temp_dir": own} if own else {})}, None
    # Unix socket paths hold 107 characters, so Ray's session folder needs a short parent.
    _remove_abandoned(Path(tempfile.gettempdir()))
    temporary = Path(tempfile.mkdtemp(prefix=f"rs-{os.getpid()}-"))
    local = {
        "address": "local",
        "num_cpus": config.num_cpus,
        "include_dashboard": False,
        "_node_ip_address": _LOOPBACK,
        "_temp_dir": str(temporary),
    }
    return {**quiet, **local}, temporary


def embedded_capacity(config: ClusterConfig) -> Capacity:
    """What an embedded cluster would have, without starting it."""
    cpus = config.num_cpus or psutil.cpu_count() or 1
    return Capacity(
        cpus=cpus,
        gpus=len(list(Path("/dev").glob("nvidia[0-9]*"))),
        memory_bytes=psutil.virtual_memory().available,
        largest_node_cpus=cpus,
    )


def require_fits(config: ClusterConfig, capacity: Capacity, cpus_beside: float = 0.0, gpus_beside: float = 0.0) -> None:
    """Refuse a job that an embedded cluster, which has one node, can never hold.

    Args:
        cpus_beside: cores that the job's other processes hold beside the training workers.
        gpus_beside: their GPUs.

    Raises:
        ResourceError: too few CPUs or GPUs in all.
    """
    for name, needed, there, key in (
        ("CPUs", config.min_workers * config.cpus_per_worker + cpus_beside, capacity.cpus, "cpus_per_worker"),
        ("GPUs", config.min_workers * config.gpus_per_worker + gpus_beside, capacity.gpus, "gpus_per_worker"),
        ("CPUs on one node", config.cpus_per_worker, capacity.largest_node_cpus, "cpus_per_worker"),
    ):
        if needed > there:
            raise ResourceError(
                f"The cluster can never hold the training workers: too few {name}.",
                field=f"cluster.workers × cluster.{key}", got=f"{needed:g} {name}",
                expected=f"at most {there:g}, all that {config.address!r} has",
                fix=f"lower cluster.workers or cluster.{key}, or set cluster.address to a larger cluster",
            )  # fmt: skip


def result_of(reference: ObjectRef[T]) -> T:
    """`ray.get`, giving a task's own RaysmithError rather than Ray's wrapping of it.

    Raises:
        RaysmithError: what the task raised.
        ClusterError: the worker process died.
    """
    import ray
    from ray.exceptions import RayError, RayTaskError

    try:
        return ray.get(reference)
    except RayTaskError as error:
        if isinstance(error.cause, RaysmithError):
            raise error.cause from None
        raise  # a bug of ours: its traceback is wanted
    except RayError as error:  # the process, its node or Ray itself is gone, or memory ran out
        raise ClusterError(
            "A worker process died.", field=type(error).__name__, got=str(error).strip().splitlines()[0],
            fix="usually too little memory: see `raysmith plan` and the attempt's logs",
        ) from None  # fmt: skip
