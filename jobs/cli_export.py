"""`raysmith export`: take checkpoints and models out, for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from jobs.cli_options import StorageOption, root_of

app = typer.Typer(help="Take checkpoints and models out, for other programs.", no_args_is_help=True)

Model = Annotated[str, typer.Argument(metavar="NAME", help="A published model's name or id.")]
To = Annotated[Path, typer.Option("--to", help="The folder to write, new or empty.")]
Adapter = Annotated[str | None, typer.Option("--adapter", help="A published LoRA adapter of the model.")]


@app.command()
def checkpoint(
    name: Annotated[str, typer.Argument(metavar="RUN", help="The run whose checkpoint is wanted.")],
    to: To,
    step: Annotated[int | None, typer.Option("--step", help="Which checkpoint; default: the newest.")] = None,
    storage: StorageOption = None,
) -> None:
    """Write a checkpoint as a folder that transformers (or peft, for an adapter) loads."""
    from jobs.export import export as export_checkpoint

    export_checkpoint(root_of(storage), name, to, step)


@app.command()
def ollama(
    name: Model,
    to: To,
    adapter: Adapter = None,
    system: Annotated[str | None, typer.Option("--system", help="The system message where none is given.")] = None,
    storage: StorageOption = None,
) -> None:
    """Write a GGUF model with a Modelfile whose template is proved to be the model's own."""
    _export(storage, "ollama", name, to, adapter, system)


@app.command()
def bentoml(name: Model, to: To, adapter: Adapter = None, storage: StorageOption = None) -> None:
    """Write a BentoML service with OpenAI's API."""
    _export(storage, "bentoml", name, to, adapter)


@app.command()
def vllm(name: Model, to: To, adapter: Adapter = None, storage: StorageOption = None) -> None:
    """Write the model and the command that serves it with vLLM alone."""
    _export(storage, "vllm", name, to, adapter)


@app.command()
def sglang(name: Model, to: To, adapter: Adapter = None, storage: StorageOption = None) -> None:
    """Write the model and the command that serves it with SGLang."""
    _export(storage, "sglang", name, to, adapter)


@app.command("tensorrt-llm")
def tensorrt_llm(name: Model, to: To, adapter: Adapter = None, storage: StorageOption = None) -> None:
    """Write the model and the command that serves it with TensorRT-LLM."""
    _export(storage, "tensorrt-llm", name, to, adapter)


def _export(
    storage: Path | None, kind: str, name: str, to: Path, adapter: str | None, system: str | None = None
) -> None:
    from jobs.export_server import export

    export(root_of(storage), kind, name, to, adapter, system)
