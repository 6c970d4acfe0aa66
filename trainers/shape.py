"""Dimensions of a model, read from its config.json: how many parameters, how many floating-point operations. No torch.

Legend: h hidden width, i intermediate width of the MLP, q and kv widths of all query and all key heads.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from cluster.errors import ConfigError, ModelError
from trainers.adapter_config import LoraConfig

_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts")


class Linear(NamedTuple):
    """A weight matrix."""

    name: str
    """Of the module, within its layer; of what is not in a layer, the whole name."""
    inputs: int
    outputs: int
    bias: bool = False

    @property
    def numel(self) -> int:
        """Its weights, the bias included."""
        return self.outputs * (self.inputs + self.bias)


class Shape(NamedTuple):
    """Dimensions of a transformer with a language-model head."""

    family: str
    """`model_type` of the family whose layer it has."""
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocabulary: int
    tied: bool
    """Whether the output head is the embedding."""
    linears: tuple[Linear, ...]
    """Of one layer."""
    layer_name: str
    """Name of a layer's module, `{}` for its number."""
    output_name: str
    """Of the output head's module."""
    head: tuple[Linear, ...]
    """Between the last layer and the output head: BERT's `transform`."""
    vectors: int
    """Weights of all norms, and the output head's bias."""
    positions: int = 0
    """Rows of learned position and segment embeddings."""
    window: int | None = None
    """Tokens that a token of a layer with local attention sees."""
    local_layers: int = 0
    """Layers with local attention."""
    attention_dropout: bool = False
    """Whether attention drops some of its weights."""

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Shape:
        """From the keys of a transformers config.json.

        Families that are not in `_READERS` but have Llama's keys are counted as Llama.

        Raises:
            ModelError: a family whose dimensions have other names, or a mixture of experts.
        """
        if experts := [key for key in _EXPERTS if config.get(key)]:
            raise ModelError(
                "The model is a mixture of experts.", field=experts[0], got=config[experts[0]], expected="a dense model"
            )
        try:
            return _READERS.get(config.get("model_type", "llama"), _llama)(config)
        except KeyError as error:
            raise ModelError(
                "The model's dimensions cannot be read.", field="model", got=f"no {error.args[0]}",
                expected=f"the configuration of one of {', '.join(_READERS)}, or one with the keys of Llama's",
            ) from None  # fmt: skip

    @property
    def num_head_parameters(self) -> int:
        """Weights that only tokens with a loss go through."""
        return self.vocabulary * self.hidden + sum(linear.numel for linear in self.head)

    @property
    def num_parameters(self) -> int:
        """All weights, tied ones once."""
        layers = self.layers * sum(linear.numel for linear in self.linears)
        embeddings = (self.positions + (0 if self.tied else self.vocabulary)) * self.hidden
        return layers + embeddings + self.num_head_parameters + self.vectors

    @property
    def known_family(self) -> bool:
        """Whether names and dimensions are those of a family that was read on purpose."""
        return self.family in _READERS

    def linear_layers(self) -> Iterator[tuple[str, Linear]]:
        """Every weight matrix but embeddings and output head, by its module's whole name."""
        for index in range(self.layers):
            for linear in self.linears:
                yield f"{self.layer_name.format(index)}.{linear.name}", linear
        for linear in self.head:
            yield linear.name, linear

    def adapted(self, config: LoraConfig) -> list[tuple[str, Linear, int]]:
        """The layers that get an adapter, each with its rank.

        Raises:
            ConfigError: a target is the name of no layer.
        """
        layers = list(self.linear_layers())
        if config.targets != "all-linear":
            layers.append((self.output_name, Linear(self.output_name, self.hidden, self.vocabulary)))
        for target in [config.targets] if isinstance(config.targets, str) else config.targets:
            one = config.model_copy(update={"targets": target if isinstance(config.targets, str) else [target]})
            if self.known_family and not any(one.covers(name) for name, _ in layers):
                raise ConfigError(
                    "An adapter's target is no layer of this model.", field="train.adapter.lora.targets", got=target,
                    expected="all-linear, a regular expression of whole names such as "
                    f"{layers[0][0]}, or some of {', '.join(sorted({name.rpartition('.')[2] for name, _ in layers}))}",
                )  # fmt: skip
        return [(name, linear, config.rank_of(name)) for name, linear in layers if config.covers(name)]

    def num_adapter_parameters(self, config: LoraConfig) -> int:
        """Weights of a low-rank adapter, of its highest rank if that escalates."""
        magnitudes = 1 if config.variant == "dora" else 0
        return sum(
            rank * (linear.inputs + linear.outputs) + magnitudes * linear.outputs
            for _, linear, rank in self.adapted(config)
        )

    def flops_per_token(self, length: int, trained_head_share: float = 1.0) -> float:
        """Floating-point operations of forward and backward pass, a token; what activation checkpointing repeats is not
        counted.

        6 for each weight that multiplies the token (Kaplan et al. 2020, arXiv 2001.08361, section 2.1) and 12 × width ×
        length a layer for attention's two products (Chowdhery et al. 2022, arXiv 2204.02311, appendix B; causal masking
        is not subtracted there, nor here).

        Args:
            length: tokens of the sequence; of one document where several share a row.
            trained_head_share: share of the tokens that go through the output head.
        """
        weights = self.layers * sum(linear.numel for linear in self.linears)
        seen = (self.layers - self.local_layers) * length + self.local_layers * min(length, self.window or length)
        attention = 12 * self.heads * self.head_dim * seen
        return 6 * (weights + trained_head_share * self.num_head_parameters) + attention


def _llama(config: dict[str, Any]) -> Shape:
    family, h, i = config.get("model_type", "llama"), config["hidden_size"], config["intermediate_size"]
    layers, heads = config["num_hidden_layers"], config["num_attention_heads"]
    kv_heads = config.get("num_key_value_heads") or heads
    head_dim = config.get("head_dim") or h // heads
    q, kv = heads * head_dim, kv_heads * head_dim
    bias = bool(config.get("attention_bias", False))
    qkv_bias, mlp_bias = bias or family == "qwen2", bool(config.get("mlp_bias", False))
    norms = 2 * h + (2 * head_dim if family == "qwen3" else 0)
    return Shape(
        family=family, hidden=h, layers=layers, heads=heads, kv_heads=kv_heads, head_dim=head_dim, intermediate=i,
        vocabulary=config["vocab_size"], tied=bool(config.get("tie_word_embeddings", False)),
        linears=(
            Linear("self_attn.q_proj", h, q, qkv_bias), Linear("self_attn.k_proj", h, kv, qkv_bias),
            Linear("self_attn.v_proj", h, kv, qkv_bias), Linear("self_attn.o_proj", q, h, bias),
            Linear("mlp.gate_proj", h, i, mlp_bias), Linear("mlp.up_proj", h, i, mlp_bias),
            Linear("mlp.down_proj", i, h, mlp_bias),
        ),
        layer_name="model.layers.{}", output_name="lm_head", head=(), vectors=layers * norms + h,
        attention_dropout=bool(config.get("attention_dropout")),
        window=config.get("sliding_window"), local_layers=_local_layers(config, layers),
    )  # fmt: skip


def _local_layers(config: dict[str, Any], layers: int) -> int:
    if config.get("sliding_window") is None or config.get("use_sliding_window") is False:
        return 0
    if (kinds := config.get("layer_types")) is not None:
        return sum(kind == "sliding_attention" for kind in kinds)
    return max(0, layers - config["max_window_layers"]) if "max_window_layers" in config else layers


def _gpt2(config: dict[str, Any]) -> Shape:
    h, layers, heads = config["n_embd"], config["n_layer"], config["n_head"]
    i = config.get("n_inner") or 4 * h
    return Shape(
        family="gpt2", hidden=h, layers=layers, heads=heads, kv_heads=heads, head_dim=h // heads, intermediate=i,
        vocabulary=config["vocab_size"], tied=bool(config.get("tie_word_embeddings", True)),
        linears=(
            Linear("attn.c_attn", h, 3 * h, True), Linear("attn.c_proj", h, h, True),
            Linear("mlp.c_fc", h, i, True), Linear("mlp.c_proj", i, h, True),
        ),
        layer_name="transformer.h.{}", output_name="lm_head", head=(),
        vectors=(2 * layers + 1) * 2 * h, positions=config["n_positions"],
        attention_dropout=config.get("attn_pdrop", 0.1) > 0,
    )  # fmt: skip


def _bert(config: dict[str, Any]) -> Shape:
    h, i, layers, heads = (
        config[key] for key in ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    )
    tied, vocabulary = bool(config.get("tie_word_embeddings", True)), config["vocab_size"]
    return Shape(
        family="bert", hidden=h, layers=layers, heads=heads, kv_heads=heads, head_dim=h // heads, intermediate=i,
        vocabulary=vocabulary, tied=tied,
        linears=(
            *[Linear(f"attention.self.{name}", h, h, True) for name in ("query", "key", "value")],
            Linear("attention.output.dense", h, h, True), Linear("intermediate.dense", h, i, True),
            Linear("output.dense", i, h, True),
        ),
        layer_name="bert.encoder.layer.{}", output_name="cls.predictions.decoder",
        head=(Linear("cls.predictions.transform.dense", h, h, True),),
        # An untied head has two biases, one of them idle.
        vectors=(2 * layers + 2) * 2 * h + vocabulary * (1 if tied else 2),
        positions=config["max_position_embeddings"] + config.get("type_vocab_size", 2),
        attention_dropout=config.get("attention_probs_dropout_prob", 0.1) > 0,
    )  # fmt: skip


def _modernbert(config: dict[str, Any]) -> Shape:
    h, i, layers, heads = (
        config[key] for key in ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    )
    bias, mlp_bias = bool(config.get("attention_bias", False)), bool(config.get("mlp_bias", False))
    norm = h * (2 if config.get("norm_bias", False) else 1)
    vocabulary, every = config["vocab_size"], config.get("global_attn_every_n_layers", 3)
    kinds = config.get("layer_types")
    local_layers = kinds.count("sliding_attention") if kinds else sum(index % every > 0 for index in range(layers))
    return Shape(
        family="modernbert", hidden=h, layers=layers, heads=heads, kv_heads=heads, head_dim=h // heads, intermediate=i,
        vocabulary=vocabulary, tied=bool(config.get("tie_word_embeddings", True)),
        linears=(
            Linear("attn.Wqkv", h, 3 * h, bias), Linear("attn.Wo", h, h, bias),
            Linear("mlp.Wi", h, 2 * i, mlp_bias), Linear("mlp.Wo", i, h, mlp_bias),
        ),
        layer_name="model.layers.{}", output_name="decoder",
        head=(Linear("head.dense", h, h, bool(config.get("classifier_bias", False))),),
        # The first layer has one norm; the embedding, the last layer and the head have one each.
        vectors=(2 * layers - 1 + 3) * norm + (vocabulary if config.get("decoder_bias", True) else 0),
        window=config.get("local_attention", 128) + 1, local_layers=local_layers,
        attention_dropout=bool(config.get("attention_dropout")),
    )  # fmt: skip


_READERS = {
    "llama": _llama, "mistral": _llama, "qwen2": _llama, "qwen3": _llama,
    "gpt2": _gpt2, "bert": _bert, "modernbert": _modernbert,
}  # fmt: skip
