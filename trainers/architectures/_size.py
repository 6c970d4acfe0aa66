"""The size dial: depth, width, heads and MLP of a model of about so many parameters, in a family's proportions.

Kaplan et al. 2020 (arXiv 2001.08361, section 3.2) found that the loss hardly depends on depth against width over a wide
range, so the rule need only be customary. Two published models of the family give layers and MLP width a unit of
hidden width; between them both are interpolated (linearly in the logarithms), outside of them they stay as they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Annotated, Any, NamedTuple

from pydantic import Field, PositiveInt, model_validator

from cluster.config import PluginConfig
from cluster.errors import ConfigValueError
from trainers.shape import Shape

_UNITS = {"K": 10**3, "M": 10**6, "B": 10**9}
_MAX_MISS, _MAX_DEPTH = 0.1, 4.0  # factors, the first as a logarithm: the size, and the depth against custom
_DIMENSIONS = ("hidden", "layers", "heads", "kv_heads", "intermediate")


class ScratchConfig(PluginConfig):
    """Base of the `Config` of every family: either `size`, or at least `hidden` and `layers`."""

    size: Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?[KMB]$")] | None = None
    """Number of parameters aimed at, the vocabulary's included, such as `5M`, `135M` or `1.5B`: depth, width, heads and
    MLP follow in the family's customary proportions."""
    hidden: PositiveInt | None = None
    """Width of the hidden states."""
    layers: PositiveInt | None = None
    """Number of layers."""
    heads: PositiveInt | None = None
    """Attention heads; default: of 64 channels each (32 under a width of 256, 128 from 2560 on)."""
    intermediate: PositiveInt | None = None
    """Width of the MLP; default: in the family's proportion, rounded up to a multiple of 64 (256 from 1024 on)."""
    context: PositiveInt = 1024
    """Longest sequence, tokens."""

    @property
    def num_parameters(self) -> int | None:
        """`size` as a number."""
        return None if self.size is None else int(float(self.size[:-1]) * _UNITS[self.size[-1]])

    @model_validator(mode="after")
    def _dimensions_fit(self) -> ScratchConfig:
        given = [key for key in _DIMENSIONS if getattr(self, key, None) is not None]
        if self.size is not None and given:
            raise ConfigValueError(
                "`size` decides the dimensions.", got=f"size and {', '.join(given)}",
                expected="size alone, or hidden and layers (and any of the others)",
            )  # fmt: skip
        if self.size is None and (self.hidden is None or self.layers is None):
            raise ConfigValueError(
                "The model's size is missing.", got=", ".join(given) or "neither",
                expected="size, or hidden and layers",
            )  # fmt: skip
        if self.hidden is not None:
            heads = self.heads or max(1, self.hidden // head_width(self.hidden))
            _require_multiple("hidden", self.hidden, "heads", heads)
            if hasattr(self, "rope_theta"):
                _require_multiple("hidden / heads", self.hidden // heads, "2, as rotary positions need", 2)
            _require_multiple("heads", heads, "kv_heads", getattr(self, "kv_heads", None) or 1)
        return self


def _require_multiple(key: str, value: int, divisor_key: str, divisor: int) -> None:
    if value % divisor:
        got = f"{key}={value}, {divisor_key}={divisor}" if divisor_key.isidentifier() else f"{key}={value}"
        raise ConfigValueError(
            f"`{key}` is not a multiple of {divisor_key}.", got=got, expected=f"{key} divisible by {divisor_key}",
        )  # fmt: skip


class Published(NamedTuple):
    """Dimensions of a published model."""

    hidden: int
    layers: int
    intermediate: int


class Proportions(NamedTuple):
    """A family's customary proportions, from a small and a large published model."""

    small: Published
    large: Published
    grouped: bool = False
    """Whether query heads share key heads (Ainslie et al. 2023, arXiv 2305.13245): four each, or the nearest below that
    divides."""

    def layers(self, hidden: int) -> float:
        """Customary number of layers at a width."""
        return hidden * self._ratio(hidden, self.small.layers, self.large.layers)

    def dimensions(self, hidden: int, layers: int) -> Dimensions:
        """Customary heads and MLP at a width."""
        heads = hidden // head_width(hidden)
        shared = next(count for count in (4, 3, 2, 1) if heads % count == 0) if self.grouped else 1
        unit = 64 if hidden < 1024 else 256
        width = hidden * self._ratio(hidden, self.small.intermediate, self.large.intermediate)
        return Dimensions(hidden, layers, heads, heads // shared, unit * math.ceil(round(width / unit, 6)))

    def _ratio(self, hidden: int, small: int, large: int) -> float:
        at = math.log(hidden / self.small.hidden) / math.log(self.large.hidden / self.small.hidden)
        share = min(1.0, max(0.0, at))
        return float((small / self.small.hidden) ** (1 - share) * (large / self.large.hidden) ** share)


class Dimensions(NamedTuple):
    """What a family's configuration is made from."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    intermediate: int


def head_width(hidden: int) -> int:
    """Channels of an attention head at a width."""
    return 32 if hidden < 256 else 64 if hidden < 2560 else 128


def sized(
    config: ScratchConfig, proportions: Proportions, vocabulary: int, build: Callable[[Dimensions], dict[str, Any]]
) -> dict[str, Any]:
    """The transformers configuration that `build` makes of the dimensions given, or of those found for `size`.

    Raises:
        ConfigValueError: no model of the family has that size with this vocabulary.
    """
    target = config.num_parameters
    if target is not None:
        return build(_search(proportions, vocabulary, build, target, str(config.size)))
    hidden, layers = config.hidden or 0, config.layers or 0
    heads = config.heads or hidden // head_width(hidden)
    custom = proportions.dimensions(hidden, layers)
    kv_heads = getattr(config, "kv_heads", None) or (custom.kv_heads if heads == custom.heads else heads)
    return build(Dimensions(hidden, layers, heads, kv_heads, config.intermediate or custom.intermediate))


def _search(
    proportions: Proportions, vocabulary: int, build: Callable[[Dimensions], dict[str, Any]], target: int, size: str
) -> Dimensions:
    """At each width as many layers as the size asks for; then the width at which that is nearest to custom.

    A percent off the size weighs as much as ten off the depth.
    """

    def count(hidden: int, layers: int) -> int:
        return Shape.from_config(build(proportions.dimensions(hidden, layers))).num_parameters

    found: list[tuple[float, float, int, int]] = []  # misfit, miss, hidden, layers
    for hidden in _widths(proportions.grouped):
        custom, one = proportions.layers(hidden), count(hidden, 1)
        layer = count(hidden, 2) - one
        layers = min(max(1 + (target - one) / layer, custom / _MAX_DEPTH), custom * _MAX_DEPTH)
        whole = max(1, round(layers))
        miss = abs(math.log((one + (whole - 1) * layer) / target))
        found.append((abs(math.log(whole / custom)) + 10 * miss, miss, hidden, whole))
        if one > 2 * target:
            break
    _, miss, hidden, layers = min(found)
    if miss > _MAX_MISS:
        raise ConfigValueError(
            "No model of the family has that size with this vocabulary.",
            got=f"size {size}, vocabulary {vocabulary:,}",
            expected=f"for example {count(hidden, layers) / 1e6:.1f}M", fix="another size, or a smaller vocabulary",
        )  # fmt: skip
    return proportions.dimensions(hidden, layers)


def _widths(grouped: bool) -> Iterator[int]:
    for hidden in (*range(64, 1024, 64), *range(1024, 2560, 256), *range(2560, 32769, 512)):
        heads = hidden // head_width(hidden)
        if not grouped or heads <= 2 or heads % 4 == 0 or heads % 3 == 0:
            yield hidden
