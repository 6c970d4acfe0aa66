"""`raysmith monitor up`: Prometheus over everything that runs here, and Grafana where it is installed."""

from __future__ import annotations

import fcntl
import os
import secrets
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import yaml

from cluster.addresses import bracketed, is_loopback
from cluster.errors import ResourceError
from cluster.monitoring.grafana import ENVIRONMENT_VARIABLE, find_grafana, write_grafana
from cluster.monitoring.write import write_jobs
from cluster.records import record_of
from cluster.storage import write_atomically
from jobs.console import console, errors, fact, title
from jobs.monitor.exporter import exporter
from jobs.monitor.processes import Server, bcrypt_of, find_prometheus, require_free, split_address
from jobs.monitor.sources import Look, Sources

INTERVAL_S = 5
_REFRESH_S = 5.0
_GRAFANA = ("127.0.0.1", 3000)
_KEPT = "15d"
_USER = "raysmith"


def up(root: Path, cluster: str | None, listen: str, to: Path, ended: threading.Event | None = None) -> None:
    """Watch until Ctrl-C (or SIGTERM, which is turned into it).

    Args:
        root: the storage root whose runs and endpoints are watched.
        cluster: a recorded cluster whose nodes are watched too.
        listen: `HOST:PORT` for Prometheus. Beyond loopback it asks for a password.
        to: for configuration, keys and data.
        ended: when it is set, this returns.

    Raises:
        ResourceError: Prometheus is not installed or ends, the port is taken, or another monitor uses the folder.
        ClusterError: no such cluster.
    """
    ended = ended or threading.Event()
    binary, (host, port) = find_prometheus(), split_address(listen)
    record = None if cluster is None else record_of(cluster)
    require_free(host, port)
    folder = to.absolute()
    with ExitStack() as stack:
        stack.enter_context(_held(folder))
        look = Look(root)
        own = stack.enter_context(exporter(root, look))
        sources = Sources(root, folder, own, record, look)
        jobs = sources.jobs()
        paths = write_jobs(folder, jobs, INTERVAL_S)
        command = [
            binary, f"--config.file={paths.prometheus}", f"--storage.tsdb.path={folder / 'data'}",
            f"--storage.tsdb.retention.time={_KEPT}", f"--web.listen-address={bracketed(host)}:{port}",
            "--web.cors.origin=^$",  # no web page of elsewhere may read it through a browser of this machine
        ]  # fmt: skip
        password = None if is_loopback(host) else _protect(folder)
        if password is not None:
            command.append(f"--web.config.file={folder / 'web.yml'}")
        prometheus = Server("Prometheus", command, folder / "prometheus.log")
        stack.callback(prometheus.stop)
        address = prometheus.listening()
        title(f"Watching {root}")
        fact(
            "Prometheus",
            f"http://{address}" + (f"  (user {_USER}, password in {folder / 'password'})" * bool(password)),
        )
        servers = [prometheus, *_grafana(stack, folder, paths.dashboards[0].parent, address, password)]
        _tell(sources, folder)
        console.print("\n  Ctrl-C stops it; what was recorded stays.", markup=False)
        while not ended.wait(_REFRESH_S):
            for server in servers:
                server.require_running()
            if (now := sources.jobs()) != jobs:
                jobs = now
                write_jobs(folder, jobs, INTERVAL_S)
                prometheus.reload()


def _tell(sources: Sources, folder: Path) -> None:
    fact("endpoints", ", ".join(name for name, _, _ in sources.endpoints()) or "none is up yet; found when they are")
    fact("nodes of live runs", ", ".join(sources.nodes) or "none yet; found when runs start")
    fact("files", f"{folder}: prometheus.yml, rules/ (yours may lie beside), dashboards/, data/")
    for note in sources.notes:
        fact("note", note)


def _grafana(
    stack: ExitStack, folder: Path, dashboards: Path, prometheus: str, password: str | None
) -> Iterator[Server]:
    """Grafana, where it is installed and its port is free."""
    found = find_grafana()
    if found is None:
        fact("Grafana", f"not installed; import {dashboards}/*.json into one (Dashboards → New → Import)")
        return
    try:
        require_free(*_GRAFANA)
    except ResourceError:
        fact("Grafana", f"port {_GRAFANA[1]} is taken: import {dashboards}/*.json into what listens there")
        return
    own = folder / "grafana"
    configuration = write_grafana(
        own, dashboards, f"http://{prometheus}", *_GRAFANA, user=None if password is None else _USER
    )
    environment = os.environ | ({} if password is None else {ENVIRONMENT_VARIABLE: password})
    server = Server("Grafana", found.command(configuration), folder / "grafana.log", environment)
    stack.callback(server.stop)
    fact("Grafana", f"http://{_GRAFANA[0]}:{_GRAFANA[1]}  (to change things: admin, password in {own / 'password'})")
    yield server


def _protect(folder: Path) -> str:
    """Let Prometheus ask for a password, which is made once and stands in a file."""
    file = folder / "password"
    if not file.is_file():
        write_atomically(file, secrets.token_urlsafe(24), mode=0o600)
    password = file.read_text().strip()
    users = {"basic_auth_users": {_USER: bcrypt_of(password)}}
    write_atomically(folder / "web.yml", yaml.safe_dump(users), mode=0o600)
    errors.print(
        "[yellow]Prometheus listens beyond this machine.[/] It asks for a password, which crosses networks in clear: "
        "put a proxy with TLS in front, or use loopback and `ssh -L`."
    )
    return password


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """The folder is this process's alone.

    Raises:
        ResourceError: it cannot be written, or another monitor uses it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        opened = (folder / ".lock").open("a+")
    except OSError as error:
        raise ResourceError(
            "The folder cannot be written.", field="--to", got=f"{folder} ({error.strerror})",
            expected="a folder for configuration and data", fix="choose another with --to",
        ) from None  # fmt: skip
    with opened as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ResourceError(
                "Another monitor uses this folder.", field="--to", got=folder, fix="stop it, or choose another folder"
            ) from None
        yield
