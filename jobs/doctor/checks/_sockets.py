"""Listening sockets of this machine, and whose they are."""

from __future__ import annotations

from typing import NamedTuple

import psutil

from cluster.addresses import is_loopback


class Listening(NamedTuple):
    """A listening TCP socket."""

    host: str
    port: int
    pid: int | None
    """None where the process is another user's."""

    @property
    def is_public(self) -> bool:
        """Whether other machines may reach it."""
        return not is_loopback(self.host)

    @property
    def owner(self) -> str:
        """The process, in words."""
        if self.pid is None:
            return "another user's process"
        return f"process {self.pid} ({name_of(self.pid)})"


def listening() -> list[Listening]:
    """All that this account may see; everybody's ports, with the processes of this user."""
    found = {
        Listening(one.laddr.ip, one.laddr.port, one.pid)
        for one in psutil.net_connections("tcp")
        if one.status == psutil.CONN_LISTEN and one.laddr
    }
    return sorted(found, key=lambda one: (one.port, one.host, one.pid or 0))


def name_of(pid: int) -> str:
    """What a process calls itself; `python` for most of ours, so its first argument that says more."""
    try:
        command = psutil.Process(pid).cmdline()
        name = psutil.Process(pid).name()
    except psutil.Error:
        return "gone"
    told = [part.rsplit("/", 1)[-1] for part in command[1:3] if not part.startswith("-")]
    return f"{name} {told[0]}" if name.startswith("python") and told else name
