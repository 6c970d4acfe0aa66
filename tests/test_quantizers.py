"""Methods of quantization: what they write loads in stock transformers and vLLM, and is what they said it is."""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from cluster.errors import ModelError, ResourceError
from serving.quantize import Quantized, quantizer_of
from serving.quantizers import awq, gptq, hqq, rtn
from serving.quantizers._grid import GridConfig, decode, encode, fit
from tests.tiny import make_tiny_model

CASES: dict[str, dict[str, Any]] = {
    "rtn-4g32": {"kind": "rtn"},
    "rtn-4g32s": {"kind": "rtn", "symmetric": True},
    "rtn-8g64": {"kind": "rtn", "bits": 8, "group": 64},
    "hqq-4g32": {"kind": "hqq"},
    "gptq-4g32": {"kind": "gptq"},
    "gptq-4g64s": {"kind": "gptq", "group": 64, "symmetric": True, "order": "none"},
    "awq-4g32": {"kind": "awq"},
    "int8": {"kind": "int8"},
    "nf4": {"kind": "nf4"},
}
BITS = {
    "rtn-4g32": 4.625, "rtn-4g32s": 4.5, "rtn-8g64": 8.375, "hqq-4g32": 4.625, "gptq-4g32": 4.625, "gptq-4g64s": 4.25,
    "awq-4g32": 4.625, "int8": 8 + 32 / 150, "nf4": 4.127,
}  # fmt: skip
"""A weight of a linear layer, from the format's definition; NF4's constant tables are large beside a tiny layer."""
PACKED = [name for name, keys in CASES.items() if keys["kind"] not in ("int8", "nf4")]


def config_of(keys: dict[str, Any]) -> Any:
    return importlib.import_module(f"serving.quantizers.{keys['kind']}").Config(**keys)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    make_sharp_model(folder)
    return folder


def make_sharp_model(folder: Path) -> None:
    """A model whose logits are not flat: its matrices are larger than at the beginning of a training."""
    make_tiny_model(folder, hidden=128)
    weights = load_file(folder / "model.safetensors")
    save_file(
        {name: tensor * 4 if "proj" in name else tensor for name, tensor in weights.items()},
        folder / "model.safetensors", metadata={"format": "pt"},
    )  # fmt: skip


@pytest.fixture(scope="module")
def text() -> NDArray[np.int64]:
    return np.random.default_rng(0).integers(3, 500, (8, 48))


@pytest.fixture(scope="module")
def made(model: Path, text: NDArray[np.int64], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Quantized]:
    """Each case, quantized once."""
    found: dict[str, Quantized] = {}

    def make(name: str) -> Quantized:
        if name not in found:
            config = config_of(CASES[name])
            assert config.label == name
            out = tmp_path_factory.mktemp("quantized") / name
            found[name] = quantizer_of(config).quantize(model, out, config, text if config.calibrated else None)
        return found[name]

    return make


def logprobs(folder: Path, ids: torch.Tensor, **keys: Any) -> torch.Tensor:
    from transformers import AutoModelForCausalLM

    factory: Any = AutoModelForCausalLM
    loaded = factory.from_pretrained(folder, dtype=torch.float32, **keys).eval()
    for module in loaded.modules():
        # Exact products: bitsandbytes' own round activations, or scales, once more.
        if type(module).__name__ == "Linear8bitLt":
            module.training = True
        if type(module).__name__ == "Linear4bit":
            module.support_avx512bf16_for_cpu = False
    with torch.no_grad():
        found: torch.Tensor = loaded(ids).logits.float().log_softmax(-1)
    return found


def divergence(before: torch.Tensor, after: torch.Tensor) -> float:
    """Nats a token."""
    return float((before.exp() * (before - after)).sum(-1).mean())


IDS = torch.from_numpy(np.random.default_rng(1).integers(3, 500, (2, 40)))


def dequantized(folder: Path, source: Path) -> dict[str, torch.Tensor]:
    """The weights that a packed folder stands for, unpacked by compressed-tensors' own function."""
    from compressed_tensors.compressors.pack_quantized import unpack_from_int32

    config = json.loads((folder / "config.json").read_text())["quantization_config"]
    weights = config["config_groups"]["group_0"]["weights"]
    bits, group = weights["num_bits"], weights["group_size"]
    stored = load_file(folder / "model.safetensors")
    found = {name: tensor for name, tensor in stored.items() if not name.rpartition(".")[2].startswith("weight_")}
    for name in [name.removesuffix("_packed") for name in stored if name.endswith("_packed")]:
        shape = torch.Size(stored[f"{name}_shape"].tolist())
        codes = unpack_from_int32(stored[f"{name}_packed"], bits, shape).float()
        scale = stored[f"{name}_scale"].float().repeat_interleave(group, 1)
        zero = torch.zeros_like(scale)
        if not weights["symmetric"]:
            zeros = torch.Size((shape[0], shape[1] // group))
            packed = stored[f"{name}_zero_point"]
            zero = unpack_from_int32(packed, bits, zeros, packed_dim=0).float().repeat_interleave(group, 1)
        found[name] = (codes - zero) * scale
    assert found.keys() == load_file(source / "model.safetensors").keys()
    return found


@pytest.mark.parametrize("name", list(CASES))
def test_stock_transformers_loads_it(name: str, made: Callable[[str], Quantized], model: Path, tmp_path: Path) -> None:
    result = made(name)
    before, after = logprobs(model, IDS), logprobs(result.path, IDS)
    assert 0 < divergence(before, after) < (0.002 if "8" in name.rsplit("-", maxsplit=1)[-1] else 0.2)
    assert (result.path / "tokenizer.json").read_bytes() == (model / "tokenizer.json").read_bytes()
    stored = 8 * sum(tensor.numel() * tensor.element_size() for tensor in tensors(result.path).values())
    weights = sum(tensor.numel() for tensor in tensors(model).values())
    assert result.bits_per_weight == pytest.approx(stored / weights, rel=1e-6)
    assert result.size_bytes >= stored / 8
    assert len(result.losses) == 14
    assert result.layer_bits == pytest.approx(BITS[name], rel=0.02 if name != "nf4" else 0.3)
    if name in PACKED:  # it computes with exactly the weights that the file stands for
        plain = tmp_path / "plain"
        shutil.copytree(model, plain)
        save_file(dequantized(result.path, model), plain / "model.safetensors", metadata={"format": "pt"})
        assert torch.equal(after, logprobs(plain, IDS))


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def test_it_generates_in_stock_transformers(made: Callable[[str], Quantized]) -> None:
    from transformers import AutoModelForCausalLM

    factory: Any = AutoModelForCausalLM
    for name in ("gptq-4g32", "int8", "nf4"):
        loaded = factory.from_pretrained(made(name).path, dtype=torch.bfloat16)
        written = loaded.generate(IDS[:1], max_new_tokens=4, do_sample=False, pad_token_id=2)
        assert written.shape[1] > IDS.shape[1]


def test_bitsandbytes_own_folders_are_the_same(made: Callable[[str], Quantized], model: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    factory: Any = AutoModelForCausalLM
    for name, config in (
        ("int8", BitsAndBytesConfig(load_in_8bit=True)),
        ("nf4", BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True)),
    ):
        theirs = factory.from_pretrained(model, dtype="auto", quantization_config=config, device_map={"": "cpu"})
        theirs.save_pretrained(tmp_path / name)
        expected, found = tensors(tmp_path / name), tensors(made(name).path)
        assert expected.keys() == found.keys()
        for key, tensor in expected.items():
            if "quant_state" not in key:  # JSON of the same numbers
                assert torch.equal(tensor, found[key]), key


# --- methods against each other


@pytest.fixture(scope="module")
def layer() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A weight [96, 128], inputs [512, 128] with a few large, correlated columns, and their Hessian."""
    torch.manual_seed(0)
    mix = torch.eye(128) + 0.4 * torch.randn(128, 128) / 128**0.5
    inputs = (torch.randn(512, 128) * torch.logspace(-1, 1, 128)[torch.randperm(128)]) @ mix
    return torch.randn(96, 128) * 0.05, inputs, inputs.t() @ inputs / 512


def output_error(weight: torch.Tensor, inputs: torch.Tensor, config: GridConfig, solved: Any) -> float:
    found = decode(*solved, config)
    return float((inputs @ (found - weight).t()).square().mean() / (inputs @ weight.t()).square().mean())


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("order", ["activation", "none"])
def test_gptq_is_closer_than_rounding(layer: Any, order: str, symmetric: bool) -> None:
    weight, inputs, hessian = layer
    plain = rtn.Config(symmetric=symmetric)
    config = gptq.Config.model_validate({"order": order, "symmetric": symmetric, "least_range": 1.0})
    rounded = output_error(weight, inputs, plain, rtn.solve(plain, weight))
    assert output_error(weight, inputs, config, gptq.solve(config, weight, hessian)) < 0.5 * rounded


def test_gptq_follows_the_paper(layer: Any) -> None:
    """Algorithm 1 of arXiv 2210.17323 without blocks, in float64, straight from the inverse Hessian."""
    weight, _, hessian = layer
    config = gptq.Config(order="none", least_range=1.0)
    levels = fit(weight, config)
    damped = hessian.double() + 0.01 * hessian.diagonal().mean().double() * torch.eye(128, dtype=torch.float64)
    inverse, rest = damped.inverse(), weight.double().clone()
    codes = torch.empty_like(rest)
    for column in range(128):
        scale, zero = (one[:, column // 32].double() for one in levels)
        codes[:, column] = ((rest[:, column] / scale).round() + zero).clamp(0, 15)
        error = (rest[:, column] - (codes[:, column] - zero) * scale) / inverse[column, column]
        rest -= error[:, None] * inverse[column][None]
        inverse = inverse - inverse[:, column, None] * inverse[None, column] / inverse[column, column]
    found, _ = gptq.solve(config, weight, hessian)
    assert (found.double() == codes).double().mean() > 0.995  # a tie may fall the other way in float32


def test_gptq_survives_inputs_that_are_always_zero(layer: Any) -> None:
    weight, inputs, _ = layer
    inputs = inputs.clone()
    inputs[:, :64] = 0
    config = gptq.Config()
    codes, levels = gptq.solve(config, weight, inputs.t() @ inputs / 512)
    assert decode(codes, levels, config).isfinite().all()
    assert output_error(weight, inputs, config, (codes, levels)) < 0.01


def test_awq_scales_what_sees_large_inputs(layer: Any) -> None:
    weight, inputs, hessian = layer
    config = awq.Config(least_range=1.0)
    factors = awq.scales(config, weight, hessian, inputs.abs().mean(0))
    assert torch.corrcoef(torch.stack([factors, inputs.abs().mean(0)]))[0, 1] > 0.5
    scaled = awq.solve(config, weight * factors, hessian)
    found = decode(*scaled, config) / factors
    plain = rtn.Config()
    rounded = output_error(weight, inputs, plain, rtn.solve(plain, weight))
    mine = float((inputs @ (found - weight).t()).square().mean() / (inputs @ weight.t()).square().mean())
    assert mine < 0.8 * rounded


def test_hqq_leaves_fewer_large_errors(layer: Any) -> None:
    weight = layer[0] + 0.3 * (torch.rand(96, 128) < 0.01) * torch.randn(96, 128)
    config, plain = hqq.Config(), rtn.Config()

    def cost(config: GridConfig, solved: Any) -> float:
        return float((decode(*solved, config) - weight).abs().pow(0.7).mean())

    assert cost(config, hqq.solve(config, weight)) < 0.97 * cost(plain, rtn.solve(plain, weight))


def test_a_grid_holds_what_it_is_given() -> None:
    config = GridConfig(kind="rtn", bits=4, group=8)
    weight = torch.tensor([[-1.0, -0.8, 0.0, 0.2, 0.4, 0.6, 0.8, 2.0]])
    levels = fit(weight, config)
    codes = encode(weight, levels, config)
    assert codes.tolist()[0][0] == 0
    assert codes.tolist()[0][-1] == 15
    assert levels.zero.item() == 5
    assert torch.allclose(decode(codes, levels, config), weight, atol=0.002)
    flat = fit(torch.zeros(1, 8), config)
    assert decode(encode(torch.zeros(1, 8), flat, config), flat, config).abs().max() == 0


# --- single layers


def test_single_layers_are_kept_or_widened(model: Path, text: NDArray[np.int64], tmp_path: Path) -> None:
    spared = {"keep": [r"layers\.0\.mlp\.down"], "widen": [r"layers\.1\.self_attn\.[qkv]_proj"]}
    result = gptq.quantize(model, tmp_path / "mixed", gptq.Config.model_validate(spared), text)
    other = hqq.quantize(model, tmp_path / "hqq", hqq.Config.model_validate(spared))
    assert result.layer_bits == other.layer_bits
    assert divergence(logprobs(model, IDS), logprobs(other.path, IDS)) < 0.2
    assert result.tensor_types == {"int4": 10, "int8": 3}
    kept = "model.layers.0.mlp.down_proj.weight"
    with safe_open(result.path / "model.safetensors", framework="pt") as stored:
        assert torch.equal(stored.get_tensor(kept), tensors(model)[kept])
        wide = stored.get_slice("model.layers.1.self_attn.q_proj.weight_packed").get_shape()
        narrow = stored.get_slice("model.layers.0.self_attn.q_proj.weight_packed").get_shape()
    assert wide[1] == 2 * narrow[1]
    assert divergence(logprobs(model, IDS), logprobs(result.path, IDS)) < 0.2
    with pytest.raises(ModelError, match="names no layer"):
        gptq.quantize(model, tmp_path / "typo", gptq.Config(keep=["layers.7"]), text)
    assert not (tmp_path / "typo").exists()


# --- what is refused


def changed(model: Path, folder: Path, edit: Callable[[dict[str, torch.Tensor]], object]) -> Path:
    shutil.copytree(model, folder)
    weights = load_file(folder / "model.safetensors")
    edit(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize("keys", [{"kind": "rtn"}, {"kind": "gptq"}, {"kind": "nf4"}, {"kind": "int8"}])
def test_damaged_weights_leave_nothing(
    keys: dict[str, Any], model: Path, text: NDArray[np.int64], tmp_path: Path
) -> None:
    name = "model.layers.1.mlp.up_proj.weight"
    damaged = changed(model, tmp_path / "nan", lambda weights: weights[name].view(-1)[5:7].fill_(float("nan")))
    config = config_of(keys)
    with pytest.raises(ModelError, match="NaN or infinity") as caught:
        quantizer_of(config).quantize(damaged, tmp_path / "out", config, text)
    assert (caught.value.field, caught.value.got) == (name, "2 of 32768 values")
    assert not (tmp_path / "out").exists()


def test_a_group_that_does_not_divide_is_told_with_one_that_does(
    model: Path, text: NDArray[np.int64], tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match="does not divide") as caught:
        gptq.quantize(model, tmp_path / "out", gptq.Config(group=96), text)
    assert "128 wide" in str(caught.value.got)
    assert caught.value.fix == "group: 128"
    assert not (tmp_path / "out").exists()


def test_a_quantized_model_is_not_quantized_again(
    made: Callable[[str], Quantized], text: NDArray[np.int64], tmp_path: Path
) -> None:
    for name in ("rtn-4g32", "nf4"):
        for method in ("gptq", "int8"):
            config = config_of({"kind": method})
            with pytest.raises(ModelError, match="quantized already"):
                quantizer_of(config).quantize(made(name).path, tmp_path / "out", config, text)


def test_a_full_disk_leaves_nothing(model: Path, tmp_path: Path) -> None:
    script = (
        "import resource, sys\nfrom pathlib import Path\nfrom serving.quantizers import rtn\n"
        "import torch, transformers, safetensors.torch\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "rtn.quantize(Path(sys.argv[1]), Path(sys.argv[2]), rtn.Config())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(model), str(tmp_path / "out")], capture_output=True, text=True, check=False
    )
    assert "ResourceError: The quantized model could not be written." in done.stderr
    assert not (tmp_path / "out").exists()


def test_too_little_room_is_told_before_it_is_written(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cluster.storage.shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(ResourceError):
        rtn.quantize(model, tmp_path / "out", rtn.Config())
    assert not (tmp_path / "out").exists()
