"""Obtain the base model: convert it once into a safetensors folder, or take a published one."""

from __future__ import annotations

from pathlib import Path

from cluster.artifacts import Manifest
from cluster.progress import ProgressFile
from jobs.console import fact, title
from jobs.context import Context, Made
from trainers.config import Dtype
from trainers.models import ModelSource, convert, locate

VERSION = 2


def obtain(context: Context) -> Manifest:
    """The base model's artifact."""
    config = context.job.model
    title("Base model")
    if config.artifact is not None:
        manifest = context.store.get(config.artifact)
        fact("taken", f"{manifest.name}  ({manifest.id})")
        return manifest
    source = locate(config)
    dtype: Dtype = context.job.train.dtype if context.job.train else "bfloat16"

    def work(folder: Path) -> Made:
        fact("converting", f"{source.path.name} to safetensors, {dtype}")
        context.remote("convert", _convert, source, folder, dtype)
        return Made({"source": source.origin}, source=source.origin)

    return context.make(
        "model", VERSION, {"dtype": dtype}, {}, work, publish_as=config.name, kind="model", outside=source.origin
    ).artifact


def _convert(progress: ProgressFile, source: ModelSource, folder: Path, dtype: Dtype) -> None:
    progress.write(0, 1)
    convert(source, folder, dtype)
