"""The ports that Ray, endpoints and Prometheus take by default, and those of the job that was named."""

from __future__ import annotations

from collections.abc import Iterator

from cluster.config import Config
from jobs.doctor.checks._sockets import Listening, listening, name_of
from jobs.doctor.finding import Finding, State, Subject

AREA = "ports"
_DEFAULT = {
    6379: "Ray's control store",
    8265: "Ray's dashboard",
    8000: "an endpoint",
    9090: "Prometheus",
    3000: "Grafana",
}
_EXPECTED = ("ray", "gcs_server", "raylet", "prometheus", "grafana", "redis")


def check(subject: Subject) -> Iterator[Finding]:
    """See `AREA`."""
    there = listening()
    own = own_port(subject.config)
    for port, what in ({own: f"`{getattr(subject.config, 'name', 'the job')}`"} if own else _DEFAULT).items():
        yield _port(port, what, [one for one in there if one.port == port], needed=own is not None)


def own_port(config: Config | None) -> int | None:
    """The port that a job or an endpoint wants; None without one, or where any will do."""
    serve = getattr(config, "serve", None) or config
    port: int | None = getattr(serve, "port", None)
    return port or None


def _port(port: int, what: str, holders: list[Listening], *, needed: bool) -> Finding:
    if not holders:
        return Finding(f"{port}", "ok", f"free, for {what}")
    held = ", ".join(sorted({one.owner for one in holders}))
    expected = all(one.pid and any(name in name_of(one.pid).lower() for name in _EXPECTED) for one in holders)
    state: State = "problem" if needed else "ok" if expected else "warning"
    return Finding(
        f"{port}", state, f"held by {held}; {what} wants it",
        f"end it, or choose another port: serve.port={port + 1} (in an endpoint's file: port)" if needed or port == 8000
        else "end it, or start the other on another port",
    )  # fmt: skip
