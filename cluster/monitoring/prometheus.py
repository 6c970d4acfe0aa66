"""Prometheus's own configuration: what it reads, with which key, and which rules it evaluates."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cluster.addresses import is_loopback
from cluster.errors import ConfigError

SERVING, RUNS, NODES = "raysmith-serving", "raysmith-runs", "raysmith-ray"
LOOPBACK = ("127.0.0.1:8000",)
# Ray's exporter says with each series who made it.
_NOISE = {"action": "labeldrop", "regex": "otel_scope_.*"}


def prometheus_config(jobs: Sequence[dict[str, Any]], interval_s: int, rule_files: Sequence[str]) -> dict[str, Any]:
    """The contents of `prometheus.yml`.

    Args:
        jobs: what is read, made by the other functions of this file.
        interval_s: time between two readings and evaluations, seconds.
        rule_files: paths or patterns, relative to `prometheus.yml`.

    Raises:
        ConfigError: there is nothing to read.
    """
    if not jobs:
        raise ConfigError("There is nothing to read.", field="targets", got="none", expected="at least one endpoint")
    return {
        "global": {"scrape_interval": f"{interval_s}s", "evaluation_interval": f"{interval_s}s"},
        "rule_files": list(rule_files),
        "scrape_configs": list(jobs),
    }


def endpoints_job(targets: Sequence[str], key_file: Path, name: str = SERVING) -> dict[str, Any]:
    """Endpoints that are read with one key; the key stays in its file.

    Args:
        targets: `HOST:PORT`, or an address that begins with `http://` or `https://`. Without either, loopback is read
            over HTTP and all else over HTTPS.
        key_file: holds an endpoint's API key, and nothing else.
        name: of the job, another for each key; whatever it is, series have the label `job="raysmith-serving"`.

    Raises:
        ConfigError: a target is no address, or the key file holds no key.
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
    return {
        "job_name": name,
        "metrics_path": "/metrics",
        "authorization": {"type": "Bearer", "credentials_file": str(key_file.resolve())},
        "follow_redirects": False,  # Prometheus would show the key to where it is sent
        "static_configs": [
            {"targets": hosts, "labels": {"__scheme__": scheme, "job": SERVING}} for scheme, hosts in by_scheme.items()
        ],
    }


def runs_job(target: str) -> dict[str, Any]:
    """What `raysmith monitor up` itself tells of runs and sweeps."""
    return {"job_name": RUNS, "static_configs": [{"targets": [target]}]}


def nodes_job(file: Path) -> dict[str, Any]:
    """Ray nodes that a file lists, which is read again when it changes (`target_file`)."""
    return {
        "job_name": NODES,
        "file_sd_configs": [{"files": [str(file)], "refresh_interval": "1m"}],
        "metric_relabel_configs": [_NOISE],
    }


def cluster_job(name: str, dashboard: str, token_file: Path | None) -> dict[str, Any]:
    """The nodes of a running cluster, as its own dashboard lists them.

    Args:
        name: of the cluster; becomes the label `cluster`.
        dashboard: `http://HOST:PORT`.
        token_file: the cluster's token; the dashboard tells nobody without it.
    """
    discovery: dict[str, Any] = {"url": f"{dashboard}/api/prometheus/sd", "refresh_interval": "10s"}
    if token_file is not None:
        discovery["authorization"] = {"type": "Bearer", "credentials_file": str(token_file.resolve())}
        discovery["follow_redirects"] = False
    return {
        "job_name": f"{NODES}-{name}",
        "http_sd_configs": [discovery],
        "relabel_configs": [
            {"target_label": "job", "replacement": NODES},  # Ray's list says `ray`
            {"target_label": "cluster", "replacement": name},
        ],
        "metric_relabel_configs": [_NOISE],
    }


def target_file(targets: Sequence[str]) -> list[dict[str, Any]]:
    """The contents of the file that `nodes_job` names."""
    return [{"targets": sorted(set(targets)), "labels": {}}]


def _address(target: str) -> tuple[str, str]:
    """Scheme and `HOST[:PORT]` of a target."""
    try:
        parts = urlsplit(target if "://" in target else f"//{target}")
        host, _ = parts.hostname, parts.port
    except ValueError:
        parts, host = urlsplit(""), None
    scheme = parts.scheme or ("http" if is_loopback(host) else "https")
    if not host or parts.path not in {"", "/"} or parts.query or "@" in parts.netloc or scheme not in {"http", "https"}:
        raise ConfigError(
            "A target is no endpoint's address.",
            field="targets",
            got=target,
            expected="HOST:PORT, http://HOST:PORT or https://HOST[:PORT]",
            fix="name the endpoint alone; the path is always /metrics",
        )
    return scheme, parts.netloc
