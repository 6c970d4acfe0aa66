"""Machines for tests of clusters over ssh: network, process and mount namespaces of this one, each with an sshd.

A `ray stop` there ends what runs there, and nothing else. Needs root, `ip`, `unshare`, `sshd` and `rsync`.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import psutil

from tests.conftest import REPOSITORY

_SSHD = "/usr/sbin/sshd"
_READY_S = 20.0
_NODE = """
set -eu
hostname {name}
mkdir -p /tmp/ray /run/sshd {storage}
mount -t tmpfs tmpfs /tmp/ray
mkdir /tmp/ray/.python
mount --bind {python} /tmp/ray/.python
mount -t tmpfs tmpfs /root
mkdir -p {python} /root/raysmith/venv
mount --bind /tmp/ray/.python {python}
ln -s {venv}/bin {venv}/lib {venv}/pyvenv.cfg /root/raysmith/venv/
printf '%s\\n' '{made}' > /root/raysmith/venv/.made
exec {sshd} -D -e -f {config}
"""


def missing() -> str | None:
    """What such machines cannot be made without."""
    if os.geteuid() != 0:
        return "needs root"
    absent = [tool for tool in ("ip", "unshare", "rsync", "ssh", "ssh-keygen", _SSHD) if shutil.which(tool) is None]
    return f"needs {', '.join(absent)}" if absent else None


class Machine(NamedTuple):
    """One of them."""

    address: str
    namespace: str

    def processes(self) -> list[psutil.Process]:
        """What runs there."""
        place = Path(f"/run/netns/{self.namespace}").stat().st_ino
        found = []
        for process in psutil.process_iter():
            try:
                if Path(f"/proc/{process.pid}/ns/net").stat().st_ino == place:
                    found.append(process)
            except OSError:
                continue
        return found

    def names(self) -> set[str]:
        """Of its processes."""
        names = set()
        for process in self.processes():
            try:
                names.add(process.name())
            except psutil.Error:
                continue
        return names


class Machines(NamedTuple):
    """All of them, and the key that opens them."""

    nodes: list[Machine]
    key: Path


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@contextmanager
def machines(folder: Path, count: int, storage: Path) -> Iterator[Machines]:
    """`count` machines on a network of their own, with this environment in place of one made from the lock."""
    mark = secrets.token_hex(2)
    bridge, net = f"rsb{mark}", f"10.{77 + secrets.randbelow(100)}.{secrets.randbelow(256)}"
    key = folder / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    with ExitStack() as stack:
        _ip("link", "add", bridge, "type", "bridge")
        stack.callback(_ip, "link", "del", bridge)
        _ip("addr", "add", f"{net}.1/24", "dev", bridge)
        _ip("link", "set", bridge, "up")
        nodes = [
            stack.enter_context(_machine(folder, f"rs{mark}{index}", bridge, net, index + 10, key, storage))
            for index in range(count)
        ]
        yield Machines(nodes, key)


@contextmanager
def _machine(
    folder: Path, name: str, bridge: str, net: str, number: int, key: Path, storage: Path
) -> Iterator[Machine]:
    address = f"{net}.{number}"
    outside, inside = f"{name}o", f"{name}i"
    with ExitStack() as stack:
        _ip("netns", "add", name)
        stack.callback(_ip, "netns", "del", name)
        _ip("link", "add", outside, "type", "veth", "peer", "name", inside, "netns", name)
        _ip("link", "set", outside, "master", bridge, "up")
        for arguments in (
            ["link", "set", "lo", "up"], ["addr", "add", f"{address}/24", "dev", inside],
            ["link", "set", inside, "up"],
            # Ray asks the routing table for its own address; nothing is sent.
            ["route", "add", "default", "via", f"{net}.1"],
        ):  # fmt: skip
            _ip("-n", name, *arguments)
        host_key = folder / f"host-{name}"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", host_key], check=True)
        config = folder / f"sshd-{name}"
        config.write_text(
            f"ListenAddress {address}:22\nHostKey {host_key}\nAuthorizedKeysFile {key}.pub\nStrictModes no\nUsePAM no\n"
            f"PasswordAuthentication no\nPermitRootLogin prohibit-password\nPidFile none\n"
        )
        lock = hashlib.sha256((REPOSITORY / "requirements.lock").read_bytes()).hexdigest()
        script = _NODE.format(
            name=name,
            storage=storage,
            venv=sys.prefix,
            made=f"{lock} ",
            sshd=_SSHD,
            config=config,
            python=sys.base_prefix,  # it may lie in the home that is hidden
        )
        apart = ["unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"]
        with (folder / f"sshd-{name}.log").open("wb") as log:
            process = subprocess.Popen(
                ["ip", "netns", "exec", name, *apart, "bash", "-c", script], stdout=log, stderr=log
            )
        stack.callback(_end, process)
        _wait_for_port(address)
        yield Machine(address, name)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()  # it heeds nothing else; its child, the namespace's first process, is killed with it, and so all
    process.wait(30)


def _wait_for_port(address: str) -> None:
    deadline = time.monotonic() + _READY_S
    while True:
        try:
            socket.create_connection((address, 22), timeout=1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return
