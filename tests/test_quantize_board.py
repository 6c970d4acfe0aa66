"""The gate, the choice and the rescue, on figures that are written down here."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.artifacts import Manifest
from cluster.errors import ModelError
from jobs.quantize.board import Entry, choose, misses, rescued
from jobs.quantize.config import GateConfig, RescueConfig
from jobs.quantize.measure import Figures
from serving.quantizers import gptq, int8, kquants, rtn

REFERENCE = Figures(10.0, 0.0, 1.0, 0.0, 0.0, 100, 0.5, None)
CLOSE = REFERENCE._replace(perplexity=10.4, kl=0.05, agreement=0.95, task=0.4)


def entry(label: str, size: int, kl: float, missed: tuple[str, ...] = ()) -> Entry:
    artifact = Manifest(id=f"quantized-{label}", name=label, kind="quantized", content="", files={})
    figures = {"transformers": CLOSE._replace(kl=kl)}
    return Entry(label, "rtn", artifact, size, 4.5, 4.5, {}, 1.0, 1, {}, figures, list(missed))


@pytest.mark.parametrize(
    ("gate", "changed", "words"),
    [
        ({}, {}, []),
        ({"max_kl": 0.04}, {}, ["KL 0.0500 > 0.04"]),
        ({"max_kl": None}, {"kl": 9.0}, []),
        ({"min_agreement": 0.96}, {}, ["top-1 agreement 95.0% < 96.0%"]),
        ({"max_perplexity_increase": 0.05}, {}, []),
        ({"max_perplexity_increase": 0.03}, {}, ["perplexity +4.0% > +3.0%"]),
        ({"min_task_ratio": 0.8}, {}, []),
        ({"min_task_ratio": 0.81}, {}, ["task 80% < 81% of the unquantized model's score"]),
        ({"max_kl": 0.01, "min_agreement": 0.99}, {}, ["KL 0.0500 > 0.01", "top-1 agreement 95.0% < 99.0%"]),
        ({}, {"kl": float("nan")}, ["KL nan > 0.15"]),
        ({"max_perplexity_increase": 0.05}, {"perplexity": float("nan")}, ["perplexity +nan% > +5.0%"]),
    ],
)
def test_what_misses_which_bar(gate: dict[str, Any], changed: dict[str, float], words: list[str]) -> None:
    figures = CLOSE._replace(**changed)
    assert misses(GateConfig(**gate), REFERENCE, {"vllm": figures}) == [f"{one} in vllm" for one in words]


def test_every_engine_has_to_pass() -> None:
    found = misses(GateConfig(), REFERENCE, {"transformers": CLOSE, "vllm": CLOSE._replace(kl=0.2)})
    assert found == ["KL 0.2000 > 0.15 in vllm"]


def test_a_task_that_nobody_solves_is_no_bar() -> None:
    unable = REFERENCE._replace(task=0.0)
    [words] = misses(GateConfig(min_task_ratio=0.5), unable, {"vllm": CLOSE._replace(task=0.0)})
    assert "unquantized model scores 0.0%" in words


def test_the_choice() -> None:
    small, close, broken = entry("a", 100, 0.1), entry("b", 200, 0.01), entry("c", 50, 2.0, ("KL",))
    assert choose([small, close, broken], "smallest") == small
    assert choose([small, close, broken], "closest") == close
    assert choose([broken], "closest") is None
    assert choose([small, entry("d", 100, 0.05)], "smallest") == entry("d", 100, 0.05), "of a size: the closer one"


LOSSES = {
    "model.layers.0.self_attn.q_proj": 0.5, "model.layers.0.self_attn.k_proj": 0.1,
    "model.layers.0.self_attn.v_proj": 0.2, "model.layers.0.mlp.down_proj": 0.4, "model.layers.1.mlp.up_proj": 0.3,
    "model.layers.1.mlp.gate_proj": 0.01,
}  # fmt: skip


def test_the_worst_layers_are_spared_with_those_that_are_computed_with_them() -> None:
    spared = rescued(gptq.Config(), LOSSES, RescueConfig(layers=1), 1)
    assert isinstance(spared, gptq.Config)
    grids = spared.grids(LOSSES)
    assert {name for name, grid in grids.items() if grid.bits == 8} == {name for name in LOSSES if "attn" in name}
    assert spared.label == "gptq-4g32-3at8"
    more = rescued(gptq.Config(), LOSSES, RescueConfig(layers=2, bits=16), 2)
    assert isinstance(more, gptq.Config)
    assert more.grids(LOSSES) == {}
    assert "transformers" in more.engines(gpu=False)
    assert rescued(gptq.Config(), LOSSES, RescueConfig(layers=6), 2) is None, "all of them were spared before"


def test_a_method_without_single_layers_is_left_alone() -> None:
    for method in (int8.Config(), kquants.Config(), rtn.Config(bits=8)):
        assert rescued(method, LOSSES, RescueConfig(), 1) is None
    assert rescued(rtn.Config(bits=8), LOSSES, RescueConfig(bits=16), 1) is not None


def test_a_part_of_what_is_computed_as_one_cannot_be_spared() -> None:
    widths = dict.fromkeys(LOSSES, 64)
    with pytest.raises(ModelError, match="as one") as caught:
        gptq.Config(widen=["layers.0.self_attn.q_proj"]).require_fits(widths)
    assert caught.value.field == "widen"
    assert "k_proj" in str(caught.value.expected)
    gptq.Config(widen=["layers.0.self_attn"]).require_fits(widths)
    gptq.Config(group=96, keep=["."]).require_fits(widths)
    with pytest.raises(ModelError, match="does not divide"):
        gptq.Config(group=96, keep=["self_attn"]).require_fits(widths)


def test_each_round_spares_more_until_there_is_no_more() -> None:
    rescue = RescueConfig(layers=1, rounds=9)
    rounds = [rescued(gptq.Config(), LOSSES, rescue, number) for number in range(1, 5)]
    assert rounds[-1] is None
    spared = [one for one in rounds if isinstance(one, gptq.Config)]
    counts = [sum(grid.bits == 8 for grid in one.grids(LOSSES).values()) for one in spared]
    assert counts == [3, 4, 6], "queries, keys and values; down; gate and up"
