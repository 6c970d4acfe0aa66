"""Send a folder to a running cluster as a Ray job, and follow it (Ray's Jobs API, docs/decisions/0004-submit.md).

Light on purpose: every worker of a submitted job imports this module for `use_own_python`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from cluster.errors import ClusterError, ConfigError

if TYPE_CHECKING:
    from ray.dashboard.modules.job.pydantic_models import JobDetails
    from ray.job_submission import JobSubmissionClient

_CONNECT_S, _ANSWER_S, _UPLOAD_S = 5.0, 30.0, 600.0
_QUIET_S = 60.0
_RETRY_S = 2.0
_RETRIES = 10
_CHATTY = ("ray.dashboard.modules.dashboard_sdk", "ray.dashboard.modules.job.sdk", "ray._private.runtime_env.packaging")


class Ending(NamedTuple):
    """How a job ended."""

    succeeded: bool
    text: str
    """Its status in words, with Ray's reason when the job could not write one into its log."""


class RemoteJobs:
    """The jobs of one cluster, reached through its dashboard.

    Raises:
        ConfigError: `address` is not one of a dashboard.
        ClusterError: nothing answers there, or it refuses the token.
    """

    def __init__(self, address: str) -> None:
        from cluster.connect import prepare_environment

        self.address = _dashboard(address)
        prepare_environment(embedded=False)
        with self._explained("No Ray dashboard answers at this address."):
            self._client = _client(self.address)

    def send(self, folder: Path, entrypoint: str, name: str) -> str:
        """Upload `folder` and start `entrypoint` in it on the cluster.

        Args:
            entrypoint: a shell command; its `python` is the one that the cluster's Ray runs in.
            name: what the job's id begins with.

        Returns:
            The job's id.

        Raises:
            ClusterError: the cluster does not take it.
        """
        from ray._private.ray_constants import WORKER_PROCESS_SETUP_HOOK_ENV_VAR

        job_id = f"{name}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
        # The public `worker_process_setup_hook` reaches a job's workers but not Ray's supervisor of the job, from which
        # the entrypoint inherits PATH; the variable behind it reaches both.
        hook = {WORKER_PROCESS_SETUP_HOOK_ENV_VAR: f"{use_own_python.__module__}.{use_own_python.__name__}"}
        with self._explained("The cluster does not take the job."):
            return self._client.submit_job(
                entrypoint=entrypoint,
                submission_id=job_id,
                runtime_env={"working_dir": str(folder), "env_vars": hook},
                metadata={"raysmith": name},
            )

    def follow(self, job_id: str, show: Callable[[str], object]) -> Ending:
        """Give the job's log to `show` as it grows, until the job ends. Connections that break are made again.

        Raises:
            ClusterError: the cluster no longer answers; the job may go on.
        """
        log = _Log(show)
        failures = 0
        while True:
            whole = asyncio.run(self._tail(job_id, log))
            details = self._details(job_id)
            ended = details is not None and details.status.is_terminal()
            if details is not None and ended and (whole or failures >= _RETRIES):
                return _ending(details)
            failures = failures + 1 if details is None or ended else 0
            if failures > _RETRIES:
                raise ClusterError(
                    "The cluster no longer answers; the job may go on.", field="--address", got=self.address,
                    fix=f"later: {self.command('logs --follow', job_id)}",
                )  # fmt: skip
            time.sleep(_RETRY_S)

    def command(self, verb: str, job_id: str) -> str:
        """The line with which Ray's own client does `verb`: `logs --follow`, `stop`, `status`."""
        token = "RAY_AUTH_MODE=token " if os.environ.get("RAY_AUTH_MODE") == "token" else ""
        return f"{token}ray job {verb} {job_id} --address {self.address}"

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

    def _details(self, job_id: str) -> JobDetails | None:
        """Status and more; None when the cluster does not answer."""
        try:
            return self._client.get_job_info(job_id)
        except (OSError, RuntimeError):
            return None

    @contextmanager
    def _explained(self, message: str) -> Iterator[None]:
        from ray.exceptions import AuthenticationError

        try:
            yield
        except AuthenticationError as error:
            raise ClusterError(
                "The cluster refuses the token, or wants one and there is none.", field="--address",
                got=f"{self.address} ({str(error).splitlines()[0]})", expected="the token of that cluster",
                fix="copy the head's ~/.ray/auth_token to this machine, or set RAY_AUTH_TOKEN_PATH or RAY_AUTH_TOKEN",
            ) from None  # fmt: skip
        except (OSError, RuntimeError, KeyError) as error:  # KeyError: JSON, but not Ray's
            reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
            raise ClusterError(
                message, field="--address", got=f"{self.address} ({reason[:300]})",
                expected="the dashboard of a running cluster, http://HOST:8265",
                fix="check host and port; from outside, forward the port with `ssh -L` or `kubectl port-forward`",
            ) from None  # fmt: skip


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


def _dashboard(address: str) -> str:
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(
            "A job is submitted to a cluster's dashboard.", field="--address", got=address,
            expected="http://HOST:8265 (or https://)",
            fix="`auto`, HOST:PORT and ray://HOST:PORT are values of cluster.address, for `raysmith run`",
        )  # fmt: skip
    return address.rstrip("/")


def _client(address: str) -> JobSubmissionClient:
    from ray.job_submission import JobSubmissionClient

    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)

    class Client(JobSubmissionClient):
        """Ray's client waits for ever for a host that does not answer."""

        def _do_request(self, method: str, endpoint: str, **arguments: Any) -> Any:
            # The first number limits the sending of the body, too.
            timeout = (_CONNECT_S, _ANSWER_S) if method == "GET" else (_UPLOAD_S, _UPLOAD_S)
            return super()._do_request(method, endpoint, timeout=timeout, **arguments)

    # Ray lets this variable, and else RAY_ADDRESS, win over the address that it is given.
    os.environ["RAY_API_SERVER_ADDRESS"] = address
    return Client(address)


def _ending(details: JobDetails) -> Ending:
    status = details.status.value
    if status != "FAILED":
        return Ending(status == "SUCCEEDED", status.lower())
    if details.driver_exit_code is not None:
        return Ending(False, f"failed with exit code {details.driver_exit_code}; its log above says why")
    return Ending(False, f"failed: {details.message}")
