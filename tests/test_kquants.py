"""k-quants: what llama.cpp computes from the written file equals what transformers computes from the folder."""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
import transformers
from gguf import GGMLQuantizationType as Type
from safetensors.torch import load_file, save_file

from cluster.errors import ModelError, ResourceError
from cluster.storage import require_free_space
from serving.quantizers import _ggml
from serving.quantizers.kquants import Config, write_file
from tests.kquants_models import (
    CHAT_TEMPLATE,
    LLAMA3_ROPE,
    PRE_TOKENIZERS,
    TEXTS,
    LlamaCpp,
    make_model,
    make_tokenizer,
)

VARIANTS: dict[str, dict[str, Any]] = {
    "llama": {},
    "llama_wide_heads": {"head_dim": 96, "attention_bias": True, "mlp_bias": True},
    "llama_rope3": {"rope_parameters": LLAMA3_ROPE},
    "llama_linear": {"rope_parameters": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}},
    "llama_untied": {"tie_word_embeddings": False},
    "mistral": {},
    "qwen2": {},
    "qwen3": {"head_dim": 64},
}
MakeModel = Callable[..., Path]


@pytest.fixture(scope="module")
def make_folder(tmp_path_factory: pytest.TempPathFactory) -> MakeModel:
    """Writes a small random model, and its tokenizer, to a new folder."""
    tokenizer = make_tokenizer()

    def make(family: str = "llama", **options: Any) -> Path:
        folder = make_model(tmp_path_factory.mktemp(family), family, **options)
        tokenizer.save_pretrained(folder)
        return folder

    return make


@pytest.fixture(scope="module")
def llama(make_folder: MakeModel) -> Path:
    return make_folder()


def prompts(folder: Path) -> list[list[int]]:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    return [*(tokenizer(text).input_ids for text in TEXTS[:6]), list(range(3, 163))]


def divergences(folder: Path, engine: LlamaCpp) -> list[float]:
    """KL (nats) from transformers' next token (float32) to llama.cpp's, for each prompt."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    found = []
    for ids in prompts(folder):
        with torch.no_grad():
            expected = model(torch.tensor([ids])).logits[0, -1].double().log_softmax(-1).numpy()
        got = engine.log_probs(ids)
        found.append(float((np.exp(expected) * (expected - got)).sum()))
    return found


@pytest.mark.parametrize(
    ("name", "relative_error"),
    [
        ("F16", 0.0003),
        ("BF16", 0.002),
        ("Q8_0", 0.006),
        ("Q6_K", 0.02),
        ("Q5_K", 0.04),
        ("Q5_0", 0.05),
        ("Q5_1", 0.04),
        ("Q4_K", 0.08),
        ("Q4_0", 0.09),
        ("Q3_K", 0.16),
        ("Q2_K", 0.31),
    ],
)
def test_blocks_read_back(name: str, relative_error: float) -> None:
    weights = np.random.default_rng(0).standard_normal((130, 512), dtype=np.float32)
    encoded = _ggml.quantize_rows(weights, Type[name])
    decoded = gguf.quants.dequantize(encoded, Type[name])
    error = np.linalg.norm(decoded - weights) / np.linalg.norm(weights)
    assert relative_error / 2 < error < relative_error
    assert np.array_equal(encoded, _ggml.quantize_rows(weights, Type[name], num_threads=2))


def test_importance_keeps_the_columns_that_matter() -> None:
    weights = np.random.default_rng(0).standard_normal((64, 256), dtype=np.float32)
    importance = np.where(np.arange(256) % 8 == 0, 100.0, 1.0).astype(np.float32)

    def weighted_error(**options: Any) -> float:
        encoded = _ggml.quantize_rows(weights, Type.Q4_K, **options)
        return float((importance * (gguf.quants.dequantize(encoded, Type.Q4_K) - weights) ** 2).sum())

    assert weighted_error(importance=importance) < 0.7 * weighted_error()


def test_kernels_never_see_a_wrong_argument() -> None:
    weights = np.ones((4, 192), dtype=np.float32)
    with pytest.raises(ValueError, match="blocks of 256"):
        _ggml.quantize_rows(weights, Type.Q4_K)
    with pytest.raises(ValueError, match="n_rows"):
        _ggml.quantize_rows(weights[0], Type.Q8_0)
    with pytest.raises(ValueError, match="importance of shape"):
        _ggml.quantize_rows(weights, Type.Q8_0, importance=weights[0, :64])
    with pytest.raises(ValueError, match="needs an importance"):
        _ggml.quantize_rows(np.ones((4, 256), dtype=np.float32), Type.IQ2_XXS)


@pytest.mark.parametrize("variant", VARIANTS)
def test_llama_cpp_computes_what_transformers_computes(variant: str, make_folder: MakeModel, tmp_path: Path) -> None:
    folder = make_folder(variant.partition("_")[0], **VARIANTS[variant])
    write_file(folder, tmp_path / "model.gguf", Config(recipe="F16"))
    engine = LlamaCpp(tmp_path / "model.gguf")
    # 2e-5 was measured; a wrong rotary base, order of heads or norm epsilon gives thousands of times more.
    assert max(divergences(folder, engine)) < 1e-4


@pytest.mark.parametrize("hidden", [256, 192])
def test_fewer_bits_are_smaller_and_stay_close(hidden: int, make_folder: MakeModel, tmp_path: Path) -> None:
    folder = make_folder(hidden=hidden)
    steps: list[tuple[int, int]] = []
    eight = write_file(folder, tmp_path / "q8.gguf", Config(recipe="Q8_0"))
    four = write_file(folder, tmp_path / "q4.gguf", Config(), lambda done, total: steps.append((done, total)))
    # Wider: the embedding, which is the head too, and v_proj and down_proj of the last layer.
    wide, base = ("Q6_K", "Q4_K") if hidden == 256 else ("Q8_0", "Q5_0")
    found = [tensor.tensor_type.name for tensor in gguf.GGUFReader(four.path).tensors]
    assert four.tensor_types == {wide: 3, base: 12, "F32": 5} == dict(Counter(found))
    assert steps == [(index, len(found)) for index in range(1, len(found) + 1)]
    assert four.size_bytes == four.path.stat().st_size < eight.size_bytes
    assert four.bits_per_weight < eight.bits_per_weight < 8.6

    engine = LlamaCpp(four.path)
    assert np.mean(divergences(folder, LlamaCpp(eight.path))) < 0.01
    assert 0.01 < np.mean(divergences(folder, engine)) < 0.3
    answer = engine.server.handle_completions({"prompt": "def main", "n_predict": 8, "ignore_eos": True})
    assert answer["usage"]["completion_tokens"] == 8


@pytest.mark.parametrize("name", PRE_TOKENIZERS)
def test_token_ids_and_chat_template_are_the_same(name: str, llama: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(llama, folder)
    make_tokenizer(name).save_pretrained(folder)
    write_file(folder, tmp_path / "model.gguf", Config(recipe="Q8_0"))
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    engine = LlamaCpp(tmp_path / "model.gguf")
    for text in TEXTS:
        got = engine.ask("/tokenize", content=text, add_special=True, parse_special=True)["tokens"]
        assert got == tokenizer(text).input_ids, text
    turns = (("user", "Hi 12  there"), ("assistant", "Yes"), ("user", "é?"))
    messages = [{"role": role, "content": content} for role, content in turns]
    rendered = engine.ask("/apply-template", messages=messages)["prompt"]
    assert rendered == tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    fields = gguf.GGUFReader(tmp_path / "model.gguf").fields
    assert fields["tokenizer.chat_template"].contents() == CHAT_TEMPLATE
    assert fields["tokenizer.ggml.pre"].contents() == name


def test_begin_token_is_added_where_transformers_adds_it(llama: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(llama, folder)
    spec = json.loads((folder / "tokenizer.json").read_text())
    spec["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<|im_start|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<|im_start|>": {"id": "<|im_start|>", "ids": [1], "tokens": ["<|im_start|>"]}},
    }
    (folder / "tokenizer.json").write_text(json.dumps(spec))
    write_file(folder, tmp_path / "model.gguf", Config(recipe="Q8_0"))
    expected = transformers.AutoTokenizer.from_pretrained(folder)("Hello").input_ids
    assert expected[0] == 1
    assert LlamaCpp(tmp_path / "model.gguf").ask("/tokenize", content="Hello", add_special=True)["tokens"] == expected


def edit_config(folder: Path, **fields: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def edit_weights(folder: Path, edit: Callable[[dict[str, torch.Tensor]], object]) -> None:
    weights = load_file(folder / "model.safetensors")
    edit(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def edit_tokenizer(folder: Path, **fields: Any) -> None:
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def remove_tokenizer(folder: Path) -> None:
    for path in folder.glob("tokenizer*"):
        path.unlink()


def shrink_vocabulary(folder: Path) -> None:
    edit_config(folder, vocab_size=900)
    name = "model.embed_tokens.weight"
    edit_weights(folder, lambda weights: weights.update({name: weights[name][:900].clone()}))


def poison(weights: dict[str, torch.Tensor]) -> None:
    weights["model.layers.1.mlp.up_proj.weight"][3, 5] = float("nan")


def blow_up(weights: dict[str, torch.Tensor]) -> None:
    weights["model.layers.1.mlp.up_proj.weight"][3, 5] = 1e30


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no folder": (shutil.rmtree, "config.json is missing"),
    "adapter": (
        lambda folder: (folder / "config.json").rename(folder / "adapter_config.json"),
        "merge the adapter into its base",
    ),
    "config cut short": (lambda folder: (folder / "config.json").write_text('{"model_ty'), "not JSON"),
    "config not an object": (lambda folder: (folder / "config.json").write_text("[]"), "not a JSON object"),
    "index cut short": (
        lambda folder: (folder / "model.safetensors.index.json").write_text('{"weight'),
        "model.safetensors.index.json is not JSON",
    ),
    "index without weights": (
        lambda folder: (folder / "model.safetensors.index.json").write_text("{}"),
        "names no weights",
    ),
    "architecture": (lambda folder: edit_config(folder, model_type="gpt2"), r"gpt2(.|\n)*llama, mistral, qwen2"),
    "reward model": (
        lambda folder: edit_config(folder, architectures=["LlamaForSequenceClassification"]),
        "Only a model that writes text",
    ),
    "quantized": (
        lambda folder: edit_config(folder, quantization_config={"quant_method": "gptq"}),
        "quantized already(.|\n)*gptq",
    ),
    "activation": (lambda folder: edit_config(folder, hidden_act="gelu"), "hidden_act(.|\n)*gelu(.|\n)*silu"),
    "rope": (
        lambda folder: edit_config(folder, rope_parameters={"rope_type": "yarn", "rope_theta": 1e4, "factor": 2.0}),
        "yarn",
    ),
    "no weights": (lambda folder: (folder / "model.safetensors").rename(folder / "model.bin"), "No weights here"),
    "weights cut short": (
        lambda folder: (folder / "model.safetensors").write_bytes(b"\x10" + bytes(20)),
        "damaged or cut short",
    ),
    "tensor missing": (
        lambda folder: edit_weights(folder, lambda weights: weights.pop("model.norm.weight")),
        "missing(.|\n)*model.norm.weight",
    ),
    "unmerged adapter": (
        lambda folder: edit_weights(folder, lambda weights: weights.update({"a.lora_A.weight": torch.ones(2)})),
        "lora_A",
    ),
    "other shape": (lambda folder: edit_config(folder, intermediate_size=1024), "shape differs"),
    "integers": (
        lambda folder: edit_weights(
            folder, lambda weights: weights.update({"model.norm.weight": torch.ones(256, dtype=torch.int8)})
        ),
        "not floating point",
    ),
    "not a number": (
        lambda folder: edit_weights(folder, poison),
        r"NaN or infinity(.|\n)*model.layers.1.mlp.up_proj.weight(.|\n)*1 of 131072",
    ),
    "too large": (
        lambda folder: edit_weights(folder, blow_up),
        r"too large for their type(.|\n)*model.layers.1.mlp.up_proj.weight(.|\n)*Q4_K cannot hold(.|\n)*1e\+30",
    ),
    "no tokenizer": (remove_tokenizer, "No tokenizer"),
    "unknown splitting": (
        lambda folder: edit_tokenizer(folder, pre_tokenizer={"type": "Whitespace"}),
        r"no equal of this tokenizer(.|\n)*Whitespace",
    ),
    "normalizer": (lambda folder: edit_tokenizer(folder, normalizer={"type": "Lowercase"}), "Lowercase"),
    "too many tokens": (
        shrink_vocabulary,
        "no embedding",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_named_and_leave_nothing(fault: str, llama: Path, tmp_path: Path) -> None:
    break_it, message = FAULTS[fault]
    folder, out = tmp_path / "model", tmp_path / "out"
    shutil.copytree(llama, folder)
    out.mkdir()
    (out / "model.gguf").write_text("the earlier one")
    break_it(folder)
    with pytest.raises(ModelError, match=message):
        write_file(folder, out / "model.gguf", Config())
    assert [path.name for path in out.iterdir()] == ["model.gguf"]
    assert (out / "model.gguf").read_text() == "the earlier one"


def test_shards(llama: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(llama, folder)
    (folder / "model.safetensors").rename(folder / "consolidated.safetensors")
    model = transformers.AutoModelForCausalLM.from_pretrained(llama)
    model.save_pretrained(folder, max_shard_size="1MB")
    shards = sorted(folder.glob("model-*.safetensors"))
    assert len(shards) > 2
    whole = write_file(llama, tmp_path / "whole.gguf", Config())
    assert write_file(folder, tmp_path / "shards.gguf", Config()).tensor_types == whole.tensor_types
    tensors = [{t.name: t.data.tobytes() for t in gguf.GGUFReader(path).tensors} for path in tmp_path.glob("*.gguf")]
    assert tensors[0] == tensors[1]
    shards[1].unlink()
    with pytest.raises(ModelError, match=f"missing(.|\n)*{shards[1].name}"):
        write_file(folder, tmp_path / "other.gguf", Config())


def test_disk_without_room(llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ResourceError, match="Not enough disk space for the quantized model"):
        require_free_space(tmp_path, 2**60, "for the quantized model")
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=100_000))
    with pytest.raises(ResourceError, match="Not enough disk space for the quantized model"):
        write_file(llama, tmp_path / "out" / "model.gguf", Config())
    assert list((tmp_path / "out").iterdir()) == []


def test_disk_that_fills_up_while_writing(llama: Path, tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, limits[1]))  # bytes; the file would take twice that
    try:
        with pytest.raises(ResourceError, match="could not be written"):
            write_file(llama, tmp_path / "out" / "model.gguf", Config(recipe="F16"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list((tmp_path / "out").iterdir()) == []


def test_importing_the_config_is_light() -> None:
    script = (
        "import sys, serving.quantizers.kquants as k; k.Config(); assert not {'torch', 'gguf'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(__file__).parent.parent, timeout=60)
