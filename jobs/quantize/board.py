"""The leaderboard of quantized models: who passes the gate, who is chosen, and what is tried with who does not."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

from rich.table import Table

from cluster.artifacts import Manifest
from cluster.handoff import Agreement
from jobs.console import console, fact
from jobs.quantize.config import GateConfig, RescueConfig
from jobs.quantize.measure import Figures
from jobs.words import duration, size
from serving.quantize import QuantizerConfig, siblings


class Entry(NamedTuple):
    """A quantized model and what was measured of it."""

    label: str
    kind: str
    artifact: Manifest
    size_bytes: int
    bits_per_weight: float
    layer_bits: float
    """The same of the decoder's linear layers alone."""
    tensor_types: dict[str, int]
    seconds: float
    """That quantizing took."""
    peak_bytes: int
    """Memory that it took beyond the process itself."""
    losses: dict[str, float]
    figures: dict[str, Figures]
    """Engine → figures in it; the method's first engine comes first."""
    misses: list[str]
    """Bars of the gate that it does not reach, in words."""

    @property
    def first(self) -> Figures:
        """In the method's first engine."""
        return next(iter(self.figures.values()))


def misses(gate: GateConfig, reference: Figures, figures: Mapping[str, Figures]) -> list[str]:
    """Bars that are not reached, in any engine."""
    return [f"{words} in {engine}" for engine, one in figures.items() for words in _misses(gate, reference, one)]


def _misses(gate: GateConfig, reference: Figures, one: Figures) -> Iterator[str]:
    if gate.max_kl is not None and not one.kl <= gate.max_kl:  # nor is NaN
        yield f"KL {one.kl:.4f} > {gate.max_kl:g}"
    if not one.agreement >= gate.min_agreement:
        yield f"top-1 agreement {one.agreement:.1%} < {gate.min_agreement:.1%}"
    increase = one.perplexity / reference.perplexity - 1
    if gate.max_perplexity_increase is not None and not increase <= gate.max_perplexity_increase:
        yield f"perplexity {increase:+.1%} > {gate.max_perplexity_increase:+.1%}"
    if gate.min_task_ratio is not None and one.task is not None and reference.task is not None:
        if reference.task <= 0:
            yield f"the unquantized model scores {reference.task:.1%} in the task: no share of that can be asked for"
        elif not (ratio := one.task / reference.task) >= gate.min_task_ratio:
            yield f"task {ratio:.0%} < {gate.min_task_ratio:.0%} of the unquantized model's score"


def choose(entries: list[Entry], rule: Literal["smallest", "closest"]) -> Entry | None:
    """The one to publish, of those that pass."""
    passing = [one for one in entries if not one.misses]
    if not passing:
        return None
    return min(passing, key=lambda one: (one.size_bytes, one.first.kl) if rule == "smallest" else (one.first.kl, 0.0))


def rescued(
    method: QuantizerConfig, losses: dict[str, float], config: RescueConfig, number: int
) -> QuantizerConfig | None:
    """The method with more bits for the layers that lose most; None if it cannot give single layers more.

    Args:
        number: of the round, from 1.
    """
    key = "widen" if config.bits == 8 else "keep"
    if key not in type(method).model_fields or getattr(method, "bits", 0) >= config.bits:
        return None
    worst: dict[tuple[str, ...], None] = {}  # of layers that are computed as one; a set in order
    for name in sorted(losses, key=losses.__getitem__, reverse=True):
        worst.setdefault(tuple(one for one in siblings(name) if one in losses))
    if len(worst) <= config.layers * (number - 1):
        return None  # all of them had more in the round before
    names = sorted(name for together in list(worst)[: config.layers * number] for name in together)
    patterns = [f"^{re.escape(name)}$" for name in names]
    label = f"{method.label}-{len(names)}at{config.bits}"
    return method.model_copy(update={key: [*getattr(method, key), *patterns], "name": label})


def tell(entry: Entry, reference: Figures) -> None:
    """A line about a result as it comes."""
    one = entry.first
    words = f"{size(entry.size_bytes)}, KL {one.kl:.4f}, perplexity {one.perplexity:.2f}"
    fact("", f"{words} ({one.perplexity / reference.perplexity - 1:+.1%}) {'; '.join(entry.misses) or 'passes'}")


def show(
    entries: list[Entry], failed: Mapping[str, str], reference: Figures, chosen: Entry | None, unquantized_bytes: int
) -> None:
    """Print the leaderboard, the smallest first: quality, then cost. Bits are those of a weight of a linear layer."""
    ranked = sorted(entries, key=lambda entry: entry.size_bytes)
    quality = _table("", "method", "bits", "size", "KL", "perplexity", "top-1", "task", "gate")
    quality.add_row(
        "",
        "unquantized",
        "",
        size(unquantized_bytes),
        "",
        f"{reference.perplexity:.2f}",
        "",
        _share(reference.task),
        "",
    )
    cost = _table("", "method", "tokens/s", "took", "memory")
    cost.add_row("", "unquantized", _speeds({"transformers": reference}), "", "")
    for one in ranked:
        first, mark = one.first, "→" if chosen is not None and one.label == chosen.label else ""
        increase = first.perplexity / reference.perplexity - 1
        quality.add_row(
            mark, one.label, f"{one.layer_bits:.2f}", size(one.size_bytes), f"{first.kl:.4f}",
            f"{first.perplexity:.2f} {increase:+.1%}", f"{first.agreement:.0%}", _share(first.task),
            "passes" if not one.misses else "misses",
        )  # fmt: skip
        cost.add_row(mark, one.label, _speeds(one.figures), duration(one.seconds), size(one.peak_bytes))
    console.print(quality)
    console.print()
    console.print(cost)
    for label, reason in failed.items():
        fact(f"{label} failed", reason)
    for one in entries:
        worst = sorted(one.losses, key=one.losses.__getitem__, reverse=True)[:3]
        if worst:
            fact(f"{one.label} loses", ", ".join(f"{name} {one.losses[name]:.2%}" for name in worst))


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="bold", padding=(0, 1, 0, 0))
    for column in columns:
        table.add_column(column, no_wrap=column in ("", "method"), overflow="fold")
    return table


def _agreement(one: Figures) -> Agreement:
    return Agreement(one.tokens, one.mean_abs_logprob_diff, one.max_abs_logprob_diff, one.kl, one.agreement)


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.0%}"


def _speeds(figures: Mapping[str, Figures]) -> str:
    found = [f"{engine} {one.tokens_per_s:.0f}" for engine, one in figures.items() if one.tokens_per_s]
    return ", ".join(found)


def report(
    entries: list[Entry], failed: Mapping[str, str], reference: Figures, chosen: Entry | None, gate: GateConfig,
    unquantized_bytes: int,
) -> dict[str, Any]:  # fmt: skip
    """The stage's part of report.json."""
    return {
        "gate": gate.model_dump(mode="json"),
        "unquantized": {"size_bytes": unquantized_bytes, **reference._asdict()},
        "failed": dict(failed),
        "board": [
            {
                "label": one.label, "kind": one.kind, "artifact": one.artifact.id, "size_bytes": one.size_bytes,
                "bits_per_weight": one.bits_per_weight, "layer_bits": one.layer_bits, "seconds": one.seconds,
                "peak_bytes": one.peak_bytes,
                "figures": {engine: figures._asdict() for engine, figures in one.figures.items()},
                "misses": one.misses, "worst": dict(sorted(one.losses.items(), key=lambda item: -item[1])[:10]),
            }
            for one in entries
        ],
        **({} if chosen is None else {
            "artifact": chosen.artifact.id, "chosen": chosen.label, "size_bytes": chosen.size_bytes,
            "bits_per_weight": chosen.bits_per_weight, "tensor_types": chosen.tensor_types,
            "handoff": {"merged_to_quantized": _agreement(chosen.first)._asdict()},
        }),
    }  # fmt: skip
