"""Published artifacts as an endpoint serves them."""

from __future__ import annotations

from cluster.artifacts import ArtifactStore, Manifest
from cluster.errors import ArtifactError
from jobs.lineage import ancestors
from serving.deploy import Adapter, Model
from serving.quantizers.kquants import FILE_NAME
from serving.table import Origin


def find_model(store: ArtifactStore, reference: str, field: str = "model") -> Manifest:
    """A published model.

    Raises:
        ArtifactError: there is none of that name, it is something else, or it was altered.
    """
    manifest = store.get(reference, field)
    if manifest.kind not in {"model", "quantized"}:
        raise ArtifactError(
            "That artifact cannot be served.", field=field, got=f"{manifest.name}, a {manifest.kind}",
            expected="a model or a quantized model",
            fix="an adapter goes to `adapters`, beside the model that it was trained on",
        )  # fmt: skip
    store.verify(manifest)
    return manifest


def find_adapter(store: ArtifactStore, model: Manifest, reference: str, field: str) -> Manifest:
    """A published adapter of a model, or of one that the model was made from.

    Raises:
        ArtifactError: there is none of that name, it is something else or another model's, or it was altered.
    """
    manifest = store.get(reference, field)
    if manifest.kind != "adapter":
        raise ArtifactError(
            "That artifact is no adapter.", field=field, got=f"{manifest.name}, a {manifest.kind}",
            expected="an adapter", fix="`raysmith ls` shows what there is",
        )  # fmt: skip
    bases = {model.id, *(one.id for one in ancestors(store, model))}
    if manifest.parents.get("base") not in bases:
        raise ArtifactError(
            "The adapter was trained on another model.", field=field,
            got=f"{manifest.name}, of {manifest.parents.get('base', 'an unknown base')}",
            expected=f"an adapter of {model.name} ({model.id})",
        )  # fmt: skip
    store.verify(manifest)
    return manifest


def origin_of(store: ArtifactStore, manifest: Manifest) -> Origin:
    """What `/v1/models` shows of it."""
    lineage = tuple(one.id for one in ancestors(store, manifest))
    return Origin(artifact=manifest.id, content=manifest.content, lineage=lineage)


def served_model(store: ArtifactStore, model: Manifest, adapters: dict[str, Manifest]) -> Model:
    """A model and its adapters, as `serving.deploy` takes them."""
    files = store.files(model)
    path = files / FILE_NAME if FILE_NAME in model.files else files
    loaded = {name: Adapter(store.files(one), origin_of(store, one)) for name, one in adapters.items()}
    return Model(path, origin_of(store, model), adapters=loaded)
