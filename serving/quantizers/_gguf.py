"""The GGUF file of a checkpoint: its tensors, its metadata, and its writing with one tensor in memory at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.errors import ModelError
from serving.quantizers import _ggml
from serving.quantizers._checkpoint import Checkpoint
from serving.quantizers._recipes import ModelShape, tensor_type
from serving.quantizers._tokenizer import add_tokenizer

if TYPE_CHECKING:
    import numpy as np
    from gguf import GGMLQuantizationType, GGUFWriter
    from numpy.typing import NDArray


@dataclass(frozen=True)
class PlannedTensor:
    """A tensor of the file to write."""

    name: str
    """Name in the GGUF file."""
    source: str | None
    """Parameter name in the checkpoint; None for the rotary factors, which come from its config."""
    type: GGMLQuantizationType
    shape: tuple[int, ...]
    """[n_rows, n_cols], or [n] for norms and biases."""

    @property
    def num_weights(self) -> int:
        """How many numbers the tensor holds."""
        return math.prod(self.shape)

    @property
    def num_bytes(self) -> int:
        """Size in the file."""
        return math.prod(self.shape[:-1]) * _ggml.row_size(self.type, self.shape[-1])


def plan_tensors(checkpoint: Checkpoint, recipe: str, *, has_importance: bool = False) -> list[PlannedTensor]:
    """The tensors of the file, in the order of llama.cpp's quantizer, with their types under `recipe`."""
    import gguf

    config = checkpoint.config
    model = ModelShape(
        architecture=checkpoint.architecture,
        num_layers=config.num_hidden_layers,
        queries_per_kv_head=config.num_attention_heads // config.num_key_value_heads,
        tied=config.tie_word_embeddings,
        has_importance=has_importance,
    )
    arch = next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == checkpoint.architecture)
    names = gguf.get_tensor_name_map(arch, config.num_hidden_layers)
    plan = []
    if config.rope_parameters["rope_type"] == "llama3":
        plan.append(
            PlannedTensor("rope_freqs.weight", None, gguf.GGMLQuantizationType.F32, (checkpoint.head_dim // 2,))
        )
    for source, shape in checkpoint.shapes.items():
        name = names.get_name(source, try_suffixes=(".weight", ".bias"))
        if name is None:
            raise ModelError("A tensor has no name in GGUF.", field=source, expected="a tensor that llama.cpp knows")
        plan.append(PlannedTensor(name, source, tensor_type(recipe, name, shape, model), shape))
    return sorted(plan, key=lambda tensor: _position(tensor.name))


def _position(name: str) -> tuple[int, str]:
    """Sort key: tensors outside the layers, then layer by layer, each by name."""
    return int(name.split(".")[1]) if name.startswith("blk.") else -1, name


def write_gguf(
    path: Path,
    checkpoint: Checkpoint,
    recipe: str,
    plan: list[PlannedTensor],
    importance: Mapping[str, NDArray[np.float32]],
    progress: Callable[[int, int], None] | None,
) -> None:
    """Write the file.

    Raises:
        ModelError: the tokenizer has no equal in llama.cpp, or a tensor is not finite or too large for its type.
        OSError: the disk is full, or cannot be written.
    """
    import gguf
    import numpy as np
    import torch

    writer = gguf.GGUFWriter(path, checkpoint.architecture)
    _add_metadata(writer, checkpoint)
    add_tokenizer(writer, checkpoint.folder, checkpoint.config.vocab_size)
    # Last, and in this order, as llama.cpp's quantizer leaves them: files can be compared byte by byte.
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_file_type(gguf.LlamaFileType[f"MOSTLY_{recipe}"])
    for tensor in plan:
        writer.add_tensor_info(tensor.name, tensor.shape, np.dtype(np.float32), tensor.num_bytes, tensor.type)
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for done, tensor in enumerate(plan, 1):
            weights = _weights(checkpoint, tensor)
            columns = None if tensor.source is None else importance.get(tensor.source)
            rows = weights.reshape(-1, tensor.shape[-1])
            try:
                encoded = _ggml.quantize_rows(
                    rows, tensor.type, importance=columns, num_threads=torch.get_num_threads()
                )
            except OverflowError as error:
                raise ModelError(
                    "Weights are too large for their type: llama.cpp would serve infinity.",
                    field=tensor.source or tensor.name,
                    got=error,
                    expected="weights of about one, as training leaves them",
                    fix="take the recipe BF16, or an earlier checkpoint",
                ) from error
            writer.write_tensor_data(encoded)
            if progress:
                progress(done, len(plan))
    finally:
        writer.close()


def _weights(checkpoint: Checkpoint, tensor: PlannedTensor) -> NDArray[np.float32]:
    if tensor.source is None:
        return _rotary_factors(checkpoint)
    weights = checkpoint.load(tensor.source)
    # llama.cpp's llama turns pairs of neighbours, where transformers turns pairs that lie half a head apart.
    if checkpoint.architecture == "llama" and ".q_proj." in tensor.source:
        return pair_neighbours(weights, checkpoint.config.num_attention_heads)
    if checkpoint.architecture == "llama" and ".k_proj." in tensor.source:
        return pair_neighbours(weights, checkpoint.config.num_key_value_heads)
    return weights


def pair_neighbours(weights: NDArray[np.float32], num_heads: int) -> NDArray[np.float32]:
    """Reorder the rows of each head, [first half, second half] → first and second half interleaved."""
    halves = weights.reshape(num_heads, 2, -1, *weights.shape[1:])
    return halves.swapaxes(1, 2).reshape(weights.shape)


def _rotary_factors(checkpoint: Checkpoint) -> NDArray[np.float32]:
    """[head_dim / 2] factors by which Llama 3 slows each rotary frequency, from transformers' own frequencies."""
    import numpy as np
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    config = checkpoint.config
    slowed, _ = ROPE_INIT_FUNCTIONS["llama3"](config, "cpu")
    exponents = np.arange(0, checkpoint.head_dim, 2, dtype=np.float32) / checkpoint.head_dim
    factors: NDArray[np.float32] = config.rope_parameters["rope_theta"] ** -exponents / slowed.numpy()
    return factors.astype(np.float32)


def _add_metadata(writer: GGUFWriter, checkpoint: Checkpoint) -> None:
    import gguf

    config, rope = checkpoint.config, checkpoint.config.rope_parameters
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name(checkpoint.folder.name)
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(checkpoint.context_length)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(checkpoint.head_dim)
    writer.add_value_length(checkpoint.head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(checkpoint.head_dim)
    writer.add_rope_freq_base(rope["rope_theta"])
    if rope["rope_type"] == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope["factor"])
