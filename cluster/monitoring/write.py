"""Write what Prometheus and Grafana need to watch endpoints and runs."""

from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cluster.config import FromFolder
from cluster.monitoring.dashboard import Dashboard
from cluster.monitoring.prometheus import endpoints_job, prometheus_config
from cluster.monitoring.rules import Alert, rule_file
from cluster.storage import write_atomically

RULES = "rules"
DASHBOARDS = "dashboards"


@dataclass(frozen=True)
class Paths:
    """What was written."""

    prometheus: Path
    """Prometheus's configuration, for `prometheus --config.file`."""

    rules: tuple[Path, ...]
    """Rule files; the configuration reads them, and any other that is laid beside them."""

    dashboards: tuple[Path, ...]
    """Dashboards, for Grafana's import."""


def alert_groups() -> dict[str, tuple[Alert, ...]]:
    """All alerts by the name of their file."""
    return _attributes("cluster.monitoring.alerts", "ALERTS")


def dashboards() -> dict[str, Dashboard]:
    """All dashboards by the name of their file."""
    return _attributes("cluster.monitoring.dashboards", "DASHBOARD")


def write(folder: Path, targets: Sequence[str], key_file: Path, interval_s: int = 10) -> Paths:
    """Write Prometheus's configuration, alert rules and Grafana dashboards for endpoints into a folder.

    Args:
        folder: made if it is not there; files of an earlier call are replaced.
        targets: endpoints to read, such as `cluster.monitoring.prometheus.LOOPBACK`: see `endpoints_job`.
        key_file: holds an endpoint's API key; the configuration names the file.
        interval_s: time between two readings, seconds.

    Raises:
        ConfigError: a target is no address, there is none, or the key file holds no key.
    """
    job = endpoints_job(targets, key_file)
    return write_jobs(folder, [job] if targets else [], interval_s)


def write_jobs(folder: Path, jobs: Sequence[dict[str, Any]], interval_s: int) -> Paths:
    """The same for whatever jobs Prometheus is to read (`cluster.monitoring.prometheus` makes them)."""
    config = prometheus_config(jobs, interval_s, [f"{RULES}/*.yml"])
    for name in (RULES, DASHBOARDS):
        (folder / name).mkdir(parents=True, exist_ok=True)
    return Paths(
        prometheus=_write(folder / "prometheus.yml", _yaml(config)),
        rules=tuple(
            _write(folder / RULES / f"{name}.yml", _yaml(rule_file(f"raysmith-{name}", alerts)))
            for name, alerts in alert_groups().items()
        ),
        dashboards=tuple(
            _write(folder / DASHBOARDS / f"{name}.json", json.dumps(dashboard.as_json(), indent=2) + "\n")
            for name, dashboard in dashboards().items()
        ),
    )


def _attributes(package: str, attribute: str) -> dict[str, Any]:
    names = FromFolder(package).names()
    return {name: getattr(importlib.import_module(f"{package}.{name}"), attribute) for name in names}


def _yaml(value: object) -> str:
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=120)


def _write(path: Path, text: str) -> Path:
    write_atomically(path, text)  # Prometheus may be reading it
    return path
