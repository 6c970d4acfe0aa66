"""Proxies in the environment: they must not be asked for what is on this machine."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from urllib.parse import urlsplit

from jobs.doctor.finding import Finding, Subject

AREA = "proxies"
_NAMES = ("http_proxy", "https_proxy", "all_proxy")
_LOOPBACK = ("127.0.0.1", "localhost")


def check(subject: Subject) -> Iterator[Finding]:
    """See `AREA`."""
    given = {name.lower(): value for name, value in subject.environment.items() if value}
    proxies = [name for name in _NAMES if name in given]
    if not proxies:
        yield Finding("proxies", "ok", "none")
        return
    direct = given.get("no_proxy", "")
    caught = [host for host in _LOOPBACK if not _is_direct(host, direct)]
    where = ", ".join(f"{name} → {urlsplit(given[name]).hostname or '?'}" for name in proxies)
    yield Finding(
        "loopback", "problem" if caught else "ok",
        f"{where}; {' and '.join(caught)} would go through it, with keys and tokens" if caught
        else f"{where}; not for this machine's own addresses",
        "export no_proxy=127.0.0.1,localhost,::1 (and the cluster's addresses): dashboards, judges and clients of "
        "endpoints are asked over HTTP",
    )  # fmt: skip
    if subject.record is not None:
        host = urlsplit(subject.record.dashboard).hostname or ""
        is_direct = _is_direct(host, direct)
        yield Finding(
            "the cluster", "ok" if is_direct else "warning",
            f"{host} is asked {'directly' if is_direct else 'through the proxy, the token with it'}",
            f"add {host} to no_proxy, unless it is meant so",
        )  # fmt: skip


def _is_direct(host: str, no_proxy: str) -> bool:
    """Whether `no_proxy` names a host: by name, by the end of its name, or by its network; `*` is all."""
    for entry in no_proxy.split(","):
        name = entry.strip().lstrip("*").lstrip(".").lower()
        if entry.strip() == "*" or (name and (host == name or host.endswith("." + name))):
            return True
        try:
            if ipaddress.ip_address(host) in ipaddress.ip_network(name, strict=False):
                return True
        except ValueError:
            continue
    return False
