"""What a method of quantization is: a file of serving/quantizers with a `Config` and `quantize`."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Protocol, cast

from cluster.config import PluginConfig

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_FUSED = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))
"""Linear layers that vLLM computes as one: they have the same bits."""

Progress = Callable[[int, int], None]
"""Called with (parts done, parts in all)."""


def siblings(name: str) -> list[str]:
    """The layers that are computed as one with a layer, itself included."""
    stem, _, last = name.rpartition(".")
    return [f"{stem}.{one}" for one in next((fused for fused in _FUSED if last in fused), (last,))]


class QuantizerConfig(PluginConfig):
    """Base of the `Config` of every quantizer."""

    MAKES: ClassVar[str] = "folder"
    """Form of the result: a `folder` as transformers writes it, or a `gguf` file."""
    CALIBRATED: ClassVar[bool] = False
    """Whether the method looks at what layers see of a text."""
    name: str | None = None
    """What the leaderboard calls it; default: from its kind and keys."""

    @property
    def label(self) -> str:
        """The result's name."""
        return self.name or self.default_label

    @property
    def default_label(self) -> str:
        """A name that says what was done."""
        return self.kind

    def engines(self, *, gpu: bool) -> tuple[str, ...]:  # noqa: ARG002 - for those that differ
        """Files of serving/engines that can run the result, with or without a GPU; the one that is measured first."""
        return ("transformers",)

    def require_fits(self, widths: Mapping[str, int]) -> None:
        """Refuse a model whose layers the method cannot take, before anything is done with it.

        Args:
            widths: linear layer → its inputs.

        Raises:
            ModelError: with what would fit.
        """

    @property
    def calibrated(self) -> bool:
        """Whether it needs calibration text as it is configured."""
        return self.CALIBRATED


class Quantized(NamedTuple):
    """A quantized model that was written."""

    path: Path
    """A file, or a folder."""
    size_bytes: int
    """Of its tensors, and what else the file holds."""
    bits_per_weight: float
    """Of all tensors, embeddings and scales included."""
    layer_bits: float
    """The same of the linear layers between embeddings and output head, which is what methods are compared by."""
    tensor_types: dict[str, int]
    """Number of quantized tensors of each type."""
    losses: dict[str, float]
    """Linear layer → mean square of its outputs' error against that of its outputs, on the calibration text; of the
    weights themselves where a method takes none."""


class Quantizer(Protocol):
    """What a file of serving/quantizers offers, beside its `Config`."""

    def quantize(
        self,
        model_dir: Path,
        out: Path,
        config: QuantizerConfig,
        text: NDArray[np.int64] | None = None,
        progress: Progress | None = None,
    ) -> Quantized:
        """Quantize the model of a safetensors folder.

        Args:
            out: the folder to make, or the file.
            text: calibration token ids [n, t]; given if `config.calibrated`.

        Raises:
            ModelError: the model cannot be quantized so.
            ResourceError: the disk is full.
        """
        ...


def quantizer_of(config: PluginConfig) -> Quantizer:
    """The module of the quantizer that a config names."""
    return cast(Quantizer, importlib.import_module(f"serving.quantizers.{config.kind}"))
