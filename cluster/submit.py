"""The jobs of a running cluster: send a folder as one, follow it, stop it, by Ray's Jobs API (docs/jobs.md).

Light on purpose: every worker of a submitted job imports this module for `use_own_python`.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from cluster.errors import ClusterError

if TYPE_CHECKING:
    from ray.dashboard.modules.job.pydantic_models import JobDetails

STOPPED = 143
"""Exit code for a job that was stopped, as of a process that SIGTERM ended: Ray does not keep the driver's own."""
_QUIET_S = 60.0
_RETRY_S = 2.0
_SILENT_RETRIES, _LOG_RETRIES, _TOLD_RETRIES = 90, 10, 3
"""A head that is started again takes a minute or two; the log of a job that is over is worth less patience."""
_STOP_S = 60
"""A driver that is stopped ends its endpoint or its training first; after so long Ray kills it."""
_KILL_S = 30
"""What Ray may take over that."""
# Ray's words for the loss of what a job runs under; its own errors end with an exit code.
_LOST = ("ACTOR_DIED", "ACTOR_UNKNOWN_FAILURE", "ACTOR_START_FAILURE", "ACTOR_UNSCHEDULABLE")
_KILLED = 9


class Ending(NamedTuple):
    """How a job ended."""

    exit_code: int
    """The driver's own; `STOPPED` when it was stopped; 1 when it never began."""
    text: str
    """Its status in words, with Ray's reason when the job could not write one into its log."""
    lost: bool = False
    """It ended through no fault of its own: sent again, it goes on."""


class JobView(NamedTuple):
    """What the cluster knows of a job."""

    id: str
    metadata: dict[str, str]
    status: str
    """Ray's: PENDING, RUNNING, STOPPED, SUCCEEDED or FAILED."""
    started: float
    """Unix time."""
    ended: float | None
    ending: Ending | None
    """None while it goes on."""

    @property
    def name(self) -> str:
        """Of the run, sweep, chain or endpoint; empty for jobs that are not ours."""
        return self.metadata.get("raysmith", "")


class RemoteJobs:
    """The jobs of one cluster, reached through its dashboard.

    Args:
        name: the cluster's, where it is up by a name.

    Raises:
        ConfigError: `address` is not one of a dashboard.
        ClusterError: nothing answers there, or it refuses the token.
    """

    def __init__(self, address: str, name: str | None = None) -> None:
        from cluster import dashboard
        from cluster.connect import prepare_environment

        self.address = dashboard.checked_address(address)
        self.name = name
        prepare_environment(embedded=False)
        with self._explained("No Ray dashboard answers at this address."):
            self._client = dashboard.connect(self.address)

    def _explained(self, message: str) -> AbstractContextManager[None]:
        from cluster import dashboard

        return dashboard.explained(self.address, message, self.name)

    def jobs(self) -> list[JobView]:
        """Those that were submitted, oldest first."""
        with self._explained("The cluster does not tell its jobs."):
            found = [_view(one) for one in self._client.list_jobs() if one.submission_id]
        return sorted(found, key=lambda one: one.started)

    def send(
        self, folder: Path, entrypoint: str, job_id: str, metadata: dict[str, str], *,
        packages: dict[str, Any] | None = None, cpus: float = 0.0,
    ) -> bool:  # fmt: skip
        """Upload `folder` and start `entrypoint` in it on the cluster.

        Args:
            entrypoint: a shell command; its `python` is the one that the cluster's Ray runs in.
            packages: further keys of Ray's runtime environment.
            cpus: cores that are kept for the driver. With none it runs on the head, with some on any node.

        Returns:
            Whether it was taken: False when there is a job of that id already.

        Raises:
            ClusterError: the cluster does not take it.
        """
        from ray._private.ray_constants import WORKER_PROCESS_SETUP_HOOK_ENV_VAR

        from cluster.queue import DRIVER_CPUS

        # The public `worker_process_setup_hook` reaches a job's workers but not Ray's supervisor of the job, from which
        # the entrypoint inherits PATH; the variable behind it reaches both.
        variables = {
            WORKER_PROCESS_SETUP_HOOK_ENV_VAR: f"{use_own_python.__module__}.{use_own_python.__name__}",
            "RAY_JOB_STOP_WAIT_TIME_S": str(_STOP_S),
            DRIVER_CPUS: f"{cpus:g}",
        }
        with self._explained("The cluster does not take the job."):
            try:
                self._client.submit_job(
                    entrypoint=entrypoint, submission_id=job_id, metadata=metadata, entrypoint_num_cpus=cpus or None,
                    runtime_env={"working_dir": str(folder), "env_vars": variables, **(packages or {})},
                )  # fmt: skip
            except RuntimeError as error:
                if "already exists" not in str(error):
                    raise
                return False
        return True

    def follow(self, job_id: str, show: Callable[[str], object], tell: Callable[[str], object] | None = None) -> Ending:
        """Give the job's log to `show` as it grows, until the job ends. Connections that break are made again.

        Args:
            tell: is told when that takes long.

        Raises:
            ClusterError: the cluster no longer answers, or refuses the token: it was made anew. The job may go on.
        """
        log = _Log(show)
        failures = unknown = 0
        while True:
            whole = asyncio.run(self._tail(job_id, log))
            details = self._details(job_id)
            unknown = unknown + 1 if details == _UNKNOWN else 0
            if unknown > 1:
                return Ending(1, "the cluster was restarted and does not know the job any more", lost=True)
            view = None if details is None or isinstance(details, str) else _view(details)
            ended = view is not None and view.ending is not None
            if view is not None and view.ending is not None and (whole or failures >= _LOG_RETRIES):
                return view.ending
            failures = failures + 1 if view is None or ended else 0
            if failures > _SILENT_RETRIES:
                option, value = ("--cluster", self.name) if self.name else ("--address", self.address)
                raise ClusterError(
                    "The cluster no longer answers; the job may go on.", field=option, got=value,
                    expected="an answer within minutes", fix=f"later: raysmith logs -f {job_id} {option} {value}",
                )  # fmt: skip
            if failures == _TOLD_RETRIES and view is None and tell is not None:
                tell("The cluster does not answer; it is asked again for some minutes. The job may go on.")
            time.sleep(_RETRY_S)

    def log(self, job_id: str) -> str:
        """All of a job's log so far.

        Raises:
            ClusterError: there is none any more, with the node that it was on.
        """
        with self._explained("The job's log cannot be read."):
            return self._client.get_job_logs(job_id)

    def stop(self, job_id: str) -> Ending:
        """Let a job end, as by Ctrl-C, and wait until it has.

        Raises:
            ClusterError: the cluster does not answer, or the job does not end.
        """
        with self._explained("The cluster does not stop the job."):
            self._client.stop_job(job_id)
            deadline = time.monotonic() + _STOP_S + _KILL_S
            while time.monotonic() < deadline:
                view = _view(self._client.get_job_info(job_id))
                if view.ending is not None:
                    return view.ending
                time.sleep(1.0)
        raise ClusterError("The job does not end.", field=job_id, got="still running", fix=f"ray job stop {job_id}")

    async def _tail(self, job_id: str, log: _Log) -> bool:
        """Read the log until it ends (True), or until the connection breaks or has long been silent (False)."""
        from aiohttp import ClientError

        log.rewind()
        pieces = self._client.tail_job_logs(job_id)
        while True:
            try:
                # Training may be silent for long, and so is a dead connection: ask anew now and then.
                async with asyncio.timeout(_QUIET_S):
                    text = await anext(pieces)
            except StopAsyncIteration:
                return True
            except (ClientError, OSError, RuntimeError):
                return False
            log.add(text)

    def _details(self, job_id: str) -> JobDetails | str | None:
        """Status and more; `_UNKNOWN` when there is no such job; None when the cluster does not answer.

        Raises:
            ClusterError: it refuses the token.
        """
        with self._explained("The cluster does not tell how the job goes."):
            try:
                return self._client.get_job_info(job_id)
            except (OSError, RuntimeError) as error:
                return _UNKNOWN if "does not exist" in str(error) else None


_UNKNOWN = "unknown"


class _Log:
    """A log that is read from its beginning each time, and shown once."""

    def __init__(self, show: Callable[[str], object]) -> None:
        self._show = show
        self._shown = 0
        self._position = 0

    def rewind(self) -> None:
        self._position = 0

    def add(self, text: str) -> None:
        new = text[max(0, self._shown - self._position) :]
        self._position += len(text)
        if new:
            self._shown = self._position
            self._show(new)


def use_own_python() -> None:
    """Put the directory of this worker's Python first in PATH.

    Ray starts a job's entrypoint in a shell with the PATH that `ray start` had. Where Ray lives in a virtual
    environment that was not activated, `python` would be another one there, or none.
    """
    folder = str(Path(sys.executable).parent)
    os.environ["PATH"] = os.pathsep.join([folder, *filter(None, [os.environ.get("PATH")])])


def _view(details: JobDetails) -> JobView:
    ended = None if details.end_time is None else details.end_time / 1000
    return JobView(
        details.submission_id or "", dict(details.metadata or {}), details.status.value,
        (details.start_time or 0) / 1000, ended, _ending(details) if details.status.is_terminal() else None,
    )  # fmt: skip


def _ending(details: JobDetails) -> Ending:
    status, code = details.status.value, details.driver_exit_code
    if status == "SUCCEEDED":
        return Ending(0, "succeeded")
    if status == "STOPPED":
        return Ending(STOPPED, "stopped")
    if code is None:
        error = str(details.error_type or "")
        return Ending(1, f"failed: {details.message}", lost=error.endswith(_LOST))
    if code in (-_KILLED, 128 + _KILLED):
        return Ending(128 + _KILLED, "failed: its driver was killed (signal 9; memory that ran out is one cause)", True)
    code = code if code >= 0 else 128 - code
    return Ending(code, f"failed with exit code {code}; its log above says why")
