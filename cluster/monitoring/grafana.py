"""What a Grafana of one's own needs: its configuration, the data source, and where the dashboards lie.

It listens on loopback. Whoever reaches it may look; to change anything takes the password, which stands in a file.
"""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from cluster.storage import write_atomically

ENVIRONMENT_VARIABLE = "RAYSMITH_PROMETHEUS_PASSWORD"
"""By it Grafana is told the password of Prometheus, where that asks for one."""
_HOMES = ("/usr/share/grafana", "/usr/local/share/grafana", "/opt/homebrew/share/grafana")


class Grafana(NamedTuple):
    """A Grafana that is installed here."""

    binary: Path
    home: Path
    """With its web pages, and `conf/defaults.ini`."""

    def command(self, configuration: Path) -> list[str]:
        """The line that starts it."""
        verb = ["server"] if self.binary.name == "grafana" else []
        return [str(self.binary), *verb, "--homepath", str(self.home), "--config", str(configuration)]


def find_grafana() -> Grafana | None:
    """The Grafana of this machine; None if there is none."""
    found = shutil.which("grafana") or shutil.which("grafana-server")
    if found is None:
        return None
    binary = Path(found)
    given = os.environ.get("GF_PATHS_HOME")
    homes = [Path(given)] if given else [binary.resolve().parent.parent, *map(Path, _HOMES)]
    home = next((one for one in homes if (one / "conf" / "defaults.ini").is_file()), None)
    return None if home is None else Grafana(binary, home)


def write_grafana(folder: Path, dashboards: Path, prometheus: str, host: str, port: int, user: str | None) -> Path:
    """Write its files; gives its configuration.

    Args:
        folder: for its files and data.
        dashboards: the folder with the dashboards.
        prometheus: the address of Prometheus.
        user: who may ask Prometheus, if it asks who one is; the password is read from `ENVIRONMENT_VARIABLE`.
    """
    provisioning = folder / "provisioning"
    password = folder / "password"
    if not password.is_file():
        write_atomically(password, secrets.token_urlsafe(18), mode=0o600)
    source: dict[str, Any] = {
        "name": "Raysmith", "uid": "raysmith", "type": "prometheus", "access": "proxy", "url": prometheus,
        "isDefault": True, "editable": False,
    }  # fmt: skip
    if user is not None:
        source |= {
            "basicAuth": True, "basicAuthUser": user,
            "secureJsonData": {"basicAuthPassword": f"${ENVIRONMENT_VARIABLE}"},
        }  # fmt: skip
    provider = {
        "name": "raysmith", "folder": "Raysmith", "type": "file", "disableDeletion": True, "allowUiUpdates": False,
        "updateIntervalSeconds": 30, "options": {"path": str(dashboards)},
    }  # fmt: skip
    for name, content in (
        ("datasources", {"apiVersion": 1, "datasources": [source]}),
        ("dashboards", {"apiVersion": 1, "providers": [provider]}),
    ):
        write_atomically(provisioning / name / "raysmith.yml", yaml.safe_dump(content, sort_keys=False))
    configuration = folder / "grafana.ini"
    write_atomically(configuration, _ini({
        "paths": {"data": folder / "data", "logs": folder / "logs", "plugins": folder / "plugins",
                  "provisioning": provisioning},
        "server": {"http_addr": host, "http_port": port},
        "security": {"admin_user": "admin", "admin_password": f"$__file{{{password}}}", "cookie_samesite": "strict"},
        "auth.anonymous": {"enabled": "true", "org_role": "Viewer"},
        "users": {"allow_sign_up": "false"},
        "analytics": {"reporting_enabled": "false", "check_for_updates": "false", "check_for_plugin_updates": "false"},
        "news": {"news_feed_enabled": "false"},
    }))  # fmt: skip
    return configuration


def _ini(sections: dict[str, dict[str, object]]) -> str:
    parts = []
    for name, values in sections.items():
        parts.append("\n".join([f"[{name}]", *(f"{key} = {value}" for key, value in values.items())]))
    return "\n\n".join(parts) + "\n"
