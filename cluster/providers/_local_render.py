"""A local cluster as a shell script, for those who want to see what its supervisor runs."""

from __future__ import annotations

import shlex
import tempfile
from pathlib import Path

from cluster.description import ClusterFile
from cluster.providers._local_nodes import Places, node_names, plan_head, plan_worker, settings

_HEADER = """\
#!/bin/sh
# The nodes of the local cluster `{name}`, as `raysmith cluster up` starts them (and again when they end).
# Ctrl-C ends them all. Ports were free when this was written.
set -eu
umask 077
folder=${{RAYSMITH_FOLDER:-$HOME/.raysmith/rendered/{name}}}
mkdir -p "$folder"
temporary=$(mktemp -d /tmp/rs-XXXXXX)   # short: the paths of sockets hold 107 characters
mkdir "$temporary/ray"
[ -s "$folder/token" ] || head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \\n' > "$folder/token"   # never without one
trap 'trap - INT TERM EXIT; kill 0' INT TERM EXIT
"""


def script(file: ClusterFile) -> str:
    """The commands of all nodes."""
    with tempfile.TemporaryDirectory() as scratch:
        places = Places(Path(scratch) / "places.json")
        temporary = Path("TEMPORARY")
        plans = [plan_head(file, places, temporary, {})]
        plans += [plan_worker(file, places, temporary, name, group) for name, group in node_names(file).items()]
    lines = [_HEADER.format(name=file.name)]
    if file.head.redis is not None:
        lines.append(
            "# `cluster up` also starts Redis, and gives the head its address and password by the environment.\n"
        )
    lines += [f"export {key}={shlex.quote(value)}" for key, value in settings(Path("FOLDER")).items()]
    for plan in plans:
        variables = " ".join(f"{key}={shlex.quote(value)}" for key, value in plan.environment.items())
        lines += [
            "",
            f"# {plan.name}",
            f"ln -s ray {plan.temporary}",
            f"{variables} \\",
            f"  {_folded(plan.command)} &",
        ]
        if plan is plans[0]:
            lines.append("sleep 10")
    text = "\n".join([*lines, "", "wait", ""])
    return text.replace("TEMPORARY", '"$temporary"').replace("=FOLDER", '="$folder"')


def _folded(command: list[str]) -> str:
    return " \\\n    ".join(shlex.quote(part) for part in command)
