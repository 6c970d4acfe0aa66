"""The figures at the top of report.html."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

from jobs.report_run import RunRecord
from jobs.words import size


class Card(NamedTuple):
    """One figure at a glance."""

    label: str
    value: str
    note: str
    tone: str = ""


def cards(run: RunRecord) -> Iterator[Card]:
    """The figures that matter of the stages that happened."""
    yield from _heldout_cards(run)
    if (quantized := run.stage("quantize")).get("artifact"):
        now, base, note = quantized["size_bytes"], run.base(), f"{quantized['bits_per_weight']:.2f} bits a weight"
        if base is None:
            yield Card("Model size", size(now), note)
        else:
            old, unit = size(base.size_bytes).split()
            value = f"{old if size(now).endswith(f' {unit}') else f'{old} {unit}'} → {size(now)}"
            yield Card("Model size", value, f"{_percent(now / base.size_bytes - 1)}, {note}")
    if trained := run.stage("train"):
        yield _training_card(trained)
    if speed := run.stage("serve").get("tokens_per_s"):
        yield Card("Endpoint", f"{figure(speed)} tokens/s", "one request at a time")


def _heldout_cards(run: RunRecord) -> Iterator[Card]:
    measured = run.before_and_after()
    before, after = measured.get("before"), measured.get("after")
    if before and after:
        start, end = before["heldout_loss"], after["heldout_loss"]
        change = (end - start) / start if start else 0.0
        beside = [_percent(change)]
        for key, form in (("perplexity", figure), ("accuracy", _share)):
            if before.get(key) is not None and after.get(key) is not None:
                beside.append(f"{key} {form(before[key])} → {form(after[key])}")
        yield Card("Held-out loss", f"{start:.3f} → {end:.3f}", ", ".join(beside), "good" if change < 0 else "bad")
    elif only := before or after:
        yield Card("Held-out loss", f"{only['heldout_loss']:.3f}", f"{'before' if before else 'after'} training")
    if after:
        yield from _text_cards(run, after["heldout_loss"])


def _text_cards(run: RunRecord, loss: float) -> Iterator[Card]:
    """What a model of raw text is measured against."""
    unigram, byte = (run.stage("tokens").get(key) for key in ("unigram_loss", "bytes_per_token"))
    if unigram is not None:
        words = f"{unigram - loss:.2f} better" if loss < unigram else f"{loss - unigram:.2f} worse"
        note = f"nats a token from frequencies alone; the model is {words}"
        yield Card("To beat", f"{unigram:.3f}", note, "good" if loss < unigram else "bad")
    # Only a model that predicts every token from those before it gives the text a code length.
    if byte and run.config.get("train", {}).get("objective", {}).get("kind") == "causal_lm":
        yield Card("Compression", f"{loss / math.log(2) / byte:.3f} bits a byte", "of held-out text, after training")


def _training_card(trained: dict[str, Any]) -> Card:
    attempts, speed = trained.get("attempts", []), trained.get("tokens_per_s")
    note = f"{trained['steps']} steps" + (f", {trained['tokens']:,} tokens" if "tokens" in trained else "")
    note += f", MFU {_share(trained['mfu'])}" if trained.get("mfu") is not None else ""
    note += f", in attempts {', '.join(attempts)}" if len(attempts) > 1 else ""
    note += f"; stopped early: {trained['stopped']}" if trained.get("stopped") else ""
    return Card("Training", f"{trained['steps']} steps" if speed is None else f"{figure(speed)} tokens/s", note)


def _percent(change: float) -> str:
    return f"{change:+.0%}".replace("-", "−")


def _share(value: float) -> str:
    return f"{100 * value:.3g}%"


def figure(value: float | None) -> str:
    """Three digits that count, thousands apart: 1,372 or 0.0243 or 3.2e-05."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if 100 <= abs(value) < 1e9 else f"{value:.3g}"
