"""Shared by all tests: one embedded Ray cluster a session, and a tiny model and tokenizer made on the spot."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.connect import Capacity, ClusterConfig, connected, prepare_environment
from tests.two_nodes import two_nodes

__all__ = ["two_nodes"]  # fixtures

REPOSITORY = Path(__file__).resolve().parent.parent
prepare_environment(embedded=True)  # before any test module imports Ray
# A shell's background jobs ignore Ctrl-C, and so would all that tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out slow and GPU tests unless `-m` asks for them."""
    if config.getoption("-m"):
        return
    skipped = {name: pytest.mark.skip(reason=f"run with -m {name}") for name in ("slow", "gpu")}
    for item in items:
        for name, mark in skipped.items():
            if name in item.keywords:
                item.add_marker(mark)


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[Capacity]:
    """An embedded cluster on loopback with its own ports and temporary folder, shared by the session's tests."""
    os.environ["PYTHONPATH"] = os.pathsep.join([str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])])
    with connected(ClusterConfig(num_cpus=2)) as capacity:
        yield capacity


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random two-layer Llama (hidden 256), its BPE tokenizer and a chat template."""
    from tests.tiny import make_tiny_model

    folder = tmp_path_factory.mktemp("tiny-model")
    make_tiny_model(folder)
    return folder


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A smaller one (hidden 64), which tests train again and again; nothing writes to it."""
    from tests.tiny import make_tiny_model

    folder = tmp_path_factory.mktemp("small-model")
    make_tiny_model(folder, hidden=64)
    return folder


@pytest.fixture(scope="session")
def tokens(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    """Token stores of conversations for it."""
    from tests.tiny_tokens import make_tokens

    folder = tmp_path_factory.mktemp("tokens")
    make_tokens(folder, model)
    return folder
