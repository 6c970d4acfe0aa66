"""Versions behind one endpoint: canary, upgrade, rollback, killed replicas, keys; under load, with nothing lost."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai
import psutil
import pytest

from cluster.artifacts import ArtifactStore
from cluster.connect import Capacity
from cluster.errors import ArtifactError, ConfigError, EndpointError, ModelError
from jobs.endpoints.config import EndpointConfig
from jobs.endpoints.folder import EndpointFolder
from jobs.endpoints.served import Served, serving
from jobs.endpoints.supervise import change, follow, rollback
from serving.keys import create_key, revoke_key
from serving.quantizers.kquants import FILE_NAME
from tests.serve_model import Up, smol_path

ASK: Any = [{"role": "user", "content": "Count to ten."}]
ENGINE = {"kind": "llama_cpp", "context_tokens": 256, "num_parallel": 4}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Storage with two GGUF models: the same weights, told apart by their source."""
    folder = tmp_path_factory.mktemp("storage")
    store = ArtifactStore(folder)
    for name in ("one", "two"):
        with store.draft() as files:
            shutil.copyfile(smol_path(), files / FILE_NAME)
            store.publish(files, name=name, kind="quantized", source={"made": name})
    return folder


def config_of(root: Path, model: str = "one", **changes: Any) -> EndpointConfig:
    values = {
        "name": "bot", "storage": {"root": str(root)}, "model": model, "engine": ENGINE, "port": 0, "prove": False,
        "replicas": {"max": 1}, "limits": {"max_queued_requests": 64},
    }  # fmt: skip
    return EndpointConfig.model_validate(values | changes)


@contextmanager
def up(root: Path, config: EndpointConfig) -> Iterator[tuple[Served, Up]]:
    shutil.rmtree(root / "endpoints", ignore_errors=True)  # versions are counted on from an earlier endpoint's
    with serving(root, config) as served:
        yield served, Up(served.endpoint, served.api_key, served.folder.keys_file)


class Load:
    """Clients that ask again and again; half of them stream."""

    def __init__(self, up: Up, clients: int = 4, max_tokens: int = 6) -> None:
        self._up, self._max_tokens = up, max_tokens
        self.errors: list[str] = []
        self.versions: Counter[str] = Counter()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(number % 2 == 0,)) for number in range(clients)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, stream: bool) -> None:
        client = self._up.client()
        while not self._stop.is_set():
            try:
                raw = client.chat.completions.with_raw_response.create(
                    model="bot", messages=ASK, max_tokens=self._max_tokens, stream=stream
                )
                parsed: Any = raw.parse()
                if stream:
                    chunks = list(parsed)
                    assert any(one.choices and one.choices[0].finish_reason for one in chunks)
                else:
                    assert parsed.usage.completion_tokens > 0
                self.versions[raw.headers["x-raysmith-version"]] += 1
            except Exception as error:
                self.errors.append(f"{type(error).__name__}: {error}")

    def wait_for(self, count: int, version: str) -> None:
        """Until so many more requests were answered by a version."""
        wanted, deadline = self.versions[version] + count, time.monotonic() + 60
        while self.versions[version] < wanted:
            assert time.monotonic() < deadline, (self.versions, self.errors[:3])
            time.sleep(0.05)


def replica_pids() -> list[int]:
    return [one.pid for one in psutil.Process().children(recursive=True) if one.name().startswith("ray::ServeReplica")]


def test_canary_upgrade_and_rollback_lose_nothing(ray_cluster: Capacity, root: Path) -> None:
    with up(root, config_of(root)) as (served, endpoint), Load(endpoint) as load:
        load.wait_for(5, "v1")
        # A canary, beside what runs.
        served.become(config_of(root, canary={"model": "two", "weight": 0.5}))
        load.wait_for(5, "v2")
        load.wait_for(2, "v1")
        # The canary becomes the model: no replica starts, the old version ends.
        served.become(config_of(root, model="two"))
        before = load.versions["v1"]
        load.wait_for(10, "v2")
        assert load.versions["v1"] <= before + 4, "only what was under way"
        assert [one.name for one in served.endpoint.table.versions] == ["v2"]
        # And back: a version is proved before it gets a request.
        assert served.state.history[-1]["canary"] is not None
        served.become(EndpointConfig.model_validate(served.state.history[-1]))
        load.wait_for(3, "v3")
        served.become(EndpointConfig.model_validate(served.state.history[-1]))
        load.wait_for(5, "v3")
        assert [one.origin.artifact for one in served.endpoint.table.versions] == [
            ArtifactStore(root).get("one").id
        ]  # fmt: skip
    assert load.errors == []
    assert load.versions.total() > 30


def test_what_cannot_be_served_changes_nothing(ray_cluster: Capacity, root: Path) -> None:
    store = ArtifactStore(root)
    with store.draft() as files:
        (files / FILE_NAME).write_bytes(b"GGUF, but not really")
        store.publish(files, name="broken", kind="quantized")
    with up(root, config_of(root)) as (served, endpoint), Load(endpoint, clients=2) as load:
        load.wait_for(2, "v1")
        with pytest.raises(ArtifactError, match="No artifact"):
            served.become(config_of(root, model="nowhere"))
        with pytest.raises(ModelError, match="The GGUF file is damaged"):
            served.become(config_of(root, model="broken"))
        with pytest.raises(ConfigError, match="port"):
            served.become(config_of(root, port=9))
        assert [one.weight for one in served.endpoint.table.versions] == [1.0]
        load.wait_for(2, "v1")
    assert load.errors == []


def test_a_killed_replica_loses_no_request_that_was_not_answered_yet(ray_cluster: Capacity, root: Path) -> None:
    config = config_of(root, replicas={"min": 2, "max": 2})
    with up(root, config) as (served, endpoint):
        deadline = time.monotonic() + 60
        while served.endpoint.state()["v1"]["replicas"] < 2:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        with Load(endpoint, max_tokens=20) as load:
            load.wait_for(4, "v1")
            for _ in range(2):
                os.kill(replica_pids()[0], signal.SIGKILL)
                load.wait_for(10, "v1")
                while served.endpoint.state()["v1"]["replicas"] < 2:
                    assert time.monotonic() < deadline + 60
                    time.sleep(0.1)
        # What was cut in the middle of a stream ends with an error that the client's library raises by its type.
        assert all("died; ask again" in error for error in load.errors), load.errors
        assert endpoint.metrics()['raysmith_replica_failures_total{model="bot",version="v1"}'] >= 1
        assert sum(count for name, count in endpoint.metrics().items() if 'code="500"' in name) == 0


def test_keys_and_rates(ray_cluster: Capacity, root: Path) -> None:
    with up(root, config_of(root)) as (served, endpoint):
        file = served.folder.keys_file
        few = create_key(file, "few", requests_per_minute=2)
        watcher = create_key(file, "prometheus", scope="metrics")
        wait_until(lambda: answers(endpoint, few))
        asked = {"model": "bot", "messages": ASK, "max_tokens": 1}
        client: Any = endpoint.client(few)
        client.chat.completions.create(**asked)
        client.chat.completions.create(**asked)
        with pytest.raises(openai.RateLimitError) as refused:
            client.chat.completions.create(**asked)
        assert 1 <= int(refused.value.response.headers["retry-after"]) <= 30
        assert refused.value.code == "rate_limit_exceeded"
        endpoint.client().chat.completions.create(**asked)  # other keys have minutes of their own
        with pytest.raises(openai.PermissionDeniedError):
            endpoint.client(watcher).models.list()
        assert Up(served.endpoint, watcher, file).metrics()
        revoke_key(file, "few")
        wait_until(lambda: not answers(endpoint, few))
        assert few not in file.read_text()
        assert file.stat().st_mode & 0o077 == 0


def answers(endpoint: Up, key: str) -> bool:
    try:
        endpoint.client(key).models.list()
    except openai.AuthenticationError:
        return False
    return True


def wait_until(true: Any, within_s: float = 10) -> None:
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_other_commands_change_it_and_find_it(ray_cluster: Capacity, root: Path) -> None:
    config = config_of(root)
    with up(root, config) as (served, endpoint), ThreadPoolExecutor(1) as threads:
        ended = threading.Event()
        following = threads.submit(follow, served, ended)
        folder = EndpointFolder(root, "bot")
        assert folder.operator_key() == endpoint.key
        change(folder, config_of(root, model="two"))
        assert folder.require_up().config["model"] == "two"
        rollback(folder)
        assert folder.require_up().config["model"] == "one"
        with pytest.raises(EndpointError, match="No artifact of that name"):
            change(folder, config_of(root, model="nowhere"))
        assert folder.require_up().status == "serving"
        ended.set()
        following.result()
    with pytest.raises(EndpointError, match="No endpoint"):
        EndpointFolder(root, "other").require_up()


def test_requests_that_wait_move_with_an_upgrade_and_a_killed_front_comes_back(
    ray_cluster: Capacity, root: Path
) -> None:
    one_at_a_time = {**ENGINE, "num_parallel": 1}
    with up(root, config_of(root, engine=one_at_a_time)) as (served, endpoint):
        with Load(endpoint, clients=6, max_tokens=60) as load:  # five of them wait at any time
            load.wait_for(2, "v1")
            served.become(config_of(root, model="two", engine=one_at_a_time))
            load.wait_for(8, "v2")
        assert load.errors == []
        front = next(one for one in psutil.Process().children(recursive=True) if one.name() == "ray::FrontActor")
        front.kill()
        wait_until(lambda: reachable(endpoint), within_s=60)
        assert endpoint.post({"model": "bot", "messages": ASK, "max_tokens": 1}).status_code == 200
        assert served.endpoint.state()["v2"]["replicas"] == 1


def reachable(endpoint: Up) -> bool:
    try:
        endpoint.client().models.list()
    except openai.APIConnectionError:
        return False
    return True
