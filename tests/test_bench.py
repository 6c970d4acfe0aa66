"""`raysmith bench` against a real server whose delays and errors are known."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import subprocess
import sys
import threading
import time
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from pydantic import ValidationError

from cluster.errors import ConfigError, EndpointError, ResourceError
from jobs.bench.client import Client, Record
from jobs.bench.config import LoadConfig, Target, require_allowed
from jobs.bench.driver import bench
from jobs.bench.events import Events
from jobs.bench.figures import Figures, Percentiles, StepFigures, summarize
from jobs.bench.load import Step, closed_loop, open_loop
from jobs.bench.prompts import Prompts
from tests.conftest import REPOSITORY

KEY = "sk-bench-secret"
FIRST_S, GAP_S, TOKENS = 0.06, 0.02, 6
ANSWER_S = FIRST_S + GAP_S * (TOKENS - 1)
ODD = (
    # what the server does in turn, and as what the client must count it
    ("answer", None), ("429", "http_429"), ("503", "http_503"), ("500", "http_500"), ("unfinished", "cut"),
    ("reset", "cut"), ("error", "error_event"), ("garbage", "bad_answer"), ("array", "bad_answer"),
    ("redirect", "http_307"), ("silent", "timeout"),
)  # fmt: skip


@dataclass
class Server:
    """OpenAI's chat completions over ASGI; the model's name says how it behaves."""

    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[bytes, bytes]] = field(default_factory=list)
    paths: set[str] = field(default_factory=set)
    most: int = 0
    url: str = ""
    _now: int = 0
    _opened: float = 0.0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        self.paths.add(scope["path"])
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        asked = json.loads(body)
        self._opened = self._opened or time.monotonic()
        number = len(self.bodies)
        self.bodies.append(asked)
        self.headers.append(dict(scope["headers"]))
        self._now += 1
        self.most = max(self.most, self._now)
        try:
            model = asked["model"]
            await self._answer(send, ODD[number % len(ODD)][0] if model == "odd" else model, asked)
        finally:
            self._now -= 1

    async def _answer(self, send: Any, model: str, asked: dict[str, Any]) -> None:
        if model.isdigit():
            headers = [(b"retry-after", b"1")] if model == "429" else [(b"retry-after", b"0")]
            said = json.dumps({"error": {"message": f"no room <b>\x1b[31m{model}"}}).encode()
            await self._start(send, int(model), headers)
            await send({"type": "http.response.body", "body": said})
        elif model == "redirect":
            await self._start(send, 307, [(b"location", b"/elsewhere")])
            await send({"type": "http.response.body", "body": b""})
        elif model == "silent":
            await asyncio.sleep(60)
        elif not asked["stream"]:
            await asyncio.sleep(ANSWER_S)
            usage = {"prompt_tokens": 9, "completion_tokens": TOKENS}
            whole = {"choices": [{"message": {"content": "a"}}], "usage": usage}
            await self._start(send, 200, [])
            await send({"type": "http.response.body", "body": json.dumps(whole).encode()})
        else:
            await self._stream(send, model)

    async def _stream(self, send: Any, model: str) -> None:
        async def event(chunk: Any) -> None:
            text = chunk if isinstance(chunk, str) else json.dumps(chunk)
            await send({"type": "http.response.body", "body": f"data: {text}\n\n".encode(), "more_body": True})

        await self._start(send, 200, [(b"content-type", b"text/event-stream")])
        await event({"choices": [{"delta": {"role": "assistant", "content": ""}}]})
        if model == "stalls":  # nothing in the first second, everything at once afterwards
            await asyncio.sleep(max(0.0, self._opened + 1 - time.monotonic()))
        for at in range(TOKENS):
            if model not in {"stalls", "odd"}:
                await asyncio.sleep(GAP_S if at else FIRST_S)
            await event({"choices": [{"delta": {"content": f"w{at} "}}]})
            if model == "reset" and at == 2:
                raise ConnectionResetError  # uvicorn hangs up in the middle of the answer
            if model in {"garbage", "array"}:
                await event("{" if model == "garbage" else "[1]")
        if model == "error":
            await event({"error": {"message": "replica died", "type": "server_error"}})
        if model != "uncounted":
            await event({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": TOKENS}})
        if model != "unfinished":
            await event("[DONE]")
        await send({"type": "http.response.body", "body": b""})

    async def _start(self, send: Any, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        await send({"type": "http.response.start", "status": status, "headers": headers})


@pytest.fixture
def server() -> Iterator[Server]:
    app = Server()
    config = uvicorn.Config(app, port=0, log_level="critical", lifespan="off", timeout_graceful_shutdown=1)
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    while not running.started:
        time.sleep(0.01)
    app.url = f"http://127.0.0.1:{running.servers[0].sockets[0].getsockname()[1]}/v1"
    yield app
    running.should_exit = True
    thread.join()


def load(**changes: Any) -> LoadConfig:
    return LoadConfig(**{"clients": [1], "seconds": 1.0, "warmup_requests": 0, "prompt_tokens": 32} | changes)


def only(figures: Figures) -> StepFigures:
    assert len(figures.steps) == 1
    return figures.steps[0]


def measured(percentiles: Percentiles | None) -> Percentiles:
    assert percentiles is not None
    return percentiles


def run_step(server: Server, model: str, step: Step, config: LoadConfig) -> Step:
    """As `benchmarks/` use the loops: without progress and files."""

    async def run() -> Step:
        async with Client(Target(server.url, model, KEY), config) as client:
            return await (closed_loop if step.kind == "clients" else open_loop)(client, step)

    return asyncio.run(run())


def test_closed_loop_measures_what_the_server_does(server: Server) -> None:
    config = load(clients=[1, 4], seconds=2.0, warmup_requests=3, max_tokens=7, body={"ignore_eos": True}, seed=5)
    figures = bench(server.url, "steady", KEY, config, None)
    one, four = figures.steps
    assert len(server.bodies) == 3 + one.sent + four.sent
    assert server.most == 4
    for step, clients in ((one, 1), (four, 4)):
        assert (step.kind, step.asked, step.succeeded, step.unfinished) == ("clients", clients, step.sent, 0)
        assert (step.refused, step.failed, step.without_usage, step.ended_by) == ({}, {}, 0, "time")
        assert (step.mean_input_tokens, step.mean_output_tokens) == (9, TOKENS)
        assert 0.1 * clients / ANSWER_S < step.requests_per_s <= 1.02 * clients / ANSWER_S
        assert step.output_tokens_per_s == pytest.approx(TOKENS * step.requests_per_s, rel=0.01)
        assert FIRST_S * 0.98 <= measured(step.first_token_s).p50 < 10 * FIRST_S
        assert GAP_S * 0.8 <= measured(step.between_tokens_s).p50 < 10 * GAP_S
        total = measured(step.total_s)
        assert ANSWER_S * 0.98 <= total.p50 <= total.p90 <= total.p99 <= total.max < 20 * ANSWER_S
        assert step.client_lag_s is None
    asked = server.bodies[0]
    assert asked["stream_options"] == {"include_usage": True}
    assert (asked["max_tokens"], asked["temperature"], asked["seed"]) == (7, 0, 5)
    assert asked["ignore_eos"] is True
    assert server.headers[0][b"authorization"] == f"Bearer {KEY}".encode()
    prompts = [body["messages"][0]["content"] for body in server.bodies]
    assert len(set(prompts)) == len(prompts)  # warm-up's too: no cache has seen any of them


def test_open_loop_sends_at_the_times_of_the_seed(server: Server) -> None:
    config = load(clients=None, rates=[25.0], seconds=2.0, seed=11)
    step = only(bench(server.url, "steady", KEY, config, None))
    times, due, expected = random.Random("11 25.0"), 0.0, 0
    while (due := due + times.expovariate(25.0)) < 2.0:
        expected += 1
    assert (step.sent, step.succeeded, len(server.bodies)) == (expected, expected, expected)
    assert step.sent_per_s == pytest.approx(expected / 2, rel=0.01)
    assert 0.2 * expected / 2 < step.requests_per_s < 3 * expected / 2
    assert measured(step.total_s).p50 >= ANSWER_S * 0.98
    assert measured(step.client_lag_s).p50 >= 0


def test_a_stall_is_felt_by_all_that_were_due(server: Server) -> None:
    config = load(clients=None, rates=[100.0], seconds=2.0)
    step = run_step(server, "stalls", Step("rate", 100.0), config)
    waited = [one.due - step.begin < 0.8 for one in step.records]
    assert sum(waited) > 30
    assert all(one.total_s > 0.15 for one, late in zip(step.records, waited, strict=True) if late)
    server._opened = 0.0
    closed = run_step(server, "stalls", Step("clients", 1), load(seconds=2.0))
    assert (
        sum(one.total_s > 0.15 for one in closed.records) < len(closed.records) / 3
    )  # the closed loop hardly notices the same stall


def test_waiting_for_a_connection_counts(server: Server) -> None:
    config = load(clients=None, rates=[40.0], max_connections=1, max_requests=12)
    step = run_step(server, "steady", Step("rate", 40.0), config)
    assert (server.most, step.sent, step.ended_by) == (1, 12, "max_requests")
    ends = sorted(one.due + one.total_s for one in step.records)
    assert ends[-1] - step.begin >= 12 * ANSWER_S * 0.98
    last = max(step.records, key=lambda one: one.due)
    assert last.total_s >= 12 * ANSWER_S * 0.98 - (last.due - step.begin)
    figures = summarize(step)
    assert figures.requests_per_s < 1.1 / ANSWER_S  # its own rate, not the one that was asked
    assert measured(figures.total_s).max > 5 * ANSWER_S


def test_errors_by_kind(server: Server) -> None:
    rounds = 2
    config = load(seconds=60.0, timeout_s=1.0, max_requests=rounds * len(ODD))
    step = run_step(server, "odd", Step("clients", 1), config)
    assert [one.failure for one in step.records] == [kind for _, kind in ODD] * rounds
    figures = summarize(step)
    assert figures.refused == {"http_429": rounds, "http_503": rounds}
    assert figures.failed == {
        "bad_answer": 2 * rounds, "cut": 2 * rounds, "error_event": rounds, "http_307": rounds, "http_500": rounds,
        "timeout": rounds,
    }  # fmt: skip
    assert (figures.sent, figures.succeeded, figures.ended_by) == (rounds * len(ODD), rounds, "max_requests")
    assert server.paths == {"/v1/chat/completions"}  # the redirection was not followed
    by_kind = {one.failure: one for one in step.records}
    assert by_kind["http_429"].retry_after_s == 1
    assert by_kind["error_event"].message == "replica died"
    assert by_kind["http_500"].message == "no room <b> [31m500"


def test_a_refused_client_waits_as_long_as_it_is_told(server: Server) -> None:
    step = only(bench(server.url, "429", KEY, load(clients=[2], seconds=1.8), None))
    assert 2 <= step.sent <= 4
    assert (step.refused, step.succeeded, step.requests_per_s) == ({"http_429": step.sent}, 0, 0)
    assert step.total_s is None


def test_without_streaming_and_without_usage(server: Server) -> None:
    whole = only(bench(server.url, "steady", KEY, load(stream=False), None))
    assert (whole.first_token_s, whole.between_tokens_s, whole.failed) == (None, None, {})
    assert measured(whole.total_s).p50 >= ANSWER_S * 0.98
    assert whole.mean_output_tokens == TOKENS
    assert "stream_options" not in server.bodies[0]
    uncounted = only(bench(server.url, "uncounted", KEY, load(), None))
    assert (uncounted.mean_output_tokens, uncounted.without_usage) == (TOKENS, uncounted.succeeded)


def test_the_limit_of_requests_ends_the_load(server: Server) -> None:
    figures = bench(server.url, "stalls", KEY, load(clients=[2, 3], max_requests=7, seconds=30.0), None)
    assert (only(figures).sent, only(figures).ended_by, len(server.bodies)) == (7, "max_requests", 7)


def test_an_endpoint_that_answers_nothing(server: Server) -> None:
    with pytest.raises(EndpointError, match="http_500: no room"):
        bench(server.url, "500", KEY, load(warmup_requests=2), None)
    with pytest.raises(EndpointError, match="connect: "):
        bench("http://127.0.0.1:9/v1", "any", KEY, load(warmup_requests=1), None)
    assert len(server.bodies) == 2


def test_a_server_that_is_gone_is_not_hammered() -> None:
    step = only(bench("http://127.0.0.1:9/v1", "any", KEY, load(clients=[2], seconds=0.5), None))
    assert step.failed == {"connect": step.sent}
    assert step.sent <= 12


async def ask_hasty(requests: int, config: LoadConfig, delay_s: float) -> tuple[list[Record], int]:
    """Ask a server that says that it keeps connections, and closes them: after its answer, or instead of the second."""
    seen = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal seen
        while head := await reader.readuntil(b"\r\n\r\n"):
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            await reader.readexactly(int(length.split(b":")[1]))
            seen += 1
            if delay_s and seen > 1:
                await asyncio.sleep(delay_s)
                break
            event = b'data: {"choices": [{"delta": {"content": "a"}}]}\n\ndata: [DONE]\n\n'
            ok = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nKeep-Alive: timeout=5\r\n"
            writer.write(b"%bContent-Length: %d\r\n\r\n%b" % (ok, len(event), event))
            await writer.drain()
            if not delay_s:
                break
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        async with Client(Target(url, "any", KEY), config) as client:
            return [await client.ask() for _ in range(requests)], seen


def test_a_connection_that_the_server_did_not_keep_is_no_failure() -> None:
    records, seen = asyncio.run(ask_hasty(100, load(), delay_s=0))
    assert ([one.failure for one in records], seen) == ([None] * 100, 100)


def test_a_server_that_dies_over_a_request_is_a_failure() -> None:
    records, seen = asyncio.run(ask_hasty(2, load(), delay_s=0.3))
    assert ([one.failure for one in records], seen) == ([None, "connect"], 2)
    assert records[1].on_kept_connection
    assert records[1].reconnects == 0


def test_proxies_of_the_environment_are_not_asked(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert only(bench(server.url, "steady", KEY, load(max_requests=2), None)).succeeded == 2


def test_results(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "new" / "results"
    config = load(clients=[1, 3], seconds=0.6, seed=3)
    figures = bench(server.url, "odd", KEY, config.model_copy(update={"timeout_s": 0.5}), folder)
    assert Figures.model_validate_json((folder / "bench.json").read_text()) == figures
    lines = [json.loads(line) for line in (folder / "requests.jsonl").read_text().splitlines()]
    assert [sum(line["step"] == at for line in lines) for at in (0, 1)] == [step.sent for step in figures.steps]
    good = [line for line in lines if line["failure"] is None]
    assert len(good) == sum(step.succeeded for step in figures.steps)
    assert all(len(line["gaps_s"]) == TOKENS - 1 and 0 < line["first_token_s"] < line["total_s"] for line in good)
    page = (folder / "bench.html").read_text()
    for title in ("Time to first token", "Between tokens", "Whole answer", "Requests", "Output tokens", "Timeline"):
        assert f"<b>{title}</b>" in page
    assert page.count("<svg ") == 7
    assert "no room &lt;b&gt; [31m" in page
    assert "<script" not in page
    assert "http_429" in page
    for file in folder.iterdir():
        assert KEY not in file.read_text()
    shown = capsys.readouterr().out
    assert "1 client" in shown
    assert "3 clients" in shown
    assert KEY not in shown


def test_results_of_an_open_loop_without_any_success(server: Server, tmp_path: Path) -> None:
    bench(server.url, "500", KEY, load(clients=None, rates=[5.0, 20.0], seconds=0.5, seed=1), tmp_path)
    page = (tmp_path / "bench.html").read_text()
    assert page.count("<svg ") == 3
    assert "requests a second, asked" in page


def test_a_folder_that_cannot_be_made_is_found_before_the_load(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError, match="field:    to"):
        bench(server.url, "steady", KEY, load(), tmp_path / "file" / "results")
    assert server.bodies == []


INTERRUPTED = """\
import signal, sys
from pathlib import Path
from jobs.bench.config import LoadConfig
from jobs.bench.driver import bench
from jobs.cli import _interrupt
signal.signal(signal.SIGTERM, _interrupt)
load = LoadConfig(**{sys.argv[3]: [4]}, seconds=300, warmup_requests=0)
figures = bench(sys.argv[1], sys.argv[2], "key", load, Path(sys.argv[4]))
print(figures.interrupted)
"""


def interrupt(
    server: Server, model: str, kind: str, folder: Path, after: int, by: signal.Signals = signal.SIGINT
) -> subprocess.CompletedProcess[str]:
    """Interrupt another process once the server was asked so often."""
    command = [sys.executable, "-c", INTERRUPTED, server.url, model, kind, str(folder)]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        while len(server.bodies) < after and run.poll() is None:
            time.sleep(0.05)
        run.send_signal(by)
        out, err = run.communicate(timeout=60)
    return subprocess.CompletedProcess(command, run.returncode, out, err)


@pytest.mark.parametrize(
    ("kind", "by"), [("clients", signal.SIGINT), ("rates", signal.SIGINT), ("clients", signal.SIGTERM)]
)
def test_an_interrupted_load_keeps_what_was_measured(
    server: Server, tmp_path: Path, kind: str, by: signal.Signals
) -> None:
    done = interrupt(server, "steady", kind, tmp_path, 12, by)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("True\n")
    figures = Figures.model_validate_json((tmp_path / "bench.json").read_text())
    step = only(figures)
    assert figures.interrupted
    assert step.ended_by == "interrupted"
    assert step.seconds < 200
    assert step.succeeded >= 5
    assert step.sent == step.succeeded + step.unfinished
    assert step.failed == {}
    assert len((tmp_path / "requests.jsonl").read_text().splitlines()) == step.succeeded
    assert "interrupted" in (tmp_path / "bench.html").read_text()


def test_ctrl_c_before_anything_was_measured(server: Server, tmp_path: Path) -> None:
    done = interrupt(server, "silent", "clients", tmp_path, after=4)
    assert done.returncode != 0
    assert "KeyboardInterrupt" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "url",
    [
        "http://10.0.0.1:8000/v1", "https://api.example.com/v1", "http://127.0.0.1.example.com/v1",
        "http://0.0.0.0:8000/v1", "http://localhost.example.com/v1", "http://[2001:db8::1]/v1",
    ],
)  # fmt: skip
def test_other_machines_need_a_clear_yes(url: str) -> None:
    with pytest.raises(ConfigError, match="another machine"):
        bench(url, "any", KEY, load(), None)
    require_allowed(url, allow_remote=True)


@pytest.mark.parametrize("url", ["", "127.0.0.1:8000", "ftp://127.0.0.1/v1", "http://", "http://a:secret@localhost/v1"])
def test_urls_that_are_none(url: str) -> None:
    for allow_remote in (False, True):
        with pytest.raises(ConfigError, match="no endpoint") as refused:
            require_allowed(url, allow_remote=allow_remote)
        assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8000/v1", "http://localhost/v1", "http://[::1]:80", "https://127.9.9.9"]
)
def test_loopback_is_allowed(url: str) -> None:
    require_allowed(url, allow_remote=False)


@pytest.mark.parametrize(
    "values",
    [
        {"clients": [1], "rates": [1.0]}, {"clients": []}, {"clients": [0]}, {"rates": [0.0]}, {"rates": [-1.0]},
        {"body": {"stream": False}}, {"body": {"model": "other"}}, {"second": 3}, {"seconds": 0}, {"max_requests": 0},
    ],
)  # fmt: skip
def test_loads_that_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        LoadConfig(**values)


def test_defaults() -> None:
    assert LoadConfig().steps() == [("clients", 1), ("clients", 4), ("clients", 16)]
    assert LoadConfig(rates=[0.5]).steps() == [("rate", 0.5)]
    assert LoadConfig().seed != LoadConfig().seed  # else the second run would find the first one's prompts cached


def test_prompts_share_what_they_should() -> None:
    prompts = Prompts(load(prompt_tokens=200, shared_prefix_tokens=50, seed=1))
    one, two = prompts.prompt(1), prompts.prompt(2)
    assert one == Prompts(load(prompt_tokens=200, shared_prefix_tokens=50, seed=1)).prompt(1)
    alike = [a == b for a, b in zip(one.split(), two.split(), strict=True)]
    assert all(alike[:50])
    assert sum(alike[50:-11]) < 20
    assert len(one.split()) == pytest.approx(250, abs=5)


def test_events_however_they_are_cut() -> None:
    stream = b': comment\r\n\r\ndata: {"a": 1}\r\n\r\nevent: error\ndata:x\ndata: y\n\ndata: [DONE]\n\n'
    whole = [b'{"a": 1}', b"x\ny", b"[DONE]"]
    for first in range(len(stream)):
        for second in range(first, len(stream)):
            events = Events()
            pieces = stream[:first], stream[first:second], stream[second:]
            assert [event for piece in pieces for event in events.feed(piece)] == whole
    with pytest.raises(ValueError, match="1 MiB"):
        Events().feed(b"data: " + b"a" * 2_000_000)


def record(due: float, total_s: float, **changes: Any) -> Record:
    values: dict[str, Any] = {"first_token_s": total_s / 2, "gaps_s": array("d", [0.1, 0.3]), "output_tokens": 10}
    return Record(0, due, 0.0, total_s=total_s, **values | changes)


def test_rates_do_not_depend_on_what_the_end_of_a_step_cuts() -> None:
    # Two clients whose answers take 4 s each, in a step of 10 s: one request of each goes on for 2 s more.
    closed = Step("clients", 2, [record(100 + at, 4.0) for at in (0, 0, 4, 4, 8, 8)], begin=100, end=110, sent=6)
    assert summarize(closed).requests_per_s == 0.5
    assert summarize(closed).output_tokens_per_s == 5
    # One answer a second although two are asked: the endpoint is busy for 20 s.
    late = [record(100 + at / 2, 1 + at / 2) for at in range(20)]
    overloaded = summarize(Step("rate", 2.0, late, begin=100, end=110, sent=20))
    assert (overloaded.sent_per_s, overloaded.requests_per_s) == (2, 1)


def test_percentiles_are_of_successes_and_errors_stand_beside() -> None:
    records = [record(at, 1 + at / 100) for at in range(101)] + [record(0, 0.001, failure="http_429", output_tokens=0)]
    figures = summarize(Step("clients", 1, records, begin=0, end=101, sent=103))
    assert figures.total_s == Percentiles(p50=1.5, p90=1.9, p99=1.99, max=2.0)
    assert measured(figures.between_tokens_s).p50 == 0.2
    assert (figures.succeeded, figures.refused, figures.unfinished) == (101, {"http_429": 1}, 1)
    nothing = summarize(Step("rate", 1.0, [], begin=0, end=1))
    assert (nothing.requests_per_s, nothing.total_s, nothing.client_lag_s) == (0, None, None)


def test_it_is_light() -> None:
    code = "import sys, jobs.bench.driver; print([name for name in sys.argv[1:] if name in sys.modules])"
    heavy = ["ray", "torch", "transformers", "openai", "vllm", "matplotlib"]
    done = subprocess.run([sys.executable, "-c", code, *heavy], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


def test_the_document_has_every_key_and_kind_of_error() -> None:
    text = (REPOSITORY / "docs" / "bench.md").read_text()
    for name in [*LoadConfig.model_fields, *StepFigures.model_fields]:
        assert f"`{name}`" in text, name
    for kind in ("http_429", "http_503", *filter(None, (kind for _, kind in ODD)), "connect"):
        assert kind.split("_")[0] in text
