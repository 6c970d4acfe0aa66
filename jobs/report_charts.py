"""The charts of report.html: inline SVG by matplotlib, in colours that the page's light and dark style sheet sets."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from markupsafe import Markup, escape

from jobs.words import size

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Drawn with the colour on the left, shown with the style sheet's variable on the right: one SVG serves light and dark.
INK, MUTED, LINE, ACCENT, WARM = "#010101", "#020202", "#030303", "#040404", "#050505"
_VARIABLES = {INK: "ink", MUTED: "muted", LINE: "line", ACCENT: "accent", WARM: "warm"}
# These are readable on white and on black.
_PARTS = ("#4c78a8", "#f58518", "#54a24b", "#b279a2", "#e45756", "#72b7b2", "#9c755f", "#8e8e8e")
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none", "font.size": 10, "text.color": INK, "axes.edgecolor": LINE, "axes.labelcolor": MUTED,
    "xtick.color": LINE, "ytick.color": LINE, "xtick.labelcolor": MUTED, "ytick.labelcolor": MUTED,
    "grid.color": LINE, "grid.linewidth": 0.6, "axes.spines.top": False, "axes.spines.right": False,
    "axes.axisbelow": True, "legend.frameon": False, "text.parse_math": False,
}  # fmt: skip
_WIDTH_IN = 4.8
_BUCKETS = 300
_DOTTED = 60  # up to so many points each has its dot


_Draw = Callable[["Axes"], None]
_Points = Sequence[tuple[float, float]]


class Chart(NamedTuple):
    """A drawing, what stands under it, and the words that replace it for who cannot see it (inside the SVG)."""

    title: str
    note: str
    svg: Markup


def curve(
    name: str,
    title: str,
    note: str,
    points: _Points,
    marks: Mapping[str, float],
    *,
    zero: bool,
    beside: tuple[str, _Points] = ("", ()),
) -> Chart:
    """A line over the training steps, and perhaps a second one.

    Args:
        name: unique on the page; prefixes the SVG's ids.
        points: (step, value); what is not a finite number is left out and counted in the note.
        marks: label → value of a horizontal line.
        zero: let the axis begin at 0.
        beside: label and points of the second line.
    """
    finite, second = _finite(points), _finite(beside[1])
    lost = len(points) - len(finite)
    words = f"{title} over {len(points)} steps{_ends(finite)}"
    words += f"; {beside[0]}{_ends(second)}" if second else ""
    words += "".join(f"; {label} {value:.4g}" for label, value in marks.items() if math.isfinite(value))

    def draw(axes: Axes) -> None:
        steps, values = zip(*_thinned(finite), strict=True) if finite else ((), ())
        axes.plot(steps, values, color=ACCENT, linewidth=1.6, marker="." if len(values) <= _DOTTED else None)
        if second:
            axes.plot(*zip(*_thinned(second), strict=True), color=WARM, linewidth=1.6, marker=".", label=beside[0])
            axes.legend(loc="best", fontsize=9.5, labelcolor=WARM, handlelength=1)
        _draw_marks(axes, values, {label: value for label, value in marks.items() if math.isfinite(value)})
        _over_steps(axes)
        if zero:
            axes.set_ylim(bottom=0)

    note += f"; {lost} {'step is' if lost == 1 else 'steps are'} not a finite number" if lost else ""
    return Chart(title, note, svg(draw, name, words, height_in=2.5))


def lines(name: str, title: str, note: str, series: Mapping[str, _Points]) -> Chart:
    """Several lines over the training steps, a colour each.

    Args:
        name: unique on the page; prefixes the SVG's ids.
        series: label → (step, value); what is not a finite number is left out.
    """
    finite = {label: _finite(points) for label, points in series.items()}
    words = f"{title} over the steps: " + "; ".join(f"{label}{_ends(points)}" for label, points in finite.items())

    def draw(axes: Axes) -> None:
        drawn = []
        for index, points in enumerate(finite.values()):
            steps, values = zip(*_thinned(points), strict=True) if points else ((), ())
            marker = "." if len(values) <= _DOTTED else None
            drawn += axes.plot(steps, values, color=_PARTS[index % len(_PARTS)], linewidth=1.6, marker=marker)
        _over_steps(axes)
        labels = [f" {label[:24]}" for label in finite]  # matplotlib hides what begins with an underscore
        axes.legend(drawn, labels, loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=3, fontsize=9, handlelength=1)

    return Chart(title, note, svg(draw, name, words, height_in=2.5 + 0.2 * math.ceil(len(series) / 3)))


def _over_steps(axes: Axes) -> None:
    axes.set_xlabel("step")
    axes.locator_params(axis="x", integer=True, nbins=6)
    axes.xaxis.set_major_formatter("{x:,g}")
    axes.yaxis.set_major_formatter("{x:,g}")
    axes.grid(axis="y")
    axes.margins(x=0.02, y=0.14)


def _finite(points: _Points) -> _Points:
    return [(step, value) for step, value in points if value is not None and math.isfinite(value)]


def _ends(points: _Points) -> str:
    """The first and the last point in words."""
    if not points:
        return ""
    (first, begin), (last, end) = points[0], points[-1]
    return f": {begin:.4g} at step {first:g}, {end:.4g} at step {last:g}"


def _draw_marks(axes: Axes, values: Sequence[float], marks: Mapping[str, float]) -> None:
    for label, value in marks.items():
        axes.axhline(value, color=WARM, linewidth=1.2, linestyle=(0, (4, 3)))
        # The label stands at the end where the curve is farther away.
        left = bool(values) and abs(values[0] - value) > abs(values[-1] - value)
        above = value == max(marks.values())
        axes.annotate(
            f"{label} {value:.4g}", (0.01 if left else 0.99, value), (0, 3 if above else -3), color=WARM, fontsize=9.5,
            xycoords=("axes fraction", "data"), textcoords="offset points", ha="left" if left else "right",
            va="bottom" if above else "top",
        )  # fmt: skip


def _thinned(points: _Points) -> list[tuple[float, float]]:
    """The lowest and the highest point of each bucket: a long curve keeps its spikes and loses its bytes."""
    width = len(points) / _BUCKETS
    if width <= 2:
        return list(points)
    kept: list[tuple[float, float]] = []
    for bucket in range(_BUCKETS):
        group = points[int(bucket * width) : int((bucket + 1) * width)]
        kept += sorted({min(group, key=lambda point: point[1]), max(group, key=lambda point: point[1])})
    return kept


def size_bars(
    name: str,
    title: str,
    note: str,
    rows: Mapping[str, Mapping[str, float]],
    figure: Callable[[float], str] = size,
) -> Chart:
    """Horizontal bars of bytes, or of what `figure` puts into words: row → part → amount. Several parts have a colour
    each, and a legend.
    """
    parts = list(dict.fromkeys(part for row in rows.values() for part in row))
    totals = {label: sum(row.values()) for label, row in rows.items()}
    words = f"{title}: " + ", ".join(f"{label} {figure(total)}" for label, total in totals.items())

    def draw(axes: Axes) -> None:
        left = dict.fromkeys(rows, 0.0)
        for index, part in enumerate(parts):
            widths = [row.get(part, 0.0) for row in rows.values()]
            colour = _PARTS[index % len(_PARTS)] if len(parts) > 1 else ACCENT
            axes.barh(list(rows), widths, left=list(left.values()), height=0.62, color=colour, label=part)
            left = {label: start + width for (label, start), width in zip(left.items(), widths, strict=True)}
        for row, total in enumerate(totals.values()):
            axes.annotate(figure(total), (total, row), (4, 0), textcoords="offset points", va="center", fontsize=9.5)
        axes.set_ylim(max(len(rows), 2) - 0.5, -0.5)  # downwards; one bar alone is no thicker than two are
        axes.set_xlim(0, 1.22 * max(totals.values()))  # room for the figures
        axes.set_xticks([])
        axes.tick_params(length=0)
        axes.spines["bottom"].set_visible(False)
        if len(parts) > 1:
            axes.legend(loc="upper center", bbox_to_anchor=(0.45, -0.02), ncols=3, fontsize=9, handlelength=1)

    legend_in = 0.26 * math.ceil(len(parts) / 3) if len(parts) > 1 else 0
    return Chart(title, note, svg(draw, name, words, height_in=0.4 + 0.36 * max(len(rows), 2) + legend_in))


def svg(draw: _Draw, name: str, words: str, height_in: float) -> Markup:
    """A drawing as an element of the page.

    Args:
        name: unique on the page; prefixes the SVG's ids.
        words: what replaces it for who cannot see it.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({**_STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=(_WIDTH_IN, height_in), layout="constrained")
        draw(figure.add_subplot())
        return _inline(figure, name, words)


def _inline(figure: Figure, name: str, words: str) -> Markup:
    """The figure as an element of the page: sized by the page, ids of its own, no metadata, no style sheet."""
    stream = io.StringIO()
    figure.savefig(stream, format="svg", transparent=True)
    text = stream.getvalue()
    view_box = text.split('viewBox="', 1)[1].split('"', 1)[0]
    body = text.split("<svg", 1)[1].split(">", 1)[1].replace("xlink:href", "href")
    body = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", body, flags=re.DOTALL)
    body = re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{name}-", body)
    for drawn, variable in _VARIABLES.items():
        body = body.replace(drawn, f"var(--{variable})")
    return Markup(f'<svg viewBox="{view_box}" role="img" aria-label="{escape(words)}">{body}')  # noqa: S704
