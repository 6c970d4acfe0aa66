"""Folders as transformers writes models that bitsandbytes quantized: the same bytes, one linear layer at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from serving.quantize import Progress, Quantized
from serving.quantizers._folder import FolderWriter
from serving.quantizers._memory import give_back
from serving.quantizers._source import decoder_layers, open_source, relative_error

Encode = Callable[[Any], tuple[dict[str, Any], Any]]
"""A weight as it is stored → its tensors, by the names that follow the layer's; and the weight that they stand for."""


def quantize_linears(
    model_dir: Path, out_dir: Path, encode: Encode, section: dict[str, Any], kind: str, progress: Progress | None
) -> Quantized:
    """Write the model of `model_dir` with all linear layers but the output head encoded.

    Args:
        section: `quantization_config` of config.json.
        kind: what the tensors are called.

    Raises:
        ModelError: the model cannot be quantized so.
        ResourceError: the disk is full.
    """
    import torch

    source = open_source(model_dir)
    skeleton = source.skeleton()
    decoder_layers(skeleton)
    head = skeleton.get_output_embeddings()
    linears = {
        f"{name}.weight" for name, module in skeleton.named_modules()
        if isinstance(module, torch.nn.Linear) and module is not head
    }  # fmt: skip
    losses: dict[str, float] = {}
    with FolderWriter(out_dir, source) as writer:
        for at, name in enumerate(source.shapes):
            stored = source.read(name)
            if name not in linears:
                writer.add({name: stored})
            else:
                layer = name.removesuffix(".weight")
                tensors, found = encode(stored)
                writer.add({f"{layer}.{key}": tensor for key, tensor in tensors.items()})
                losses[layer] = relative_error(stored.float(), found.float())
                give_back()
            if progress is not None:
                progress(at + 1, len(source.shapes))
        writer.finish(section)
    return Quantized(
        path=out_dir, size_bytes=writer.num_bytes, bits_per_weight=8 * writer.num_bytes / source.num_parameters,
        layer_bits=writer.bits_a_weight(losses),
        tensor_types=dict(Counter({kind: len(losses)})), losses=losses,
    )  # fmt: skip
