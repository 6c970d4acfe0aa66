"""The process that keeps a local cluster: `python -m cluster.providers._local_supervisor FOLDER`.

It starts the nodes that `description.json` in the cluster's folder wants, again when one ends, and more or fewer when
the file changes; writes `nodes.json`; and ends on SIGTERM with everything that it started.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cluster.description import ClusterFile
from cluster.providers._local_nodes import (
    HEAD,
    Places,
    base_environment,
    head_ports,
    node_names,
    plan_head,
    plan_worker,
)  # fmt: skip
from cluster.providers._local_processes import adopt_orphans, descendants, end, kill, listens, reap
from cluster.providers._local_redis import Redis
from cluster.providers._local_tended import Tended
from cluster.providers._local_watch import Watch
from cluster.storage import read_json, write_json

_POLL_S = 0.25
_MAX_TEMPORARY = 18  # characters before the nodes' own parts: paths of Unix sockets hold 107 in all
log = logging.getLogger("supervisor")


class Supervisor:
    """Keeps what the folder describes.

    Args:
        folder: the cluster's (`cluster.records.folder_of`).
        temporary: for Ray's own files, with a short path.
    """

    def __init__(self, folder: Path, temporary: Path) -> None:
        self._folder, self._temporary = folder, temporary
        self._places = Places(folder / "places.json")
        self._description = folder / "description.json"
        self._read_at = 0
        self._file = self._read()
        self._environment = base_environment(folder)
        self._redis = Redis(self._file, folder, self._places) if self._file.head.redis is not None else None
        self._nodes = {HEAD: Tended(HEAD, HEAD, folder)}
        self._watch = Watch(folder)
        self._written: Any = None
        self._trouble = ""
        self.ending = False

    def run(self) -> None:
        """Keep it until `ending` is set."""
        while not self.ending:
            try:
                self._tend()
            except OSError as error:  # a full disk, no more processes: what runs must not end for it
                if not self._folder.is_dir():  # removed by hand: nobody could find, or end, what runs here any more
                    log.warning("%s is gone; its nodes end", self._folder)
                    return
                if str(error) != self._trouble:
                    self._trouble = str(error)
                    log.warning("tried again and again: %s", error)
            else:
                self._trouble = ""
            time.sleep(_POLL_S)

    def _tend(self) -> None:
        if self._description.stat().st_mtime_ns != self._read_at:
            self._file = self._read()
            for node in self._nodes.values():
                node.try_again()
        self._follow_description()
        self._end_hung()
        self._step()
        self._write()
        own = {node.process.pid for node in self._nodes.values() if node.process is not None}
        reap(own | {self._redis.pid} if self._redis is not None and self._redis.pid is not None else own)

    def _read(self) -> ClusterFile:
        changed_at = self._description.stat().st_mtime_ns
        file = ClusterFile.model_validate(read_json(self._description))
        self._read_at = changed_at
        return file

    def _follow_description(self) -> None:
        wanted = node_names(self._file)
        for name, group in wanted.items():
            if name not in self._nodes:
                log.info("node %s is wanted", name)
                self._nodes[name] = Tended(name, group, self._folder)
            self._nodes[name].wanted = True
        for name in [name for name in self._nodes if name != HEAD and name not in wanted]:
            self._nodes[name].retire()
            if self._nodes[name].process is None:
                log.info("node %s has gone", name)
                del self._nodes[name]
                self._places.forget(name)

    def _step(self) -> None:
        for node in self._nodes.values():
            if node.look():
                kill(descendants(node.name))
                if node.needs_other_ports:
                    self._places.forget(node.name)
                if node.name == HEAD and self._redis is None:
                    self._end_workers()
        if self._redis is not None and not self._redis.keep(self._environment):
            return
        head = self._nodes[HEAD]
        if head.due:
            head.start(self._plan_of(head), self._environment)
        due = [node for node in self._nodes.values() if node.due]
        if due and head.process is not None and listens(head_ports(self._file, self._places)["port"]):
            for node in due:
                node.start(self._plan_of(node), self._environment)

    def _end_hung(self) -> None:
        given_up = self._watch.given_up()
        for node in self._nodes.values():
            if node.node_id in given_up and node.process is not None:
                log.warning("node %s is there, but Ray has given it up: ended", node.name)
                kill(descendants(node.name))
        head = self._nodes[HEAD]
        if head.state != "alive" or self._redis is None:  # without Redis, ending the head would end all
            self._watch.hear()
        elif self._watch.head_is_silent():
            log.warning("the head is there, but does not answer: ended")
            kill(descendants(HEAD))

    def _plan_of(self, node: Tended) -> Any:
        if node.name != HEAD:
            return plan_worker(self._file, self._places, self._temporary, node.name, node.group)
        keeper = self._redis.for_head if self._redis is not None else {}
        return plan_head(self._file, self._places, self._temporary, keeper)

    def _end_workers(self) -> None:
        """A head without its state knows none of the nodes: they join the next one anew."""
        for node in self._nodes.values():
            if node.name != HEAD and node.process is not None:
                log.info("node %s is ended: its head has gone", node.name)
                kill(descendants(node.name))
                node.look(expected=True)

    def _write(self) -> None:
        rows = [node.row() for node in self._nodes.values()]
        if rows != self._written:
            write_json(self._folder / "nodes.json", rows)
            self._written = rows

    def close(self) -> None:
        """End everything."""
        end(descendants())
        for node in self._nodes.values():
            if node.process is not None:
                node.process.wait()
        if self._redis is not None:
            self._redis.close()
        kill(descendants())


@contextlib.contextmanager
def _temporary_folder() -> Iterator[Path]:
    # Named as an embedded cluster's (cluster/connect.py), which removes what a killed process has left.
    parent = Path(tempfile.gettempdir())
    parent = parent if len(str(parent)) <= _MAX_TEMPORARY else Path("/tmp")  # noqa: S108
    folder = Path(tempfile.mkdtemp(prefix=f"rs-{os.getpid()}-", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main(folder: Path) -> None:
    """Keep the cluster of a folder until SIGTERM."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    adopt_orphans()
    # Drivers of jobs are stopped by signals, which must not be ignored as they are in a shell's background jobs.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with _temporary_folder() as temporary:
        supervisor = Supervisor(folder, temporary)

        def finish(_signum: int, _frame: object) -> None:
            supervisor.ending = True

        signal.signal(signal.SIGTERM, finish)
        try:
            supervisor.run()
        finally:
            supervisor.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
