"""Obtain the base model: convert a ready one once, take a published one, or make a new one with random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cluster.artifacts import ArtifactStore, Manifest
from cluster.config import PluginConfig
from cluster.errors import ArtifactError
from cluster.progress import ProgressFile
from jobs.console import fact, title
from jobs.context import Context, Made
from trainers.config import Dtype, TrainConfig
from trainers.models import ModelSource, convert, head_of, locate
from trainers.objectives import module_of

VERSION = 3


def obtain(context: Context) -> Manifest:
    """The artifact of a ready base model."""
    config = context.job.model
    title("Base model")
    if config.artifact is not None:
        manifest = published_model(context.store, config.artifact)
        fact("taken", f"{manifest.name}  ({manifest.id})")
        return manifest
    source, dtype = locate(config), _dtype(context)

    def work(folder: Path) -> Made:
        fact("converting", f"{source.path.name} to safetensors, {dtype}")
        context.remote("convert", _convert, source, folder, dtype)
        return Made({"source": source.origin}, source=source.origin)

    return context.make(
        "model", VERSION, {"dtype": dtype}, {}, work, publish_as=config.name, kind="model", outside=source.origin
    ).artifact


def published_model(store: ArtifactStore, reference: str) -> Manifest:
    """A published model.

    Raises:
        ArtifactError: there is none, or it is something else.
    """
    manifest = store.get(reference, "model.artifact")
    if manifest.kind != "model":
        raise ArtifactError(
            "That artifact is no model.", field="model.artifact", got=f"{manifest.name}, which is a {manifest.kind}",
            expected="a model", fix="an adapter begins another training as train.adapter.start; a sweep's winner is "
            "run with --winner; the model that an adapter was merged into ends in -merged",
        )  # fmt: skip
    return manifest


def create(context: Context, tokenizer: Manifest, architecture: PluginConfig, config: TrainConfig) -> Manifest:
    """The artifact of a new model, its weights drawn from the training's seed."""
    title("New model")
    head = context.job.head

    def work(folder: Path) -> Made:
        arguments = architecture, context.files(tokenizer), folder, config.dtype, config.seed, head
        report = context.remote("make model", _make, *arguments)
        return Made({"parameters": report["parameters"]})

    drawn = {"head": head, "dtype": config.dtype, "seed": config.seed}
    outcome = context.make(
        "model", VERSION, {"scratch": architecture.model_dump(mode="json"), **drawn}, {"tokenizer": tokenizer}, work,
        publish_as=context.job.model.name, kind="model",
    )  # fmt: skip
    fact("parameters", f"{outcome.report['parameters']:,}")
    return outcome.artifact


def with_head(context: Context, base: Manifest, config: TrainConfig) -> Manifest:
    """The base model with the head that the objective trains, drawn once, where it has none yet."""
    if not hasattr(module_of(config.objective), "initialise_head") or head_of(context.files(base)) == context.job.head:
        return base
    title("New head")

    def work(folder: Path) -> Made:
        context.remote("new head", _add_head, config, context.files(base), folder)
        return Made({})

    settings = {"head": context.job.head, "dtype": config.dtype, "seed": config.seed}
    return context.make(
        "head", VERSION, settings, {"base": base}, work, publish_as=f"{base.name}-{context.job.head}", kind="model"
    ).artifact


def _dtype(context: Context) -> Dtype:
    return context.job.train.dtype if context.job.train else "bfloat16"


def _convert(progress: ProgressFile, source: ModelSource, folder: Path, dtype: Dtype) -> None:
    progress.write(0, 1)
    convert(source, folder, dtype)


def _make(
    progress: ProgressFile,
    architecture: PluginConfig,
    tokenizer: Path,
    folder: Path,
    dtype: Dtype,
    seed: int,
    head: str,
) -> dict[str, Any]:
    from trainers.architectures import make_model

    progress.write(0, 1)
    return make_model(architecture, tokenizer, folder, dtype, seed, head)


def _add_head(progress: ProgressFile, config: TrainConfig, base: Path, folder: Path) -> None:
    import torch

    from trainers.models import copy_tokenizer, load_model, load_tokenizer

    progress.write(0, 1)
    objective = module_of(config.objective)
    model = load_model(base, getattr(torch, config.dtype), objective.HEAD)
    objective.initialise_head(model, config.seed, load_tokenizer(base).pad_token_id)
    model.save_pretrained(folder)
    copy_tokenizer(base, folder)
