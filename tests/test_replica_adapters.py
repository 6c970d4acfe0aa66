"""A replica's adapters while changes are told, and the file that all replicas follow is written later."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from cluster.storage import write_json
from serving.replica_adapters import Adapters

BEAT_S = 0.01


class Engine:
    """Keeps names alone, and takes as long as it is told: the order of events is what is tested. Real engines:
    tests/test_served_engines.py.
    """

    def __init__(self) -> None:
        self.held: dict[str, str] = {}
        self.free = asyncio.Event()
        self.free.set()
        self.failures: list[Exception] = []

    async def add_adapter(self, name: str, folder: Path) -> None:
        await self.free.wait()
        if self.failures:
            raise self.failures.pop()
        self.held[name] = str(folder)

    async def remove_adapter(self, name: str) -> None:
        del self.held[name]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.replica_adapters.BEAT_S", BEAT_S)
    monkeypatch.setattr("serving.replica_adapters._AGAIN_S", BEAT_S)


def test_what_was_told_is_not_undone_by_a_file_that_was_written_before(tmp_path: Path) -> None:
    file = tmp_path / "adapters.json"
    write_json(file, {"red": "a"})

    async def go() -> None:
        engine: Any = Engine()
        adapters = Adapters(engine, None, file)
        await adapters.load()
        follower = asyncio.create_task(adapters.follow())
        await asyncio.sleep(5 * BEAT_S)
        engine.free.clear()
        changing = asyncio.create_task(adapters.change("red", "b"))
        await asyncio.sleep(BEAT_S)
        engine.free.set()
        await changing
        write_json(file, {"red": "b"})
        engine.free.clear()
        changing = asyncio.create_task(adapters.change("red", "c"))
        await asyncio.sleep(5 * BEAT_S)  # the follower's beats come while the change is under way
        engine.free.set()
        await changing
        await asyncio.sleep(5 * BEAT_S)
        assert engine.held == {"red": "c"}
        await adapters.change("blue", "d")
        await asyncio.sleep(5 * BEAT_S)
        assert engine.held == {"red": "c", "blue": "d"}, "the first of two changes stands as well"
        write_json(file, {"blue": "d"})
        await asyncio.sleep(10 * BEAT_S)
        assert engine.held == {"blue": "d"} == json.loads(file.read_text())
        assert not await adapters.has("red")
        follower.cancel()

    asyncio.run(go())


def test_what_could_not_be_loaded_is_tried_again(tmp_path: Path) -> None:
    file = tmp_path / "adapters.json"
    write_json(file, {})

    async def go() -> None:
        engine: Any = Engine()
        adapters = Adapters(engine, None, file)
        await adapters.load()
        follower = asyncio.create_task(adapters.follow())
        engine.failures = [OSError("the storage is away"), OSError("the storage is away")]
        write_json(file, {"red": "a", "blue": "b"})
        await asyncio.sleep(20 * BEAT_S)
        assert not engine.failures
        assert engine.held == {"red": "a", "blue": "b"}
        follower.cancel()

    asyncio.run(go())
