"""Notices that a machine will be taken away: where they come from, and the checkpoint that they bring."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from cluster.preemption import NOTICE_FILE, SPOT, Aws, Gcp, Notice, NoticeFile, Source, Watcher, drained, sources_of
from cluster.progress import ProgressFile
from cluster.rundir import read_metrics
from tests.conftest import REPOSITORY
from tests.test_recovery import config
from tests.test_trl import config as trl_config
from tests.test_trl import data, make_job
from tests.two_nodes import TwoNodes
from tests.workers import run_workers, training_job
from trainers.config import CheckpointConfig
from trainers.loop import Job

__all__ = ["data"]  # a fixture of the module that it comes from


@contextmanager
def metadata(answers: dict[str, tuple[int, str]]) -> Iterator[tuple[str, list[tuple[str, str, dict[str, str]]]]]:
    """A machine's metadata service: path → status and body; gives its address and what it was asked."""
    asked: list[tuple[str, str, dict[str, str]]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.command, self.path, {key.lower(): value for key, value in self.headers.items()}))
            status, body = answers.get(self.path, (404, ""))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        do_PUT = do_GET  # noqa: N815

        def log_message(self, *_: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


def test_amazon_is_asked_with_its_token() -> None:
    answers = {"/latest/api/token": (200, "secret")}
    with metadata(answers) as (address, asked):
        source = Aws(address)
        assert source() is None, "the path is not there until the instance is to go"
        assert source() is None
        method, path, headers = asked[0]
        assert (method, path, headers["x-aws-ec2-metadata-token-ttl-seconds"]) == ("PUT", "/latest/api/token", "21600")
        assert [path for _, path, _ in asked[1:]] == ["/latest/meta-data/spot/instance-action"] * 2
        assert all(headers["x-aws-ec2-metadata-token"] == "secret" for _, _, headers in asked[1:])
        action = '{"action": "terminate", "time": "2026-11-23T08:22:00Z"}'
        answers["/latest/meta-data/spot/instance-action"] = (200, action)
        assert source() == Notice("AWS", "the spot instance is to terminate at 2026-11-23T08:22:00Z", 120.0)
        answers["/latest/meta-data/spot/instance-action"] = (401, "")
        with pytest.raises(OSError):
            source()
        asked.clear()
        answers["/latest/meta-data/spot/instance-action"] = (200, action)
        assert source() is not None
        assert [method for method, _, _ in asked] == ["PUT", "GET"], "a token that is refused is asked for anew"


def test_google_is_asked_with_its_header() -> None:
    answers = {"/computeMetadata/v1/instance/preempted": (200, "FALSE")}
    with metadata(answers) as (address, asked):
        source = Gcp(address)
        assert source() is None
        assert asked[0][2]["metadata-flavor"] == "Google"
        answers["/computeMetadata/v1/instance/preempted"] = (200, "TRUE\n")
        assert source() == Notice("GCP", "the machine is preempted", 30.0)


def test_clouds_are_asked_only_where_the_environment_says_so(tmp_path: Path) -> None:
    assert sources_of({}) == [drained]
    assert [type(one) for one in sources_of({SPOT: "aws"})[1:]] == [Aws]
    assert [type(one) for one in sources_of({SPOT: "gcp", NOTICE_FILE: str(tmp_path / "notice")})[1:]] == [
        Gcp,
        NoticeFile,
    ]


WAIT_S = 180.0


def until(there: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while not there():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


class Asked:
    """A source that counts how often it was asked."""

    def __init__(self, source: Source) -> None:
        self._source, self.count = source, 0

    def __call__(self) -> Notice | None:
        notice = self._source()
        self.count += 1
        return notice

    def again(self) -> None:
        """Wait until what it says was heard, and more than once."""
        before = self.count
        until(lambda: self.count > before + 2, "the source is not asked any more")


def test_each_notice_is_given_once_and_a_source_that_fails_does_not_silence_the_others(tmp_path: Path) -> None:
    file, passed = tmp_path / "notice", list[Notice]()
    source = Asked(NoticeFile(file))

    def broken() -> Notice | None:
        raise KeyError("no such thing")

    watched = Watcher([broken, source], 0.01, "a node", passed.append)
    source.again()
    assert not watched.pending
    for words in ("maintenance at noon", "and again at one"):
        file.write_text(f"{words}\nmore\n")
        until(lambda: watched.pending, "it is not heard")
        [notice] = watched.heard()
        assert notice == Notice("file", words, node="a node")
        watched.answered([notice])
        assert not watched.pending
        source.again()
        assert not watched.pending
    assert [notice.what for notice in passed] == ["maintenance at noon", "and again at one"]
    watched.close()


def test_what_ray_does_not_take_is_passed_on_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tried: list[Notice] = []

    def refuses_twice(notice: Notice) -> None:
        tried.append(notice)
        if len(tried) < 3:
            raise TimeoutError("the head does not answer")

    source = Asked(lambda: Notice("AWS", "the spot instance is to terminate", 120.0))
    watched = Watcher([source], 0.01, "a node", refuses_twice)
    until(lambda: len(tried) == 3, "it is not tried again")
    watched.answered(watched.heard())
    source.again()
    watched.close()
    assert len(tried) == 3, "what Ray has taken is not passed on again"
    left = [notice.within_s for notice in tried]
    assert 120.0 >= left[0] > left[1] > left[2] > 0.0, "the machine does not get more time by it"
    [warning] = [record.getMessage() for record in caplog.records if "Ray was not told" in record.getMessage()]
    assert "the head does not answer" in warning


def test_what_was_passed_on_to_ray_is_nothing_new_when_it_comes_back() -> None:
    said = Notice("Ray", "the node is drained at 12:00:00 UTC")
    sources = [Asked(lambda: said) for _ in range(3)]
    first, second, other = (
        Watcher([source], 0.05, node) for source, node in zip(sources, ("a", "a", "b"), strict=True)
    )
    answered = [Notice("AWS", "the spot instance is to terminate", 120.0, "a")]
    for watched in (first, second, other):
        watched.answered(answered)  # all workers are told what one has heard
    for source in sources:
        source.again()
    assert not first.pending
    assert not second.pending
    assert other.heard() == [said._replace(node="b")]
    for watched in (first, second, other):
        watched.close()


def events_of(job: Job) -> list[str]:
    file = job.metrics_file.with_name("events.jsonl")
    return [json.loads(line)["event"] for line in file.open()] if file.exists() else []


def test_training_saves_at_once_when_one_worker_is_warned(tmp_path: Path, model: Path, tokens: Path) -> None:
    file = tmp_path / "notice"
    settings = config(steps=2000, checkpoint=CheckpointConfig(every_steps=2000))
    job = training_job(tmp_path / "run", settings, model, tokens)

    def warn_and_end() -> None:
        until(lambda: len(read_metrics(job.metrics_file)) >= 3, "no third step")
        file.write_text("taken for maintenance")
        until(lambda: events_of(job), "no event")
        saved = [path.name for path in (tmp_path / "run" / "checkpoints").glob("step-*") if complete(path)]
        found.append((events_of(job), saved))
        (tmp_path / "stop").write_text("")

    found: list[tuple[list[str], list[str]]] = []
    thread = threading.Thread(target=warn_and_end)
    thread.start()
    run_workers(2, tmp_path / "rendezvous", train_until, [job], tmp_path / "stop", file)
    thread.join()
    [(events, saved)] = found
    [event] = events
    assert event.startswith("notice: worker 0, file: taken for maintenance; checkpoint at step ")
    assert saved == [f"step-{int(event.rsplit(' ', 1)[1]):08d}"], "it is whole when the event is told"


def complete(folder: Path) -> bool:
    return (folder / "complete.json").exists()


def train_until(rank: int, count: int, jobs: list[Job], stop: Path, notice: Path) -> None:
    """Train, and end in the middle when a file is there, as a machine that is taken away does."""
    from trainers.loop import Training

    os.environ[NOTICE_FILE] = str(notice)
    training = Training(jobs[0], rank, count)
    step = training._step

    def stopped_step(*arguments: Any) -> None:
        if training._sum([float(stop.exists())])[0]:
            training.state.stopped = "taken away"
        step(*arguments)

    training._step = stopped_step  # type: ignore[method-assign]
    training.run()


class TakenAway(ProgressFile):
    """Ends the training as soon as there is a checkpoint."""

    def write(self, done: int, total: int, text: str = "") -> None:
        if list(self.path.parent.glob("trl/*/complete.json")):
            raise InterruptedError
        super().write(done, total, text)


def host_until(rank: int, count: int, job: Job, notice: Path) -> None:
    """Train with TRL until it is taken away."""
    from trainers.trl_host import train

    os.environ[NOTICE_FILE] = str(notice)
    with suppress(InterruptedError):
        train(job, rank, count)


@pytest.mark.slow
def test_trainers_of_trl_save_at_once_too(tmp_path: Path, model: Path, data: Path) -> None:
    (tmp_path / "notice").write_text("taken for maintenance")
    settings = trl_config("dpo", steps=2000, checkpoint=CheckpointConfig(every_steps=2000))
    job = make_job(tmp_path / "run", settings, model, data, "pairs")
    job = job._replace(progress=TakenAway(job.progress.path))
    run_workers(1, tmp_path / "rendezvous", host_until, job, tmp_path / "notice")
    [event] = events_of(job)
    assert event.startswith("notice: worker 0, file: taken for maintenance; saving at step ")
    [saved] = [path.parent.name for path in (tmp_path / "run" / "trl").glob("*/complete.json")]
    assert saved == f"checkpoint-{event.rsplit(' ', 1)[1]}"


SCRIPT = """
import sys
from pathlib import Path
from cluster.connect import ClusterConfig, connected
from tests.test_preemption import endless_job
from trainers.launch import train

cluster = ClusterConfig(address=sys.argv[1], workers=2)
with connected(cluster):
    train(endless_job(*map(Path, sys.argv[2:5])), cluster)
"""


def endless_job(folder: Path, model: Path, tokens: Path) -> Job:
    """No checkpoint of its own, and no failure that it would survive."""
    settings = config(steps=10**6, checkpoint=CheckpointConfig(every_steps=10**6, max_failures=0))
    return training_job(folder, settings, model, tokens)


@pytest.mark.slow
def test_a_drained_node_costs_no_step_before_its_notice(
    two_nodes: TwoNodes, tmp_path: Path, model: Path, tokens: Path
) -> None:
    job = endless_job(tmp_path / "run", model, tokens)
    address = two_nodes.record.address
    environment = two_nodes.driver_environment | {"PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-c", SCRIPT, address, str(tmp_path / "run"), str(model), str(tokens)]
    log = tmp_path / "driver.log"
    with log.open("w") as stream, subprocess.Popen(
        command, cwd=REPOSITORY, env=environment, stdout=stream, stderr=subprocess.STDOUT
    ) as driver:  # fmt: skip
        node = None
        try:
            wait_until(lambda: len(read_metrics(job.metrics_file)) >= 20, driver, log)
            head = two_nodes.nodes()["head"]["node_id"]
            rank, node = next((one, found) for one in range(2) if (found := node_of(job, one)) != head)
            ray = str(Path(sys.executable).with_name("ray"))
            drain = ["drain-node", "--address", address, "--node-id", node, "--deadline-remaining-seconds", "25"]
            why = ["--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "a test"]
            subprocess.run([ray, *drain, *why], env=environment, check=True, capture_output=True)
            wait_until(lambda: len(events_of(job)) >= 2, driver, log)
        finally:
            driver.kill()
            if node is not None:
                replace(two_nodes, node)
    notice, resumed = events_of(job)[:2]
    assert notice.startswith(f"notice: worker {rank}, Ray: the node is drained at ")
    step = int(notice.rsplit(" ", 1)[1])
    assert resumed == f"resumed at step {step} with 2 workers", "`max_failures: 0`: it counts as no failure"
    assert node not in (node_of(job, 0), node_of(job, 1)), "no work goes to a node that is drained"


def replace(two_nodes: TwoNodes, node: str) -> None:
    """Let the supervisor start another in place of one that will take no work any more."""
    for row in two_nodes.nodes().values():
        if row["node_id"] == node:
            with suppress(ProcessLookupError):
                os.kill(row["raylet_pid"], signal.SIGKILL)
    until(
        lambda: all(
            row["node_id"] not in (node, None) and row["state"] == "alive" for row in two_nodes.nodes().values()
        ),
        "no other node comes",
    )


def node_of(job: Job, rank: int) -> str:
    return str(json.loads((job.folder / "workers" / f"rank-{rank}.json").read_text())["node"])


def wait_until(there: Callable[[], bool], driver: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + WAIT_S
    while not there():
        assert driver.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)
