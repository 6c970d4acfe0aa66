"""Prometheus and Grafana as processes of `raysmith monitor up`: started, asked whether they are ready, stopped."""

from __future__ import annotations

import re
import shutil
import signal
import socket
import subprocess
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

from cluster.errors import ConfigError, ResourceError

_READY_S = 60.0
_STOP_S = 20.0
_POLL_S = 0.2
_LISTENING = re.compile(r'msg="?Listening on"? address="?([^\s"]+)')
_ROUNDS = 2**10


class Server:
    """A process of ours whose words go to a file."""

    def __init__(self, name: str, command: Sequence[str], log: Path, environment: dict[str, str] | None = None) -> None:
        self.name, self.log = name, log
        with log.open("wb") as output:
            self._process = subprocess.Popen(  # noqa: S603 - a line of ours
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=environment
            )

    def require_running(self) -> None:
        """See that it has not ended.

        Raises:
            ResourceError: it has; with its last words.
        """
        if self._process.poll() is not None:
            lines = self.log.read_text(errors="replace").strip().splitlines()
            raise ResourceError(
                f"{self.name} has ended.", field=str(self.log), got=" / ".join(lines[-3:]) or self._process.returncode,
                fix="do what its last words say, and start it again",
            )  # fmt: skip

    def listening(self) -> str:
        """`HOST:PORT` that Prometheus took, once it takes requests.

        Raises:
            ResourceError: it ended, or did not come so far.
        """
        end = time.monotonic() + _READY_S
        while time.monotonic() < end:
            self.require_running()
            found = _LISTENING.search(self.log.read_text(errors="replace"))
            if found and "Server is ready to receive web requests" in self.log.read_text(errors="replace"):
                return found[1]
            time.sleep(_POLL_S)
        raise ResourceError(f"{self.name} is not ready after {_READY_S:g} s.", field=str(self.log), fix="read its log")

    def reload(self) -> None:
        """Let it read its configuration again."""
        self._process.send_signal(signal.SIGHUP)

    def stop(self) -> None:
        """End it, by force if it takes too long."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._process.wait()


def find_prometheus() -> str:
    """Its binary.

    Raises:
        ResourceError: it is not installed.
    """
    found = shutil.which("prometheus")
    if found is None:
        raise ResourceError(
            "Prometheus is not installed.", field="PATH", got="no program `prometheus`",
            expected="Prometheus 2.42 or newer",
            fix="apt-get install prometheus (then `systemctl disable --now prometheus`: the package starts one of its "
            "own), brew install prometheus, or a release of github.com/prometheus/prometheus",
        )  # fmt: skip
    return found


def split_address(listen: str) -> tuple[str, int]:
    """Host and port.

    Raises:
        ConfigError: it is no such pair.
    """
    host, _, port = listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise ConfigError(
            "That is no address to listen on.", field="--listen", got=listen, expected="HOST:PORT, as 127.0.0.1:9090"
        )
    return host, int(port)


def require_free(host: str, port: int) -> None:
    """See that nobody listens there.

    Raises:
        ResourceError: somebody does, or the address is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ResourceError(
                "The address cannot be taken.", field="--listen", got=f"{host}:{port} ({error.strerror})",
                expected="a free port of this machine",
                fix="choose another with --listen, or stop what listens there (Debian's package starts a Prometheus)",
            ) from None  # fmt: skip


def bcrypt_of(password: str) -> str:
    """The hash by which Prometheus knows a password."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.13 has it no more; the project ends before it
        import crypt
    hashed: str | None = crypt.crypt(password, crypt.mksalt(crypt.METHOD_BLOWFISH, rounds=_ROUNDS))  # noqa: S324  (bcrypt is what is wanted)
    if not hashed or not hashed.startswith("$2"):
        raise ResourceError(
            "This system's libcrypt knows no bcrypt.", field="--listen", expected="a loopback address",
            fix="listen on 127.0.0.1, and reach it through `ssh -L`",
        )  # fmt: skip
    return hashed
