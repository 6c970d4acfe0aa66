"""How much memory a training worker needs, from the model's dimensions alone. No torch.

Model states follow Rajbhandari et al. 2019 (arXiv 1910.02054), section 3, with the trained parameters in place of all
of them, and what DeepSpeed 0.19 holds beside: flat copies, buckets, buffers. Activations are what autograd keeps for
the backward pass of transformers' layers. tests/test_memory.py compares states and activations with the tensors that
are there, and the sum with measured peaks.

Legend: h hidden width, i intermediate width, q and kv widths of all query and all key heads, T trained parameters.
"""

from __future__ import annotations

import importlib.metadata
from typing import NamedTuple

from trainers.config import TrainConfig
from trainers.data.packing import rounded
from trainers.shape import Shape

# Resident size of a worker that has imported torch, transformers, peft and DeepSpeed and holds no model yet, measured
# with torch 2.13: the CUDA build maps far larger libraries, on a machine without a GPU too.
_RUNTIME_BYTES = {"cpu": 690_000_000, "cuda": 1_000_000_000}
_CUDA_CONTEXT_BYTES = 600_000_000
# DeepSpeed's defaults, parameters: what `trainers/engine.py` reduces at once, and what ZeRO-3 keeps gathered.
_BUCKET = 500_000_000
_GATHERED = 1_000_000_000
_MASTER_AND_MOMENTS = 12
# NF4: 4 bits, an 8-bit scale for 64 weights, and for 256 of those a float32 of their own (arXiv 2305.14314, section 3);
# INT8: 8 bits, and a float32 scale a row, which is little.
_BYTES_A_WEIGHT = {"nf4": 0.5 + 1 / 64 + 4 / (64 * 256), "int8": 1.0}


class WorkerMemory(NamedTuple):
    """Peak memory of one training worker, bytes: of its GPU, or of its process where there is none."""

    runtime: int
    weights: int
    gradients: int
    optimizer: int
    """AdamW's moments, and float32 master weights."""
    buffers: int
    """What weights are gathered or unpacked in, and gradients pass through on their way to the optimizer."""
    activations: int
    logits: int
    """And the gradient of the output head."""
    checkpoint: int
    """The copy that is written while training goes on."""

    @property
    def states(self) -> int:
        """What stays between steps, of model and optimizer."""
        return self.weights + self.gradients + self.optimizer

    @property
    def total(self) -> int:
        """Sum of all parts."""
        return sum(self)


def worker_memory(
    shape: Shape, config: TrainConfig, workers: int, longest: int, trained_share: float, *, gpu: bool = False
) -> WorkerMemory:
    """Estimate the peak of one worker.

    Args:
        longest: tokens of the longest example.
        trained_share: share of the tokens that count in the loss; only they go through the head.
        gpu: whether to count the GPU's memory; what lies in the node's beside it is `host_memory`.
    """
    element, trained = _element(config), _num_trained(shape, config)
    tokens = config.batch.micro * rounded(longest)
    share = trained_share * getattr(config.objective, "probability", 1.0)  # of masked_lm: of the tokens, those hidden
    offload = config.deepspeed.offload_optimizer != "none"
    gradients = element * trained // (workers if config.deepspeed.stage else 1)
    buffers = _buffer_bytes(shape, config, workers) + _unpacked_bytes(shape, config)
    activations = _activation_bytes(shape, config, element, tokens, rounded(longest), gpu=gpu)
    logits = _logit_bytes(shape, config, element, tokens, int(tokens * share), gpu=gpu)
    copied = _MASTER_AND_MOMENTS * trained // workers
    if not config.checkpoint.asynchronous or config.checkpoint.every_steps >= config.steps:
        copied = max(0, copied - gradients - buffers - activations - logits)  # these are not there while it is written
    return WorkerMemory(
        runtime=_CUDA_CONTEXT_BYTES if gpu else process_bytes(),
        weights=_weight_bytes(shape, config, workers, gpu=gpu),
        gradients=gradients,
        optimizer=0 if gpu and offload else _optimizer_bytes(trained, config, workers),
        buffers=buffers,
        activations=activations,
        logits=logits,
        checkpoint=0 if gpu else copied,
    )


def process_bytes() -> int:
    """Bytes of a process that has imported torch and the model libraries and holds no model yet."""
    return _RUNTIME_BYTES["cpu" if importlib.metadata.version("torch").endswith("+cpu") else "cuda"]


def host_memory(shape: Shape, config: TrainConfig, workers: int) -> int:
    """Bytes of a node's memory that a worker needs beside its GPU's: its process, what is offloaded, checkpoints."""
    trained = _num_trained(shape, config)
    needed = _RUNTIME_BYTES["cuda"] + _MASTER_AND_MOMENTS * trained // workers
    if config.deepspeed.offload_optimizer == "cpu":
        needed += _optimizer_bytes(trained, config, workers)
    if config.deepspeed.offload_parameters == "cpu":
        needed += _element(config) * _num_held(shape, config) // workers
    return needed


def _element(config: TrainConfig) -> int:
    return 4 if config.dtype == "float32" else 2


def _num_trained(shape: Shape, config: TrainConfig) -> int:
    return shape.num_adapter_parameters(config.adapter.lora) if config.adapter else shape.num_parameters


def _num_held(shape: Shape, config: TrainConfig) -> int:
    return shape.num_parameters + (_num_trained(shape, config) if config.adapter else 0)


def _optimizer_bytes(trained: int, config: TrainConfig, workers: int) -> int:
    """AdamW's two moments in float32, and the float32 weights that it updates.

    Unsharded float32 needs no second copy of the weights; DeepSpeed's stages 1 to 3 always make one, a flat vector of
    the worker's part. Offloaded, the gradients of that part stay beside it, in float32 too.
    """
    stage = config.deepspeed.stage
    each = _MASTER_AND_MOMENTS if stage or config.dtype != "float32" else _MASTER_AND_MOMENTS - 4
    each += 4 if config.deepspeed.offload_optimizer != "none" else 0
    return each * trained // (workers if stage else 1)


def _weight_bytes(shape: Shape, config: TrainConfig, workers: int, *, gpu: bool) -> int:
    held = _element(config) * _num_held(shape, config)
    if config.adapter is not None:
        held -= int((_element(config) - _BYTES_A_WEIGHT.get(config.adapter.base, _element(config))) * _quantized(shape))
    if config.deepspeed.stage < 3:
        return held
    return 0 if gpu and config.deepspeed.offload_parameters != "none" else held // workers


def _quantized(shape: Shape) -> int:
    """Weights that a quantized base holds in few bits: those of the linear layers, without embeddings and head."""
    return sum(linear.inputs * linear.outputs for _, linear in shape.linear_layers())


def _unpacked_bytes(shape: Shape, config: TrainConfig) -> int:
    """What a quantized base's widest layer takes while it computes: its weights in full, twice for one in four bits."""
    copies = {"full": 0, "int8": 1, "nf4": 2}["full" if config.adapter is None else config.adapter.base]
    return copies * _element(config) * max(linear.inputs * linear.outputs for linear in shape.linears)


def _buffer_bytes(shape: Shape, config: TrainConfig, workers: int) -> int:
    """Buckets in which gradients are reduced, the flat float32 vector of them that the optimizer steps on, and what
    ZeRO-3 gathers.

    Not all are there at once, but in blocks of other sizes, for which an allocator takes new memory.
    """
    trained, element, stage = _num_trained(shape, config), _element(config), config.deepspeed.stage
    part, bucket = trained // workers, min(trained, _BUCKET)
    converted = 4 if element == 2 else 0
    if stage == 0:
        return converted * trained + element * bucket
    step = 0 if config.deepspeed.offload_optimizer != "none" else (element + converted) * part
    if stage == 1:  # all gradients are there until the last is reduced
        return element * (trained + max(0, bucket - part)) + step
    if stage == 2:
        accumulated = part if config.accumulation(workers) > 1 else 0
        return element * (accumulated + 2 * bucket - bucket // workers) + step
    gathered = 2 * min(_num_held(shape, config), _GATHERED)  # the weights, and the buffers they arrive in
    return element * (bucket + gathered) + step


def _activation_bytes(shape: Shape, config: TrainConfig, element: int, tokens: int, length: int, *, gpu: bool) -> int:
    layer = layer_bytes(shape, element, length, gpu=gpu)
    if config.adapter is not None:
        layer += element * sum(rank for *_, rank in shape.adapted(config.adapter.lora)) / shape.layers
    outside = 3 * element * shape.hidden  # the last norm, and what enters the head
    if config.activation_checkpointing:
        return int(tokens * (shape.layers * element * shape.hidden + layer + outside))
    return int(tokens * (shape.layers * layer + outside))


def layer_bytes(shape: Shape, element: int, length: int, *, gpu: bool) -> float:
    """Bytes that autograd keeps a token and layer, in rows that documents share.

    Args:
        element: bytes of a number in the model's type.
        length: tokens of a row.
    """
    h, i, q, kv = shape.hidden, shape.intermediate, shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    if shape.family == "gpt2":
        kept: float = 8 * h + 5 * i  # two norms in and out, q k v, out; its GELU is written out in five steps
    elif shape.family == "bert":
        kept = 8 * h + 2 * i  # two norms in and out, q k v, out; GELU in and out
    elif shape.family == "modernbert":
        kept = 10 * h + 4 * i  # as before, q and k rotated; gate and up, GELU, product
    else:
        # Two norms out before and after their weight, q, k and v repeated, out; gate, SiLU, up, product. RMS norms
        # compute, and keep, their input in float32.
        kept = 4 * h + 4 * q + 4 * i + 2 * h * 4 / element
        kept += (1 + 4 / element) * (q + kv) if shape.family == "qwen3" else 0
    if shape.family not in ("bert", "modernbert"):
        kept += length  # each layer's copy of the mask; the encoders share one
    scores = 12 * shape.heads * length if shape.attention_dropout and not gpu else 0
    return element * kept + scores  # torch's attention on CPU holds all scores, three times, when it drops some


def _logit_bytes(
    shape: Shape, config: TrainConfig, element: int, tokens: int, trained_tokens: int, *, gpu: bool
) -> int:
    """What the head holds of `trained_tokens` of a micro-batch, or of all `tokens` where the objective is not ours."""
    if config.objective.kind == "reward":
        return 0
    whole = 2 * element + 4 * 3  # logits, in float32, their log-softmax, and the gradient on the way back
    if not hasattr(config.objective, "head_chunk"):
        return tokens * shape.vocabulary * whole
    chunk: int | None = config.objective.head_chunk
    if chunk is None:
        return trained_tokens * shape.vocabulary * whole
    held = min(chunk, trained_tokens) * shape.vocabulary * (element + (4 if gpu else 0))
    if config.adapter is not None:
        return held + element * trained_tokens * shape.hidden
    sums = 4 + element if trained_tokens > chunk else 0  # chunks are added up in float32
    return held + (element + sums) * shape.vocabulary * shape.hidden + element * trained_tokens * shape.hidden
