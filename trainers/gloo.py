"""Which of a node's network interfaces gloo uses: the one that the node joined the cluster with.

Left alone, gloo announces the address that the host's own name stands for. That is a loopback address where /etc/hosts
says so, as Debian and Ubuntu write it, and then workers on two nodes look for each other each on its own.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import psutil
import ray
from ray.train.torch import TorchConfig
from ray.train.torch.config import _TorchBackend

_VARIABLE = "GLOO_SOCKET_IFNAME"


def use_interface_of_the_node() -> None:
    """Set this process's interface, unless the user has."""
    address = ray.util.get_node_ip_address()
    for name, addresses in psutil.net_if_addrs().items():
        if any(one.address == address for one in addresses):
            os.environ.setdefault(_VARIABLE, name)


class _Backend(_TorchBackend):
    def on_start(self, worker_group: Any, backend_config: Any) -> None:
        worker_group.execute(use_interface_of_the_node)
        super().on_start(worker_group, backend_config)


@dataclass
class GroupConfig(TorchConfig):
    """Ray Train's, with the interface chosen before the process group is made."""

    @property
    def backend_cls(self) -> type[_Backend]:
        """What starts the process group."""
        return _Backend
