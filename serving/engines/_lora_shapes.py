"""Whether a LoRA adapter was trained on a model of this shape. Of another's, vLLM copies what fits and says nothing."""

from __future__ import annotations

from pathlib import Path

_PEFT = "base_model.model."
_DOWN, _UP = ".lora_A.", ".lora_B."


def misfit(adapter: Path, model: Path) -> str:
    """Compare the files' headers; gives the first layer that differs, empty if none does.

    Layers that the model's files have under no such name (fused experts, for instance) are not compared.
    """
    weights, of_adapter = _shapes(model), _shapes(adapter)
    kinds = {name.rpartition(".")[0].rpartition(".")[2] for name in weights}
    for name, down in of_adapter.items():
        path, is_down, _ = name.removeprefix(_PEFT).partition(_DOWN)
        up = of_adapter.get(name.replace(_DOWN, _UP))
        if not is_down or up is None or len(down) != 2:
            continue
        weight = weights.get(f"{path}.weight")
        if weight is None and path.rpartition(".")[2] in kinds:
            return f"{path}, which the model has not"
        # Some models, as GPT-2, keep their weights transposed.
        if weight is not None and sorted(weight) != sorted([up[0], down[1]]):
            return f"{path} of {up[0]} x {down[1]}, which the model has of {' x '.join(map(str, weight))}"
    return ""


def _shapes(folder: Path) -> dict[str, list[int]]:
    """Tensor → shape; for a packed weight, that of the weight itself."""
    from safetensors import safe_open

    found: dict[str, list[int]] = {}
    for file in folder.glob("*.safetensors"):
        with safe_open(file, framework="numpy") as tensors:
            for name in tensors.keys():  # noqa: SIM118 it is no dictionary
                if name.endswith(".weight_shape"):
                    found[name.removesuffix("_shape")] = tensors.get_tensor(name).tolist()
                else:
                    found[name] = tensors.get_slice(name).get_shape()
    return found
