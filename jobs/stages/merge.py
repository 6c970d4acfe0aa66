"""Merge the adapter into the base model and prove the hand-off."""

from __future__ import annotations

from pathlib import Path

from cluster.artifacts import Manifest
from cluster.handoff import Agreement, describe
from jobs.console import fact, title
from jobs.context import Context, Made
from trainers.adapters import merge as merge_adapter
from trainers.formats import HELDOUT
from trainers.models import Held
from trainers.proof import prove_merge

VERSION = 3


def merge(context: Context, base: Manifest, adapter: Manifest, tokens: Manifest, trained_on: Held = "full") -> Manifest:
    """The merged model's artifact; it is published only when the proof holds.

    Args:
        trained_on: how the base was held while the adapter was trained; it is merged into the full one.
    """
    title("Merge")
    config = context.job.handoff

    def work(folder: Path) -> Made:
        where = (context.files(base), context.files(adapter))
        context.remote("merge", merge_adapter, *where, folder)
        heldout = context.files(tokens) / HELDOUT
        proof = context.remote("prove merge", prove_merge, *where, folder, heldout, config, trained_on)
        return Made({"handoff": {name: agreement._asdict() for name, agreement in proof.items()}})

    settings = config.model_dump(mode="json") | {"trained_on": trained_on}
    outcome = context.make(
        "merge", VERSION, settings, {"base": base, "adapter": adapter, "tokens": tokens}, work,
        publish_as=f"{context.job.name}-merged", kind="model",
    )  # fmt: skip
    for name, figures in outcome.report["handoff"].items():
        fact(name.replace("_", " "), describe(Agreement(**figures)))
    return outcome.artifact
