"""What every export does with files: which of a model's belong to it, and how they get into the folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from cluster.errors import ModelError
from cluster.storage import require_free_space
from serving.quantizers._source import read_config, read_json

WEIGHTS = (".safetensors", ".gguf")
_BELONG = (".safetensors", ".json", ".jinja", ".txt", ".model")


class Model(NamedTuple):
    """What is exported."""

    name: str
    """The name that clients ask for; letters, digits, `.`, `_` and `-`."""
    path: Path
    """A GGUF file, or a folder as transformers writes it."""
    artifact: str
    """Its id, for the README."""


class Adapter(NamedTuple):
    """A LoRA adapter that goes with it."""

    name: str
    path: Path
    """A folder as peft writes it."""
    artifact: str


def place(source: Path, target: Path) -> None:
    """Put a file into the export: weights as a second name of the same bytes where the disk allows it, all else copied
    (someone may edit it, and the artifact must not change with it).

    Raises:
        ResourceError: the disk lacks room for a copy.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.suffix in WEIGHTS:
        try:
            os.link(source, target)
        except OSError:  # another file system, or one without links
            require_free_space(target.parent, source.stat().st_size, "for the copy of the model")
        else:
            return
    shutil.copyfile(source, target)


def place_folder(source: Path, target: Path) -> None:
    """Put the files of a model or adapter folder that servers read into the export. Code and pickles are left out.

    Raises:
        ModelError: it has no weights in safetensors.
        ResourceError: the disk lacks room for a copy.
    """
    files = list(_belonging(source))
    if not any(path.suffix == ".safetensors" for path in files):
        raise ModelError(
            "The folder has no weights that may be exported.", field=str(source), expected="safetensors files",
            fix="save the model with save_pretrained",
        )  # fmt: skip
    for path in files:
        place(path, target / path.name)


def _belonging(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.iterdir()) if path.is_file() and path.suffix in _BELONG)


def model_config(folder: Path) -> dict[str, Any]:
    """config.json of a model that writes text and needs no code but its server's.

    Raises:
        ModelError: it has none, asks for code of its own, or is another kind of model.
    """
    config = read_config(folder)
    if not all(name.endswith("ForCausalLM") for name in config.get("architectures") or [""]):
        raise ModelError(
            "Only a model that writes text can be served here.", field="architectures", got=config.get("architectures"),
            expected="…ForCausalLM",
        )  # fmt: skip
    own_code = config.get("auto_map") or [path.name for path in folder.glob("*.py")]
    if own_code:
        raise ModelError(
            "The model brings code of its own, which a server would run.", field=str(folder), got=own_code,
            expected="an architecture that servers know",
        )  # fmt: skip
    return config


def adapter_config(folder: Path) -> dict[str, Any]:
    """adapter_config.json of a LoRA adapter whose whole effect is `scaling · B·A`.

    Raises:
        ModelError: it is no LoRA adapter, or has parts that servers would leave out without a word.
    """
    path = folder / "adapter_config.json"
    if not path.is_file():
        raise ModelError("No adapter here: adapter_config.json is missing.", field=str(folder))
    config = read_json(path)
    for field, plain in (
        ("peft_type", "LORA"), ("use_dora", False), ("bias", "none"), ("modules_to_save", None),
        ("layer_replication", None), ("fan_in_fan_out", False), ("lora_bias", False), ("trainable_token_indices", None),
    ):  # fmt: skip
        if (config.get(field) or plain) != plain:
            raise ModelError(
                "The adapter is more than a plain LoRA; a server would leave out what it does not know.",
                field=f"adapter_config.json {field}", got=config[field], expected=plain,
                fix="merge it (`raysmith run` with a merge) and export the merged model",
            )  # fmt: skip
    return config


def highest_rank(config: dict[str, Any]) -> int:
    """The largest rank of an adapter's matrices."""
    return max([int(config["r"]), *map(int, (config.get("rank_pattern") or {}).values())])
