"""A cluster's dashboard: Ray's client of it, with time limits and errors that say what to do; asking without Ray."""

from __future__ import annotations

import json
import logging
import os
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from cluster.errors import ClusterError, ConfigError

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

_CONNECT_S, _ANSWER_S, _UPLOAD_S = 5.0, 30.0, 600.0
_CHATTY = ("ray.dashboard.modules.dashboard_sdk", "ray.dashboard.modules.job.sdk", "ray._private.runtime_env.packaging")

_NODES = "/api/v0/nodes?detail=1&limit=10000"
"""As many as Ray tells at most; without a limit it tells 100."""


class Told(NamedTuple):
    """What a dashboard answered."""

    content: Any
    time: float
    """By the head's clock, whole seconds of Unix time."""


def ask(address: str, path: str, token_file: Path, timeout_s: float = 10.0) -> Told:
    """Ask for JSON, without importing Ray.

    Args:
        token_file: the cluster's; none is sent where it is not there.

    Raises:
        OSError: it does not answer, or refuses the token.
        ValueError: what answers is no dashboard.
    """
    headers = {}
    if token_file.is_file():
        headers["Authorization"] = f"Bearer {token_file.read_text(encoding='utf-8').strip()}"
    request = urllib.request.Request(address.rstrip("/") + path, headers=headers)  # noqa: S310 http(s), of a record
    # The environment's proxies must not see the token.
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(request, timeout=timeout_s) as answer:
            return Told(json.load(answer), parsedate_to_datetime(answer.headers["Date"]).timestamp())
    except HTTPException as error:
        raise ValueError(f"no dashboard: {error!r}") from None


def nodes(address: str, token_file: Path, timeout_s: float = 10.0) -> Told:
    """The nodes that Ray knows, those that are gone too; see `ask`."""
    told = ask(address, _NODES, token_file, timeout_s)
    try:
        return told._replace(content=told.content["data"]["result"]["result"])
    except (KeyError, TypeError):
        raise ValueError(f"not a list of nodes: {str(told.content)[:200]}") from None


def checked_address(address: str) -> str:
    """The address of a dashboard, without a slash at its end.

    Raises:
        ConfigError: it is not one.
    """
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(
            "A job is submitted to a cluster's dashboard.", field="--address", got=address,
            expected="http://HOST:8265 (or https://)",
            fix="`auto`, HOST:PORT and ray://HOST:PORT are values of cluster.address, for `raysmith run`",
        )  # fmt: skip
    return address.rstrip("/")


def connect(address: str) -> JobSubmissionClient:
    """Ray's client; see `explained` for what it raises."""
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


@contextmanager
def explained(address: str, message: str, name: str | None = None) -> Iterator[None]:
    """Tell what Ray's client raises as a ClusterError that begins with `message`.

    Args:
        name: of the cluster, where it is up by a name.
    """
    from ray.exceptions import AuthenticationError

    field, got = ("--address", address) if name is None else ("--cluster", f"{name}, {address}")

    try:
        yield
    except AuthenticationError as error:
        raise ClusterError(
            "The cluster refuses the token, or wants one and there is none.", field=field,
            got=f"{got} ({str(error).splitlines()[0]})", expected="the token of that cluster",
            fix="copy the head's ~/.ray/auth_token to this machine, or set RAY_AUTH_TOKEN_PATH or RAY_AUTH_TOKEN"
            if name is None
            else f"raysmith cluster up CLUSTER.yaml; if another cluster answers there, first `cluster down {name}`",
        ) from None  # fmt: skip
    except (OSError, RuntimeError, KeyError) as error:  # KeyError: JSON, but not Ray's
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        raise ClusterError(
            message, field=field, got=f"{got} ({reason[:300]})",
            expected="the dashboard of a running cluster, http://HOST:8265",
            fix="raysmith cluster up CLUSTER.yaml starts one; for another, check host and port, or forward it here "
            "(`ssh -L`, `kubectl port-forward`)"
            if name is None
            else f"raysmith cluster status {name}; `raysmith cluster up CLUSTER.yaml` starts it again",
        ) from None  # fmt: skip
