"""A real Prometheus server on loopback, for tests (Debian's package `prometheus`)."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

PROMETHEUS, PROMTOOL = shutil.which("prometheus"), shutil.which("promtool")
needs_prometheus = pytest.mark.skipif(
    PROMETHEUS is None or PROMTOOL is None, reason="needs prometheus and promtool: apt-get install prometheus"
)
T = TypeVar("T")
_LISTENING = re.compile(r'msg="Listening on" address=(\S+)')


@contextmanager
def prometheus_of(folder: Path, start_s: float = 120.0) -> Iterator[str]:
    """Run Prometheus with a folder's `prometheus.yml`, on a free port and with temporary data; yields its address."""
    with tempfile.TemporaryDirectory(prefix="prometheus-") as data:
        log = Path(data) / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [
                    str(PROMETHEUS),
                    f"--config.file={folder / 'prometheus.yml'}",
                    f"--storage.tsdb.path={data}/tsdb",
                    "--web.listen-address=127.0.0.1:0",
                ],
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            yield _when_ready(process, log, start_s)
        finally:
            process.terminate()
            process.wait(timeout=30)


def _when_ready(process: subprocess.Popen[bytes], log: Path, start_s: float) -> str:
    """The address that Prometheus took, once it answers."""

    def address() -> str | None:
        text = log.read_text(errors="replace")
        if process.poll() is not None:
            raise RuntimeError(f"prometheus ended:\n{text}")
        found = _LISTENING.search(text)
        return f"http://{found[1]}" if found and _is_ready(f"http://{found[1]}") else None

    return until(address, start_s)


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/-/ready").is_success
    except httpx.TransportError:
        return False


def until(attempt: Callable[[], T | None], timeout_s: float = 120.0) -> T:
    """The first result of `attempt` that is not empty."""
    end = time.monotonic() + timeout_s
    while not (result := attempt()):
        if time.monotonic() > end:
            raise TimeoutError(f"nothing after {timeout_s:g} s")
        time.sleep(0.2)
    return result


def query(url: str, expression: str) -> list[dict[str, Any]]:
    """The samples of an instant query: each with `metric` (labels) and `value` (time, text)."""
    response = httpx.get(f"{url}/api/v1/query", params={"query": expression})
    response.raise_for_status()
    result: list[dict[str, Any]] = response.json()["data"]["result"]
    return result


def alerts(url: str) -> dict[str, dict[str, Any]]:
    """Pending and firing alerts by name; of several of a name, one."""
    response = httpx.get(f"{url}/api/v1/alerts")
    response.raise_for_status()
    return {alert["labels"]["alertname"]: alert for alert in response.json()["data"]["alerts"]}
