"""An engine without a model, which writes the same word again and again: what is left to measure is everything else.

For benchmarks of the endpoint itself. No configuration can name it: kinds begin with a letter.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from serving.engines._base import EngineBase
from serving.protocol import EngineConfig

WORD = " word"


class Config(EngineConfig):
    """No model at all; whatever file is named is not opened."""

    OPENS: ClassVar[frozenset[str]] = frozenset({"gguf", "folder"})

    kind: Literal["_noop"] = "_noop"

    pause_s: float = Field(default=0.0, ge=0)
    """Between two tokens, seconds. 0: all at once."""


class Engine(EngineBase):
    """Writes `max_tokens` words. See `serving.protocol.Engine`."""

    def __init__(self, config: Config, model_path: Path, model_name: str, num_cpus: int) -> None:
        super().__init__(config)
        self._pause_s = config.pause_s
        self._model = model_name
        self._numbers = itertools.count()

    async def chat(self, body: dict[str, Any], adapter: str | None = None) -> AsyncGenerator[str, None]:
        """See `serving.protocol.Engine.chat`."""
        begin = (
            f'{{"id":"chatcmpl-{next(self._numbers)}","object":"chat.completion.chunk","created":1700000000,'
            f'"model":"{self._model}","choices":['
        )
        yield begin + _choice('{"role":"assistant","content":""}') + "]}"
        piece = begin + _choice(f'{{"content":"{WORD}"}}') + "]}"
        for index in range(body["max_tokens"]):
            if self._pause_s and index:
                await asyncio.sleep(self._pause_s)
            yield piece
        yield begin + _choice("{}", '"length"') + "]}"
        usage = {"prompt_tokens": 1, "completion_tokens": body["max_tokens"], "total_tokens": body["max_tokens"] + 1}
        yield begin + '],"usage":' + json.dumps(usage) + "}"


def _choice(delta: str, finish: str = "null") -> str:
    return f'{{"index":0,"delta":{delta},"finish_reason":{finish}}}'
