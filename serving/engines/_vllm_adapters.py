"""Which LoRA adapters a vLLM engine has, and who uses them. Light: no vLLM."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from cluster.errors import ModelError
from serving.engines._lora_shapes import misfit
from serving.protocol import RequestError

_FILES = ("adapter_config.json", "adapter_model.safetensors")


class Loader(Protocol):
    """What loads adapters, by the names that answers carry."""

    async def add_lora(self, name: str, folder: Path) -> None:
        """Load one."""
        ...

    async def remove_lora(self, name: str) -> None:
        """Forget one."""
        ...


class _Place:
    """An adapter that is there, comes or goes."""

    def __init__(self) -> None:
        self.ready = False
        self.num_users = 0
        self.idle = asyncio.Event()
        self.idle.set()


class Adapters:
    """The adapters of one base model.

    Args:
        base: the base model's name; that of an adapter is `base:adapter`.
        folder: the base model's.
        most: adapters that can be there at the same time.
        loader: what loads them.
    """

    def __init__(self, base: str, folder: Path, most: int, loader: Loader) -> None:
        self._base = base
        self._folder = folder
        self._most = most
        self._loader = loader
        self._places: dict[str, _Place] = {}
        self._changing: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    @contextmanager
    def used(self, adapter: str | None) -> Iterator[str]:
        """Keep an adapter, if one is named, from being removed; gives the model's whole name.

        Raises:
            RequestError: 404, there is no such adapter.
        """
        if adapter is None:
            yield self._base
            return
        name = f"{self._base}:{adapter}"
        place = self._places.get(adapter)
        if place is None or not place.ready:
            raise RequestError(404, f"There is no model {name}.", param="model", code="model_not_found")
        place.num_users += 1
        place.idle.clear()
        try:
            yield name
        finally:
            place.num_users -= 1
            if place.num_users == 0:
                place.idle.set()

    async def add(self, adapter: str, folder: Path) -> None:
        """Load a peft folder.

        Raises:
            ModelError: it is none, there is no place, or vLLM refuses it.
        """
        async with self._changing[adapter]:
            if missing := [file for file in _FILES if not (folder / file).is_file()]:
                raise _refused(adapter, f"no {missing[0]} in {folder}", f"a peft folder with {_FILES[1]}")
            if wrong := await asyncio.to_thread(misfit, folder, self._folder):
                raise _refused(adapter, wrong, "a LoRA of this model")
            if adapter in self._places:
                raise _refused(adapter, "it is there already", "another name, or that it is removed first")
            if len(self._places) >= self._most:
                raise _refused(adapter, f"{len(self._places)} are there", f"at most max_adapters ({self._most})")
            self._places[adapter] = _Place()
            try:
                await self._loader.add_lora(f"{self._base}:{adapter}", folder)
            except Exception as error:  # whatever vLLM may raise
                del self._places[adapter]
                raise _refused(adapter, str(error), "a LoRA of this model, of rank max_lora_rank at most") from error
            self._places[adapter].ready = True

    async def remove(self, adapter: str) -> None:
        """Forget one, if it is there, when the last that uses it has ended; nobody new can."""
        async with self._changing[adapter]:
            if place := self._places.get(adapter):
                place.ready = False
                await place.idle.wait()
                await self._loader.remove_lora(f"{self._base}:{adapter}")
                del self._places[adapter]


def _refused(adapter: str, got: str, expected: str) -> ModelError:
    return ModelError("The engine does not take the adapter.", field=f"adapters.{adapter}", got=got, expected=expected)
