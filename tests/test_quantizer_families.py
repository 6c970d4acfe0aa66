"""Quantization of other families, number formats and layouts than the Llama of test_quantizers.py."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cluster.errors import ModelError
from serving.quantize import quantizer_of
from serving.quantizers import _folder, awq, gptq, rtn
from serving.quantizers._on_grid import quantize_on_grid
from serving.quantizers._source import open_source
from serving.quantizers._walk import Layer, walk
from tests.test_quantizers import IDS, changed, dequantized, divergence, logprobs, make_sharp_model, tensors
from tests.tiny import make_tokenizer

TEXT = np.random.default_rng(0).integers(3, 500, (8, 48))
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {"num_key_value_heads": 4, "tie_word_embeddings": False},  # values of their own for each head
    "mistral": {"sliding_window": None},
    "qwen2": {},  # queries, keys and values with bias
    "qwen3": {"head_dim": 64},  # norms in the attention, heads wider than the model's width shared among them
}


def make(folder: Path, family: str, dtype: torch.dtype = torch.bfloat16, **keys: Any) -> Path:
    """A model of a family whose weights differ in size from channel to channel, biases included."""
    from transformers import AutoConfig, AutoModelForCausalLM

    make_tokenizer(folder)
    torch.manual_seed(0)
    config: Any = AutoConfig.for_model(
        family, vocab_size=512, hidden_size=128, intermediate_size=256, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=512, bos_token_id=1, eos_token_id=2, pad_token_id=2,
        **{"num_key_value_heads": 2, "tie_word_embeddings": True, **FAMILIES[family], **keys},
    )  # fmt: skip
    factory: Any = AutoModelForCausalLM
    model = factory.from_config(config)
    for name, parameter in model.named_parameters():
        if "proj" in name:
            parameter.data = torch.randn_like(parameter) * (0.08 if name.endswith("weight") else 0.2)
        elif "norm" in name:
            parameter.data = 1 + 0.5 * torch.rand_like(parameter)
    model.to(dtype).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind", ["gptq", "awq"])
@pytest.mark.parametrize("family", list(FAMILIES))
def test_a_family_keeps_what_it_says(family: str, kind: str, tmp_path: Path) -> None:
    model = make(tmp_path / "model", family)
    config = importlib.import_module(f"serving.quantizers.{kind}").Config()
    result = quantizer_of(config).quantize(model, tmp_path / "out", config, TEXT)
    plain = rtn.quantize(model, tmp_path / "rtn", rtn.Config())
    before, after, rounded = (logprobs(folder, IDS) for folder in (model, result.path, plain.path))
    assert divergence(before, after) < min(0.2, 1.2 * divergence(before, rounded))
    untied = not json.loads((model / "config.json").read_text())["tie_word_embeddings"]
    assert ("lm_head.weight" in tensors(result.path)) is untied
    if untied:
        assert torch.equal(tensors(result.path)["lm_head.weight"], tensors(model)["lm_head.weight"])


@pytest.mark.parametrize("family", list(FAMILIES))
def test_awq_s_scales_alone_change_nothing(family: str, tmp_path: Path) -> None:
    """Norms, projections and biases before a layer carry the inverse: the layer computes what it did."""
    source = open_source(make(tmp_path / "model", family, torch.float32))
    scaled = set()
    for layer in walk(source, torch.from_numpy(TEXT)):
        before, weights = layer.first(), {name: one.weight.clone() for name, one in layer.linears.items()}
        awq.prepare(awq.Config(), layer, layer.inputs())
        after = layer.first()
        assert before is not None
        assert after is not None
        assert torch.allclose(before, after, rtol=1e-3, atol=1e-3 * float(before.abs().mean()))
        scaled |= {name for name, one in layer.linears.items() if not torch.equal(one.weight, weights[name])}
    shared_values = family != "llama"
    assert {"mlp.down_proj", "mlp.gate_proj", "self_attn.q_proj"} <= scaled
    assert ("self_attn.o_proj" in scaled) is not shared_values


def test_awq_refuses_a_layer_that_it_would_change(tmp_path: Path) -> None:
    """A norm that adds one to its weights, like Gemma's, cannot carry the inverse."""

    class AddsOne(torch.nn.Module):
        def __init__(self, weight: torch.Tensor) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(weight - 1, requires_grad=False)

        def forward(self, hidden: torch.Tensor) -> torch.Tensor:
            return hidden * hidden.pow(2).mean(-1, keepdim=True).rsqrt() * (1 + self.weight)

    source = open_source(make(tmp_path / "model", "llama"))
    layer: Layer = next(walk(source, torch.from_numpy(TEXT)))
    module: Any = layer.module
    module.input_layernorm = AddsOne(module.input_layernorm.weight.detach())
    with pytest.raises(ModelError, match="change what a layer computes"):
        awq.prepare(awq.Config(), layer, layer.inputs())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_scales_are_those_of_the_file(dtype: torch.dtype, tmp_path: Path) -> None:
    """Weights too small for a float16 scale become zeros, not noise; the text goes on through what the file holds."""
    model = make(tmp_path / "model", "llama", dtype)
    name = "model.layers.0.mlp.up_proj.weight"
    model = changed(model, tmp_path / "small", lambda weights: weights[name][:, :32].mul_(1e-6))
    for config, text in ((gptq.Config(), TEXT), (rtn.Config(), None)):
        result = quantizer_of(config).quantize(model, tmp_path / config.kind, config, text)
        stored = tensors(result.path)
        assert stored[name.replace(".weight", ".weight_scale")].dtype == dtype
        found, wanted = dequantized(result.path, model)[name], tensors(model)[name].float()
        assert (found[:, :32] - wanted[:, :32]).abs().max() < 1e-6
        assert divergence(logprobs(model, IDS), logprobs(result.path, IDS)) < 0.2


def test_shards_in_and_shards_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import AutoModelForCausalLM

    make_sharp_model(tmp_path / "model")
    factory: Any = AutoModelForCausalLM
    whole = factory.from_pretrained(tmp_path / "model", dtype=torch.bfloat16)
    make_tokenizer(tmp_path / "sharded")
    whole.save_pretrained(tmp_path / "sharded", max_shard_size="200KB")
    assert len(list((tmp_path / "sharded").glob("*.safetensors"))) > 2
    one = gptq.quantize(tmp_path / "model", tmp_path / "one", gptq.Config(), TEXT)
    monkeypatch.setattr(_folder, "SHARD_BYTES", 100_000)
    many = gptq.quantize(tmp_path / "sharded", tmp_path / "many", gptq.Config(), TEXT)
    index = json.loads((many.path / "model.safetensors.index.json").read_text())
    files = sorted(path.name for path in many.path.glob("*.safetensors"))
    assert len(files) > 2
    assert sorted(set(index["weight_map"].values())) == files
    assert index["metadata"]["total_size"] == many.size_bytes == one.size_bytes
    assert torch.equal(logprobs(one.path, IDS), logprobs(many.path, IDS))


def test_a_solver_that_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    make_sharp_model(tmp_path / "model")
    calls = []

    def failing(config: Any, weight: torch.Tensor, _: torch.Tensor | None) -> Any:
        calls.append(1)
        if len(calls) > 3:
            raise RuntimeError("killed")
        return rtn.solve(config, weight)

    with pytest.raises(RuntimeError):
        quantize_on_grid(tmp_path / "model", tmp_path / "out", rtn.Config(), None, None, failing)
    assert not (tmp_path / "out").exists()
