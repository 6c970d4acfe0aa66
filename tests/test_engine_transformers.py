"""The engine `transformers` with a tiny model: answers, batches, adapters, schemas, tool calls, refusals."""

from __future__ import annotations

import asyncio
import importlib
import json
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch
from openai.types import Completion
from openai.types.chat import ChatCompletionChunk
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, Lfm2Config, MambaConfig, MistralConfig

from cluster.errors import HandoffError, ModelError
from serving.engines import _prompts
from serving.engines._chunks import Prompt
from serving.engines._prompts import PromptReader
from serving.engines._text import TextReader, Token, TokenNames
from serving.engines._tools import ToolCallReader, call_schema
from serving.engines.transformers import Config, Engine
from serving.protocol import RequestError
from tests.tiny import TEMPLATE, make_tiny_model, make_tokenizer

WITH_TOOLS = "{% if tools %}Tools as <tool_call>: {{ tools | tojson }}\n{% endif %}" + TEMPLATE
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object", "properties": {"day": {"$ref": "#/$defs/day"}}, "required": ["day"],
            "additionalProperties": False, "$defs": {"day": {"enum": ["today", "tomorrow"]}},
        },
    },
}  # fmt: skip


class Served:
    """An engine and the event loop that it lives in."""

    def __init__(self, folder: Path, **config: Any) -> None:
        self.folder = folder
        self.loop = asyncio.new_event_loop()
        self.engine = Engine(Config(context_tokens=512, num_parallel=4, **config), folder, "tiny", num_cpus=1)

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)

    async def ask(self, body: dict[str, Any], adapter: str | None = None) -> list[dict[str, Any]]:
        body = {"max_tokens": 16, "temperature": 0, **body}
        speak = self.engine.completion if "prompt" in body else self.engine.chat
        return [json.loads(chunk) async for chunk in speak(body, adapter)]

    def chunks(self, body: dict[str, Any], adapter: str | None = None) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.run(self.ask(body, adapter))
        return found

    def text(self, body: dict[str, Any], adapter: str | None = None) -> str:
        return text_of(self.chunks(body, adapter))

    def refusal(self, body: dict[str, Any], adapter: str | None = None) -> RequestError:
        with pytest.raises(RequestError) as refused:
            self.chunks(body, adapter)
        return refused.value

    def close(self) -> None:
        self.run(self.engine.stop())
        self.loop.close()


def text_of(chunks: list[dict[str, Any]]) -> str:
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    return "".join(choice["delta"].get("content") or "" if "delta" in choice else choice["text"] for choice in choices)


def finish_of(chunks: list[dict[str, Any]]) -> str:
    return str(chunks[-2]["choices"][0]["finish_reason"])


def user(text: str, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], **more}


def make_adapter(model: Path, folder: Path, **config: Any) -> Path:
    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    torch.manual_seed(len(folder.name))
    lora = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False, **config)
    get_peft_model(base, lora).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    make_tiny_model(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = WITH_TOOLS
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[Served]:
    served = Served(folder, embeddings=True)
    yield served
    served.close()


@pytest.fixture(scope="module")
def reference(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def logprobs_of(model: Any, ids: list[int]) -> np.ndarray[Any, Any]:
    with torch.inference_mode():
        logprobs = model(input_ids=torch.tensor([ids])).logits[0, :-1].float().log_softmax(-1)
    return logprobs.gather(1, torch.tensor(ids[1:])[:, None])[:, 0].numpy()


def test_chat_is_what_transformers_generates(served: Served, reference: Any) -> None:
    chunks = served.chunks(user("the cat sees", logprobs=True, top_logprobs=3))
    for chunk in chunks:
        ChatCompletionChunk.model_validate(chunk, strict=True)
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert {chunk["model"] for chunk in chunks} == {"tiny"}

    tokenizer = AutoTokenizer.from_pretrained(served.folder)
    prompt = tokenizer.apply_chat_template(user("the cat sees")["messages"], add_generation_prompt=True)["input_ids"]
    written = reference.generate(torch.tensor([prompt]), max_new_tokens=16, do_sample=False)[0].tolist()
    assert text_of(chunks) == tokenizer.decode(written[len(prompt) :], skip_special_tokens=True)
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"] == {"prompt_tokens": len(prompt), "completion_tokens": 16, "total_tokens": len(written)}

    entries = [one for chunk in chunks[1:-2] for one in chunk["choices"][0]["logprobs"]["content"]]
    got = [one["logprob"] for one in entries]
    np.testing.assert_allclose(got, logprobs_of(reference, written)[len(prompt) - 1 :], atol=1e-4)
    assert bytes(byte for one in entries for byte in one["bytes"]).decode(errors="replace") == text_of(chunks)
    assert all(one["top_logprobs"][0]["logprob"] == pytest.approx(one["logprob"]) for one in entries)  # greedy


def test_completion_of_text_and_of_ids(served: Served) -> None:
    tokenizer = AutoTokenizer.from_pretrained(served.folder)
    of_text = served.chunks({"prompt": "the cat", "logprobs": 2, "max_tokens": 5})
    assert Completion.model_validate(of_text[-2], strict=True).choices[0].finish_reason == "length"
    assert text_of(of_text) == served.text({"prompt": tokenizer.encode("the cat"), "max_tokens": 5})
    logprobs = [chunk["choices"][0]["logprobs"] for chunk in of_text[:-2]]
    assert sum(len(one["tokens"]) for one in logprobs) == 5
    assert all(len(top) == 2 for one in logprobs for top in one["top_logprobs"])
    assert served.text({"prompt": "the cat", "echo": True, "max_tokens": 5}) == "the cat" + text_of(of_text)
    assert served.refusal({"prompt": "the cat", "echo": True, "logprobs": 0}).param == "echo"
    assert served.refusal({"prompt": [511, 512]}).param == "prompt"


def test_requests_that_come_and_go_do_not_disturb_each_other(served: Served) -> None:
    bodies = [user("the cat " * size, max_tokens=40 - 4 * size) for size in range(1, 9)]
    alone = [served.text(body) for body in bodies]

    async def together() -> list[list[dict[str, Any]]]:
        return await asyncio.gather(*(served.ask(body) for body in bodies))

    assert [text_of(chunks) for chunks in served.run(together())] == alone


def test_seeds_and_sampling(served: Served) -> None:
    one, again, other = (
        served.text(user("the dog", temperature=1, top_p=0.9, seed=seed, max_tokens=30)) for seed in (1, 1, 2)
    )
    assert one == again != other
    free = served.text(user("the dog", max_tokens=30))
    assert served.text(user("the dog", max_tokens=30, temperature=2, top_p=1e-6)) == free

    tokenizer = AutoTokenizer.from_pretrained(served.folder)
    usual = served.chunks(user("the dog", max_tokens=30, logprobs=True, top_logprobs=0))
    told = [one["token"] for chunk in usual[1:-2] for one in chunk["choices"][0]["logprobs"]["content"]]
    assert len(set(told)) < len(told)  # a model of random weights repeats itself
    varied = served.chunks(user("the dog", max_tokens=30, logprobs=True, presence_penalty=2, frequency_penalty=2))
    said = [one["token"] for chunk in varied[1:-2] for one in chunk["choices"][0]["logprobs"]["content"]]
    assert len(set(said)) > len(set(told))
    favourite = tokenizer.encode("cat")[0]
    assert served.text(user("the dog", max_tokens=3, logit_bias={str(favourite): 100})) == 3 * tokenizer.decode(
        [favourite]
    )
    assert served.refusal(user("the dog", logit_bias={"100000": 1})).param == "logit_bias"


def test_a_stop_string_ends_the_answer_and_never_shows(served: Served) -> None:
    body = user("the house", temperature=1, seed=5, max_tokens=40)
    whole = served.text(body)
    stop = whole[12:17]
    chunks = served.chunks({**body, "stop": [stop, "never said"]})
    assert text_of(chunks) == whole[: whole.index(stop)]
    assert finish_of(chunks) == "stop"
    assert chunks[-1]["usage"]["completion_tokens"] < 40
    assert served.text({**body, "stop": whole[-1] + "not this"}) == whole  # held back, but no stop


def test_the_probe_is_transformers(served: Served, reference: Any) -> None:
    sequences = [[1, 50, 60, 70, 80], [1, 90, 100]]
    scores = served.run(served.engine.probe(sequences, 5))
    np.testing.assert_allclose(
        scores.chosen, np.concatenate([logprobs_of(reference, ids) for ids in sequences]), atol=1e-4
    )
    assert scores.top_ids.shape == scores.top_logprobs.shape == (6, 5)
    with pytest.raises(HandoffError, match="too long"):
        served.run(served.engine.probe([[1] * 513], 5))


def test_adapters_are_chosen_by_request(served: Served, folder: Path, tmp_path: Path) -> None:
    from peft import PeftModel

    kinds: dict[str, dict[str, Any]] = {"red.1": {}, "blue": {}, "dora-1": {"use_dora": True}}
    base_scores = served.run(served.engine.probe([[1, 50, 60, 70]], 5))
    for name, config in kinds.items():
        served.run(served.engine.add_adapter(name, make_adapter(folder, tmp_path / name, **config)))
        alone = PeftModel.from_pretrained(
            AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32), tmp_path / name
        )
        scores = served.run(served.engine.probe([[1, 50, 60, 70]], 5, name))
        np.testing.assert_allclose(scores.chosen, logprobs_of(alone.eval(), [1, 50, 60, 70]), atol=1e-4)
    with pytest.raises(ModelError, match="already"):
        served.run(served.engine.add_adapter("blue", tmp_path / "blue"))

    wanted = ["red.1", None, "blue", "dora-1", "blue", "red.1"]
    bodies = [user("a tree " * size, max_tokens=20) for size in range(1, 7)]
    apart = [served.text(body, name) for body, name in zip(bodies, wanted, strict=True)]

    async def together() -> list[list[dict[str, Any]]]:
        return await asyncio.gather(*map(served.ask, bodies, wanted))

    assert [text_of(chunks) for chunks in served.run(together())] == apart
    assert len(set(apart)) > 1

    for name in kinds:
        served.run(served.engine.remove_adapter(name))
    assert served.refusal(bodies[0], "blue").status == 404
    np.testing.assert_array_equal(served.run(served.engine.probe([[1, 50, 60, 70]], 5)).chosen, base_scores.chosen)


def test_an_adapter_leaves_after_its_last_request(served: Served, folder: Path, tmp_path: Path) -> None:
    path = make_adapter(folder, tmp_path / "leaving")
    served.run(served.engine.add_adapter("leaving", path))

    async def remove_while_used() -> tuple[str, str]:
        stream = served.engine.chat(user("the cat", max_tokens=60, temperature=0), "leaving")
        begun = [json.loads(await anext(stream)), json.loads(await anext(stream))]
        removal = asyncio.create_task(served.engine.remove_adapter("leaving"))
        await asyncio.sleep(0)
        with pytest.raises(RequestError, match="no adapter"):
            await served.ask(user("the cat"), "leaving")
        assert not removal.done()
        rest = [json.loads(chunk) async for chunk in stream]
        await removal
        return text_of(begun + rest), finish_of(rest)

    text, finish = served.run(remove_while_used())
    assert finish == "length"
    served.run(served.engine.add_adapter("leaving", path))
    assert served.text(user("the cat", max_tokens=60), "leaving") == text
    served.run(served.engine.remove_adapter("leaving"))
    served.run(served.engine.check())


def test_an_adapter_of_another_model_is_refused(served: Served, folder: Path, tmp_path: Path) -> None:
    make_tiny_model(tmp_path / "other", hidden=128)
    make_adapter(tmp_path / "other", tmp_path / "wide")
    before = served.text(user("the cat"))
    for path in (tmp_path / "wide", folder, tmp_path / "nothing"):
        with pytest.raises(ModelError, match="does not fit"):
            served.run(served.engine.add_adapter("bad", path))
    renamed = make_adapter(folder, tmp_path / "renamed")
    from safetensors.torch import load_file, save_file

    weights = load_file(renamed / "adapter_model.safetensors")
    save_file(
        {key.replace("q_proj", "w_proj"): value for key, value in weights.items()},
        renamed / "adapter_model.safetensors",
    )
    with pytest.raises(ModelError, match="do not match"):
        served.run(served.engine.add_adapter("bad", renamed))
    assert served.text(user("the cat")) == before


def test_json_schemas(served: Served) -> None:
    schema = {
        "type": "object", "required": ["colour", "count"], "additionalProperties": False,
        "properties": {"colour": {"enum": ["red", "blue"]}, "count": {"type": "integer", "minimum": 0, "maximum": 99}},
    }  # fmt: skip
    asked = {"type": "json_schema", "json_schema": {"name": "thing", "schema": schema}}
    for seed in range(3):
        chunks = served.chunks(user("the cat", response_format=asked, temperature=1, seed=seed, max_tokens=60))
        jsonschema.validate(json.loads(text_of(chunks)), schema)
        assert finish_of(chunks) == "stop"
    free = served.text(user("the cat", response_format={"type": "json_object"}, max_tokens=20))
    assert free.startswith("{")
    asked["json_schema"] = {"name": "thing", "schema": {"type": "object", "not": {}}}
    stream = served.engine.chat(user("the cat", response_format=asked, max_tokens=9))
    with pytest.raises(RequestError) as refused:  # before the first chunk
        served.run(anext(stream))
    assert refused.value.code == "invalid_json_schema"


def test_forced_tool_calls(served: Served) -> None:
    for choice in ("required", {"type": "function", "function": {"name": "weather"}}):
        chunks = served.chunks(user("rain", tools=[WEATHER], tool_choice=choice, max_tokens=100))
        calls = [call for chunk in chunks[:-1] for call in chunk["choices"][0]["delta"].get("tool_calls", ())]
        assert [call["index"] for call in calls] == [0]
        assert calls[0]["function"]["name"] == "weather"
        assert json.loads(calls[0]["function"]["arguments"])["day"] in {"today", "tomorrow"}
        assert text_of(chunks) == ""
        assert finish_of(chunks) == "tool_calls"
    assert served.chunks(user("rain", tools=[WEATHER]))[-1]["usage"]["prompt_tokens"] > 50  # the template has them
    assert served.text(user("rain", tools=[WEATHER], tool_choice="none")) == served.text(user("rain"))


def test_a_request_is_refused(served: Served) -> None:
    long = served.refusal(user("cat " * 600))
    assert (long.status, long.param, long.code) == (400, "messages", "context_length_exceeded")
    assert served.refusal({"prompt": "cat " * 600}).param == "prompt"
    assert served.refusal({"prompt": ""}).param == "prompt"
    assert "Unicode" in served.refusal(user("\ud800")).message
    # What is left of the context limits the answer.
    chunks = served.chunks({"prompt": [5] * 506, "max_tokens": 100})
    assert chunks[-1]["usage"]["completion_tokens"] <= 6


def test_a_closed_stream_frees_its_place(served: Served) -> None:
    async def hang_up() -> str:
        streams = [served.engine.chat(user("the cat", max_tokens=200, temperature=1, seed=at)) for at in range(4)]
        for stream in streams:
            await anext(stream)
            await anext(stream)
        late = asyncio.create_task(served.ask(user("the dog", max_tokens=5)))
        for _ in range(5):
            await anext(streams[1])
        assert not late.done()  # all four places are taken
        await streams[0].aclose()
        text = text_of(await late)
        for stream in streams[1:]:
            await stream.aclose()
        return text

    assert served.run(hang_up()) == served.text(user("the dog", max_tokens=5))


def test_embeddings(served: Served, folder: Path) -> None:
    vectors, num_tokens = served.run(served.engine.embed(["the cat sees", "the dog"]))
    assert num_tokens > 2
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    with pytest.raises(RequestError) as refused:
        served.run(served.engine.embed(["cat " * 600]))
    assert refused.value.param == "input"


@pytest.mark.parametrize("method", ["int8", "nf4", "rtn", "hqq"])
def test_quantized_folders(method: str, tmp_path: Path) -> None:
    make_tiny_model(tmp_path / "model")
    quantizer = importlib.import_module(f"serving.quantizers.{method}")
    quantizer.quantize(tmp_path / "model", tmp_path / "small", quantizer.Config())
    adapter = make_adapter(tmp_path / "model", tmp_path / "lora")
    ids = [1, 50, 60, 70]
    full = logprobs_of(AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float32), ids)
    stored = AutoModelForCausalLM.from_pretrained(tmp_path / "small", dtype=torch.float32)
    packed = method in {"rtn", "hqq"}
    served = Served(tmp_path / "small", decompress=packed)
    try:
        plain = served.run(served.engine.probe([ids], 5)).chosen
        np.testing.assert_allclose(plain, logprobs_of(stored, ids), atol=1e-3)
        assert 0 < np.abs(plain - full).mean() < 0.5
        served.run(served.engine.add_adapter("lora", adapter))
        tuned = served.run(served.engine.probe([ids], 5, "lora")).chosen
        assert np.abs(tuned - plain).mean() > 0.1
        assert finish_of(served.chunks(user("the cat", max_tokens=4), "lora")) in {"length", "stop"}
    finally:
        served.close()
    if packed:
        as_stored = Served(tmp_path / "small")
        try:
            np.testing.assert_allclose(as_stored.run(as_stored.engine.probe([ids], 5)).chosen, plain, atol=1e-4)
            with pytest.raises(ModelError, match="packed"):
                as_stored.run(as_stored.engine.add_adapter("lora", adapter))
        finally:
            as_stored.close()


SMALL = {
    "vocab_size": 512, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 512, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
OTHERS = {
    "sliding windows": MistralConfig(**SMALL, sliding_window=8),
    "convolutions": Lfm2Config(**SMALL, layer_types=["conv", "full_attention"]),
    "no attention": MambaConfig(vocab_size=512, hidden_size=64, num_hidden_layers=2, bos_token_id=1, eos_token_id=2),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_other_kinds_of_caches(kind: str, tmp_path: Path) -> None:
    make_tokenizer(tmp_path)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(OTHERS[kind])
    model.save_pretrained(tmp_path)
    served = Served(tmp_path, batch_tokens=32)
    try:
        prompts = [[1, *range(10, 10 + size)] for size in (3, 50, 20)]

        async def together() -> list[list[dict[str, Any]]]:
            return await asyncio.gather(*(served.ask({"prompt": ids, "max_tokens": 12}) for ids in prompts))

        tokenizer = AutoTokenizer.from_pretrained(tmp_path)
        for ids, chunks in zip(prompts, served.run(together()), strict=True):
            written = model.eval().generate(torch.tensor([ids]), max_new_tokens=12, do_sample=False)[0, len(ids) :]
            assert text_of(chunks) == tokenizer.decode(written, skip_special_tokens=True)
    finally:
        served.close()


def test_models_that_cannot_be_opened(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(ModelError, match="tokenizer"):
        Engine(Config(), tmp_path, "none", 1)
    make_tokenizer(tmp_path)
    with pytest.raises(ModelError, match="cannot open"):
        Engine(Config(), tmp_path, "none", 1)
    with pytest.raises(ModelError, match="context is shorter"):
        Engine(Config(context_tokens=1024), folder, "short", 1)


def test_text_comes_in_whole_characters(folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    text = "a 🎉 é 漢字 the cat\n"
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert len(ids) > len(text.split())
    reader = TextReader(tokenizer, ["never"])
    pieces = [reader.read(Token(one)) for one in ids] + [reader.end()]
    assert "".join(piece.text for piece in pieces) == text
    assert not any("\ufffd" in piece.text for piece in pieces)
    assert [token.id for piece in pieces for _, token in piece.tokens] == ids
    names = TokenNames(tokenizer)
    assert b"".join(names.bytes(one) for one in ids).decode() == text
    garbage = TextReader(tokenizer, [])
    party = tokenizer.encode("🎉", add_special_tokens=False)
    spoken = "".join(garbage.read(Token(one)).text for one in [party[0]] * 50) + garbage.end().text
    assert set(spoken) == {"\ufffd"}


def test_tool_calls_are_found_in_text() -> None:
    answer = (
        'Well. <tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>\n<tool_call>{"name": "g"}</tool_call>'
    )
    for size in (1, 3, len(answer)):
        reader = ToolCallReader()
        parts = [reader.read(answer[at : at + size]) for at in range(0, len(answer), size)] + [reader.end()]
        assert "".join(content for content, _ in parts) == "Well. "
        calls = [call["function"] for _, found in parts for call in found]
        assert calls == [{"name": "f", "arguments": '{"a": 1}'}, {"name": "g", "arguments": "{}"}]
        assert reader.num_calls == 2
    reader = ToolCallReader()
    assert reader.read("<tool_call>no json</tool_call> a < b")[0] + reader.end()[0] == (
        "<tool_call>no json</tool_call> a < b"
    )
    jsonschema.validate({"name": "weather", "arguments": {"day": "today"}}, call_schema([WEATHER], None))


def test_templates_that_cannot_hold_the_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_tokenizer(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)

    def refusal(template: str | None, body: dict[str, Any]) -> str:
        tokenizer.chat_template = template
        with pytest.raises(RequestError) as refused:
            asyncio.run(PromptReader(tokenizer, 256).chat(body))
        assert refused.value.status == 400
        return f"{refused.value.param}: {refused.value.message}"

    assert refusal(TEMPLATE, user("a", tools=[WEATHER])).startswith("tools: The model's chat template ignores")
    assert "another form" in refusal("{{ tools }}" + TEMPLATE, user("a", tools=[WEATHER]))
    assert "no chat template" in refusal(None, user("a"))
    assert "alternate" in refusal("{{ raise_exception('roles must alternate') }}", user("a"))
    assert "unsafe" in refusal(
        "{{ messages.__class__.__mro__ }}{{ ''.__class__.__mro__[1].__subclasses__() }}", user("a")
    )
    tokenizer.chat_template = "x" * 300_000
    with pytest.raises(ModelError, match="too long"):
        PromptReader(tokenizer, 256)
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    called = {"role": "assistant", "tool_calls": [call]}
    tokenizer.chat_template = "{% for m in messages %}{{ m.tool_calls[0].function.arguments.a }}{% endfor %}"
    prompt: Prompt = asyncio.run(PromptReader(tokenizer, 256).chat({"messages": [called]}))
    assert tokenizer.decode(prompt.ids) == "1"

    monkeypatch.setattr(_prompts, "RENDER_TIMEOUT_S", 0.01)
    tokenizer.chat_template = "{% for a in range(5000) %}{% for b in range(500) %}{% endfor %}{% endfor %}"
    with pytest.raises(RequestError) as slow:
        asyncio.run(PromptReader(tokenizer, 256).chat(user("a")))
    assert slow.value.status == 503
