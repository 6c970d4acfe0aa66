"""k-quants against llama.cpp's own quantizer: the same types, and the same bytes.

The shared library of xllamacpp has llama.cpp's kernels, but not its function `llama_model_quantize`. So the types are
compared with tables that come from llama.cpp, and the bytes with its kernels called on whole tensors. Where the program
`llama-quantize` is on the PATH, whole files are compared with what it writes.
"""

from __future__ import annotations

import ctypes
import filecmp
import importlib
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import gguf
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Type
from numpy.typing import NDArray

from cluster.errors import ModelError
from serving.quantizers._checkpoint import open_checkpoint
from serving.quantizers._gguf import plan_tensors
from serving.quantizers._recipes import ModelShape, tensor_type
from serving.quantizers.kquants import Config, write_file
from tests.kquants_models import make_model, make_tokenizer

RECIPES: tuple[str, ...] = get_args(Config.model_fields["recipe"].annotation)
PARTS = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")

# Recipe → part → types and the layers that have them, where these are not the recipe's base type. The first three
# models are those of llama.cpp's tests (tests/snapshots of ggml-org/llama.cpp at a45da44f and 343313bd); the others are
# what its function llama_tensor_get_type gives (src/llama-quant.cpp at 007dbbf3).
SENSITIVE = {
    2: "1",
    8: "0 3 6-7",
    28: "0-2 5 8 11 14 17 20 23-27",
    30: "0-2 5 8 11 14 17 20 23 26-29",
    40: "0-4 7 10 13 16 19 22 25 28 31 34-39",
    80: "0-9 12 15 18 21 24 27 30 33 36 39 42 45 48 51 54 57 60 63 66 69-79",
}
Table = dict[str, dict[str, str]]
MODELS: dict[str, tuple[ModelShape, Table]] = {
    "Qwen3-0.6B": (
        ModelShape("qwen3", 28, 2, tied=False),
        {
            "Q2_K": {"attn_v": "Q3_K 0-27", "ffn_down": "Q3_K 0-27", "attn_output": "Q3_K 0-27"},
            "Q3_K_M": {"attn_v": "Q5_K 0-1, Q4_K 2-27", "ffn_down": "Q5_K 0, Q4_K 1-27", "attn_output": "Q4_K 0-27"},
            "Q3_K_L": {"attn_v": "Q5_K 0-27", "ffn_down": "Q5_K 0-27", "attn_output": "Q5_K 0-27"},
            "Q4_K_S": {"attn_v": "Q5_K 0-3", "ffn_down": "Q5_K 0-2"},
        },
    ),
    "Qwen3-14B": (
        ModelShape("qwen3", 40, 5, tied=False),
        {
            "Q2_K": {"attn_v": "Q4_K 0-39", "ffn_down": "Q3_K 0-39", "attn_output": "Q3_K 0-39"},
            "Q3_K_M": {"attn_v": "Q5_K 0-1, Q4_K 2-39", "ffn_down": "Q5_K 0-1, Q4_K 2-39", "attn_output": "Q4_K 0-39"},
            "Q3_K_L": {"attn_v": "Q5_K 0-39", "ffn_down": "Q5_K 0-39", "attn_output": "Q5_K 0-39"},
            "Q4_K_S": {"attn_v": "Q5_K 0-3", "ffn_down": "Q5_K 0-4"},
        },
    ),
    "Llama-3.1-70B": (
        ModelShape("llama", 80, 8, tied=False),
        {
            "Q2_K": {"attn_v": "Q5_K 0-79", "ffn_down": "Q3_K 0-79", "attn_output": "Q3_K 0-79"},
            "Q3_K_S": {"attn_v": "Q5_K 0-79"},
            "Q3_K_M": {"attn_v": "Q5_K 0-79", "ffn_down": "Q5_K 0-4, Q4_K 5-79", "attn_output": "Q4_K 0-79"},
            "Q3_K_L": {"attn_v": "Q5_K 0-79", "ffn_down": "Q5_K 0-79", "attn_output": "Q5_K 0-79"},
            "Q4_K_S": {"attn_v": "Q5_K 0-79", "ffn_down": "Q5_K 0-9"},
            "Q4_K_M": {"attn_v": f"Q5_K 0-79, Q6_K {SENSITIVE[80]}", "ffn_down": f"Q6_K {SENSITIVE[80]}"},
        },
    ),
    "65B: heads share nothing": (
        ModelShape("llama", 80, 1, tied=False),
        {
            "Q2_K": {"attn_v": "Q3_K 0-79", "ffn_down": "Q3_K 0-79", "attn_output": "Q3_K 0-79"},
            "Q3_K_S": {},
            "Q3_K_M": {"attn_v": "Q5_K 0-1, Q4_K 2-79", "ffn_down": "Q5_K 0-4, Q4_K 5-79", "attn_output": "Q4_K 0-79"},
            "Q3_K_L": {"attn_v": "Q5_K 0-79", "ffn_down": "Q5_K 0-79", "attn_output": "Q5_K 0-79"},
            "Q4_K_S": {"attn_v": "Q5_K 0-3", "ffn_down": "Q5_K 0-9"},
        },
    ),
    "2 layers, tied": (
        ModelShape("llama", 2, 2, tied=True),
        {
            "Q2_K": {"attn_v": "Q3_K 0-1", "ffn_down": "Q3_K 0-1", "attn_output": "Q3_K 0-1"},
            "Q3_K_M": {"attn_v": "Q5_K 0-1", "ffn_down": "Q4_K 0-1", "attn_output": "Q4_K 0-1"},
            "Q3_K_L": {"attn_v": "Q5_K 0-1", "ffn_down": "Q5_K 0-1", "attn_output": "Q5_K 0-1"},
            "Q4_K_S": {"attn_v": "Q5_K 0-1"},
        },
    ),
    "8 layers, with importance": (
        ModelShape("qwen2", 8, 4, tied=True, has_importance=True),
        {
            "Q2_K": {"attn_v": "Q4_K 0-7", "ffn_down": "Q3_K 0-7", "attn_output": "Q3_K 0-7"},
            "Q3_K_M": {"attn_v": "Q5_K 0-1, Q4_K 2-7", "ffn_down": "Q4_K 0-7", "attn_output": "Q4_K 0-7"},
            "Q3_K_L": {"attn_v": "Q5_K 0-7", "ffn_down": "Q5_K 0-7", "attn_output": "Q5_K 0-7"},
            "Q4_0": {"ffn_down": "Q4_1 0"},
            "Q4_K_S": {"attn_v": "Q5_K 0-3", "ffn_down": "Q5_K 0"},
        },
    ),
    "30 layers, tied": (
        ModelShape("llama", 30, 3, tied=True),
        {
            "Q2_K": {"attn_v": "Q3_K 0-29", "ffn_down": "Q3_K 0-29", "attn_output": "Q3_K 0-29"},
            "Q3_K_M": {"attn_v": "Q5_K 0-1, Q4_K 2-29", "ffn_down": "Q5_K 0, Q4_K 1-29", "attn_output": "Q4_K 0-29"},
            "Q3_K_L": {"attn_v": "Q5_K 0-29", "ffn_down": "Q5_K 0-29", "attn_output": "Q5_K 0-29"},
            "Q4_K_S": {"attn_v": "Q5_K 0-3", "ffn_down": "Q5_K 0-2"},
        },
    ),
}
NARROW = {"Q2_K": "Q4_0", "Q3_K": "Q4_0", "Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"}


def expected_types(model: ModelShape, table: Table, recipe: str) -> dict[str, str]:
    """Tensor name → type, for rows of whole blocks of 256."""
    base = recipe.removesuffix("_S").removesuffix("_M").removesuffix("_L")
    head = base if base in ("F16", "BF16", "Q8_0") else "Q6_K"
    types = {"token_embd.weight": head if model.tied else base, "output.weight": head}
    types |= {f"blk.{layer}.{part}.weight": base for layer in range(model.num_layers) for part in PARTS}
    sensitive = f"Q6_K {SENSITIVE[model.num_layers]}"
    mixed = {"attn_v": sensitive, "ffn_down": sensitive} if recipe in ("Q4_K_M", "Q5_K_M") else {}
    for part, rules in table.get(recipe, mixed).items():
        for rule in rules.split(", "):
            type_, *ranges = rule.split()
            for first, _, last in (item.partition("-") for item in ranges):
                for layer in range(int(first), int(last or first) + 1):
                    types[f"blk.{layer}.{part}.weight"] = type_
    return types


@pytest.mark.parametrize("name", MODELS)
def test_types_are_llama_cpps(name: str) -> None:
    model, table = MODELS[name]
    for recipe in RECIPES:
        expected = expected_types(model, table, recipe)
        wide = {tensor: tensor_type(recipe, tensor, (512, 512), model).name for tensor in expected}
        assert wide == expected, recipe
        narrow = {tensor: tensor_type(recipe, tensor, (512, 576), model).name for tensor in expected}
        assert narrow == {tensor: NARROW.get(type_, type_) for tensor, type_ in expected.items()}, recipe
    assert tensor_type("Q4_K_M", "blk.0.attn_norm.weight", (512,), model) == Type.F32
    # Here llama.cpp's quantizer stops, or takes F16 as for other types.
    assert tensor_type("Q8_0", "blk.0.attn_q.weight", (512, 100), model) == Type.F16


CASES: dict[str, dict[str, Any]] = {
    "llama": {"family": "llama"},
    "narrow": {"family": "llama", "hidden": 192, "num_hidden_layers": 8, "intermediate_size": 512},
    "untied": {"family": "mistral", "num_key_value_heads": 1, "num_hidden_layers": 8, "tie_word_embeddings": False},
    "biases": {"family": "qwen2", "num_hidden_layers": 8, "intermediate_size": 256},
}
Folder = Callable[[str], Path]


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """Models in bfloat16, as most are published, and beside each its GGUF file in BF16: what llama-quantize reads."""
    made: dict[str, Path] = {}
    tokenizer = make_tokenizer()

    def folder(case: str) -> Path:
        if case not in made:
            made[case] = make_model(tmp_path_factory.mktemp(case) / "model", dtype=torch.bfloat16, **CASES[case])
            tokenizer.save_pretrained(made[case])
            write_file(made[case], made[case].parent / "bf16.gguf", Config(recipe="BF16"))
        return made[case]

    return folder


def importance_of(folder: Path) -> dict[str, tuple[str, NDArray[np.float32], float]]:
    """Parameter → (tensor name, sums of squares, number of tokens), for four of five matrices of the layers."""
    rng = np.random.default_rng(0)
    plan = [tensor for tensor in plan_tensors(open_checkpoint(folder), "F16") if tensor.name.endswith(".weight")]
    matrices = [tensor for tensor in plan if tensor.name.startswith("blk.") and len(tensor.shape) == 2]
    return {
        str(tensor.source): (tensor.name, (90 * rng.standard_normal(tensor.shape[1]) ** 2).astype(np.float32), 90.0 + i)
        for i, tensor in enumerate(matrices)
        if i % 5 != 4
    }


def mean_squares(folder: Path) -> dict[str, NDArray[np.float32]]:
    return {name: sums / np.float32(count) for name, (_, sums, count) in importance_of(folder).items()}


def one_call(weights: NDArray[np.float32], type_: Type, importance: NDArray[np.float32] | None) -> bytes:
    """A whole matrix through llama.cpp's kernel at once."""
    library = ctypes.CDLL(importlib.import_module("xllamacpp.xllamacpp").__file__)
    library.ggml_quantize_chunk.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, *[ctypes.c_int64] * 3,
                                            ctypes.c_void_p]  # fmt: skip
    library.ggml_quantize_chunk.restype = ctypes.c_size_t
    out = np.empty(4 * weights.size, dtype=np.uint8)
    columns = None if importance is None else importance.ctypes.data
    n_rows, n_cols = weights.shape
    return out[
        : library.ggml_quantize_chunk(type_, weights.ctypes.data, out.ctypes.data, 0, n_rows, n_cols, columns)
    ].tobytes()


@pytest.mark.parametrize("with_importance", [False, True])
@pytest.mark.parametrize("case", ["llama", "narrow"])
def test_bytes_are_the_kernels(case: str, with_importance: bool, folder_of: Folder, tmp_path: Path) -> None:
    folder = folder_of(case)
    plain = {tensor.name: tensor for tensor in gguf.GGUFReader(folder.parent / "bf16.gguf").tensors}
    importance = mean_squares(folder) if with_importance else {}
    by_tensor = {name: importance.get(source) for source, (name, _, _) in importance_of(folder).items()}
    seen = set()
    for recipe in RECIPES:
        write_file(folder, tmp_path / "model.gguf", Config(recipe=recipe), importance=importance)
        for tensor in gguf.GGUFReader(tmp_path / "model.gguf").tensors:
            stored = plain[tensor.name]
            weights = gguf.quants.dequantize(stored.data, stored.tensor_type).reshape(-1, stored.shape[0])
            columns = by_tensor.get(tensor.name)
            assert tensor.data.tobytes() == one_call(weights, tensor.tensor_type, columns), (recipe, tensor.name)
            # A second opinion, in numpy, where gguf has one.
            if columns is None and tensor.tensor_type.name in ("F16", "BF16", "Q8_0", "Q5_1", "Q5_0", "Q4_0"):
                assert tensor.data.tobytes() == gguf.quants.quantize(weights, tensor.tensor_type).tobytes()
            seen.add(tensor.tensor_type.name)
    assert seen >= {"F32", "F16", "BF16", "Q8_0", "Q6_K", "Q5_K", "Q4_K", "Q4_0", "Q3_K"}
    assert seen >= ({"Q2_K"} if case == "llama" else {"Q5_0", "Q5_1"})
    assert ("Q4_1" in seen) == (case == "narrow" and with_importance)


needs_stock = pytest.mark.skipif(
    shutil.which("llama-quantize") is None, reason="llama.cpp's llama-quantize is not on the PATH"
)


@needs_stock
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("recipe", [recipe for recipe in RECIPES if recipe != "BF16"])
def test_whole_files_are_those_of_llama_quantize(case: str, recipe: str, folder_of: Folder, tmp_path: Path) -> None:
    folder = folder_of(case)
    ours, theirs = tmp_path / "ours.gguf", tmp_path / "theirs.gguf"
    write_file(folder, ours, Config(recipe=recipe))
    run_llama_quantize(str(folder.parent / "bf16.gguf"), str(theirs), recipe)
    assert filecmp.cmp(ours, theirs, shallow=False)


@needs_stock
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("recipe", ["Q2_K", "Q3_K_M", "Q4_0", "Q4_K_M", "Q5_K_S", "Q6_K", "Q8_0"])
def test_tensors_are_those_of_llama_quantize_with_imatrix(
    case: str, recipe: str, folder_of: Folder, tmp_path: Path
) -> None:
    folder = folder_of(case)
    ours, theirs, imatrix = tmp_path / "ours.gguf", tmp_path / "theirs.gguf", tmp_path / "imatrix.gguf"
    write_file(folder, ours, Config(recipe=recipe), importance=mean_squares(folder))
    writer = gguf.GGUFWriter(imatrix, "")
    writer.add_type("imatrix")
    writer.add_array("imatrix.datasets", ["random"])
    writer.add_uint32("imatrix.chunk_count", 1)
    writer.add_uint32("imatrix.chunk_size", 512)
    for name, sums, count in importance_of(folder).values():
        writer.add_tensor(f"{name}.in_sum2", sums[None])
        writer.add_tensor(f"{name}.counts", np.array([[count]], dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    run_llama_quantize("--imatrix", str(imatrix), str(folder.parent / "bf16.gguf"), str(theirs), recipe)
    # It adds keys that name the imatrix file, so only the tensors can be the same.
    ours_, theirs_ = (
        [(tensor.name, tensor.tensor_type.name, tensor.data.tobytes()) for tensor in gguf.GGUFReader(path).tensors]
        for path in (ours, theirs)
    )
    assert ours_ == theirs_


def run_llama_quantize(*arguments: str) -> None:
    subprocess.run(["llama-quantize", *arguments], check=True, capture_output=True, timeout=300)


@pytest.mark.parametrize(
    ("name", "columns", "message"),
    [
        ("typo", np.ones(256), "lacks(.|\n)*typo"),
        ("model.layers.0.mlp.up_proj.weight", np.ones(255), r"another width(.|\n)*\(255,\)(.|\n)*\(256,\)"),
        ("model.layers.0.mlp.up_proj.weight", np.full(256, np.nan), "256 of 256"),
        ("model.layers.0.mlp.up_proj.weight", np.arange(256) - 1, "below zero(.|\n)*1 of 256"),
        ("model.layers.0.mlp.up_proj.weight", np.zeros(256), "zero throughout"),
    ],
)
def test_wrong_importance(name: str, columns: NDArray[Any], message: str, folder_of: Folder, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=message):
        write_file(folder_of("llama"), tmp_path / "model.gguf", Config(), importance={name: columns.astype(np.float32)})
    assert list(tmp_path.iterdir()) == []
