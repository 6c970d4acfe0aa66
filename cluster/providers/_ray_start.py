"""`ray` whose password of Redis stands on no command line. Run by its path, as a script; it needs nothing but Ray.

Ray takes that password by its command line and hands it on to other processes by theirs, where every account of the
machine reads it. Here it comes by the environment, goes to the control store by the environment (gflags' `--fromenv`),
and to no other process: none uses it.
"""

from __future__ import annotations

import os
import sys
from typing import Any

_VARIABLE = "RAYSMITH_REDIS_PASSWORD"


def main() -> None:
    """Run `ray` with this process's arguments."""
    from ray.scripts import scripts

    hide_redis_password()
    scripts.main()


def hide_redis_password() -> None:
    """Take the password from the environment, and let Ray's processes have it so that no list of processes shows it."""
    from ray._private import services

    if not (password := os.environ.pop(_VARIABLE, "")):
        return
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


if __name__ == "__main__":
    main()
