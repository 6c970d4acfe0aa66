"""An endpoint with two replicas on two nodes under load, submitted."""

from __future__ import annotations

import shutil
import socket
import threading
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import openai
import pytest
import yaml

from cluster.artifacts import ArtifactStore
from jobs.endpoints.folder import EndpointFolder, client_of
from serving.keys import create_key
from serving.quantizers.kquants import FILE_NAME
from tests.faults import storage
from tests.faults.client import Command
from tests.faults.faults import FAULTS, nodes_for, processes
from tests.faults.machine import wait_until
from tests.faults.results import Case
from tests.faults.workloads import summarised
from tests.serve_model import smol_path

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
ASK: Any = [{"role": "user", "content": "Count to ten."}]
UP_S, BACK_S, PATIENCE_S = 180.0, 240.0, 20.0
ENGINE = {"kind": "llama_cpp", "context_tokens": 128, "num_parallel": 2}


class Asked(NamedTuple):
    """A request."""

    began: float
    ended: float
    error: str
    """Empty: it was answered whole."""
    begun: bool
    """Whether a part of the answer had come."""


class Load:
    """Clients that ask again and again; the answers are streams."""

    def __init__(self, url: str, key: str, model: str, clients: int = 2) -> None:
        self._model, self._over = model, threading.Event()
        self.asked: list[Asked] = []
        self._client = client_of(url, key).with_options(timeout=PATIENCE_S)
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(clients)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(PATIENCE_S + 10)

    def _run(self) -> None:
        while not self._over.is_set():
            began, error, begun = time.monotonic(), "", False
            try:
                answer = self._client.chat.completions.create(
                    model=self._model, messages=ASK, max_tokens=12, stream=True, temperature=0
                )
                ended = False
                for chunk in answer:
                    begun = True
                    ended = ended or bool(chunk.choices and chunk.choices[0].finish_reason)
                error = "" if ended else "the stream ended without its end"
            except (openai.OpenAIError, OSError) as caught:
                error = f"{type(caught).__name__}: {caught}"
            except Exception as caught:  # httpx' own, in the middle of a stream
                error = f"{type(caught).__name__}: {caught}"
            self.asked.append(Asked(began, time.monotonic(), error, begun))
            if error:
                time.sleep(0.2)

    def answered(self, since: float = 0.0) -> int:
        """Requests that began after `since` and were answered."""
        return sum(one.began > since and not one.error for one in list(self.asked))


def submitted(cluster: Any, root: Path, name: str, key_name: str) -> tuple[Command, str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = {
        "name": name, "storage": {"root": str(root)}, "model": "one", "engine": ENGINE, "port": port, "prove": False,
        "replicas": {"min": 2, "max": 2}, "limits": {"max_queued_requests": 64},
    }  # fmt: skip
    file = root / f"{name}.yaml"
    file.write_text(yaml.safe_dump(config))
    folder = EndpointFolder(root, name)
    folder.path.mkdir(parents=True)
    key = create_key(folder.keys_file, key_name)
    return Command(cluster, "submit", file, *cluster.submit_options), key


def case_of(fault: str) -> Any:
    return pytest.param(
        FAULTS[fault], id=fault.split(" (", maxsplit=1)[0].replace(" ", "-").replace(",", ""),
        marks=pytest.mark.case("serving", fault.replace("worker", "replica"), nodes_for(fault)),
    )  # fmt: skip


@pytest.mark.parametrize("fault", [case_of(fault) for fault in FAULTS])
def test_serving(fault: Any, case: Case, cluster: Any, tmp_path: Path) -> None:
    root, name = tmp_path / "storage", storage.name_of(tmp_path)
    store = ArtifactStore(root)
    with store.draft() as files:
        shutil.copyfile(smol_path(), files / FILE_NAME)
        store.publish(files, name="one", kind="quantized", source={"made": "one"})
    command, key = submitted(cluster, root, name, "load")
    with command:
        wait_until(
            lambda: command.ended() or "Serving on" in command.said(), UP_S, f"it serves:\n{command.tail()}", 0.3
        )
        assert not command.ended(), command.tail(30)
        state = EndpointFolder(root, name).last()
        assert state is not None
        wait_until(lambda: len(processes(cluster, title_of(name))) == 2, UP_S, "two replicas")
        with Load(state.url, key, name) as load:
            wait_until(lambda: load.answered() >= 6, 60, f"answers: {load.asked[-3:]}")
            since = time.monotonic()
            fault(cluster, command, title_of(name))
            answered_again(case, command, load, since, cluster)
            if not case.hand.startswith("the same"):
                wait_until(lambda: len(processes(cluster, title_of(name))) == 2, BACK_S, "two replicas again")
            wait_until(lambda: load.answered(time.monotonic() - 5) >= 4, 60, "answers at the end")
        count(case, load, since)


def title_of(name: str) -> str:
    """What the processes of its replicas are called."""
    return f"ServeReplica:raysmith-{name}."


def answered_again(case: Case, command: Command, load: Load, since: float, cluster: Any) -> None:
    """Wait for answers; where the user's command ended instead, give it again."""
    said_before = len(command.said())
    time.sleep(3)  # what is answered from now on is answered after the fault
    wait_until(
        lambda: load.answered(since + 3) >= 10 or command.ended(), BACK_S, f"answers or an end:\n{command.tail()}"
    )
    case.saw = summarised(command.said()[said_before:].splitlines())
    if load.answered(since + 3) < 10:
        case.hand = "the same command again"
        case.figures["command ended after s"] = round(time.monotonic() - since, 1)
        cluster.ready()
        command.start()
        wait_until(lambda: load.answered(since + 3) >= 10, BACK_S, f"answers:\n{command.tail()}")


def count(case: Case, load: Load, since: float) -> None:
    """What clients noticed."""
    after = [one for one in load.asked if one.ended > since]
    cut = [one for one in after if one.error and one.begun]
    failed = [one for one in after if one.error and not one.begun]
    times = [since, *sorted(one.ended for one in after if not one.error)]
    gaps = [(later - earlier, later) for earlier, later in pairwise(times)]
    case.recover_s = round(max(gaps)[1] - since, 1)
    kinds = Counter(one.error.split(":")[0] for one in failed + cut)
    case.figures |= {
        "longest time without an answer s": round(max(gaps)[0], 1), "answered": len(after) - len(cut) - len(failed),
        "errors": dict(kinds), "first error": (failed + cut)[0].error[:300] if failed + cut else "",
    }  # fmt: skip
    case.lost = f"{len(cut)} streams cut, {len(failed)} requests failed before their first byte"
    if case.fault.startswith("replica killed") or case.fault.startswith("node lost"):
        assert not failed, failed[:3]
