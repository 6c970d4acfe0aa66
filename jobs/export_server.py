"""Take a published model out as a folder for another server: Ollama, BentoML, vLLM, SGLang, TensorRT-LLM."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from cluster.artifacts import ArtifactStore, Manifest
from cluster.errors import ArtifactError, ConfigError
from jobs.console import fact
from jobs.export import require_empty
from jobs.lineage import ancestors
from serving.exports._files import Adapter, Model
from serving.quantizers.kquants import FILE_NAME

KINDS = ("ollama", "bentoml", "vllm", "sglang", "tensorrt-llm")


def export(root: Path, kind: str, name: str, output: Path, adapter: str | None, system: str | None) -> None:
    """Write the folder; nothing is left of it if something is refused.

    Args:
        root: the storage root.
        kind: one of `KINDS`.
        name: the model's name or id.
        adapter: an adapter's, made for this model.
        system: the system message of conversations that bring none; Ollama's alone.

    Raises:
        ArtifactError: there is no such artifact, it was altered, or the adapter is another model's.
        ModelError, HandoffError: the server could not serve the model as it is.
        ConfigError: the folder is not empty.
    """
    if kind not in KINDS:
        raise ConfigError("No such export.", field="KIND", got=kind, expected=", ".join(KINDS))
    store = ArtifactStore(root)
    manifest = _servable(store, name)
    model = Model(name, _path(store, manifest), manifest.id)
    chosen = _adapter(store, manifest, adapter) if adapter is not None else None
    with _new_folder(output):
        if kind == "ollama":
            _ollama(model, output, chosen, system)
        elif kind == "bentoml":
            from serving.exports import bentoml

            settings = bentoml.write(model, output, adapter=chosen, system=system)
            fact("engine", settings["engine"])
            fact("start it", f"RAYSMITH_API_KEY=… bash {output / 'serve.sh'}")
        else:
            from serving.exports import launch

            made = launch.write(cast("launch.Server", kind), model, output, adapter=chosen, system=system)
            fact("command", " ".join(made.command))
            key = "" if kind == "tensorrt-llm" else "RAYSMITH_API_KEY=… "
            fact("start it", f"{key}bash {output / 'launch.sh'}")
    fact("made from", f"{manifest.name}  ({manifest.id})")
    if chosen is not None:
        fact("adapter", f"{chosen.name}  ({chosen.artifact})")
    fact("written to", str(output))


def _ollama(model: Model, output: Path, adapter: Adapter | None, system: str | None) -> None:
    from serving.exports import ollama

    made = ollama.write(model, output, adapter=adapter, system=system)
    fact("template", f"equals the model's own in {made.template.num_conversations} conversations")
    for remark in made.template.remarks:
        fact("but", remark)
    fact("answers end at", ", ".join(made.stop))
    if adapter is not None:
        fact("matrices adapted", str(made.adapted))
    fact("start it", f"ollama create {model.name} -f {output / 'Modelfile'}")


def _servable(store: ArtifactStore, name: str) -> Manifest:
    manifest = store.get(name)
    if manifest.kind not in ("model", "quantized"):
        raise ArtifactError(
            "That artifact is no model.", field="NAME", got=f"{manifest.name}, which is a {manifest.kind}",
            expected="a model or a quantized one", fix="an adapter is exported with its base: --adapter",
        )  # fmt: skip
    store.verify(manifest)
    return manifest


def _path(store: ArtifactStore, manifest: Manifest) -> Path:
    folder = store.files(manifest)
    return folder / FILE_NAME if FILE_NAME in manifest.files else folder


def _adapter(store: ArtifactStore, model: Manifest, name: str) -> Adapter:
    manifest = store.get(name, "--adapter")
    base = manifest.parents.get("base")
    if manifest.kind != "adapter" or base is None:
        raise ArtifactError(
            "That artifact is no adapter.", field="--adapter", got=f"{manifest.name}, which is a {manifest.kind}"
        )
    # The model itself, or (its parent `model`) what it was quantized from: not what it was trained or merged from.
    same_weights = {model.id, *([model.parents["model"]] if "model" in model.parents else [])}
    if base not in same_weights:
        known = {one.id: one.name for one in [model, *ancestors(store, model)]}
        raise ArtifactError(
            "The adapter was trained on another model.", field="--adapter", got=f"{manifest.name}, trained on {base}",
            expected=f"one trained on {' or '.join(sorted(f'{known[one]} ({one})' for one in same_weights))}",
            fix="`raysmith trace` shows what an adapter was trained on",
        )  # fmt: skip
    store.verify(manifest)
    return Adapter(name, store.files(manifest), manifest.id)


@contextmanager
def _new_folder(output: Path) -> Iterator[None]:
    """An empty folder for the length of a `with` block, emptied again if that fails."""
    require_empty(output)
    output.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        for path in output.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        raise
