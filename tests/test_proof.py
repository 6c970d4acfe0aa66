"""The hand-off proofs of training, on real models: a true merge passes, and what fails silently elsewhere is caught."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from cluster.errors import HandoffError, ModelError
from cluster.progress import ProgressFile
from trainers.adapter_config import LoraConfig
from trainers.adapters import add_lora, merge
from trainers.config import HandoffConfig
from trainers.data.chat import Rendered
from trainers.formats.chat import write_conversations
from trainers.models import load_model, load_tokenizer
from trainers.proof import prove_merge


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> dict[str, Path]:
    """An adapter that changes the tiny model, the merged model, and token ids to score."""
    folder = tmp_path_factory.mktemp("proof")
    torch.manual_seed(1)
    adapted = add_lora(load_model(tiny_model, torch.float32), LoraConfig(rank=4), torch.float32)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    adapted.save_pretrained(str(folder / "adapter"))
    merge(ProgressFile(folder / "progress"), tiny_model, folder / "adapter", folder / "merged")
    ids = torch.randint(3, 512, (8, 40), generator=torch.Generator().manual_seed(2)).tolist()
    tokenizer = load_tokenizer(tiny_model)
    write_conversations(folder / "heldout", [Rendered(row, [1] * 40) for row in ids], tokenizer, "any")
    return {
        "base": tiny_model,
        "adapter": folder / "adapter",
        "merged": folder / "merged",
        "heldout": folder / "heldout",
    }


def test_a_true_merge_passes(parts: dict[str, Path], tmp_path: Path) -> None:
    proof = prove_merge(ProgressFile(tmp_path / "progress"), **parts, config=HandoffConfig(), held="full")
    assert proof["adapter_to_merged"].kl < 0.001
    assert proof["adapter_to_merged"].num_tokens == 8 * 39
    assert proof["base_to_adapter"].mean_abs_logprob_diff > 0.1


def test_an_adapter_with_wrongly_prefixed_weights_is_caught(parts: dict[str, Path], tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(parts["adapter"], broken)
    weights = load_file(broken / "adapter_model.safetensors")
    renamed = {name.replace("base_model.model.", "base_model.", 1): value for name, value in weights.items()}
    save_file(renamed, broken / "adapter_model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="no place"), pytest.warns(UserWarning, match="missing adapter keys"):
        prove_merge(
            ProgressFile(tmp_path / "progress"), **{**parts, "adapter": broken}, config=HandoffConfig(), held="full"
        )


def test_an_adapter_that_does_nothing_is_caught(parts: dict[str, Path], tmp_path: Path) -> None:
    idle = tmp_path / "idle"
    shutil.copytree(parts["adapter"], idle)
    weights = load_file(idle / "adapter_model.safetensors")
    nothing = {name: value * (0 if "lora_B" in name else 1) for name, value in weights.items()}
    save_file(nothing, idle / "adapter_model.safetensors", metadata={"format": "pt"})
    with pytest.raises(HandoffError, match="changes nothing"):
        prove_merge(
            ProgressFile(tmp_path / "progress"), **{**parts, "adapter": idle}, config=HandoffConfig(), held="full"
        )


def test_a_merge_that_lost_the_tune_is_caught(parts: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(HandoffError, match="changed on the way") as caught:
        prove_merge(
            ProgressFile(tmp_path / "progress"),
            **{**parts, "merged": parts["base"]},
            config=HandoffConfig(),
            held="full",
        )
    assert "adapter_to_merged" in str(caught.value)
