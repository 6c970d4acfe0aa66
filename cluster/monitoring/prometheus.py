"""Prometheus's own configuration: which endpoints it reads, with which key, and which rules it evaluates."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cluster.errors import ConfigError

JOB = "raysmith-serving"
LOOPBACK = ("127.0.0.1:8000",)


def prometheus_config(
    targets: Sequence[str], key_file: Path, interval_s: int, rule_files: Sequence[str]
) -> dict[str, Any]:
    """The contents of `prometheus.yml`; the key stays in its file.

    Args:
        targets: `HOST:PORT`, or an address that begins with `http://` or `https://`. Without either, loopback is read
            over HTTP and all else over HTTPS.
        key_file: holds an endpoint's API key, and nothing else.
        interval_s: time between two readings and evaluations, seconds.
        rule_files: paths or patterns, relative to `prometheus.yml`.

    Raises:
        ConfigError: a target is no address, or there is none, or the key file holds no key.
    """
    if not key_file.is_file() or len(key_file.read_text().split()) != 1:
        raise ConfigError(
            "There is no key in the key file.",
            field="key_file",
            got=key_file,
            expected="a file with one API key of the endpoint",
            fix="create a key for /metrics and write it to the file, readable by Prometheus alone",
        )
    by_scheme: dict[str, list[str]] = {}
    for target in targets:
        scheme, host = _address(target)
        by_scheme.setdefault(scheme, []).append(host)
    if not by_scheme:
        raise ConfigError("There is nothing to read.", field="targets", got="none", expected="at least one endpoint")
    return {
        "global": {"scrape_interval": f"{interval_s}s", "evaluation_interval": f"{interval_s}s"},
        "rule_files": list(rule_files),
        "scrape_configs": [
            {
                "job_name": JOB,
                "metrics_path": "/metrics",
                "authorization": {"type": "Bearer", "credentials_file": str(key_file.resolve())},
                "follow_redirects": False,  # Prometheus would show the key to where it is sent
                "static_configs": [
                    {"targets": hosts, "labels": {"__scheme__": scheme}} for scheme, hosts in by_scheme.items()
                ],
            }
        ],
    }


def _address(target: str) -> tuple[str, str]:
    """Scheme and `HOST[:PORT]` of a target."""
    try:
        parts = urlsplit(target if "://" in target else f"//{target}")
        host, _ = parts.hostname, parts.port
    except ValueError:
        parts, host = urlsplit(""), None
    scheme = parts.scheme or ("http" if _is_loopback(host) else "https")
    if not host or parts.path not in {"", "/"} or parts.query or "@" in parts.netloc or scheme not in {"http", "https"}:
        raise ConfigError(
            "A target is no endpoint's address.",
            field="targets",
            got=target,
            expected="HOST:PORT, http://HOST:PORT or https://HOST[:PORT]",
            fix="name the endpoint alone; the path is always /metrics",
        )
    return scheme, parts.netloc


def _is_loopback(host: str | None) -> bool:
    try:
        return host == "localhost" or (host is not None and ip_address(host).is_loopback)
    except ValueError:
        return False
