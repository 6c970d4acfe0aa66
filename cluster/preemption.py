"""Notices that this machine will soon be taken away: from Ray, from the cloud that rents it out, or from a file.

A thread of each worker asks, every other second, the first of a machine also cloud and file; the worker looks at
`pending` when it suits it, which costs nothing. What a notice means is its own business: training saves at once.

Ray Train has its own answer to a node that is drained (`ray drain-node`, or an autoscaler that was told): it lets the
workers go on until the deadline, then starts them again elsewhere, and counts that as no failure. It does not save. So
what a cloud or a scheduler says is passed on to Ray, which then also sends no new work to the machine.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

from cluster.errors import ClusterError

SPOT, NOTICE_FILE = "RAYSMITH_SPOT", "RAYSMITH_NOTICE_FILE"
"""Environment variables: the cloud whose metadata are asked (`aws`, `gcp`); a file that a scheduler makes."""
_POLL_S = 2.0
_TIMEOUT_S = 1.0
_AWS, _GCP = "http://169.254.169.254", "http://metadata.google.internal"
_TOKEN_S = 21600
_AWS_S, _GCP_S = 120.0, 30.0
_RAY = "Ray"
_log = logging.getLogger(__name__)


class Notice(NamedTuple):
    """Word that this machine will be taken away; equal to another when it is the same."""

    source: str
    what: str
    within_s: float = 0.0
    """Seconds until then, from when it is first heard; 0 when nobody says."""
    node: str = ""
    """Ray's id of the node."""

    def __str__(self) -> str:
        return f"{self.source}: {self.what}"


Source = Callable[[], Notice | None]
"""Gives the notice there is; raises OSError when it cannot be asked now."""


class Watcher:
    """Asks sources, in a thread, until it is closed.

    Args:
        node: Ray's id of this node.
        pass_on: given each new notice; again, a poll later, while it raises an error.
    """

    def __init__(
        self,
        sources: Iterable[Source],
        poll_s: float = _POLL_S,
        node: str = "",
        pass_on: Callable[[Notice], None] = lambda _notice: None,
    ) -> None:
        self._sources, self._poll_s, self._node, self._pass_on = list(sources), poll_s, node, pass_on
        self._new: dict[Notice, None] = {}
        self._answered: set[Notice] = set()
        self._to_pass_on: dict[Notice, float] = {}
        """What Ray has not taken yet, and when it was heard."""
        self._refused = ""
        self._over = threading.Event()
        threading.Thread(target=self._watch, name="preemption", daemon=True).start()

    @property
    def pending(self) -> bool:
        """Whether there is a notice that nobody has answered."""
        return bool(self._new)

    def heard(self) -> list[Notice]:
        """The notices that nobody has answered."""
        return list(self._new)

    def answered(self, notices: Iterable[Notice]) -> None:
        """These, which this process or another has heard, have been acted on: they are not new again."""
        self._answered.update(notices)
        for notice in [one for one in list(self._new) if self._is_answered(one)]:
            del self._new[notice]

    def _is_answered(self, notice: Notice) -> bool:
        # What was passed on to Ray comes back from it, to all workers of the node.
        passed_on = notice.source == _RAY and any(one.node == notice.node for one in self._answered)
        return passed_on or notice in self._answered

    def _watch(self) -> None:
        while not self._over.wait(self._poll_s):
            for source in self._sources:
                try:
                    notice = source()
                except Exception:  # noqa: S112 - whatever it is: it may answer the next time, and others do now
                    continue
                if notice is None:
                    continue
                notice = notice._replace(node=self._node)
                if notice not in self._new and not self._is_answered(notice):
                    self._to_pass_on[notice] = time.monotonic()
                    self._new[notice] = None
            self._pass_all_on()

    def _pass_all_on(self) -> None:
        for notice, heard in list(self._to_pass_on.items()):
            left_s = notice.within_s and max(1.0, notice.within_s - (time.monotonic() - heard))
            try:
                self._pass_on(notice._replace(within_s=left_s))
            except Exception as error:  # whatever it is: it may be taken the next time
                reason = f"{type(error).__name__}: {error}"
                if reason != self._refused:
                    _log.warning("%s: Ray was not told, which is tried again: %s", notice, reason)
                self._refused = reason
            else:
                del self._to_pass_on[notice]

    def close(self) -> None:
        """Ask no more."""
        self._over.set()


def sources_of(environment: Mapping[str, str]) -> list[Source]:
    """What is asked on this machine: Ray in its workers, and what the environment names."""
    found: list[Source] = [drained]
    cloud = environment.get(SPOT, "")
    if cloud == "aws":
        found.append(Aws())
    elif cloud == "gcp":
        found.append(Gcp())
    if path := environment.get(NOTICE_FILE):
        found.append(NoticeFile(Path(path)))
    return found


_watcher: Watcher | None = None
_lock = threading.Lock()


def watcher() -> Watcher:
    """The watcher of this process, one for all that it does.

    Only the first worker of a machine asks its cloud and looks for the file: the others would only hear the same.
    """
    global _watcher  # noqa: PLW0603 - a process is on one machine
    with _lock:
        if _watcher is None:
            first = os.environ.get("LOCAL_RANK", "0") == "0"
            _watcher = Watcher(sources_of(os.environ) if first else [drained], node=_own_node(), pass_on=drain)
        return _watcher


def _own_node() -> str:
    if "ray" in sys.modules:
        import ray

        if ray.is_initialized():
            return str(ray.get_runtime_context().get_node_id())
    return platform.node()


def drain(notice: Notice) -> None:
    """Pass a notice on to Ray, as `ray drain-node` does, where there are other nodes to work on.

    Raises:
        ClusterError: Ray refuses it.
    """
    import ray
    from ray import _raylet
    from ray.core.generated import autoscaler_pb2

    if notice.source == _RAY or not ray.is_initialized() or sum(node["Alive"] for node in ray.nodes()) < 2:
        return
    context = ray.get_runtime_context()
    raylet, reasons = cast("Any", _raylet), cast("Any", autoscaler_pb2)
    deadline_ms = int((time.time() + notice.within_s) * 1000) if notice.within_s else 0
    reason = reasons.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
    client = raylet.GcsClient(address=context.gcs_address)
    taken, why_not = client.drain_node(notice.node, reason, str(notice), deadline_ms)
    if not taken:
        raise ClusterError("Ray does not drain the node.", got=why_not)


def drained() -> Notice | None:
    """What Ray Train has told this worker of its own node: it asks Ray once for all workers."""
    if "ray.train" not in sys.modules:
        return None  # no worker of Ray Train
    from ray.train.v2._internal.execution.context import get_train_context

    context = get_train_context()
    info = context.preemption_context.preemption_info
    if info is None or context.get_world_rank() not in info.preempted_ranks:
        return None
    when = "" if info.deadline_ms is None else f" at {_clock(info.deadline_ms / 1000)}"
    return Notice(_RAY, f"the node is drained{when}")


class NoticeFile:
    """A file that a scheduler makes on the machine; what it holds, if anything, is the reason."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(self) -> Notice | None:
        """The file's first line."""
        try:
            lines = self._path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        except FileNotFoundError:
            return None
        return Notice("file", lines[0][:200] if lines else str(self._path))


class Aws:
    """Amazon's word to a spot instance, two minutes before it ends (instance metadata, version 2)."""

    def __init__(self, address: str = _AWS) -> None:
        self._address = address
        self._token, self._until = "", 0.0

    def __call__(self) -> Notice | None:
        """`spot/instance-action`, which is not there until then."""
        if time.monotonic() > self._until:
            wanted = {"X-aws-ec2-metadata-token-ttl-seconds": str(_TOKEN_S)}
            self._token = _asked(f"{self._address}/latest/api/token", wanted, "PUT") or ""
            self._until = time.monotonic() + _TOKEN_S / 2
        path = f"{self._address}/latest/meta-data/spot/instance-action"
        try:
            said = _asked(path, {"X-aws-ec2-metadata-token": self._token})
        except OSError:
            self._until = 0.0  # the token may be what it does not like
            raise
        if said is None:
            return None
        action: dict[str, Any] = json.loads(said)
        return Notice("AWS", f"the spot instance is to {action.get('action')} at {action.get('time')}", _AWS_S)


class Gcp:
    """Google's word to a spot or preemptible machine, half a minute before it ends."""

    def __init__(self, address: str = _GCP) -> None:
        self._address = address

    def __call__(self) -> Notice | None:
        """`instance/preempted`."""
        path = f"{self._address}/computeMetadata/v1/instance/preempted"
        said = _asked(path, {"Metadata-Flavor": "Google"})
        return Notice("GCP", "the machine is preempted", _GCP_S) if (said or "").strip().upper() == "TRUE" else None


def _asked(url: str, headers: dict[str, str], method: str = "GET") -> str | None:
    """What the metadata service answers; None for 404."""
    request = urllib.request.Request(url, headers=headers, method=method)  # noqa: S310 - one of two known addresses
    try:
        # A proxy must never see it: the service tells each machine of itself.
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=_TIMEOUT_S) as answer:
            return str(answer.read(4096).decode())
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return None
        raise


def _clock(seconds: float) -> str:
    return time.strftime("%H:%M:%S UTC", time.gmtime(seconds))
