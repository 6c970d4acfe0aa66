"""Ray heads on this machine and of known clusters: whoever reaches one without a token runs code there (ShadowRay)."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator

import psutil

from cluster import records
from cluster.addresses import bracketed
from jobs.doctor.checks._sockets import Listening, listening, name_of
from jobs.doctor.finding import Finding, Subject

AREA = "Ray heads"
_ANSWER_S = 3.0
_PROGRAMS = ("gcs_server", "raylet")
_TITLES = ("ray::", "ray-dashboard-")
_SCRIPTS = ("/ray/dashboard/dashboard.py", "/ray/dashboard/agent.py", "ray.util.client.server")
_DASHBOARD = 8265
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def check(subject: Subject) -> Iterator[Finding]:
    """See `AREA`."""
    there = listening()
    asked = {f"http://{_reached_at(one.host)}:{one.port}": one for one in there if one.port == _DASHBOARD}
    known = {records.record_of(name).dashboard.rstrip("/"): name for name in records.names()}
    if subject.record is not None:
        known[subject.record.dashboard.rstrip("/")] = subject.record.name
    for url in [*asked, *(one for one in known if one not in asked)]:
        public = url in asked and asked[url].is_public
        if (found := _open(url, known.get(url), public=public)) is not None:
            yield found
    yield _public_processes(there)


def _reached_at(host: str) -> str:
    return bracketed({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host))  # noqa: S104 - recognised, not bound


def _open(url: str, name: str | None, *, public: bool) -> Finding | None:
    """Whether a dashboard's jobs can be listed without a token; None where nothing of Ray's answers."""
    called = f"cluster {name}" if name else url
    try:
        with _DIRECT.open(f"{url}/api/jobs/", timeout=_ANSWER_S) as answer:
            opened = answer.status == 200 and answer.headers.get_content_type() == "application/json"
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            return Finding(called, "ok", f"{url} wants its token")
        return None
    except (OSError, ValueError) as error:
        if name is None:
            return None
        return Finding(
            called, "warning", f"{url} does not answer ({getattr(error, 'reason', error)})",
            f"raysmith cluster status {name}, or raysmith cluster down {name}",
        )  # fmt: skip
    if not opened:
        return None
    return Finding(
        called, "problem" if public else "warning",
        f"{url} takes jobs without a token: {'other machines' if public else 'every user of this machine'} can run "
        "code as you", "stop it; start it again with RAY_AUTH_MODE=token and on loopback (raysmith cluster up)",
    )  # fmt: skip


def _is_rays(pid: int) -> bool:
    """Whether a process is Ray's: many a program has a `dashboard.py` of its own."""
    try:
        process = psutil.Process(pid)
        name, command = process.name(), process.cmdline()
    except psutil.Error:
        return False
    titled = name.startswith(_TITLES) or (bool(command) and command[0].startswith(_TITLES))
    return name in _PROGRAMS or titled or any(part.endswith(_SCRIPTS) for part in command[1:4])


def _has_token(pid: int) -> bool:
    """Whether a process of Ray's was told to want a token.

    Some write their title over their environment: then their parents' counts.
    """
    process: psutil.Process | None = psutil.Process(pid)
    while process is not None:
        try:
            if environment := process.environ():
                return environment.get("RAY_AUTH_MODE") == "token"
            process = process.parent()
        except psutil.Error:
            return False
    return False


def _public_processes(there: list[Listening]) -> Finding:
    """Processes of Ray's that other machines reach, and that were started without a token."""
    bare: dict[int, list[int]] = {}
    kept = 0
    for one in there:
        if not one.is_public or one.pid is None or not _is_rays(one.pid):
            continue
        token = _has_token(one.pid)
        kept += token
        if not token:
            bare.setdefault(one.pid, []).append(one.port)
    words = "; ".join(f"process {pid} ({name_of(pid)}), port {min(ports)}" for pid, ports in sorted(bare.items()))
    ok = f"ports of Ray's beyond loopback: {kept}, all with a token" if kept else "none beside loopback"
    return Finding(
        "open to others", "problem" if bare else "ok", f"without a token: {words}" if bare else ok,
        "stop them; start Ray with --node-ip-address=127.0.0.1, or with RAY_AUTH_MODE=token behind a firewall",
    )  # fmt: skip
