"""How much memory a training worker needs, from the model's dimensions alone. No torch.

Model states follow Rajbhandari et al. 2019 (arXiv 1910.02054), section 3, with the trained parameters in place of all
of them. Activations are counted for a Llama layer as transformers computes it, by what autograd keeps for the backward
pass; the figures in `_activation_bytes` name each part. tests/test_training.py and tests/test_pipeline.py compare the
sum with measured peaks.
"""

from __future__ import annotations

import importlib.metadata
from typing import Any, NamedTuple

from cluster.errors import ModelError
from trainers.config import LoraConfig, TrainConfig

# Resident size of a worker that has imported torch, transformers, peft and DeepSpeed and holds no model yet, measured
# with torch 2.13: the CUDA build maps far larger libraries, on a machine without a GPU too.
_RUNTIME_BYTES = {"cpu": 690_000_000, "cuda": 1_000_000_000}


_DIMENSIONS = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size")


class Shape(NamedTuple):
    """Dimensions of a decoder-only transformer of the Llama family."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocabulary: int
    tied: bool

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Shape:
        """From the keys of a transformers config.json.

        Raises:
            ModelError: a model of another family, whose dimensions have other names.
        """
        if missing := [key for key in _DIMENSIONS if key not in config]:
            raise ModelError(
                "The model's dimensions cannot be read.", field="model", got=f"no {', '.join(missing)}",
                expected="a decoder-only model with the configuration keys of the Llama family",
            )  # fmt: skip
        heads = config["num_attention_heads"]
        return cls(
            hidden=config["hidden_size"],
            layers=config["num_hidden_layers"],
            heads=heads,
            kv_heads=config.get("num_key_value_heads") or heads,
            head_dim=config.get("head_dim") or config["hidden_size"] // heads,
            intermediate=config["intermediate_size"],
            vocabulary=config["vocab_size"],
            tied=bool(config.get("tie_word_embeddings", False)),
        )

    @property
    def linears(self) -> list[tuple[int, int]]:
        """(inputs, outputs) of each linear layer of one block."""
        h, i, q, kv = self.hidden, self.intermediate, self.heads * self.head_dim, self.kv_heads * self.head_dim
        return [(h, q), (h, kv), (h, kv), (q, h), (h, i), (h, i), (i, h)]

    @property
    def num_parameters(self) -> int:
        """All weights."""
        block = sum(inputs * outputs for inputs, outputs in self.linears) + 2 * self.hidden
        embeddings = self.vocabulary * self.hidden * (1 if self.tied else 2)
        return self.layers * block + embeddings + self.hidden

    def num_adapter_parameters(self, config: LoraConfig) -> int:
        """Weights of a low-rank adapter on every linear layer (an upper bound when `targets` names fewer)."""
        return self.layers * sum(config.rank * (inputs + outputs) for inputs, outputs in self.linears)


class WorkerMemory(NamedTuple):
    """Peak memory of one training worker, bytes."""

    runtime: int
    weights: int
    gradients: int
    optimizer: int
    activations: int
    logits: int

    @property
    def total(self) -> int:
        """Sum of all parts."""
        return sum(self)


def worker_memory(shape: Shape, config: TrainConfig, workers: int, longest: int, trained_share: float) -> WorkerMemory:
    """Estimate the peak of one worker.

    Args:
        longest: tokens of the longest sequence.
        trained_share: share of the tokens that count in the loss; only they go through the head.
    """
    element = 2 if config.dtype == "bfloat16" else 4
    stage = config.deepspeed.stage
    total = shape.num_parameters
    trained = shape.num_adapter_parameters(config.adapter) if config.adapter else total
    weights = element * (total + (trained if config.adapter else 0))
    tokens = config.batch.sequences * longest
    master = 4 * trained if element == 2 else 0
    return WorkerMemory(
        runtime=_RUNTIME_BYTES["cpu" if importlib.metadata.version("torch").endswith("+cpu") else "cuda"],
        weights=weights // workers if stage == 3 else weights,
        # The flat reduction buckets hold a second copy while a micro-batch is reduced.
        gradients=element * trained + element * trained // (workers if stage >= 2 else 1),
        optimizer=(master + 8 * trained) // (workers if stage >= 1 else 1),
        activations=tokens * shape.layers * _activation_bytes(shape, element, config.adapter),
        # Logits in the model's type, in float32, their log-softmax, and the gradient on the way back.
        logits=int(tokens * trained_share) * shape.vocabulary * (2 * element + 4 * 3),
    )


def _activation_bytes(shape: Shape, element: int, adapter: LoraConfig | None) -> int:
    """Bytes that autograd keeps a token and layer."""
    h, i = shape.hidden, shape.intermediate
    norms = 2 * ((4 + 4) * h + 2 * element * h)  # input and normalized input in float32 and in the model's type
    attention = element * (2 * shape.heads * shape.head_dim + 2 * shape.heads * shape.head_dim)  # q, out; k, v repeated
    mlp = element * 4 * i  # gate, its SiLU, up, their product
    low_rank = element * 7 * adapter.rank if adapter else 0
    return norms + attention + mlp + low_rank
