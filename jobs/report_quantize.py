"""What report.html tells of quantization: size against quality, the leaderboard, and what each result loses where."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from jobs.report_charts import ACCENT, LINE, MUTED, WARM, Chart, svg
from jobs.report_run import RunRecord
from jobs.words import duration, size

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LEAST_KL = 1e-5
_WORST = 3


def leaderboard(run: RunRecord) -> dict[str, Any] | None:
    """`chart`, `rows` (the smallest first), `unquantized` and `failed`; None where nothing was quantized."""
    stage = run.stage("quantize")
    if not stage.get("board") and not stage.get("failed"):
        return None
    reference = stage["unquantized"]
    rows = [_row(entry, reference, stage.get("chosen")) for entry in stage["board"]]
    rows.sort(key=lambda row: row["bytes"])
    return {
        "chart": _frontier(rows, stage["gate"].get("max_kl")), "rows": rows, "unquantized": _unquantized(reference),
        "failed": stage["failed"],
    }  # fmt: skip


def _row(entry: dict[str, Any], reference: dict[str, Any], chosen: str | None) -> dict[str, Any]:
    engine, first = next(iter(entry["figures"].items()))
    return {
        "label": entry["label"], "chosen": entry["label"] == chosen, "misses": entry["misses"], "engine": engine,
        "bits": f"{entry['layer_bits']:.2f}", "bytes": entry["size_bytes"], "size": size(entry["size_bytes"]),
        "kl": first["kl"], "perplexity": f"{first['perplexity']:.2f}",
        "increase": f"{first['perplexity'] / reference['perplexity'] - 1:+.1%}",
        "agreement": f"{first['agreement']:.1%}", "task": _share(first["task"]),
        "speeds": [
            f"{name} {one['tokens_per_s']:.0f}" for name, one in entry["figures"].items() if one["tokens_per_s"]
        ],
        "took": duration(entry["seconds"]), "memory": size(entry["peak_bytes"]),
        "worst": [f"{name} {loss:.2%}" for name, loss in list(entry["worst"].items())[:_WORST]],
    }  # fmt: skip


def _unquantized(reference: dict[str, Any]) -> dict[str, Any]:
    speed = reference["tokens_per_s"]
    return {
        "size": size(reference["size_bytes"]), "perplexity": f"{reference['perplexity']:.2f}",
        "task": _share(reference["task"]),
        "tokens": reference["tokens"], "speeds": [f"transformers {speed:.0f}"] if speed else [],
    }  # fmt: skip


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


def _frontier(rows: list[dict[str, Any]], bar: float | None) -> Chart:
    """KL over size, both down is better; the line joins those that no other beats in both."""
    best = list(_undominated(rows))
    words = "KL from the unquantized model over size: " + "; ".join(
        f"{row['label']} {row['size']}, {row['kl']:.4f}" for row in rows
    )
    rows = [row for row in rows if math.isfinite(row["kl"])]

    def draw(axes: Axes) -> None:
        axes.plot([row["bytes"] for row in best], [_shown(row) for row in best], color=LINE, linewidth=1.2, zorder=1)
        for row in rows:
            colour = WARM if row["misses"] else ACCENT
            axes.plot(
                row["bytes"], _shown(row), marker="o", markersize=9 if row["chosen"] else 6, color=colour,
                markerfacecolor="none" if row["misses"] else colour, linestyle="none",
            )  # fmt: skip
            axes.annotate(
                row["label"], (row["bytes"], _shown(row)), (6, 3), textcoords="offset points", fontsize=8.5,
                color=MUTED,
            )  # fmt: skip
        if bar is not None:
            axes.axhline(bar, color=WARM, linewidth=1.0, linestyle="--")
        axes.set_yscale("log")
        axes.set_xlabel("size")
        axes.xaxis.set_major_formatter(lambda value, _: size(int(max(value, 0))))
        axes.locator_params(axis="x", nbins=5)
        axes.grid(axis="y")
        axes.margins(x=0.16, y=0.12)

    note = "KL from the unquantized model, nats a token; hollow: misses the gate"
    note += f", whose KL is the dashed line ({bar:g})" if bar is not None else ""
    return Chart("Size and quality", note, svg(draw, "frontier", words, height_in=3.4))


def _shown(row: dict[str, Any]) -> float:
    return max(float(row["kl"]), _LEAST_KL)


def _undominated(rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    least = math.inf
    for row in rows:
        if row["kl"] < least:
            least = row["kl"]
            yield row
