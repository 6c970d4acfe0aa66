"""`raysmith monitor write`: what a Prometheus server and Grafana need to watch endpoints."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from cluster.monitoring.write import write
from cluster.storage import write_atomically
from jobs.console import console, fact
from jobs.endpoints.folder import EndpointFolder
from serving.keys import replace_key

_KEY_NAME = "prometheus"
_LISTEN = "127.0.0.1:9090"


def write_monitoring(root: Path, name: str, to: Path) -> None:
    """Write configuration, alert rules and dashboard for an endpoint that is up, with a key for `/metrics` alone.

    Raises:
        EndpointError: it is not up.
    """
    folder = EndpointFolder(root, name)
    target = urlsplit(folder.require_up().url).netloc
    key_file = to.absolute() / "key"
    write_atomically(key_file, replace_key(folder.keys_file, _KEY_NAME, scope="metrics"), mode=0o600)
    paths = write(to.absolute(), [target], key_file)
    fact("configuration", str(paths.prometheus))
    fact("alert rules", ", ".join(map(str, paths.rules)))
    fact("dashboards", ", ".join(map(str, paths.dashboards)) + "  (Grafana: Dashboards → New → Import)")
    data = to.absolute() / "data"
    console.print("\n  Start Prometheus:", markup=False)
    console.print(
        f"    prometheus --config.file={paths.prometheus} --storage.tsdb.path={data} --web.listen-address={_LISTEN}",
        markup=False,
    )
