"""The faults that every kind of run meets, on a local cluster; the others stand with their cases."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import psutil

from tests.faults.client import Command
from tests.faults.local import LocalCluster, node_with
from tests.faults.machine import kill, titled

Fault = Callable[[LocalCluster, Command, str], None]


def processes(cluster: Any, title: str) -> list[psutil.Process]:
    """Of that title, on all nodes."""
    return [one for name in cluster.names for one in titled(cluster.raylet(name), title)]


def worker_killed(cluster: LocalCluster, _command: Command, title: str) -> None:
    kill(processes(cluster, title)[-1])


def worker_hangs(cluster: LocalCluster, _command: Command, title: str) -> None:
    kill(processes(cluster, title)[-1], signal.SIGSTOP)


def node_lost(cluster: LocalCluster, _command: Command, title: str) -> None:
    kill(cluster.raylet(node_with(cluster, title)))


def driver_lost(_cluster: LocalCluster, command: Command, _title: str) -> None:
    drivers = command.drivers()
    assert drivers, "no driver was found"
    for driver in drivers:
        kill(driver)


def head_lost(cluster: LocalCluster, _command: Command, _title: str) -> None:
    for one in cluster.head_processes():
        kill(one)


FAULTS: dict[str, Fault] = {
    "worker killed (SIGKILL)": worker_killed,
    "worker hangs (SIGSTOP)": worker_hangs,
    "node lost (raylet SIGKILLed)": node_lost,
    "driver lost (SIGKILL)": driver_lost,
    "head lost, without Redis": head_lost,
    "head lost, with Redis": head_lost,
}


def nodes_for(fault: str) -> str:
    """The kind of cluster."""
    return "redis" if fault.endswith("with Redis") else "plain"
