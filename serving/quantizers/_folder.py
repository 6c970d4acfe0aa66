"""Writing a quantized model as a Hugging Face folder, a shard at a time."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from cluster.errors import ResourceError
from cluster.storage import require_free_space
from serving.quantizers._source import Source

if TYPE_CHECKING:
    import torch

SHARD_BYTES = 1024**3
"""As much of the result is held in memory, twice while it is written."""
_PARTS = re.compile(r"\.(weight(_\w+|\..+)?|SCB)$")


def _layer_of(tensor: str) -> str:
    """`model.layers.0.mlp.up_proj` of `model.layers.0.mlp.up_proj.weight_scale`, or of `….weight.absmax`."""
    return _PARTS.sub("", tensor)


class FolderWriter:
    """A new or empty folder that is whole at the end of the `with` block, and otherwise gone.

    Raises:
        ResourceError: the folder holds something, or the disk is full.
    """

    def __init__(self, folder: Path, source: Source) -> None:
        self._folder, self._source = folder, source
        self._held: dict[str, torch.Tensor] = {}
        self._held_bytes = 0
        self._shards: list[list[str]] = []
        self.num_bytes = 0
        """Of all tensors so far."""
        self._bytes: dict[str, int] = {}

    def __enter__(self) -> FolderWriter:
        self._folder.mkdir(parents=True, exist_ok=True)
        if any(self._folder.iterdir()):
            raise ResourceError(
                "The folder to write holds something already.", field=str(self._folder), expected="a new or empty one"
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def add(self, tensors: dict[str, torch.Tensor]) -> None:
        """Take tensors by their names in the model; what is enough for a shard is written."""
        for name, tensor in tensors.items():
            size = tensor.numel() * tensor.element_size()
            if self._held and self._held_bytes + size > SHARD_BYTES:
                self._flush()
            self._held[name] = tensor.contiguous().cpu()
            self._held_bytes += size
            self.num_bytes += size
            self._bytes[name] = size

    def bits_a_weight(self, layers: Iterable[str]) -> float:
        """Of linear layers, scales included.

        Args:
            layers: their names in the model.
        """
        names = set(layers)
        size = sum(size for name, size in self._bytes.items() if _layer_of(name) in names)
        return 8 * size / sum(math.prod(self._source.shapes[f"{name}.weight"]) for name in names)

    def finish(self, quantization: dict[str, Any]) -> None:
        """Write what is left, and the files beside the weights.

        Args:
            quantization: `quantization_config` of config.json.
        """
        self._flush()
        with self._told():
            self._finish(quantization)

    def _finish(self, quantization: dict[str, Any]) -> None:
        names = [f"model-{at + 1:05d}-of-{len(self._shards):05d}.safetensors" for at in range(len(self._shards))]
        if len(names) == 1:
            names = ["model.safetensors"]
        for at, name in enumerate(names):
            self._part(at).replace(self._folder / name)
        if len(names) > 1:
            where = {tensor: name for name, tensors in zip(names, self._shards, strict=True) for tensor in tensors}
            index = {"metadata": {"total_size": self.num_bytes}, "weight_map": where}
            (self._folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1))
        config = {**self._source.raw, "quantization_config": quantization}
        (self._folder / "config.json").write_text(json.dumps(config, indent=2))
        for path in self._source.carried:
            shutil.copyfile(path, self._folder / path.name)

    def _flush(self) -> None:
        from safetensors.torch import save_file

        if not self._held:
            return
        require_free_space(self._folder, self._held_bytes, "for the quantized model")
        with self._told():
            save_file(self._held, self._part(len(self._shards)), metadata={"format": "pt"})
        self._shards.append(list(self._held))
        self._held, self._held_bytes = {}, 0

    @contextmanager
    def _told(self) -> Iterator[None]:
        from safetensors import SafetensorError

        try:
            yield
        except (OSError, SafetensorError) as error:
            raise ResourceError(
                "The quantized model could not be written.", field=str(self._folder), got=error,
                fix="free some disk space, or set storage.root to a larger disk",
            ) from error  # fmt: skip

    def _part(self, number: int) -> Path:
        return self._folder / f"part-{number}.safetensors"
