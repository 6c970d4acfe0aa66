"""report.html of a sweep: what won, the trials' curves, which values mattered, what it cost against the full grid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.report_cards import Card
from jobs.report_charts import ACCENT, LINE, MUTED, WARM, Chart, svg
from jobs.report_page import write_page
from jobs.sweep.record import SweepRecord
from jobs.sweep.searchers.optuna import study_of
from jobs.sweep.space import Sweep, grid_size
from jobs.sweep.table import describe, shown
from jobs.words import duration

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_CURVES = 60
_LEAST_TRIALS = 8  # fewer tell nothing of what mattered


def write_report(sweep: Sweep, record: SweepRecord, folder: Path) -> None:
    """Write `report.html` into the sweep's directory."""
    charts = [_curves(sweep, record), _parallel(sweep, record), _importance(sweep, record), _cost(sweep, record)]
    names = sorted({key for trial in record.trials for key in trial.values})
    order = record.ranked() + [one for one in record.trials if one.score is None or one.status == "failed"]
    rows = [
        {
            "trial": trial, "values": [shown(trial.values.get(name)) for name in names],
            "score": "–" if trial.score is None else f"{trial.score:.4f}", "time": duration(trial.seconds),
        }
        for trial in order
    ]  # fmt: skip
    write_page(
        folder / "report.html", "sweep/report.html.j2", name=sweep.config.name, about=describe(sweep), names=names,
        rows=rows, metric=sweep.config.objective.metric, cards=_cards(sweep, record),
        charts=[chart for chart in charts if chart is not None], winner=record.winner,
    )  # fmt: skip


def grid_steps(sweep: Sweep) -> int | None:
    """Steps that the full grid would have trained; None if the space is no grid."""
    size, train = grid_size(sweep.config.space), sweep.sample.train
    return None if size is None or train is None else size * train.steps


def _cards(sweep: Sweep, record: SweepRecord) -> list[Card]:
    best, steps = record.ranked()[0], sum(one.steps for one in record.trials)
    states = [one.status for one in record.trials]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    values = ", ".join(f"{key} = {shown(value)}" for key, value in best.values.items())
    cards = [
        Card(sweep.config.objective.metric, f"{best.score:.4f}", f"trial {best.number:03d}: {values}", "good"),
        Card("Trials", str(len(record.trials)), counts),
        Card("Trained", f"{steps:,} steps", f"{record.tokens:,} tokens"),
        Card("Time", duration(record.seconds), f"{duration(sum(one.seconds for one in record.trials))} in steps"),
    ]
    if (whole := grid_steps(sweep)) is not None:
        cards.append(Card("Against the full grid", f"{steps / whole:.0%}", f"of its {whole:,} steps"))
    return cards


def _curves(sweep: Sweep, record: SweepRecord) -> Chart | None:
    ranked = record.ranked()
    if not ranked:
        return None

    def draw(axes: Axes) -> None:
        for trial in reversed(ranked[:_CURVES]):
            best = trial is ranked[0]
            steps, values = zip(*trial.curve, strict=True)
            axes.plot(
                steps, values, color=ACCENT if best else MUTED, linewidth=2.0 if best else 0.9, marker=".",
                alpha=1.0 if best else 0.55, zorder=3 if best else 2,
            )  # fmt: skip
            for move in trial.moves:
                axes.axvline(move.step, color=LINE, linewidth=0.6, zorder=1)
        axes.set_xlabel("step")
        axes.grid(axis="y")

    words = f"{sweep.config.objective.metric} of {len(ranked)} trials over their steps; best {ranked[0].score:.4g}"
    note = "each trial's measurements; the winner in colour" + (
        ", vertical lines: weights moved" if any(one.moves for one in ranked) else ""
    )
    return Chart("Trials", note, svg(draw, "curves", words, height_in=3.0))


def _parallel(sweep: Sweep, record: SweepRecord) -> Chart | None:
    """Every trial as a line through its values; the winner in colour, the better third warm."""
    ranked = record.ranked()
    names = [name for name in sweep.config.space if len({str(one.point[name]) for one in ranked}) > 1]
    if len(ranked) < 2 or not names:
        return None
    scales = {name: _scale(sweep, name, [one.point[name] for one in ranked]) for name in names}
    scores = [one.score or 0.0 for one in ranked]
    low, high = min(scores), max(scores)

    def draw(axes: Axes) -> None:
        places = range(len(names) + 1)
        for index, trial in reversed(list(enumerate(ranked))):
            heights = [scales[name][0](trial.point[name]) for name in names]
            heights.append(((trial.score or 0.0) - low) / (high - low) if high > low else 0.5)
            colour = ACCENT if index == 0 else WARM if index < len(ranked) / 3 else MUTED
            axes.plot(
                places, heights, color=colour, linewidth=2.2 if index == 0 else 1.0, alpha=1 if index == 0 else 0.6
            )
        for place, name in enumerate(names):
            axes.axvline(place, color=LINE, linewidth=1)
            for height, label in scales[name][1]:
                axes.annotate(label, (place, height), (3, 0), textcoords="offset points", fontsize=8.5, va="center")
        axes.axvline(len(names), color=LINE, linewidth=1)
        for height, value in ((0.0, low), (1.0, high)):
            axes.annotate(f"{value:.3g}", (len(names), height), (3, 0), textcoords="offset points", fontsize=8.5)
        labels = [name.rpartition(".")[2] for name in names] + [sweep.config.objective.metric]
        axes.set_xticks(list(places), labels)
        axes.set_yticks([])
        axes.spines[:].set_visible(False)
        axes.set_xlim(-0.1, len(names) + 0.35)

    words = f"Values of {len(ranked)} trials and what they came to"
    note = "a line is a trial; the winner in the accent colour, the better third warm"
    return Chart("Values and objective", note, svg(draw, "parallel", words, height_in=3.0))


def _scale(sweep: Sweep, name: str, values: Sequence[Any]) -> tuple[Any, list[tuple[float, str]]]:
    """A dimension's height from 0 to 1, and labels of some heights."""
    dimension = sweep.config.space[name]
    if dimension.values is not None:
        listed = list(range(len(dimension.values))) if dimension.together is not None else dimension.values
        span = max(1, len(listed) - 1)
        labels = [(index / span, shown(value)[:24]) for index, value in enumerate(listed)]
        return (lambda value: listed.index(value) / span), labels
    change = math.log if dimension.is_log else float
    low, high = change(min(values)), change(max(values))
    ends = [(0.0, shown(min(values))), (1.0, shown(max(values)))]
    return (lambda value: (change(value) - low) / (high - low) if high > low else 0.5), ends


def _importance(sweep: Sweep, record: SweepRecord) -> Chart | None:
    """PED-ANOVA (Watanabe et al. 2023, arXiv 2304.10255), by Optuna."""
    found = importance(sweep, record)
    if found is None:
        return None

    def draw(axes: Axes) -> None:
        axes.barh(list(found), list(found.values()), color=ACCENT, height=0.6)
        axes.set_ylim(max(len(found), 2) - 0.5, -0.5)
        for row, value in enumerate(found.values()):
            axes.annotate(f"{value:.0%}", (value, row), (4, 0), textcoords="offset points", va="center", fontsize=9.5)
        axes.set_xticks([])
        axes.set_xlim(0, 1.2 * max(found.values()))

    words = "Importance: " + ", ".join(f"{name} {value:.0%}" for name, value in found.items())
    note = f"share of what told good trials from others (PED-ANOVA, {len(record.ranked())} trials)"
    return Chart("What mattered", note, svg(draw, "importance", words, height_in=0.5 + 0.4 * max(2, len(found))))


def importance(sweep: Sweep, record: SweepRecord) -> dict[str, float] | None:
    """Dimension → its share of the importance; None when there are too few trials to tell."""
    ranked = record.ranked()
    names = [name for name in sweep.config.space if len({str(one.point[name]) for one in ranked}) > 1]
    if len(ranked) < _LEAST_TRIALS or not names:
        return None
    from optuna.importance import get_param_importances

    study = study_of(sweep.config.space, record.history())
    found = {name: float(value) for name, value in get_param_importances(study, params=names).items()}
    return found if sum(found.values()) > 0 else None


def _cost(sweep: Sweep, record: SweepRecord) -> Chart | None:
    whole = grid_steps(sweep)
    if whole is None:
        return None
    used = {"sweep": sum(one.steps for one in record.trials), "full grid": whole}

    def draw(axes: Axes) -> None:
        axes.barh(list(used), list(used.values()), color=[ACCENT, MUTED], height=0.6)
        axes.set_ylim(1.5, -0.5)
        for row, value in enumerate(used.values()):
            axes.annotate(f"{value:,}", (value, row), (4, 0), textcoords="offset points", va="center", fontsize=9.5)
        axes.set_xticks([])
        axes.set_xlim(0, 1.25 * whole)

    words = f"{used['sweep']:,} steps of the full grid's {whole:,}"
    return Chart("Cost", "trainer steps", svg(draw, "cost", words, height_in=1.2))
