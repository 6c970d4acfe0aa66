"""Asking a cluster's dashboard: its token goes there and nowhere else, and what is no dashboard's answer is told."""

from __future__ import annotations

import json
import socketserver
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.dashboard import ask, nodes

SECRET = "secret-of-the-cluster"


class Server(socketserver.ThreadingTCPServer):
    """Gives one answer to everybody, and keeps what it was asked."""

    daemon_threads = True

    def __init__(self, answer: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer, self.asked = answer, list[str]()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(socketserver.StreamRequestHandler):
    timeout = 10
    server: Server

    def handle(self) -> None:
        lines = list(iter(lambda: self.rfile.readline().decode().strip(), ""))
        self.server.asked.append("\n".join(lines))
        self.wfile.write(self.server.answer.encode())


def answer(content: object, date: str = "Mon, 23 Nov 2026 12:00:00 GMT") -> str:
    body = json.dumps(content)
    return f"HTTP/1.1 200 OK\r\nDate: {date}\r\nContent-Length: {len(body)}\r\n\r\n{body}"


@pytest.fixture
def server() -> Iterator[Server]:
    with Server("") as found:
        thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        yield found
        found.shutdown()
        thread.join(10)


@pytest.fixture
def token(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(f"{SECRET}\n")
    return path


def test_the_token_does_not_go_to_a_proxy(server: Server, token: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.answer = answer({"data": {"result": {"result": [{"node_id": "a"}]}}})
    with Server(answer({})) as proxy:  # it listens, and what is sent to it waits in vain
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.address)
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        told = nodes(f"{server.address}/", token, timeout_s=10)
    assert told.content == [{"node_id": "a"}]
    assert time.gmtime(told.time)[:4] == (2026, 11, 23, 12)
    [asked] = server.asked
    assert asked.startswith("GET /api/v0/nodes?")
    assert f"Authorization: Bearer {SECRET}" in asked.splitlines()


def test_nothing_is_sent_where_there_is_no_token(server: Server, tmp_path: Path) -> None:
    server.answer = answer({})
    ask(server.address, "/api/version", tmp_path / "none")
    assert "Authorization" not in server.asked[0]


@pytest.mark.parametrize(
    "said", ["SSH-2.0-OpenSSH_9.2\r\n", "HTTP/1.1 200 OK\r\n\r\n<html>", answer({"data": None}), answer([]), ""]
)
def test_what_is_no_dashboard(server: Server, token: Path, said: str) -> None:
    server.answer = said
    with pytest.raises((OSError, ValueError)) as refused:
        nodes(server.address, token)
    assert SECRET not in str(refused.value)
