"""How other commands find the endpoint of a run: a private file that is there only while the endpoint is up."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from cluster.errors import EndpointError
from cluster.storage import read_json, write_json

if TYPE_CHECKING:
    from openai import OpenAI

_FILE = "endpoint.json"


def announce(run_folder: Path, url: str, model: str, api_key: str) -> None:
    """Write address and key, readable by this user alone."""
    record = {"url": url, "model": model, "api_key": api_key, "pid": os.getpid()}
    write_json(run_folder / _FILE, record, mode=0o600)


def withdraw(run_folder: Path) -> None:
    """Remove the file again."""
    (run_folder / _FILE).unlink(missing_ok=True)


def client_of(url: str, api_key: str) -> OpenAI:
    """The official client, without the environment's proxies: an endpoint's key must not go to one."""
    import openai

    http_client = openai.DefaultHttpxClient(trust_env=False)
    return openai.OpenAI(base_url=url, api_key=api_key, max_retries=0, http_client=http_client)


def require_endpoint(run_folder: Path) -> dict[str, Any]:
    """`url`, `model` and `api_key` of the endpoint of a run.

    Raises:
        EndpointError: the run serves none (any more).
    """
    record: dict[str, Any] | None = read_json(run_folder / _FILE)
    if record is None or not psutil.pid_exists(record["pid"]):
        raise EndpointError(
            "No endpoint of that run is up.", field="RUN", got=run_folder.name, expected="a run that is serving",
            fix="start one with `raysmith run CONFIG --keep-serving`",
        )  # fmt: skip
    return record
