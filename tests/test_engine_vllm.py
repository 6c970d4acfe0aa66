"""The vLLM engine on Ray Serve LLM's server: its answers, adapters, probe and end. One engine, in a process of Ray."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jsonschema
import psutil
import pytest

from cluster.connect import Capacity
from cluster.errors import HandoffError, ModelError
from cluster.handoff import Agreement, TokenScores, compare
from serving.engines.vllm import Config, Engine
from serving.protocol import RequestError
from tests.adapters import make_adapter
from tests.tiny import sentence

CONTEXT = 512
CONFIG = Config(
    context_tokens=CONTEXT, num_parallel=2, dtype="float32", kv_cache_gb=0.25, max_adapters=2, max_lora_rank=16,
    tool_parser="hermes",
)  # fmt: skip
MESSAGES = [{"role": "user", "content": "the cat sees a red house."}]
GREEDY = {"messages": MESSAGES, "max_tokens": 12, "temperature": 0.0}
SCHEMA = {
    "type": "object", "properties": {"size": {"enum": ["small", "big"]}, "old": {"type": "boolean"}},
    "required": ["size", "old"], "additionalProperties": False,
}  # fmt: skip
TOOL = {"type": "function", "function": {"name": "look", "parameters": SCHEMA}}


class Replica:
    """An actor that has been given its core, as a replica has."""

    async def open(self, config: Config, model: Path) -> Any:
        return await self._told(self._open(config, model))

    async def _open(self, config: Config, model: Path) -> None:
        engine = await asyncio.to_thread(Engine, config, model, "tiny", 1)
        await engine.start()
        self._engine = engine

    async def call(self, name: str, *arguments: Any) -> Any:
        return await self._told(getattr(self._engine, name)(*arguments))

    async def chunks(self, method: str, body: dict[str, Any], adapter: str | None = None) -> Any:
        async def collect() -> list[dict[str, Any]]:
            return [json.loads(chunk) async for chunk in getattr(self._engine, method)(body, adapter)]

        return await self._told(collect())

    async def together(self, name: str, calls: list[tuple[Any, ...]]) -> list[Any]:
        return list(await asyncio.gather(*(self.call(name, *arguments) for arguments in calls)))

    async def leave(self, how: str) -> bool:
        """Leave as many requests as there are places in the middle; whether vLLM then holds nothing any more."""

        async def read(answer: Any) -> None:
            async for _ in answer:
                pass

        long = {**GREEDY, "max_tokens": 400, "ignore_eos": True}
        answers = [self._engine.chat(long) for _ in range(CONFIG.num_parallel)]
        for answer in answers:
            for _ in range(3):
                await anext(answer)
        if how == "closed":
            for answer in answers:
                await answer.aclose()
        else:
            tasks = [asyncio.create_task(read(answer)) for answer in answers]
            await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        client = self._engine._server.engine._engine_client
        return await client.reset_prefix_cache() is True  # refused while a request holds a part of the cache

    async def remove_in_use(self, adapter: str) -> tuple[bool, Any, int]:
        """Remove an adapter while it answers: had it gone before, what a new request got, chunks of the answer."""
        answer = self._engine.chat({**GREEDY, "max_tokens": 200, "ignore_eos": True}, adapter)
        await anext(answer)
        removal = asyncio.create_task(self._engine.remove_adapter(adapter))
        await asyncio.sleep(0)
        refused = await self.chunks("chat", GREEDY, adapter)
        gone_before = removal.done()
        rest = [chunk async for chunk in answer]
        await removal
        return gone_before, refused, json.loads(rest[-1])["usage"]["completion_tokens"]

    async def surroundings(self) -> tuple[set[str], list[int], list[Path]]:
        """Addresses of all sockets of this process and its children, the children, the engine's own files."""
        here = psutil.Process()
        processes = [here, *here.children(recursive=True)]
        found = {
            address.ip for one in processes for socket in one.net_connections("inet")
            for address in (socket.laddr, socket.raddr) if address
        }  # fmt: skip
        return found, [one.pid for one in processes[1:]], list(self._engine._folder.iterdir())

    async def _told(self, work: Any) -> Any:
        try:
            return await work
        except RequestError as error:  # made for a process of its own: it cannot be pickled
            return error.status, error.body()["error"]
        except (ModelError, HandoffError) as error:
            return error


class Served(NamedTuple):
    """The engine, from the test's own process."""

    replica: Any
    model: Path
    adapters: dict[str, Path]

    def call(self, name: str, *arguments: Any) -> Any:
        import ray

        return ray.get(self.replica.call.remote(name, *arguments))

    def ask(self, name: str, *arguments: Any) -> Any:
        import ray

        return ray.get(getattr(self.replica, name).remote(*arguments))

    def chat(self, adapter: str | None = None, **fields: Any) -> Any:
        return self.ask("chunks", "chat", GREEDY | fields, adapter)

    def completion(self, prompt: Any, adapter: str | None = None, **fields: Any) -> Any:
        body = {"prompt": prompt, "max_tokens": 8, "temperature": 0.0}
        return self.ask("chunks", "completion", body | fields, adapter)

    def with_adapters(self) -> None:
        for name in ("one", "two"):
            self.call("remove_adapter", name)
            assert self.call("add_adapter", name, self.adapters[name]) is None


@pytest.fixture(scope="module")
def adapters(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("adapters")
    make_adapter(tiny_model, folder / "one", 1, r=8, lora_alpha=16)
    make_adapter(tiny_model, folder / "two", 2, r=6, lora_alpha=9, use_rslora=True, alpha_pattern={"up_proj": 20})
    make_adapter(tiny_model, folder / "high", 3, r=32, lora_alpha=32)
    make_adapter(tiny_model, folder / "head", 4, r=8, lora_alpha=8, target_modules=["q_proj", "lm_head"])
    return {path.name: path for path in folder.iterdir()}


@pytest.fixture(scope="module")
def served(ray_cluster: Capacity, tiny_model: Path, adapters: dict[str, Path]) -> Iterator[Served]:
    import ray

    replica = ray.remote(Replica).options(num_cpus=1).remote()
    assert ray.get(replica.open.remote(CONFIG, tiny_model)) is None
    yield Served(replica, tiny_model, adapters)
    ray.kill(replica)


@pytest.fixture(scope="module")
def sequences() -> list[list[int]]:
    rng = random.Random(3)
    return [rng.choices(range(3, 500), k=length) for length in (40, 2, 150)]


def text_of(chunks: list[dict[str, Any]]) -> str:
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    return "".join(one["text"] if "text" in one else one["delta"].get("content") or "" for one in choices)


def reasons(chunks: list[dict[str, Any]]) -> list[str]:
    return [reason for chunk in chunks for one in chunk["choices"] if (reason := one.get("finish_reason"))]


def agreement(served: Served, sequences: list[list[int]], adapter: str | None, engine_adapter: str | None) -> Agreement:
    """Between transformers (and peft) in float32 and the engine."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from trainers.scoring import TransformersHolder

    model: Any = AutoModelForCausalLM.from_pretrained(served.model, dtype=torch.float32)
    if adapter is not None:
        model = PeftModel.from_pretrained(model, str(served.adapters[adapter]))
    scores = served.call("probe", sequences, 20, engine_adapter)
    assert isinstance(scores, TokenScores)
    return compare(TransformersHolder(model.eval()).score(sequences, 20), scores)


def test_a_stream_has_one_id_and_ends_with_its_usage(served: Served) -> None:
    from transformers import AutoTokenizer

    chunks = served.chat(ignore_eos=True)
    assert {chunk["model"] for chunk in chunks} == {"tiny"}
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    assert reasons(chunks) == ["length"] and text_of(chunks)
    tokenizer = AutoTokenizer.from_pretrained(served.model)
    prompt = tokenizer.apply_chat_template(MESSAGES, add_generation_prompt=True, return_dict=False)
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["prompt_tokens"] == len(prompt)
    assert chunks[-1]["usage"]["completion_tokens"] == 12
    assert served.chat()[0]["id"] != chunks[0]["id"]


def test_logprobs_are_those_of_the_probe(served: Served) -> None:
    prompt = list(range(20, 40))
    chunks = served.completion(prompt, logprobs=3, return_token_ids=True)
    choices = [chunk["choices"][0] for chunk in chunks if chunk["choices"]]
    written = [token for one in choices for token in one["token_ids"]]
    logprobs = [value for one in choices for value in one["logprobs"]["token_logprobs"]]
    scores = served.call("probe", [prompt + written], 1)
    assert logprobs == pytest.approx(scores.chosen[len(prompt) - 1 :].tolist(), abs=1e-4)
    assert scores.top_logprobs[len(prompt) - 1 :, 0].tolist() == pytest.approx(logprobs, abs=1e-4)  # it was greedy
    content = [
        token for chunk in served.chat(logprobs=True, top_logprobs=3) for one in chunk["choices"] if one["logprobs"]
        for token in one["logprobs"]["content"]
    ]  # fmt: skip
    assert content
    for token in content:
        tops = [top["logprob"] for top in token["top_logprobs"]]
        assert len(tops) == 3 and tops == sorted(tops, reverse=True) and tops[0] == token["logprob"]


def test_json_follows_its_schema(served: Served) -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "animal", "schema": SCHEMA}}
    for seed in range(3):
        chunks = served.chat(response_format=wanted, temperature=1.0, seed=seed, max_tokens=100)
        assert reasons(chunks) == ["stop"]
        jsonschema.validate(json.loads(text_of(chunks)), SCHEMA)


def test_a_tool_that_must_be_called_is_called_as_it_wants(served: Served) -> None:
    choice = {"type": "function", "function": {"name": "look"}}
    chunks = served.chat(tools=[TOOL], tool_choice=choice, temperature=1.0, seed=1, max_tokens=400)
    calls = [call for chunk in chunks for one in chunk["choices"] for call in one["delta"].get("tool_calls") or []]
    assert calls[0]["function"]["name"] == "look"
    jsonschema.validate(json.loads("".join(call["function"].get("arguments") or "" for call in calls)), SCHEMA)
    assert reasons(served.chat(tools=[TOOL], max_tokens=2)) == ["length"]  # the model decides


def test_a_seed_repeats_an_answer(served: Served) -> None:
    first, again, other = (text_of(served.chat(temperature=1.0, seed=seed, max_tokens=16)) for seed in (7, 7, 8))
    assert first == again != other


def test_an_answer_ends_before_a_stop_text(served: Served) -> None:
    whole = text_of(served.completion([5, 6, 7], max_tokens=32, temperature=1.0, seed=1))
    stop = whole[len(whole) // 2 :][:2]
    chunks = served.completion([5, 6, 7], max_tokens=32, temperature=1.0, seed=1, stop=[stop])
    assert text_of(chunks) == whole[: whole.index(stop)]
    assert reasons(chunks) == ["stop"]


def test_a_completion_takes_text_or_token_ids(served: Served) -> None:
    from transformers import AutoTokenizer

    text = sentence(random.Random(1))
    ids = AutoTokenizer.from_pretrained(served.model)(text)["input_ids"]
    chunks = served.completion(ids, echo=True, logprobs=1)
    assert {chunk["object"] for chunk in chunks} == {"text_completion"}
    assert text_of(chunks) == text_of(served.completion(text, echo=True))
    assert text_of(chunks).startswith(text)
    told = [value for chunk in chunks for one in chunk["choices"] for value in one["logprobs"]["token_logprobs"]]
    assert told[0] is None and len(told) == len(ids) + chunks[-1]["usage"]["completion_tokens"]


def test_the_probe_agrees_with_transformers_and_peft(served: Served, sequences: list[list[int]]) -> None:
    served.with_adapters()
    base = agreement(served, sequences, None, None)
    assert base.num_tokens == sum(map(len, sequences)) - len(sequences)
    assert base.kl < 1e-5 and base.mean_abs_logprob_diff < 1e-4
    for name in ("one", "two"):
        assert agreement(served, sequences, name, name).kl < 1e-4
        assert agreement(served, sequences, None, name).mean_abs_logprob_diff > 0.1
        assert agreement(served, sequences, None, None).kl < 1e-5


def test_an_adapter_changes_the_answer_and_its_name(served: Served) -> None:
    served.with_adapters()
    prompt = random.Random(5).choices(range(3, 500), k=30)
    asked = {"max_tokens": 16, "ignore_eos": True, "logprobs": 1}
    answers = {name: served.completion(prompt, name, **asked) for name in (None, "one", "two")}
    assert len({json.dumps(chunks[0]["choices"][0]["logprobs"]) for chunks in answers.values()}) == 3
    assert {chunk["model"] for chunk in answers["one"]} == {"tiny:one"}
    assert {chunk["model"] for chunk in served.chat("two")} == {"tiny:two"}


def test_adapters_share_a_batch(served: Served, sequences: list[list[int]]) -> None:
    served.with_adapters()
    alone = {name: served.call("probe", sequences, 5, name) for name in (None, "one", "two")}
    names = [None, "one", "two", "one", None, "two"] * 8  # which of them share a batch is chance
    for name, together in zip(
        names, served.ask("together", "probe", [(sequences, 5, name) for name in names]), strict=True
    ):
        assert together.chosen.tolist() == pytest.approx(alone[name].chosen.tolist(), abs=1e-4), name


def test_another_adapter_of_the_same_name_finds_no_cache_of_the_first(served: Served) -> None:
    served.with_adapters()
    prompt = random.Random(6).choices(range(3, 500), k=300)  # longer than a block of the cache

    def first_logprob(adapter: str) -> float:
        chunks = served.completion(prompt, adapter, max_tokens=1, logprobs=1)
        value: float = chunks[0]["choices"][0]["logprobs"]["token_logprobs"][0]
        return value

    one, two = first_logprob("one"), first_logprob("two")
    assert one != pytest.approx(two, abs=1e-3)
    served.call("remove_adapter", "one")
    assert served.call("add_adapter", "one", served.adapters["two"]) is None
    assert first_logprob("one") == pytest.approx(two, abs=1e-4)


def test_an_adapter_that_is_not_there_is_not_found(served: Served) -> None:
    for status, error in (served.chat("nobody"), served.call("probe", [[5, 6]], 1, "nobody")):
        assert (status, error["param"], error["code"]) == (404, "model", "model_not_found")
        assert "tiny:nobody" in error["message"]


def test_adapters_that_do_not_fit_are_refused(served: Served, tmp_path: Path) -> None:
    served.call("remove_adapter", "one")
    served.call("remove_adapter", "two")
    adapters = served.adapters
    for folder, reason in ((tmp_path, "_config.json"), (adapters["high"], "rank"), (adapters["head"], "lm_head")):
        error = served.call("add_adapter", "one", folder)
        assert isinstance(error, ModelError) and reason in str(error)
        assert served.chat("one")[0] == 404
    served.with_adapters()
    for name in ("two", "three"):  # there already; one too many
        assert isinstance(served.call("add_adapter", name, served.adapters["one"]), ModelError)
    assert reasons(served.chat("one"))


def test_an_adapter_is_removed_when_its_last_answer_has_ended(served: Served) -> None:
    served.with_adapters()
    gone_before, refused, num_tokens = served.ask("remove_in_use", "one")
    assert not gone_before and refused[0] == 404 and num_tokens == 200
    assert served.chat("one")[0] == 404
    assert reasons(served.chat("two"))


@pytest.mark.parametrize("how", ["closed", "cancelled"])
def test_an_answer_that_is_left_frees_its_place(served: Served, how: str) -> None:
    assert served.ask("leave", how)
    assert reasons(served.chat(ignore_eos=True)) == ["length"]


def test_a_prompt_too_long_is_refused_and_an_answer_too_long_is_cut(served: Served) -> None:
    long = [{"role": "user", "content": "the cat " * 600}]
    for got, param in (
        (served.chat(messages=long), "messages"),
        (served.completion([5] * (CONTEXT + 1)), "prompt"),
        (served.completion([5] * CONTEXT), "prompt"),
        (served.completion("a" * 90_000), "prompt"),
    ):
        status, error = got
        assert (status, error["param"], error["code"]) == (400, param, "context_length_exceeded")
    chunks = served.completion([5] * 500, max_tokens=4000, ignore_eos=True)
    assert chunks[-1]["usage"]["completion_tokens"] == CONTEXT - 500
    assert isinstance(served.call("probe", [[5] * CONTEXT], 1), HandoffError)


@pytest.mark.parametrize(
    "fields",
    [
        {"temperature": -1.0},
        {"messages": "text"},
        {"messages": []},
        {"logprobs": True, "top_logprobs": 1000},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "nonsense"}}}},
        {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "other"}}},
        {"logit_bias": {"100000": 1.0}},
    ],
)
def test_what_vllm_does_not_take_is_the_clients_error(served: Served, fields: dict[str, Any]) -> None:
    status, error = served.chat(**fields)
    assert status == 400 and error["type"] == "invalid_request_error" and error["message"]
    assert reasons(served.chat())


def test_a_model_that_writes_gives_no_embeddings(served: Served) -> None:
    status, error = served.call("embed", ["the cat"])
    assert (status, error["code"]) == (400, "unsupported_by_engine")


def test_models_that_cannot_be_opened_are_refused(served: Served, tmp_path: Path) -> None:
    missing = served.ask("open", CONFIG, tmp_path)
    assert isinstance(missing, ModelError) and "config.json" in str(missing)
    longer = served.ask("open", CONFIG.model_copy(update={"context_tokens": 4096}), served.model)
    assert isinstance(longer, ModelError) and "4096" in str(longer)
    assert reasons(served.chat())


def test_replicas_on_gpus_get_a_placement_group() -> None:
    assert Config().resources(2, 0) == {"ray_actor_options": {"num_cpus": 2, "num_gpus": 0}}
    options = Config(tensor_parallel=2).resources(4, 2)
    assert options["ray_actor_options"] == {"num_cpus": 4, "num_gpus": 0}
    assert options["placement_group_bundles"] == [{"CPU": 4, "GPU": 1}, {"GPU": 1}]


def test_it_listens_on_loopback_alone_and_leaves_nothing_behind(served: Served) -> None:
    addresses, children, files = served.ask("surroundings")
    assert children and addresses <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
    assert served.call("check") is None
    assert served.call("stop") is None
    assert any(file.name.startswith("vllm_dist_") for file in files)  # which vLLM leaves in /tmp
    assert not files[0].parent.exists()
    assert not [pid for pid in children if psutil.pid_exists(pid) and "VLLM" in psutil.Process(pid).name()]


@pytest.mark.slow
def test_a_model_of_embeddings_gives_those_of_transformers(
    ray_cluster: Capacity, tiny_model: Path, tmp_path: Path
) -> None:
    import ray
    import torch
    from transformers import AutoTokenizer, BertConfig, BertModel

    shape = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128}
    model = BertModel(BertConfig(vocab_size=512, **shape)).eval()
    model.save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.save_pretrained(tmp_path)
    texts = ["the cat sees a red house.", "it rains"]
    replica: Any = ray.remote(Replica).options(num_cpus=1).remote()
    assert ray.get(replica.open.remote(Config(context_tokens=256, dtype="float32", kv_cache_gb=0.1), tmp_path)) is None
    vectors, num_tokens = ray.get(replica.call.remote("embed", texts))
    long = ray.get(replica.call.remote("embed", ["the cat " * 600]))
    refused = ray.get(replica.chunks.remote("chat", GREEDY))
    ray.get(replica.call.remote("stop"))
    ray.kill(replica)
    assert num_tokens == sum(len(tokenizer(text)["input_ids"]) for text in texts)
    for text, vector in zip(texts, vectors, strict=True):
        with torch.no_grad():
            first = model(**tokenizer(text, return_tensors="pt", return_token_type_ids=False)).last_hidden_state[0, 0]
        assert vector == pytest.approx(torch.nn.functional.normalize(first, dim=0).tolist(), abs=1e-3)
    assert (long[0], long[1]["code"]) == (400, "context_length_exceeded") and refused[0] == 400
