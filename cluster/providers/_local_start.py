"""`ray start` for several nodes on loopback. Run by its path, as a script; it differs from Ray's in three things.

- With RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0, without which Ray replaces a loopback address by the machine's own, Ray
  refuses a second node. Here it does neither; the variable stays for all that the node starts.
- Ray takes the password of Redis by its command line and hands it on to other processes by theirs, where every account
  of the machine reads it. Here it comes by the environment, goes to the control store by the environment (gflags'
  `--fromenv`), and to no other process: none uses it.
- Nodes share Ray's folder. Each would unpack a job's code over what another one's driver runs in: each has a folder of
  its own for that. And each looks for names of sockets and logs that are free, so that two which start at once would
  take the same: sockets have the node's own name, and a log is made when its name is chosen.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

_VARIABLE = "RAYSMITH_REDIS_PASSWORD"


def main() -> None:
    """Run `ray` with this process's arguments."""
    from ray._private import ray_constants, services
    from ray.scripts import scripts

    ray_constants.ENABLE_RAY_CLUSTER = True
    services.resolve_ip_for_localhost = lambda host: host
    ray_constants.DEFAULT_RUNTIME_ENV_DIR_NAME = f"runtime_resources_{os.environ['RAYSMITH_NODE']}"
    _keep_names_apart(Path(os.environ["RAYSMITH_RAY_FOLDER"]).name)
    if password := os.environ.pop(_VARIABLE, ""):
        start = services.start_ray_process
        to_store, to_worker = f"--redis_password={password}", f"--redis-password={password}"

        def start_discreetly(command: list[str], *args: Any, **kwargs: Any) -> Any:
            if to_store in command:
                command = ["--fromenv=redis_password" if part == to_store else part for part in command]
                kwargs["env_updates"] = {**(kwargs.get("env_updates") or {}), "FLAGS_redis_password": password}
            # What is left stands inside the commands by which a raylet starts workers, of each language in its own way.
            return start([part.replace(to_worker, "").replace(password, "") for part in command], *args, **kwargs)

        services.start_ray_process = start_discreetly
        sys.argv.append(to_worker)  # Python's list; the kernel's, which `ps` shows, stays
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
