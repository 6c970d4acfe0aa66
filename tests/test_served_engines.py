"""Engines behind a real endpoint, asked by the official client; and Prometheus, which watches one."""

from __future__ import annotations

import base64
import importlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import numpy as np
import openai
import pytest

from cluster.connect import Capacity
from cluster.errors import HandoffError, ModelError
from cluster.monitoring.write import dashboards, write
from jobs.endpoints.probes import make_probe
from serving.config import ReplicaConfig, ServeConfig
from serving.deploy import Adapter, Model
from serving.engines._lora_shapes import misfit
from serving.engines.llama_cpp import Config as LlamaCpp
from serving.engines.transformers import Config as Transformers
from serving.engines.vllm import Config as Vllm
from serving.keys import create_key
from serving.probe import UNPROVEN
from serving.quantize import quantizer_of
from serving.table import MAIN_DEPLOYMENT
from tests.adapters import make_adapter
from tests.prometheus_server import needs_prometheus, prometheus_of, query, until
from tests.serve_model import ORIGIN, Up, front_up, serve_model, smol_path
from tests.test_quantizers import make_sharp_model
from tests.tiny import make_tiny_model

CONTEXT = 1024
ASK: Any = [{"role": "user", "content": "the cat sees a red house."}]
GREEDY: dict[str, Any] = {"messages": ASK, "temperature": 0, "max_tokens": 12}
LONG: dict[str, Any] = {"messages": ASK, "max_tokens": 900, "logit_bias": {"2": -100}}  # 2 ends an answer
PROMPT = list(range(40, 70))
SCHEMA: dict[str, Any] = {
    "type": "object", "properties": {"size": {"enum": ["small", "big"]}, "old": {"type": "boolean"}},
    "required": ["size", "old"], "additionalProperties": False,
}  # fmt: skip
LOOK: Any = {"type": "function", "function": {"name": "look", "description": "Look.", "parameters": SCHEMA}}
# As Hermes and Qwen models have it.
WITH_TOOLS = (
    "{% if tools %}<|im_start|>system\n# Tools\n\nYou are provided with function signatures within <tools></tools>:\n"
    "<tools>{% for tool in tools %}\n{{ tool | tojson }}{% endfor %}\n</tools>\n\nFor each function call, return\n"
    '<tool_call>\n{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call><|im_end|>\n{% endif %}'
    "{% for message in messages %}{% if message.tool_calls %}<|im_start|>assistant\n"
    "{% for call in message.tool_calls %}<tool_call>\n"
    '{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}\n</tool_call>'
    "{% endfor %}<|im_end|>\n{% elif message.role == 'tool' %}<|im_start|>user\n<tool_response>\n"
    "{{ message.content }}\n</tool_response><|im_end|>\n{% else %}"
    "<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
ENGINES: dict[str, Any] = {
    "vllm": Vllm(
        context_tokens=CONTEXT, num_parallel=2, dtype="float32", kv_cache_gb=0.25, max_adapters=3, max_lora_rank=16,
        tool_parser="hermes",
    ),
    "transformers": Transformers(context_tokens=CONTEXT, num_parallel=2, embeddings=True),
}  # fmt: skip


def config_of(engine: Any) -> ServeConfig:
    return ServeConfig(engine=engine, port=0, replicas=ReplicaConfig(max=1))


# --- quantized models


@pytest.fixture(scope="module")
def sharp_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sharp")
    make_sharp_model(folder)
    return folder


def quantized(kind: str, model: Path, folder: Path) -> Model:
    """A model, quantized, and the reference of its proof."""
    config = importlib.import_module(f"serving.quantizers.{kind}").Config()
    text = np.random.default_rng(0).integers(3, 500, (8, 48)) if config.calibrated else None
    made = quantizer_of(config).quantize(model, folder / kind, config, text)
    assert make_probe(made.path, folder / f"{kind}.npz") == ""
    return Model(made.path, ORIGIN, folder / f"{kind}.npz")


def kl_of(proof: str) -> float:
    assert proof != UNPROVEN
    found = re.match(r"KL ([\d.e-]+)", proof)
    assert found, proof
    return float(found[1])


def test_quantized_models_are_proved_and_answer(ray_cluster: Capacity, sharp_model: Path, tmp_path: Path) -> None:
    config = config_of(Transformers(context_tokens=256))
    with front_up(tmp_path, config, "small") as up:
        client: Any = up.client()
        for kind in ("gptq", "int8", "nf4"):
            version = up.endpoint.add(quantized(kind, sharp_model, tmp_path), config)
            up.endpoint.route({version: 1.0})
            assert kl_of(up.endpoint.table.versions[-1].proof) < config.engine.max_probe_kl
            answer = client.chat.completions.create(model="small", **GREEDY)
            assert answer.usage.completion_tokens > 0
            # This model's template knows no tools: they must not be dropped in silence.
            with pytest.raises(openai.BadRequestError, match="ignores tools") as refused:
                client.chat.completions.create(model="small", tools=[LOOK], **GREEDY)
            assert refused.value.param == "tools"
            up.endpoint.remove(version)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["gptq", "awq", "rtn"])
def test_vllm_serves_packed_models(kind: str, ray_cluster: Capacity, sharp_model: Path, tmp_path: Path) -> None:
    config = config_of(Vllm(context_tokens=256, num_parallel=2, kv_cache_gb=0.25))
    with front_up(tmp_path, config, "small") as up:
        version = up.endpoint.add(quantized(kind, sharp_model, tmp_path), config)
        up.endpoint.route({version: 1.0})
        assert kl_of(up.endpoint.table.versions[-1].proof) < config.engine.max_probe_kl
        answer: Any = up.client().chat.completions.create(model="small", **GREEDY)
        assert answer.usage.completion_tokens > 0


# --- monitoring


@needs_prometheus
def test_prometheus_watches_a_live_endpoint(ray_cluster: Capacity, tmp_path: Path) -> None:
    config = config_of(LlamaCpp(context_tokens=256, num_parallel=2))
    with serve_model(tmp_path / "endpoint", config, smol_path()) as up:
        key_file = tmp_path / "key"
        key_file.write_text(create_key(up.keys_file, "prometheus", scope="metrics"))
        address = up.url.removeprefix("http://").removesuffix("/v1")
        paths = write(tmp_path / "watch", [address], key_file, interval_s=1)
        client: Any = up.client()

        def ask(stream: bool) -> None:
            answer = client.chat.completions.create(model="smol", messages=ASK, max_tokens=8, stream=stream)
            list(answer)

        ask(stream=False)
        with prometheus_of(paths.prometheus.parent) as url:
            until(lambda: query(url, "raysmith_requests_total"))  # a rate counts from the first reading on

            def asked_and_shown() -> bool:
                for stream in (True, False):
                    ask(stream)
                return value("sum(rate(raysmith_requests_total[1m]))") > 0

            def value(expression: str) -> float:
                return sum(float(one["value"][1]) for one in query(url, expression))

            until(asked_and_shown)
            (requests,) = query(url, 'raysmith_requests_total{code="200"}')
            assert requests["metric"]["instance"] == address
            assert requests["metric"]["version"] == "v1"
            assert value("sum(rate(raysmith_prompt_tokens_total[1m]))") > 0
            assert value("sum(rate(raysmith_completion_tokens_total[1m]))") > 0
            p95 = "histogram_quantile(0.95, sum by (le) (rate(raysmith_time_to_first_token_seconds_bucket[1m])))"
            assert 0 < value(p95) < 60
            assert value("raysmith_replicas") == 1
            assert value("raysmith_replica_memory_bytes") > 50e6
            (info,) = query(url, "raysmith_endpoint_info")
            assert (info["metric"]["artifact"], info["metric"]["engine"]) == (ORIGIN.artifact, "llama_cpp")
            assert empty_panels(url) <= {"GPU", "GPU memory", "Refusals by reason"}

            key_file.write_text("rs-another")  # it is read again for each reading
            until(lambda: query(url, f'up{{instance="{address}"}} == 0'))
            (target,) = httpx.get(f"{url}/api/v1/targets").json()["data"]["activeTargets"]
            assert target["health"] == "down" and "401" in target["lastError"]


def empty_panels(url: str) -> set[str]:
    """Panels of the endpoints' dashboard that show nothing."""

    def shows_something(expression: str) -> bool:
        chosen = re.sub(r"\$(model|adapter)", ".*", expression.replace("$__rate_interval", "1m"))
        return bool(query(url, chosen))

    panels = [panel for _, panels in dashboards()["serving"].rows for panel in panels]
    return {panel.title for panel in panels if not all(shows_something(one.expression) for one in panel.queries)}


# --- engines that take adapters. Their endpoints stay up to the end, and hold both of the cluster's cores.


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model whose chat template knows tools."""
    from transformers import AutoTokenizer

    folder = tmp_path_factory.mktemp("model")
    make_tiny_model(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": CONTEXT}))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = WITH_TOOLS
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def adapters(model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Adapter]:
    folder = tmp_path_factory.mktemp("adapters")
    make_tiny_model(folder / "wide", hidden=128)
    made = {
        "red": make_adapter(model, folder / "red", 1, r=8, lora_alpha=16),
        "blue": make_adapter(model, folder / "blue", 2, r=4, lora_alpha=8),
        "idle": make_adapter(model, folder / "idle", 3, scale=0.0, r=8),
        "other": make_adapter(folder / "wide", folder / "other", 4, r=8),
    }
    return {
        name: Adapter(path, ORIGIN.model_copy(update={"artifact": f"adapter-{name}"})) for name, path in made.items()
    }


def test_an_adapter_of_another_model_is_known_by_its_files(
    model: Path, adapters: dict[str, Adapter], tmp_path: Path
) -> None:
    make_tiny_model(tmp_path / "deep", layers=3)
    deep = make_adapter(tmp_path / "deep", tmp_path / "of-deep", 1, r=4)
    assert misfit(adapters["red"].folder, model) == ""
    assert misfit(adapters["red"].folder, tmp_path / "deep") == ""  # nothing tells it from one of some layers
    assert "layers.2." in misfit(deep, model)
    config = importlib.import_module("serving.quantizers.rtn").Config()
    packed = quantizer_of(config).quantize(model, tmp_path / "packed", config, None).path
    for folder in (model, packed):
        assert "of 128 x 256, which the model has of 256 x 512" in misfit(adapters["other"].folder, folder)
        assert misfit(adapters["blue"].folder, folder) == ""


@pytest.fixture(scope="module")
def probe(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("probe") / "tiny.npz"
    assert make_probe(model, file) == ""
    return file


@pytest.fixture(scope="module")
def endpoint_of(
    ray_cluster: Capacity, model: Path, adapters: dict[str, Adapter], probe: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[[str], Up]]:  # fmt: skip
    """Each engine's endpoint, started once; one adapter is there from the start."""
    with ExitStack() as stack:

        @cache
        def started(kind: str) -> Up:
            served = serve_model(
                tmp_path_factory.mktemp(kind), config_of(ENGINES[kind]), model, kind.replace("_", "-"),
                probe_file=probe, adapters={"red": adapters["red"]},
            )  # fmt: skip
            return stack.enter_context(served)

        yield started


@pytest.fixture(params=ENGINES)
def up(request: pytest.FixtureRequest, endpoint_of: Callable[[str], Up]) -> Up:
    return endpoint_of(request.param)


def name_of(up: Up) -> str:
    return up.endpoint.table.name


def chat(up: Up, adapter: str = "", **fields: Any) -> Any:
    model = f"{name_of(up)}:{adapter}" if adapter else name_of(up)
    client: Any = up.client()
    return client.chat.completions.create(model=model, **(GREEDY | fields))


def read(stream: Any) -> tuple[str, Any]:
    """Text and usage of a stream."""
    chunks = list(stream)
    return "".join(one.choices[0].delta.content or "" for one in chunks if one.choices), chunks[-1].usage


def test_a_stream_says_what_the_whole_answer_says(up: Up) -> None:
    whole = chat(up, logprobs=True, top_logprobs=3)
    text, usage = read(chat(up, stream=True, stream_options={"include_usage": True}))
    assert text == whole.choices[0].message.content
    assert usage == whole.usage
    told = whole.choices[0].logprobs.content
    assert len(told) == whole.usage.completion_tokens
    assert all(one.top_logprobs[0].logprob == pytest.approx(one.logprob, abs=1e-4) for one in told)  # greedy
    assert all(len(one.top_logprobs) == 3 for one in told)


def test_choices_of_a_seed_are_repeated_and_differ(up: Up) -> None:
    fields = {"n": 2, "temperature": 1, "seed": 5, "max_tokens": 24}
    first, again = ([one.message.content for one in chat(up, **fields).choices] for _ in range(2))
    assert first == again and len(set(first)) == 2
    texts = ["", ""]
    for chunk in chat(up, **fields, stream=True):
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
    assert texts == first


def test_completions_take_text_and_token_ids(up: Up, model: Path) -> None:
    from transformers import AutoTokenizer

    text = "the dog likes a small tree"
    ids = AutoTokenizer.from_pretrained(model)(text)["input_ids"]
    client: Any = up.client()
    asked = {"model": name_of(up), "temperature": 0, "max_tokens": 8}
    of_text = client.completions.create(prompt=text, **asked)
    assert of_text.choices[0].text == client.completions.create(prompt=ids, **asked).choices[0].text
    assert of_text.usage.prompt_tokens == len(ids)
    parts = [one.choices[0].text for one in client.completions.create(prompt=ids, stream=True, **asked)]
    assert "".join(parts) == of_text.choices[0].text


def test_json_follows_its_schema(up: Up) -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "animal", "schema": SCHEMA}}
    for stream in (False, True):
        answer = chat(up, response_format=wanted, temperature=1, seed=2, max_tokens=200, stream=stream)
        text = read(answer)[0] if stream else answer.choices[0].message.content
        jsonschema.validate(json.loads(text), SCHEMA)


def test_tools_reach_the_prompt_and_calls_are_parsed(up: Up, model: Path) -> None:
    from transformers import AutoTokenizer

    def num_tokens(messages: Any) -> int:
        tokenizer: Any = AutoTokenizer.from_pretrained(model)
        return len(tokenizer.apply_chat_template(messages, tools=[LOOK], add_generation_prompt=True)["input_ids"])

    assert chat(up, tools=[LOOK], max_tokens=1).usage.prompt_tokens == num_tokens(ASK)
    arguments = {"size": "big", "old": True}
    call = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": arguments}}
    asked = {**call, "function": {"name": "look", "arguments": json.dumps(arguments)}}
    said: Any = {"role": "tool", "tool_call_id": "call_1", "content": "a red house"}
    told = chat(up, messages=[*ASK, {"role": "assistant", "tool_calls": [asked]}, said], tools=[LOOK], max_tokens=1)
    assert told.usage.prompt_tokens == num_tokens([*ASK, {"role": "assistant", "tool_calls": [call]}, said])

    forced = {"tools": [LOOK], "temperature": 1, "seed": 1, "max_tokens": 400}
    for choice in ("required", {"type": "function", "function": {"name": "look"}}):
        whole = chat(up, **forced, tool_choice=choice).choices[0]
        (called,) = whole.message.tool_calls
        assert called.id and called.function.name == "look"
        jsonschema.validate(json.loads(called.function.arguments), SCHEMA)
        deltas = [
            delta for chunk in chat(up, **forced, tool_choice=choice, stream=True) if chunk.choices
            for delta in chunk.choices[0].delta.tool_calls or ()
        ]  # fmt: skip
        assert deltas[0].id and deltas[0].function.name == "look"
        assert {delta.index for delta in deltas} == {0}
        written = "".join(delta.function.arguments or "" for delta in deltas)
        assert json.loads(written) == json.loads(called.function.arguments)


def test_embeddings_as_numbers_and_as_base64(endpoint_of: Callable[[str], Up], model: Path) -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    texts = ["the cat sees a red house.", "it rains"]
    client: Any = endpoint_of("transformers").client()
    by_default = client.embeddings.create(model="transformers", input=texts)  # the client asks for base64, and decodes
    raw = client.embeddings.create(model="transformers", input=texts, encoding_format="base64")
    numbers = client.embeddings.create(model="transformers", input=texts, encoding_format="float")
    tokenizer, opened = AutoTokenizer.from_pretrained(model), AutoModel.from_pretrained(model, dtype=torch.float32)
    assert numbers.usage.prompt_tokens == sum(len(tokenizer(text)["input_ids"]) for text in texts)
    for text, one, same, plain in zip(texts, by_default.data, raw.data, numbers.data, strict=True):
        assert np.frombuffer(base64.b64decode(same.embedding), "<f4").tolist() == one.embedding
        assert one.embedding == pytest.approx(plain.embedding, abs=1e-6)
        with torch.no_grad():
            mean = opened(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(0)
        cosine = torch.nn.functional.cosine_similarity(mean, torch.tensor(plain.embedding), dim=0)
        assert cosine == pytest.approx(1.0, abs=1e-4)
    with pytest.raises(openai.BadRequestError) as refused:
        endpoint_of("vllm").client().embeddings.create(model="vllm", input=texts)
    assert refused.value.code == "unsupported_by_engine"


class Streams:
    """A client that streams the base model's answer again and again, for the length of a `with` block."""

    def __init__(self, up: Up) -> None:
        self._up = up
        self.texts: list[str] = []
        self.errors: list[Exception] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> Streams:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _ask(self) -> None:
        while not self._stop.is_set():
            try:
                self.texts.append(read(chat(self._up, stream=True, max_tokens=40))[0])
            except Exception as error:
                self.errors.append(error)

    def go_on(self) -> None:
        """Wait for an answer that begins now."""
        seen = len(self.texts) + len(self.errors)
        until(lambda: len(self.texts) + len(self.errors) > seen + 1)


def first_logprob(up: Up, adapter: str = "") -> float:
    """Of the most probable token after a prompt."""
    client: Any = up.client()
    asked = {"model": name_of(up) + (f":{adapter}" if adapter else ""), "prompt": PROMPT, "logprobs": 1}
    answer = client.completions.create(**asked, max_tokens=1, temperature=0)
    logprob: float = answer.choices[0].logprobs.token_logprobs[0]
    return logprob


@pytest.fixture(scope="module")
def logprob_of(model: Path, adapters: dict[str, Adapter]) -> dict[str, Any]:
    """As `first_logprob`, by transformers and peft."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    def scored(name: str) -> Any:
        loaded: Any = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
        if name:
            loaded = PeftModel.from_pretrained(loaded, str(adapters[name].folder))
        with torch.no_grad():
            logits = loaded.eval()(input_ids=torch.tensor([PROMPT])).logits[0, -1]
        return pytest.approx(float(logits.log_softmax(-1).max()), abs=1e-3)

    return {name: scored(name) for name in ("", "red", "blue")}


def test_adapters_come_and_go_while_a_client_streams(
    up: Up, adapters: dict[str, Adapter], logprob_of: dict[str, Any]
) -> None:
    name, client = name_of(up), up.client()
    red, blue = adapters["red"], adapters["blue"]

    def names() -> set[str]:
        return {one.id for one in client.models.list().data}

    def become(wanted: dict[str, Adapter]) -> None:
        up.endpoint.change_adapters("v1", wanted)
        assert names() == {name, *(f"{name}:{one}" for one in wanted)}
        streams.go_on()

    with Streams(up) as streams:
        assert names() == {name, f"{name}:red"}
        assert first_logprob(up) == logprob_of[""]
        assert first_logprob(up, "red") == logprob_of["red"] != logprob_of[""]
        become({"red": red, "blue": blue})
        assert first_logprob(up, "blue") == logprob_of["blue"]
        assert chat(up, "blue").model == f"{name}:blue"
        assert client.models.retrieve(f"{name}:blue").model_dump()["raysmith"]["artifact"] == "adapter-blue"
        for refused, kind in (("idle", HandoffError), ("other", ModelError)):
            with pytest.raises(kind):
                up.endpoint.change_adapters("v1", {"red": red, "blue": blue, "new": adapters[refused]})
            assert names() == {name, f"{name}:red", f"{name}:blue"}
            assert first_logprob(up, "blue") == logprob_of["blue"]
            with pytest.raises(openai.NotFoundError):
                chat(up, "new")
        become({"blue": blue})
        with pytest.raises(openai.NotFoundError) as unknown:
            chat(up, "red")
        assert unknown.value.code == "model_not_found"
        become({"red": red})
        streams.go_on()
        assert first_logprob(up) == logprob_of[""]
    assert streams.errors == []
    assert len(set(streams.texts)) == 1
    metrics = up.metrics()
    for adapter in ("", "red", "blue"):
        assert metrics[f'raysmith_completion_tokens_total{{adapter="{adapter}",model="{name}"}}'] > 0


def test_an_adapter_that_is_replaced_is_the_new_one(
    up: Up, adapters: dict[str, Adapter], logprob_of: dict[str, Any]
) -> None:
    up.endpoint.change_adapters("v1", {"red": adapters["blue"]})
    assert first_logprob(up, "red") == logprob_of["blue"]
    for refused, kind in (("idle", HandoffError), ("other", ModelError)):
        with pytest.raises(kind):
            up.endpoint.change_adapters("v1", {"red": adapters[refused]})
        assert first_logprob(up, "red") == logprob_of["blue"]
    up.endpoint.change_adapters("v1", {"red": adapters["red"]})
    assert first_logprob(up, "red") == logprob_of["red"]


def test_an_adapter_that_goes_or_is_replaced_ends_its_answers(up: Up, adapters: dict[str, Adapter]) -> None:
    whole: list[str] = []
    for after in ({"red": adapters["red"]}, {"red": adapters["blue"]}, {}):
        up.endpoint.change_adapters("v1", {"red": adapters["red"]})
        answer = iter(chat(up, "red", **LONG | {"max_tokens": 300}, stream=True))
        begun = next(answer).choices[0].delta.content or ""
        up.endpoint.change_adapters("v1", after)
        chunks = list(answer)
        assert chunks[-1].choices[0].finish_reason == "length"
        whole.append(begun + "".join(one.choices[0].delta.content or "" for one in chunks))
    assert len(set(whole)) == 1
    with pytest.raises(openai.NotFoundError):
        chat(up, "red")
    up.endpoint.change_adapters("v1", {"red": adapters["red"]})


def test_a_client_that_hangs_up_frees_its_places(up: Up) -> None:
    from ray import serve

    name = name_of(up)
    replica: Any = serve.get_deployment_handle(MAIN_DEPLOYMENT, up.endpoint.table.versions[0].app)

    def num_running() -> float:
        at_replica = replica.record_autoscaling_stats.remote().result(timeout_s=30)["requests"]
        return float(at_replica) + up.metrics()[f'raysmith_requests_running{{model="{name}",version="v1"}}']

    def num_left() -> float:
        left = [
            count for sample, count in up.metrics().items() if "requests_total" in sample and 'code="499"' in sample
        ]
        return sum(left)

    assert num_running() == 0
    before = num_left()
    streams = [chat(up, **LONG, stream=True) for _ in range(2)]
    for stream in streams:
        next(iter(stream))
    assert num_running() > 0
    for stream in streams:
        stream.close()
    until(lambda: num_running() == 0)
    with pytest.raises(openai.APITimeoutError):  # nor does it matter that it was no stream
        client: Any = up.client(timeout_s=0.3)
        client.chat.completions.create(model=name, n=2, **LONG)
    until(lambda: num_running() == 0)
    assert num_left() == before + 3
    assert chat(up).usage.completion_tokens > 0
