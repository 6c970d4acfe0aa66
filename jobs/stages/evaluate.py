"""Measure a model on the held-out data and ask it the questions."""

from __future__ import annotations

from typing import Any

from cluster.artifacts import ArtifactStore, Manifest
from cluster.config import PluginConfig
from cluster.errors import ArtifactError
from jobs.console import fact, title
from jobs.context import Context
from jobs.words import loss_words
from trainers.config import EvaluateConfig
from trainers.evaluate import evaluate, evaluate_adapters
from trainers.formats import HELDOUT

VERSION = 3


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
    settings = {
        "evaluate": config.model_dump(mode="json", exclude={"adapters"}),
        "objective": objective.model_dump(mode="json"),
    }
    report = context.measure(f"evaluate_{when}", VERSION, settings, inputs, work)
    fact("held-out loss", loss_words(report))
    return report


def compare_adapters(
    context: Context, base: Manifest, own: Manifest, tokens: Manifest, objective: PluginConfig, config: EvaluateConfig
) -> None:
    """Held-out losses of the adapter that was trained and of others of the same base, on one base model."""
    title("Adapters of this base")
    others = named_adapters(context.store, base, config.adapters)
    adapters = {own.name: own, **dict(zip(config.adapters, others, strict=True))}

    def work() -> dict[str, Any]:
        folders = {name: context.files(manifest) for name, manifest in adapters.items()}
        heldout = context.files(tokens) / HELDOUT
        arguments = context.files(base), folders, heldout, objective, config
        return {"adapters": context.remote("evaluate adapters", evaluate_adapters, *arguments)}

    settings = {
        "evaluate": config.model_dump(mode="json", include={"sequences", "batch"}),
        "objective": objective.model_dump(mode="json"),
    }
    report = context.measure("evaluate_adapters", 1, settings, {"tokens": tokens, **adapters}, work)
    for name, figures in report["adapters"].items():
        fact(name, loss_words({"perplexity": None, **figures}))


def named_adapters(store: ArtifactStore, base: Manifest, names: list[str]) -> list[Manifest]:
    """Published adapters, in the order of their names.

    Raises:
        ArtifactError: there is none of a name, it is no adapter, or one of another base.
    """
    found = [store.get(name) for name in names]
    for manifest in found:
        if manifest.kind != "adapter" or manifest.parents.get("base") != base.id:
            raise ArtifactError(
                "That is no adapter of this base model.", field=manifest.name,
                got=f"a {manifest.kind} of {manifest.parents.get('base', 'no base')}", expected=f"one of {base.id}",
            )  # fmt: skip
    return found
