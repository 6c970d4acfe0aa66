"""The charts of bench.html."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from jobs.bench.client import Record
from jobs.bench.figures import Figures, Percentiles
from jobs.bench.load import Step
from jobs.report_charts import ACCENT, MUTED, WARM, Chart, svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_HEIGHT_IN = 2.7
_CURVE_POINTS = 200
_DOTS = 1500
_LOG_FROM = 20  # times the fastest: a heavy load would squeeze the others into one line
_LATENCIES = (
    ("first_token_s", "Time to first token", "from when a request was due to the first piece of its answer"),
    ("between_tokens_s", "Between tokens", "between two pieces of an answer"),
    ("total_s", "Whole answer", "from when a request was due to the end of its answer"),
)


class _Unit(NamedTuple):
    scale: float
    name: str


def charts(figures: Figures, steps: Sequence[Step]) -> Iterator[Chart]:
    """Those for which something was measured."""
    for name, title, note in _LATENCIES:
        values = [getattr(step, name) for step in figures.steps]
        if any(values):
            yield _percentiles(figures, name, title, note, values)
    yield _throughput(figures, "requests")
    yield _throughput(figures, "output_tokens")
    if any(step.first_token_s for step in figures.steps):
        yield _distribution(figures, steps)
    if any(step.records for step in steps):
        yield _timeline(steps)


def load_words(kind: str, asked: float) -> str:
    """A step's load."""
    return f"{asked:g} {'client' if asked == 1 else 'clients'}" if kind == "clients" else f"{asked:g} requests/s"


def _percentiles(figures: Figures, name: str, title: str, note: str, values: Sequence[Percentiles | None]) -> Chart:
    unit = _unit(max(one.p99 for one in values if one))
    curves = {
        label: [(at, unit.scale * getattr(one, label)) for at, one in enumerate(values) if one]
        for label in ("p50", "p90", "p99")
    }

    def draw(axes: Axes) -> None:
        for (label, points), colour in zip(curves.items(), (ACCENT, MUTED, WARM), strict=True):
            axes.plot(*zip(*points, strict=True), color=colour, linewidth=1.6, marker="o", markersize=4, label=label)
        _over_load(axes, figures, unit.name)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=3, fontsize=9, handlelength=1)

    words = f"{title} over load: " + "; ".join(
        f"{load_words(step.kind, step.asked)}: p50 {one.p50:.3g} s, p99 {one.p99:.3g} s"
        for step, one in zip(figures.steps, values, strict=True)
        if one
    )
    return Chart(title, note, svg(draw, name.removesuffix("_s"), words, height_in=_HEIGHT_IN + 0.2))


def _throughput(figures: Figures, what: str) -> Chart:
    rates = [getattr(step, f"{what}_per_s") for step in figures.steps]
    is_open = figures.steps[0].kind == "rate"
    label = what.replace("_", " ")

    def draw(axes: Axes) -> None:
        axes.plot(range(len(rates)), rates, color=ACCENT, linewidth=1.6, marker="o", markersize=4, label="answered")
        if is_open and what == "requests":
            asked = [step.asked for step in figures.steps]
            axes.plot(range(len(asked)), asked, color=WARM, linestyle=(0, (4, 3)), marker=".", label="asked")
            axes.legend(loc="upper left", fontsize=9.5, handlelength=2)
        _over_load(axes, figures, f"{label} a second")

    words = f"{label} a second over load: " + "; ".join(
        f"{load_words(step.kind, step.asked)}: {rate:.4g}" for step, rate in zip(figures.steps, rates, strict=True)
    )
    note = "a second, of requests that succeeded"
    return Chart(label.capitalize(), note, svg(draw, f"rate-{what}", words, height_in=_HEIGHT_IN))


def _distribution(figures: Figures, steps: Sequence[Step]) -> Chart:
    """Share of the requests whose first token came within a time; the heavier the load, the stronger the line."""
    found = [
        np.sort([one.first_token_s for one in step.records if one.failure is None and one.first_token_s is not None])
        for step in steps
    ]
    fastest = min(float(values[0]) for values in found if len(values))
    slowest = max(float(values[-1]) for values in found if len(values))
    unit = _unit(slowest)

    def draw(axes: Axes) -> None:
        for at, (step, values) in enumerate(zip(steps, found, strict=True)):
            if not len(values):
                continue
            shares = np.linspace(0, 1, min(len(values), _CURVE_POINTS) + 1)
            places = np.quantile(values, shares, method="inverted_cdf")
            strength = 1.0 if len(steps) == 1 else 0.3 + 0.7 * at / (len(steps) - 1)
            axes.step(
                unit.scale * places, shares, where="post", color=ACCENT, alpha=strength, linewidth=1.6,
                label=load_words(step.kind, step.asked),
            )  # fmt: skip
        axes.set_xlabel(unit.name)
        axes.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
        axes.grid(axis="y")
        if slowest > _LOG_FROM * fastest:
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter("{x:,g}")
        else:
            axes.set_xlim(left=0)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=3, fontsize=9, handlelength=1)

    words = "Share of requests whose first token came within a time, for each of the steps"
    note = "share of the requests that had it within that time; the later the step, the stronger its line"
    height = _HEIGHT_IN + 0.2 * -(-len(figures.steps) // 3)
    return Chart("Time to first token, distribution", note, svg(draw, "first-token-shares", words, height_in=height))


def _timeline(steps: Sequence[Step]) -> Chart:
    records = [one for step in steps for one in step.records]
    began = min(step.begin for step in steps)
    good = _thinned([one for one in records if one.failure is None])
    bad = [one for one in records if one.failure is not None]
    unit = _unit(max(one.total_s for one in records))
    left_out = len(records) - len(bad) - len(good) + max(0, len(bad) - _DOTS)

    def draw(axes: Axes) -> None:
        for shown, colour, marker, label in ((good, ACCENT, ".", "answered"), (bad[:_DOTS], WARM, "x", "error")):
            if shown:
                places = [one.due - began for one in shown], [unit.scale * one.total_s for one in shown]
                axes.plot(*places, color=colour, marker=marker, markersize=4, linestyle="none", label=label, alpha=0.7)
        for step in steps:
            axes.axvline(step.begin - began, color=MUTED, linewidth=0.6, linestyle=(0, (1, 3)))
        axes.set_xlabel("seconds since the load began")
        axes.set_ylabel(unit.name)
        axes.set_ylim(bottom=0)
        axes.grid(axis="y")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=2, fontsize=9, handlelength=1)

    note = "each request, when it was due, and how long it took; dotted lines begin a step"
    note += f"; {left_out} of {len(records)} are not drawn" if left_out else ""
    words = f"{len(records)} requests over time, {len(bad)} of them with an error"
    return Chart("Timeline", note, svg(draw, "timeline", words, height_in=_HEIGHT_IN + 0.2))


def _thinned(records: Sequence[Record]) -> list[Record]:
    """The slowest, and of the others one in so many: what is left looks as the whole."""
    if len(records) <= _DOTS:
        return list(records)
    slowest = sorted(records, key=lambda one: -one.total_s)[: _DOTS // 10]
    return slowest + list(records[:: -(-len(records) // (_DOTS - len(slowest)))])


def _over_load(axes: Axes, figures: Figures, unit: str) -> None:
    axes.set_xticks(range(len(figures.steps)), [f"{step.asked:g}" for step in figures.steps])
    axes.set_xlabel("clients" if figures.steps[0].kind == "clients" else "requests a second, asked")
    axes.set_ylabel(unit)
    axes.yaxis.set_major_formatter("{x:,g}")
    axes.margins(x=0.08, y=0.1)
    axes.set_ylim(bottom=0)
    axes.grid(axis="y")


def _unit(seconds: float) -> _Unit:
    return _Unit(1, "seconds") if seconds >= 1 else _Unit(1000, "milliseconds")
