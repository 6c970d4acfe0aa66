"""`raysmith top`: gather in one thread, draw in another, until `q` or Ctrl-C."""

from __future__ import annotations

import json
import select
import sys
import termios
import threading
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.text import Text

from cluster.records import record_of
from cluster.storage import StorageConfig
from jobs.console import console
from jobs.top.snapshot import Gatherer, Snapshot
from jobs.top.view import view

_EVERY_S = 1.0
_DRAW_S = 0.5
_WIDE = 200


def show_top(storage: Path | None, cluster: str | None, *, once: bool, as_json: bool) -> None:
    """Show what goes on; once where no person looks.

    Args:
        storage: the storage root; it need not be there.
        cluster: a recorded cluster whose jobs are shown.

    Raises:
        ClusterError: no such cluster.
    """
    root = (StorageConfig(root=storage) if storage else StorageConfig()).location()
    gatherer = Gatherer(root, None if cluster is None else record_of(cluster))
    if as_json:
        sys.stdout.write(json.dumps(gatherer.gather().as_json(), indent=2) + "\n")
    elif once or not console.is_terminal or not sys.stdin.isatty():
        Console(highlight=False, width=None if console.is_terminal else _WIDE).print(
            view(gatherer.gather(), width=console.width if console.is_terminal else _WIDE)
        )
    else:
        _live(gatherer)


def _live(gatherer: Gatherer) -> None:
    ended, kept = threading.Event(), _Kept()
    thread = threading.Thread(target=_gather, args=(gatherer, kept, ended), name="gather", daemon=True)
    thread.start()
    screen = Console(highlight=False)
    try:
        with _keys(), Live(console=screen, screen=True, auto_refresh=False) as live:
            while not _wants_out(_DRAW_S):
                snapshot = kept.newest
                if kept.error is not None:
                    raise kept.error
                if snapshot is None:
                    live.update(Text("  looking …", style="dim"), refresh=True)
                else:
                    live.update(view(snapshot, screen.size.height, screen.size.width), refresh=True)
    except KeyboardInterrupt:
        pass
    finally:
        ended.set()


class _Kept:
    """What the gathering thread found last."""

    def __init__(self) -> None:
        self.newest: Snapshot | None = None
        self.error: Exception | None = None


def _gather(gatherer: Gatherer, kept: _Kept, ended: threading.Event) -> None:
    try:
        while not ended.is_set():
            kept.newest = gatherer.gather()
            ended.wait(_EVERY_S)
    except Exception as error:  # the drawing thread raises it
        kept.error = error


@contextmanager
def _keys() -> Iterator[None]:
    """Keys come as they are pressed, and are not shown."""
    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setcbreak(sys.stdin)
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _wants_out(seconds: float) -> bool:
    """Wait for a key; whether it was `q`."""
    ready, _, _ = select.select([sys.stdin], [], [], seconds)
    return bool(ready) and sys.stdin.read(1) in ("q", "Q", "")
