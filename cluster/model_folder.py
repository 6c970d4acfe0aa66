"""A model folder, looked at before a library follows what its files name."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath

from cluster.errors import ModelError

_ADAPTER = "adapter_config.json"
_INDEX = "model.safetensors.index.json"


def require_safe_folder(folder: Path) -> None:
    """Refuse a folder that leads out of itself, or to anything but safetensors.

    transformers opens whatever the index of weights names, pickles too; and where it finds an adapter's settings it
    loads the base that those name instead of the folder, and the adapter, from a pickle if need be.

    Raises:
        ModelError: with the first such name.
    """
    if (folder / _ADAPTER).exists():
        raise ModelError(
            "The folder holds an adapter's settings beside a model.", field=str(folder), got=_ADAPTER,
            expected="a model by itself", fix="take them out; an adapter is merged, or served beside its base",
        )  # fmt: skip
    path = folder / _INDEX
    if not path.is_file():
        return
    try:
        named = set(json.loads(path.read_text(encoding="utf-8"))["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(
            "The model's index cannot be read.", field=str(path), got=repr(error)[:200],
            expected='{"weight_map": {name: file, …}}',
        ) from None  # fmt: skip
    for name in sorted(map(str, named)):
        if PurePosixPath(name).name != name or not name.endswith(".safetensors"):
            raise ModelError(
                "The model's index names a file that is not read.", field=str(path), got=name,
                expected="names of safetensors files in the same folder",
                fix="pickled weights (*.bin, *.pt) are not read: convert them to safetensors",
            )  # fmt: skip
