"""A cluster whose nodes have networks of their own: one namespace a node, joined by a bridge that this machine is on.

The nodes share the machine's disk, as those of a cluster share a file system; a cut of the network does not cut it.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

import psutil

from cluster.providers._local_nodes import settings
from tests.faults.machine import (
    FOLDERS,
    PREFIX,
    clean_environment,
    command,
    kill,
    kill_tree,
    require_root,
    require_tool,
    wait_until,
)

_NETWORK = f"10.{90 + os.getpid() % 100}.77"
_START_S = 180.0
_LOOPBACK_ONLY = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
_GCS, _DASHBOARD = 6379, 8265
_STORE_BYTES = 80_000_000


def alive_nodes(dashboard: str, token_file: Path) -> int:
    """Nodes that the head holds for alive; 0 when it does not answer."""
    request = urllib.request.Request(
        f"{dashboard}/api/v0/nodes", headers={"Authorization": f"Bearer {token_file.read_text()}"}
    )
    with suppress(OSError, ValueError, KeyError), urllib.request.urlopen(request, timeout=5) as answer:
        nodes = json.load(answer)["data"]["result"]["result"]
        return sum(node["state"] == "ALIVE" for node in nodes)
    return 0


class NetworkCluster:
    """A head without CPUs for work and `names` nodes of one CPU, each with an address of its own."""

    def __init__(
        self, names: tuple[str, ...] = ("a", "b", "c"), variables: dict[str, dict[str, str]] | None = None
    ) -> None:
        """Start it.

        Args:
            variables: environment variables by node.
        """
        require_root()
        for tool in ("ip", "tc", "iptables"):
            require_tool(tool)
        self.folder = FOLDERS / f"{PREFIX}-net"
        self.names = ("head", *names)
        self._variables = variables or {}
        self._started: dict[str, subprocess.Popen[bytes]] = {}
        self.dashboard = f"http://{self._ip('head')}:{_DASHBOARD}"
        self.address = f"{self._ip('head')}:{_GCS}"
        try:
            self._build()
            self.start("head")
            wait_until(lambda: self.alive() == 1, _START_S, "the head")
            for name in names:
                self.start(name)
            wait_until(lambda: self.alive() == len(self.names), _START_S, "the nodes")
        except BaseException:
            self.close()
            raise

    def _ip(self, name: str) -> str:
        return f"{_NETWORK}.{self.names.index(name) + 1}"

    def _space(self, name: str) -> str:
        return f"{PREFIX}-{name}"

    def _link(self, name: str) -> str:
        return f"{PREFIX}-{self.names.index(name)}"

    def _build(self) -> None:
        self.folder.mkdir()
        (self.folder / "token").write_text(secrets.token_hex(32))
        bridge = f"{PREFIX}-br"
        command("ip", "link", "add", bridge, "type", "bridge")
        command("ip", "address", "add", f"{_NETWORK}.254/24", "dev", bridge)
        command("ip", "link", "set", bridge, "up")
        for name in self.names:
            space, link = self._space(name), self._link(name)
            command("ip", "netns", "add", space)
            command("ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", space)
            command("ip", "link", "set", link, "master", bridge, "up")
            command("ip", "-n", space, "address", "add", f"{self._ip(name)}/24", "dev", "eth0")
            command("ip", "-n", space, "link", "set", "eth0", "up")
            command("ip", "-n", space, "link", "set", "lo", "up")

    def start(self, name: str) -> None:
        """Start a node's Ray."""
        if name == "head":
            how = [
                "--head", f"--port={_GCS}", f"--dashboard-host={self._ip(name)}", f"--dashboard-port={_DASHBOARD}",
                "--num-cpus=0",
            ]  # fmt: skip
        else:
            how = [f"--address={self.address}", "--num-cpus=1"]
        words = [
            "nsenter", f"--net=/run/netns/{self._space(name)}", sys.executable, "-m", "ray.scripts.scripts", "start",
            "--block",
            "--disable-usage-stats", f"--node-ip-address={self._ip(name)}", f"--object-store-memory={_STORE_BYTES}",
            f"--node-name={name}", f"--temp-dir={self.folder / name}", *how,
        ]  # fmt: skip
        environment = clean_environment(
            **{key: value for key, value in settings(self.folder).items() if key != _LOOPBACK_ONLY},
            **self._variables.get(name, {}),
        )  # fmt: skip
        with (self.folder / f"{name}.log").open("ab") as log:
            self._started[name] = subprocess.Popen(
                words, env=environment, cwd=self.folder, stdout=log, stderr=log, start_new_session=True
            )

    def environment(self) -> dict[str, str]:
        """For commands that use the cluster."""
        return {"RAY_AUTH_TOKEN_PATH": str(self.folder / "token"), "RAYSMITH_HOME": str(self.folder / "home")}

    @property
    def submit_options(self) -> list[str]:
        return ["--address", self.dashboard]

    def alive(self) -> int:
        """Nodes that the head holds for alive; 0 when it does not answer."""
        return alive_nodes(self.dashboard, self.folder / "token")

    def ready(self) -> None:
        """Nothing to wait for: cases of the network begin with a new one."""

    def raylet(self, name: str) -> int:
        """The process; 0 when there is none."""
        with suppress(psutil.Error):
            for one in psutil.Process(self._started[name].pid).children(recursive=True):
                if one.name() == "raylet":
                    return one.pid
        return 0

    def cut(self, name: str) -> None:
        """Every packet from and to a node is lost; nobody is told."""
        self._rule("-A", name, "-j", "DROP")

    def join(self, name: str) -> None:
        """Undo `cut`."""
        self._rule("-D", name, "-j", "DROP")

    def slow(self, name: str, rate: str, loss: float) -> None:
        """A link that carries `rate` and loses a share of the packets. (The kernels of small machines lack `netem`.)"""
        shape = ["root", "tbf", "rate", rate, "burst", "16kb", "latency", "500ms"]
        command("tc", "-n", self._space(name), "qdisc", "add", "dev", "eth0", *shape)
        command("tc", "qdisc", "add", "dev", self._link(name), *shape)
        self._rule("-A", name, "-m", "statistic", "--mode", "random", "--probability", f"{loss}", "-j", "DROP")

    def fast(self, name: str) -> None:
        """Undo `slow`."""
        command("tc", "-n", self._space(name), "qdisc", "delete", "dev", "eth0", "root")
        command("tc", "qdisc", "delete", "dev", self._link(name), "root")
        command("ip", "netns", "exec", self._space(name), "iptables", "-F")

    def _rule(self, verb: str, name: str, *rule: str) -> None:
        for chain, side in (("INPUT", "-i"), ("OUTPUT", "-o")):
            command("ip", "netns", "exec", self._space(name), "iptables", verb, chain, side, "eth0", *rule)

    def close(self) -> None:
        """Stop all, remove all."""
        for process in self._started.values():
            kill_tree(process.pid)
        for name in self.names:
            pids = subprocess.run(["ip", "netns", "pids", self._space(name)], capture_output=True, text=True).stdout
            for pid in pids.split():
                kill(int(pid))
        for process in self._started.values():
            process.wait()
        time.sleep(0.2)
        for name in self.names:
            for words in (("ip", "netns", "delete", self._space(name)), ("ip", "link", "delete", self._link(name))):
                with suppress(RuntimeError):
                    command(*words)
        with suppress(RuntimeError):
            command("ip", "link", "delete", f"{PREFIX}-br")
        if keep := os.environ.get("RAYSMITH_FAULTS_KEEP"):
            shutil.copytree(
                self.folder,
                Path(keep) / self.folder.name,
                dirs_exist_ok=True,
                ignore_dangling_symlinks=True,
                ignore=shutil.ignore_patterns("sockets", "runtime_resources"),
            )
        shutil.rmtree(self.folder, ignore_errors=True)
