"""Keep a replica's internal port off the network."""

from __future__ import annotations

import importlib
from typing import Any


def bind_to_node_address() -> None:
    """Make Serve bind this replica's internal gRPC port to the node's own address.

    Ray Serve 2.60 starts in every replica a gRPC server for calls between deployments on `[::]`, whatever addresses
    Ray and the proxy were given; it unpickles what it receives, so whoever reaches it runs code. There is no setting.
    Serve makes the server after the replica's constructor, which calls this function. Other replicas use the node's
    address, so nothing else changes. A test lists the listening sockets and fails should Ray rename this.
    """
    ray_util: Any = importlib.import_module("ray.util")
    replica: Any = importlib.import_module("ray.serve._private.replica")
    add_port = replica.add_port_to_grpc_server

    def add_port_on_node_address(server: Any, address: str) -> int:
        _, _, port = address.rpartition(":")
        node_address = ray_util.get_node_ip_address()
        host = f"[{node_address}]" if ":" in node_address else node_address
        bound: int = add_port(server, f"{host}:{port}")
        return bound

    replica.add_port_to_grpc_server = add_port_on_node_address
