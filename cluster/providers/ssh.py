"""Machines of your own, reached by ssh: Ray's cluster launcher with its provider `local`."""

from __future__ import annotations

import shlex
import subprocess
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from cluster.addresses import is_loopback
from cluster.errors import ClusterError, ConfigError
from cluster.providers._launcher import Launcher, LauncherConfig

Host = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.:-]*$")]
_STOP_S = 60


class Config(LauncherConfig):
    """Which machines."""

    kind: Literal["ssh"] = "ssh"
    head: Host
    """The machine of the head: an address or a name that every other machine resolves."""
    hosts: dict[str, list[Host]] = Field(default_factory=dict)
    """The machines of each group of `nodes`."""
    ssh_proxy_command: str | None = None
    """A `ProxyCommand` of ssh, from here to the head."""


class Provider(Launcher):
    """Starts Ray on machines that are there, and stops it; the machines stay."""

    GROWS = False
    # Ray 2.60's second autoscaler adds a machine of one's own again and again, and never starts Ray on it.
    ENVIRONMENT: ClassVar[dict[str, str]] = {"RAY_UP_enable_autoscaler_v2": "0"}

    def _platform(self) -> dict[str, Any]:
        config = self._config
        self._require_hosts(config)
        auth: dict[str, Any] = {"ssh_user": config.ssh_user}
        if config.ssh_key is not None:
            auth["ssh_private_key"] = str(config.ssh_key)
        if config.ssh_proxy_command is not None:
            auth["ssh_proxy_command"] = config.ssh_proxy_command
        workers = [host for name in self.file.nodes for host in config.hosts[name]]
        # Ray gives machines of one's own a single node type, and counts what each has.
        return {
            "provider": {"type": "local", "head_ip": config.head, "worker_ips": workers},
            "auth": auth,
        }

    @property
    def _config(self) -> Config:
        config = self.file.provider
        if not isinstance(config, Config):
            raise TypeError(config)
        return config

    def _require_hosts(self, config: Config) -> None:
        nodes = self.file.nodes
        for name in sorted(nodes.keys() | config.hosts.keys()):
            hosts = config.hosts.get(name, [])
            group = nodes.get(name)
            if group is None or not group.min_nodes == group.max_nodes == len(hosts):
                raise ConfigError(
                    "Machines of your own are always there: each group has one host for each of its nodes.",
                    field=f"provider.hosts.{name}", got=f"{len(hosts)} hosts",
                    expected="no such group in `nodes`" if group is None
                    else f"nodes.{name}: min_nodes = max_nodes = {len(hosts) or 'the number of hosts'}, "
                    f"not {group.min_nodes} and {group.max_nodes}",
                )  # fmt: skip
            if group.spot or group.instance is not None:
                raise ConfigError(
                    "Machines of your own are neither rented nor taken back.", field=f"nodes.{name}",
                    got="spot" if group.spot else f"instance: {group.instance}", fix="remove the key",
                )  # fmt: skip
        everything = [config.head, *(host for hosts in config.hosts.values() for host in hosts)]
        if double := sorted({one for one in everything if everything.count(one) > 1}):
            raise ConfigError(
                "Ray starts one node on a machine.", field="provider.hosts", got=", ".join(double),
                expected="each host once, and not the head's",
            )  # fmt: skip
        if any(is_loopback(one) for one in everything) and len(everything) > 1:
            raise ConfigError(
                "The other machines cannot reach a loopback address.", field="provider", got=", ".join(everything),
                expected="addresses of the network that the machines share",
            )  # fmt: skip

    def _stop_machines(self) -> None:
        """`ray down` stops Ray on the head alone, and only where `ray` is on the PATH of a login."""
        config = self._config
        stop = self.commands.environment() + "ray stop --grace-period 30"
        if self.file.image is not None:
            stop = f"docker stop {self.commands.container}"
        key = ["-i", str(config.ssh_key.expanduser())] if config.ssh_key is not None else []
        proxy = ["-o", f"ProxyCommand={config.ssh_proxy_command}"] if config.ssh_proxy_command is not None else []
        left = []
        # The head first: its autoscaler would start again what was stopped.
        for host in (config.head, *(host for hosts in config.hosts.values() for host in hosts)):
            options = ["-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-o", "StrictHostKeyChecking=accept-new"]
            command = ["ssh", *key, *options, *proxy, f"{config.ssh_user}@{host}", f"bash -lc {shlex.quote(stop)}"]
            try:
                subprocess.run(  # noqa: S603 a command of ours
                    command, stdin=subprocess.DEVNULL, capture_output=True, check=True, timeout=_STOP_S + 30
                )
            except (OSError, subprocess.SubprocessError):
                left.append(host)
        if left:
            raise ClusterError(
                "Ray was not stopped on some machines.", field="provider.hosts", got=", ".join(left),
                fix="raysmith cluster down again when they answer, or `ray stop` there",
            )  # fmt: skip
