"""Hostile requests to a live endpoint: each is answered below 500, or its connection closed, and the endpoint lives."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)  # fmt: skip

from cluster.connect import Capacity
from serving.config import LimitConfig, ReplicaConfig, ServeConfig
from serving.engines.llama_cpp import Config as LlamaCpp
from tests.hostile import BODY, CHAT, CHUNKED, HEADERS, KEYS, LENGTH, METHODS, PATHS, RAW, VALID
from tests.serve_model import serve_model, smol_path
from tests.test_requests import HOSTILE

PATIENCE_S = 60.0
"""For an answer. The model writes a token in milliseconds; this is for busy machines."""
ROUTES = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings")


class Reply(NamedTuple):
    """An answer to a raw request."""

    status: int
    is_json: bool
    body: bytes


class Live(NamedTuple):
    """The endpoint, as its clients see it."""

    host: str
    port: int
    key: str

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}

    def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        return httpx.request(method, self.url + path, timeout=PATIENCE_S, **{"headers": self.headers, **more})

    def connect(self) -> socket.socket:
        return socket.create_connection((self.host, self.port), timeout=PATIENCE_S)

    def send(self, raw: bytes, *, is_whole: bool = True) -> list[Reply]:
        """Send bytes as they are; gives all answers, none if the connection was closed without one.

        Args:
            is_whole: whether an answer must come, or the connection be closed.
        """
        with self.connect() as opened:
            with contextlib.suppress(ConnectionError):  # closed before it took everything
                opened.sendall(raw)
            replies: list[Reply] = []
            while True:
                try:
                    reply = http.client.HTTPResponse(opened)
                    reply.begin()
                    is_json = reply.headers.get_content_type() == "application/json"
                    replies.append(Reply(reply.status, is_json, reply.read()))
                except (ConnectionError, http.client.HTTPException):
                    return replies
                except TimeoutError:
                    assert replies or not is_whole, f"neither an answer nor an end: {raw[:200]!r}"
                    return replies
                if reply.will_close:
                    return replies
                opened.settimeout(0.1)  # what else was taken for a request is answered soon

    def num_running(self) -> float:
        lines = self.ask("GET", "/metrics").text.splitlines()
        names = ("raysmith_requests_running", "raysmith_requests_waiting")
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(names))


@pytest.fixture(scope="module")
def endpoint(ray_cluster: Capacity, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    config = ServeConfig(
        engine=LlamaCpp(context_tokens=512, num_parallel=2),
        port=0,
        replicas=ReplicaConfig(max=1),
        limits=LimitConfig(max_new_tokens=64, max_choices=4, request_timeout_s=45),
    )
    with serve_model(tmp_path_factory.mktemp("fuzzed"), config, smol_path()) as up:
        url = httpx.URL(up.url)
        live = Live(url.host, url.port or 80, up.key)
        yield live
        answer = live.ask("POST", ROUTES[0], json=CHAT)
        assert answer.status_code == 200, answer.text


@pytest.fixture
def live(endpoint: Live) -> Iterator[Live]:
    yield endpoint
    assert endpoint.ask("GET", "/v1/models").json()["data"][0]["id"] == "smol"


def check_error(status: int, is_json: bool, body: bytes) -> None:
    """A refusal, as OpenAI words it."""
    assert 400 <= status < 500, body[:500]
    assert is_json
    error = json.loads(body)["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["message"]
    assert len(body) < 4000


def check_refused(answer: httpx.Response) -> None:
    check_error(answer.status_code, answer.headers["content-type"] == "application/json", answer.content)


@pytest.mark.parametrize("raw", HOSTILE.values(), ids=HOSTILE.keys())
def test_bodies_that_are_no_requests(live: Live, raw: bytes) -> None:
    for route in ROUTES:
        answer = live.ask("POST", route, content=raw)
        check_refused(answer)
        assert answer.status_code == 400


def test_too_large_bodies(live: Live) -> None:
    def endless() -> Iterator[bytes]:
        while True:
            yield b"x" * 65536

    for content in (b" " * 1_000_001, b"[" * 10_000_000):
        answer = live.ask("POST", ROUTES[0], content=content)
        check_refused(answer)
        assert answer.status_code == 413
    with contextlib.suppress(httpx.WriteError, httpx.RemoteProtocolError):  # closed while we were still sending
        check_refused(live.ask("POST", ROUTES[0], content=endless()))


def route_of(body: dict[str, Any]) -> str:
    return ROUTES[2] if "input" in body else ROUTES[1] if "prompt" in body else ROUTES[0]


@pytest.mark.parametrize("body", VALID.values(), ids=VALID.keys())
def test_odd_requests_that_may_reach_the_engine(live: Live, body: dict[str, Any]) -> None:
    answer = live.ask("POST", route_of(body), json=body)
    if answer.status_code != 200:
        check_refused(answer)
    if route_of(body) == ROUTES[2]:
        return
    streamed = live.ask("POST", route_of(body), json={**body, "stream": True})
    assert streamed.status_code == answer.status_code
    if streamed.status_code == 200:
        assert streamed.text.endswith("data: [DONE]\n\n")


def test_adapters_and_models_that_are_not_served(live: Live) -> None:
    for name in ("smol:", "smol:a", "smo", "SMOL", "smol ", "../smol", "smol/../smol", "smol%00", "smol\n", ":smol"):
        answer = live.ask("POST", ROUTES[0], json={**CHAT, "model": name})
        check_refused(answer)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")


def test_keys_that_are_none(live: Live) -> None:
    for key in KEYS:
        for method, path in (("POST", ROUTES[0]), ("GET", "/v1/models"), ("GET", "/metrics"), ("GET", "/nowhere")):
            answer = live.ask(method, path, headers=[(b"Authorization", key)], content=b"{" * 100)
            check_refused(answer)
            assert answer.status_code == 401


@pytest.mark.parametrize("headers", HEADERS, ids=str)
def test_odd_headers_change_nothing(live: Live, headers: dict[str, str | bytes]) -> None:
    answer = live.ask("POST", ROUTES[0], json=CHAT, headers={**live.headers, **headers})  # type: ignore[dict-item]
    assert answer.status_code < 500
    if answer.status_code == 200:
        assert len(answer.json()["choices"]) == 1
        assert "x-raysmith-choices" not in answer.headers


def test_compressed_bodies_are_not_unpacked(live: Live) -> None:
    for coding in ("gzip", "br", "deflate", "zstd"):
        headers = {**live.headers, "Content-Encoding": coding}
        check_refused(live.ask("POST", ROUTES[0], content=b"\x1f\x8b\x08" + b"\x00" * 500, headers=headers))


def raw_request(live: Live, line: bytes, *headers: bytes, body: bytes = b"") -> bytes:
    known = [b"Host: x", b"Authorization: Bearer " + live.key.encode()]
    return b"\r\n".join([line, *known, *headers, b"", b""]) + body


def test_wrong_methods(live: Live) -> None:
    for method in METHODS:
        for path in (*ROUTES, "/health", "/v1/models"):
            if method in {"GET", "HEAD"} and path in {"/health", "/v1/models"}:
                continue
            answer = live.ask(method, path)
            assert answer.status_code in {404, 405}, (method, path)
            if method != "HEAD":
                check_refused(answer)


@pytest.mark.parametrize("path", PATHS)
def test_odd_paths(live: Live, path: str) -> None:
    ends = (b"Content-Length: 0", b"Connection: close")
    for method in (b"GET", b"POST"):
        for reply in live.send(raw_request(live, b"%s %s HTTP/1.1" % (method, path.encode()), *ends)):
            assert b"x-injected" not in reply.body.lower() or reply.is_json
            assert reply.status < 500
            assert b"root:" not in reply.body
            if reply.status != 200 and reply.is_json:
                check_error(*reply)


@pytest.mark.parametrize("sent", RAW.values(), ids=RAW.keys())
def test_bytes_that_are_hardly_http(live: Live, sent: Any) -> None:
    raw = sent if isinstance(sent, bytes) else raw_request(live, sent[0], *sent[1], body=sent[2])
    for reply in live.send(raw):
        assert reply.status < 500
        if reply.status >= 400 and reply.is_json:
            check_error(*reply)
        assert b"raysmith_requests_total" not in reply.body, "a smuggled request without a key was answered"


@pytest.mark.slow
def test_slow_clients_are_sent_away(live: Live) -> None:
    def drip(pieces: list[bytes]) -> list[Reply]:
        """All but the end of a request, slowly; it must be given up by the endpoint."""
        with live.connect() as opened:
            for part in pieces:
                try:
                    opened.sendall(part)
                except ConnectionError:
                    break
                time.sleep(0.2)
            reply = http.client.HTTPResponse(opened)
            try:
                reply.begin()
                return [Reply(reply.status, reply.headers.get_content_type() == "application/json", reply.read())]
            except (ConnectionError, http.client.HTTPException):
                return []

    head = raw_request(live, b"POST /v1/chat/completions HTTP/1.1", LENGTH)
    chunked = raw_request(live, b"POST /v1/chat/completions HTTP/1.1", CHUNKED)
    health = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
    unfinished = {
        "nothing": [b""],
        "half a head": [head[:40]],
        "a head, letter by letter": [head[i : i + 1] for i in range(60)],
        "no body": [head],
        "a body, letter by letter": [head, *(BODY[i : i + 1] for i in range(len(BODY) - 5))],
        "chunks without end": [chunked, *([b"1\r\n \r\n"] * 100)],
        "half a second request": [health + b"GET /hea"],
    }
    slow_but_whole = [head, *(BODY[i : i + 8] for i in range(0, len(BODY), 8))]
    with ThreadPoolExecutor(len(unfinished) + 1) as threads:
        whole = threads.submit(drip, slow_but_whole)
        given_up = {name: threads.submit(drip, pieces) for name, pieces in unfinished.items()}
        assert [reply.status for reply in whole.result()] == [200]
        for name, one in given_up.items():
            for reply in one.result():
                assert reply.status in {200, 408} if name == "half a second request" else reply.status == 408
                assert reply.is_json


def test_clients_that_hang_up_leave_nothing_behind(live: Live) -> None:
    long = json.dumps({**CHAT, "max_tokens": 64, "stream": True, "n": 2}).encode()
    raw = raw_request(live, b"POST /v1/chat/completions HTTP/1.1", b"Content-Length: %d" % len(long), body=long)
    for i in range(40):
        with live.connect() as opened:
            opened.sendall(raw[: len(raw) * (i % 8 + 1) // 8])
            if i % 3 == 0:
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")  # a reset
            if i % 8 == 7 and i % 2:
                opened.recv(100)
    deadline = time.monotonic() + PATIENCE_S
    while live.num_running() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert live.num_running() == 0


CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
MODES = pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["valid", "invalid"])


@MODES
def test_the_document_is_kept_to(live: Live, mode: GenerationMode) -> None:
    document = live.ask("GET", "/openapi.json").json()
    for operation in schemathesis.openapi.from_dict(document).get_all_operations():
        if mode == GenerationMode.POSITIVE or operation.ok().body:
            ask_as_documented(live, operation.ok(), mode)


def ask_as_documented(live: Live, operation: schemathesis.schemas.APIOperation, mode: GenerationMode) -> None:
    @settings(max_examples=40, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: schemathesis.Case) -> None:
        if isinstance(case.body, dict):
            if isinstance(case.body.get("model"), str):
                case.body["model"] = "smol"  # or most were refused for this alone
            if mode == GenerationMode.POSITIVE and operation.path in ROUTES[:2]:
                case.body |= {"max_tokens": 2, "n": 1}
                case.body.pop("max_completion_tokens", None)
        response = case.call(base_url=live.url, headers=live.headers, timeout=PATIENCE_S)
        case.validate_response(response, checks=CHECKS)

    ask()
