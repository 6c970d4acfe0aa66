"""What the user sees: stage titles, plain facts, progress bars (plain lines where there is no terminal)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from cluster.progress import ProgressFile

console = Console(highlight=False, soft_wrap=True)
errors = Console(stderr=True, highlight=False, soft_wrap=True)
_POLL_S = 0.3


def title(text: str) -> None:
    """Announce a stage."""
    console.print(f"\n[bold cyan]{text}[/]")


def fact(label: str, value: str) -> None:
    """One line of a stage's result."""
    console.print(f"  {label:<22} {value}", markup=False)


@contextmanager
def bar(label: str, progress: ProgressFile) -> Iterator[None]:
    """Show the progress that another process writes, for the length of a `with` block."""
    progress.clear()
    done = threading.Event()
    show = _draw if console.is_terminal else _print_lines
    thread = threading.Thread(target=show, args=(label, progress, done), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        progress.clear()


def _draw(label: str, progress: ProgressFile, done: threading.Event) -> None:
    columns = (
        TextColumn("  {task.description:<22}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        TimeRemainingColumn(), TextColumn("{task.fields[text]}"),
    )  # fmt: skip
    with Progress(*columns, console=console, transient=True) as display:
        task = display.add_task(label, total=None, text="")
        while not done.wait(_POLL_S):
            position = progress.read()
            if position:
                display.update(task, completed=position["done"], total=position["total"], text=position["text"])


def _print_lines(label: str, progress: ProgressFile, done: threading.Event) -> None:
    shown = 0.0
    while not done.wait(_POLL_S):
        position = progress.read()
        if position and position["done"] / position["total"] >= shown + 0.1:
            shown = position["done"] / position["total"]
            console.print(f"  {label}: {position['done']}/{position['total']} {position['text']}", markup=False)
