"""`ray start` for several nodes on loopback. Run by its path, as a script; it differs from Ray's in three things.

- With RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0, without which Ray replaces a loopback address by the machine's own, Ray
  refuses a second node. Here it does neither; the variable stays for all that the node starts.
- The password of Redis stands on no command line (`_ray_start.py`).
- Nodes share Ray's folder. Each would unpack a job's code over what another one's driver runs in: each has a folder of
  its own for that. And each looks for names of sockets and logs that are free, so that two which start at once would
  take the same: sockets have the node's own name, and a log is made when its name is chosen.
"""

from __future__ import annotations

import os
import runpy
from pathlib import Path


def main() -> None:
    """Run `ray` with this process's arguments."""
    from ray._private import ray_constants, services
    from ray.scripts import scripts

    ray_constants.ENABLE_RAY_CLUSTER = True
    services.resolve_ip_for_localhost = lambda host: host
    ray_constants.DEFAULT_RUNTIME_ENV_DIR_NAME = f"runtime_resources_{os.environ['RAYSMITH_NODE']}"
    _keep_names_apart(Path(os.environ["RAYSMITH_RAY_FOLDER"]).name)
    # By its path: beside this script lie modules whose names (`local`) must not come before others'.
    runpy.run_path(str(Path(__file__).with_name("_ray_start.py")))["hide_redis_password"]()
    scripts.main()


def _keep_names_apart(own: str) -> None:
    """Let the node's sockets be named after `own`, and claim the names of its logs."""
    from ray._private.node import Node

    free_name = Node._make_inc_temp

    def claimed(node: Node, suffix: str = "", prefix: str = "", directory_name: str | None = None) -> str:
        if directory_name == node.get_sockets_dir_path():
            return str(free_name(node, suffix, f"{prefix[0]}{own}", directory_name))  # short: 107 characters in all
        while True:
            name = str(free_name(node, suffix, prefix, directory_name))
            try:
                Path(name).touch(exist_ok=False)
            except FileExistsError:
                continue
            return name

    Node._make_inc_temp = claimed  # type: ignore[method-assign, assignment]


if __name__ == "__main__":
    main()
