"""A replica's adapters: added, replaced and removed while it serves, each proved to change what the engine gives."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from cluster.storage import read_json
from serving.front.pool import BEAT_S
from serving.probe import Probe, prove_adapter
from serving.protocol import Engine
from serving.table import Fresh

_AGAIN_S = 10.0
_log = logging.getLogger(__name__)


class Adapters:
    """Those that an engine holds.

    Args:
        file: JSON, name → folder: what there should be. It is followed while the replica serves.
    """

    def __init__(self, engine: Engine, probe: Probe | None, file: Path) -> None:
        self._engine, self._probe = engine, probe
        self._wanted: Fresh[dict[str, str]] = Fresh(file, lambda: read_json(file) or {})
        self._held: dict[str, str] = {}
        self._behind = False
        """Whether the file says what could not be done yet; meanwhile this replica alone answers 404 for it."""
        self._changing = asyncio.Lock()
        self._settled = asyncio.Event()
        self._settled.set()

    async def has(self, name: str) -> bool:
        """Whether requests can use it; waits while one is being replaced."""
        await self._settled.wait()
        return name in self._held

    async def load(self) -> None:
        """Have what there should be.

        Raises:
            ModelError: one does not fit the model.
            HandoffError: one changes nothing.
        """
        async with self._changing:
            await self._follow()

    async def follow(self) -> None:
        """Have it, for ever. Beside the replica's beats: an adapter goes when its last request has ended, and that may
        take long.
        """
        while True:
            await asyncio.sleep(BEAT_S)
            try:
                async with self._changing:
                    await self._catch_up()
            except Exception:  # the storage was away, say; whatever it was must not end the following
                _log.exception("An adapter cannot be loaded; it is tried again in %g s.", _AGAIN_S)
                await asyncio.sleep(_AGAIN_S)

    async def change(self, name: str, folder: str | None) -> None:
        """Add one, put it in the place of the one that has its name, or remove it (no folder).

        Raises:
            As `load`; everything is then as it was.
        """
        async with self._changing:
            await self._catch_up()  # an earlier change must not undo this one
            await (self._remove(name) if folder is None else self._add(name, folder))

    async def _catch_up(self) -> None:
        """What was told since the file was written stands until it is written again: so it is read under the lock."""
        self._behind |= self._wanted.refresh()
        if self._behind:
            await self._follow()
            self._behind = False

    async def _follow(self) -> None:
        wanted = self._wanted.value
        for name in self._held.keys() - wanted.keys():
            await self._remove(name)
        for name, folder in wanted.items():
            await self._add(name, folder)

    async def _remove(self, name: str) -> None:
        if self._held.pop(name, None) is not None:
            await self._engine.remove_adapter(name)

    async def _add(self, name: str, folder: str) -> None:
        before = self._held.get(name)
        if before is None:
            await self._load(name, folder)
        elif before != folder:
            self._settled.clear()  # requests for adapters wait meanwhile
            try:
                await self._replace(name, before, folder)
            finally:
                self._settled.set()

    async def _replace(self, name: str, before: str, folder: str) -> None:
        await self._remove(name)
        try:
            await self._load(name, folder)
        except BaseException:
            await self._load(name, before)
            raise

    async def _load(self, name: str, folder: str) -> None:
        await self._engine.add_adapter(name, Path(folder))
        try:
            await prove_adapter(self._engine, self._probe, name)
        except BaseException:
            await self._engine.remove_adapter(name)
            raise
        self._held[name] = folder
