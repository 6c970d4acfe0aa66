"""`ray start` for several nodes on loopback. Run by its path, as a script; it differs from Ray's in three things.

- With RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0, without which Ray replaces a loopback address by the machine's own, Ray
  refuses a second node. Here it does neither; the variable stays for all that the node starts.
- Ray takes the password of Redis by its command line and hands it on to other processes by theirs, where every account
  of the machine reads it. Here it comes by the environment, goes to the control store by the environment (gflags'
  `--fromenv`), and to no other process: none uses it.
- Nodes share Ray's folder, and each would unpack a job's code over what another one's driver runs in: each has a folder
  of its own for that.
"""

from __future__ import annotations

import os
import sys
from typing import Any

_VARIABLE = "RAYSMITH_REDIS_PASSWORD"


def main() -> None:
    """Run `ray` with this process's arguments."""
    from ray._private import ray_constants, services
    from ray.scripts import scripts

    ray_constants.ENABLE_RAY_CLUSTER = True
    services.resolve_ip_for_localhost = lambda host: host
    ray_constants.DEFAULT_RUNTIME_ENV_DIR_NAME = f"runtime_resources_{os.environ['RAYSMITH_NODE']}"
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


if __name__ == "__main__":
    main()
