"""Measure a model on the held-out data and ask it the questions."""

from __future__ import annotations

from typing import Any

from cluster.artifacts import Manifest
from cluster.config import PluginConfig
from jobs.console import fact, title
from jobs.context import Context
from jobs.words import loss_words
from trainers.config import EvaluateConfig
from trainers.evaluate import evaluate
from trainers.formats import HELDOUT

VERSION = 2


def measure(
    context: Context, when: str, model: Manifest, tokens: Manifest, objective: PluginConfig, config: EvaluateConfig
) -> dict[str, Any]:
    """Held-out loss, the objective's other figures, and answers; `when` is `before` or `after`."""
    title(f"Evaluate {when} training")

    def work() -> dict[str, Any]:
        heldout = context.files(tokens) / HELDOUT
        found = context.remote(f"evaluate {when}", evaluate, context.files(model), heldout, objective, config)
        return found | ({"num_tokens": found["num_terms"]} if found["perplexity"] is not None else {})

    inputs = {"model": model, "tokens": tokens}
    settings = {"evaluate": config.model_dump(mode="json"), "objective": objective.model_dump(mode="json")}
    report = context.measure(f"evaluate_{when}", VERSION, settings, inputs, work)
    fact("held-out loss", loss_words(report))
    return report
