"""Make the data set: the text or the conversations as they are, checked and cleaned, without a tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cluster.artifacts import Manifest
from cluster.progress import ProgressFile
from jobs.console import fact, title
from jobs.context import Context, Made
from jobs.paths import with_absolute_paths
from trainers.config import DataConfig
from trainers.formats import format_of

VERSION = 2


def collect(context: Context, config: DataConfig) -> Manifest:
    """The data set's artifact."""
    title("Data")
    data_format = format_of(config)
    identity = data_format.identity(config)

    models = {name: context.store.get(name) for name in getattr(config, "artifacts", [])}

    def work(folder: Path) -> Made:
        places = {name: context.files(manifest) for name, manifest in models.items()}
        report = context.remote("collect", _collect, with_absolute_paths(config), folder, places, cpus=cores(config))
        return Made(report, source=_source(config))

    # Of a mixture, the weights are the tokens' affair.
    unused: Any = {"name": True, "max_length": True, "sources": {"__all__": {"weight"}}}
    settings = config.model_dump(mode="json", exclude=unused)
    outcome = context.make(
        "dataset", VERSION, settings, {f"model {name}": one for name, one in models.items()}, work,
        publish_as=config.name, kind="dataset", outside=identity,
    )  # fmt: skip
    for name, counts in outcome.report.get("sources", {}).items():
        fact(name, ", ".join(f"{key.replace('_', ' ')} {count:,}" for key, count in counts.items() if count))
    for label, words in getattr(format_of(config), "collected", lambda _: [])(outcome.report):
        fact(label, words)
    return outcome.artifact


def cores(config: DataConfig) -> float | None:
    """Cores that a task of this format holds: none where it starts Ray tasks of its own."""
    found: float | None = getattr(format_of(config), "CPUS", None)
    return found


def _source(config: DataConfig) -> dict[str, str]:
    """What the lineage says of where the data came from: the files that the configuration names."""
    named = {key: value.name for key, value in config if isinstance(value, Path)}
    sources = [source.name for source in getattr(config, "sources", [])]
    return named | ({"sources": ", ".join(sources)} if sources else {})


def _collect(progress: ProgressFile, config: DataConfig, folder: Path, models: dict[str, Path]) -> dict[str, Any]:
    more = {"artifacts": models} if models else {}
    return format_of(config).collect(progress, config, folder, **more)
