"""A folder that is to be quantized: checked before anything is written, and read one tensor at a time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.errors import ModelError
from serving.quantizers._checkpoint import index_tensors, read_config

if TYPE_CHECKING:
    import torch

CARRIED = ("generation_config.json", "tokenizer*", "special_tokens_map.json", "chat_template*", "*.model", "vocab.json",
           "merges.txt")  # fmt: skip
"""Files beside the weights that a quantized folder needs, too."""


class Source:
    """A causal language model in a folder.

    Raises:
        ModelError: it is no whole, plain model, or it is quantized already.
    """

    def __init__(self, folder: Path) -> None:
        import torch

        self.folder = folder
        self.config: dict[str, Any] = read_config(folder)
        """config.json."""
        if "quantization_config" in self.config:
            raise ModelError(
                "The model is quantized already.", field="quantization_config",
                got=self.config["quantization_config"].get("quant_method"),
                fix="quantize the 16 or 32 bit model it was made from",
            )  # fmt: skip
        if not all(name.endswith("ForCausalLM") for name in self.config.get("architectures") or []):
            raise ModelError(
                "Only a model that writes text can be quantized.", field="architectures",
                got=self.config["architectures"], expected="…ForCausalLM",
            )  # fmt: skip
        self.files = index_tensors(folder)
        """Tensor name → the safetensors file that holds it."""
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        """Where layers are computed."""

    @property
    def tied(self) -> bool:
        """The output head is the token embedding."""
        return bool(self.config.get("tie_word_embeddings", False))

    @property
    def carried(self) -> list[Path]:
        """Files of tokenizer and generation."""
        return sorted({path for pattern in CARRIED for path in self.folder.glob(pattern)})

    def skeleton(self) -> Any:
        """The model by transformers, its parameters without numbers; buffers have theirs."""
        from accelerate import init_empty_weights
        from transformers import AutoConfig, AutoModelForCausalLM

        factory: Any = AutoModelForCausalLM
        with init_empty_weights(include_buffers=False):
            return factory.from_config(AutoConfig.from_pretrained(self.folder)).eval()

    def read(self, name: str) -> torch.Tensor:
        """A tensor as it is stored."""
        from safetensors import safe_open

        with safe_open(self.files[name], framework="pt") as tensors:
            found: torch.Tensor = tensors.get_tensor(name)
        return found

    def load(self, name: str) -> torch.Tensor:
        """A weight in float32.

        Raises:
            ModelError: it is missing, no floating point number, NaN or infinite.
        """
        import torch

        if name not in self.files:
            raise ModelError(
                "The weight files do not hold a tensor that config.json calls for.", field=name, got="missing",
                fix="complete the download, or merge adapters before quantizing",
            )  # fmt: skip
        stored = self.read(name)
        if not stored.is_floating_point():
            raise ModelError(
                "Weights are not floating point: the model is quantized already.", field=name, got=stored.dtype
            )
        weight = stored.float()
        if not bool(torch.isfinite(weight.min()) & torch.isfinite(weight.max())):
            raise ModelError(
                "Weights hold NaN or infinity; what is made of them would be noise.", field=name,
                got=f"{int((~torch.isfinite(weight)).sum())} of {weight.numel()} values",
                fix="take an earlier checkpoint: training diverged",
            )  # fmt: skip
        return weight
