"""The metrics of runs and sweeps, for Prometheus to read: made anew from the files whenever it asks.

It listens on loopback alone. It tells names of runs and sweeps, no paths and no secrets.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from cluster.monitoring.metrics import RUNS, make
from jobs.monitor.files import number
from jobs.monitor.runs import Run
from jobs.monitor.sweeps import sweep_of

_LOOPBACK = "127.0.0.1"
_FRESH_S = 1.0


@contextmanager
def exporter(root: Path, look: Callable[[], list[Run]]) -> Iterator[str]:
    """Serve `/metrics` for the length of a `with` block; gives its `HOST:PORT`.

    Args:
        look: the runs to tell of; it may be called from several threads.
    """
    page = _Page(root, look)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.path == "/metrics"
            body = page.text() if known else b"see /metrics\n"
            self.send_response(200 if known else 404)
            self.send_header("Content-Type", CONTENT_TYPE_LATEST if known else "text/plain")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer((_LOOPBACK, 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, name="exporter", daemon=True)
        thread.start()
        try:
            yield f"{_LOOPBACK}:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


class _Page:
    """The text, made again when it is older than a second."""

    def __init__(self, root: Path, look: Callable[[], list[Run]]) -> None:
        self._root, self._look = root, look
        self._lock = threading.Lock()
        self._made, self._text = -_FRESH_S, b""

    def text(self) -> bytes:
        with self._lock:
            if time.monotonic() - self._made >= _FRESH_S:
                self._text = generate_latest(registry_of(self._root, self._look()))
                self._made = time.monotonic()
            return self._text


def registry_of(root: Path, runs: list[Run]) -> CollectorRegistry:
    """The metrics of these runs (`cluster.monitoring.metrics.RUNS`)."""
    registry = CollectorRegistry()
    made: dict[str, Any] = make(registry, RUNS)
    for run in runs:
        if run.sweep is None:
            _run(made, run)
        if (sweep := sweep_of(run)) is not None:
            for status, count in sweep.counts.items():
                made["raysmith_sweep_trials"].labels(run.name, status).set(count)
            if sweep.best_score is not None:
                made["raysmith_sweep_best"].labels(run.name).set(sweep.best_score)
            made["raysmith_sweep_trained_tokens"].labels(run.name).set(sweep.tokens)
            made["raysmith_sweep_elapsed_seconds"].labels(run.name).set(sweep.seconds)
    disk = shutil.disk_usage(root)
    made["raysmith_storage_free_bytes"].set(disk.free)
    made["raysmith_storage_size_bytes"].set(disk.total)
    return registry


def _run(made: dict[str, Any], run: Run) -> None:
    made["raysmith_run_status"].labels(run.name, run.status).set(1)
    for kind, count in run.events.items():
        made["raysmith_run_events_total"].labels(run.name, kind).inc(count)
    made["raysmith_run_training"].labels(run.name).set(run.training)
    if run.now is not None:
        made["raysmith_run_phase"].labels(run.name, run.now.phase).set(1)
    values = {
        "step": run.step,
        "steps": run.num_steps,
        "loss": number(run.newest.get("loss")),
        "last_sign_timestamp_seconds": run.now.last_sign if run.now is not None and run.training else None,
        "allowed_silence_seconds": run.now.allowed_s if run.now is not None and run.training else None,
        "longest_step_seconds": run.longest_s if run.live else None,
        "outside_steps_ratio": run.outside if run.live else None,
        "goodput_ratio": run.goodput,
    }
    for name, value in values.items():
        if value is not None:
            made[f"raysmith_run_{name}"].labels(run.name).set(value)
