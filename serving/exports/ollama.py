"""Ollama: a GGUF file, and a Modelfile whose template is proved to write what the model's own writes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from cluster.errors import ConfigError, ModelError
from serving.exports._files import Adapter, Model, place
from serving.exports._gguf_file import GgufFile
from serving.exports._lora import export_adapter
from serving.exports._template import Proved, translate

MAX_CONTEXT_TOKENS = 8192
"""What a Modelfile asks for at most: Ollama reserves memory for all of it at once."""
_FILE, _ADAPTER = "model.gguf", "adapter.gguf"


class Export(NamedTuple):
    """What was written."""

    template: Proved
    stop: list[str]
    """Texts at which an answer ends."""
    num_ctx: int
    adapted: int
    """Matrices that the adapter changes; 0 without one."""


def write(model: Model, output: Path, *, adapter: Adapter | None = None, system: str | None = None) -> Export:
    """Write the folder.

    Args:
        model: a GGUF file.
        output: an empty folder.
        system: the system message of conversations that bring none.

    Raises:
        ModelError, HandoffError: the chat template cannot be expressed in Ollama, or the adapter not in GGUF.
        ConfigError: a Modelfile cannot hold the system message, or the chat template takes none.
    """
    file = GgufFile(model.path)
    template = translate(
        file.chat_template, bos=file.token("bos"), eos=file.token("eos"), adds_bos=file.adds_bos
    )  # fmt: skip
    _check_system(system, template)
    stop = stop_texts(file, template.shape.after_assistant)
    num_ctx = min(file.context_length, MAX_CONTEXT_TOKENS)
    adapted = export_adapter(adapter.path, file, output / _ADAPTER) if adapter is not None else 0
    place(model.path, output / _FILE)
    lines = [f"FROM ./{_FILE}", f'TEMPLATE """{template.go}"""']
    lines += [f"ADAPTER ./{_ADAPTER}"] if adapter is not None else []
    lines += [f'SYSTEM """{system}"""'] if system is not None else []
    lines += [f"PARAMETER stop {_quoted(text)}" for text in stop] + [f"PARAMETER num_ctx {num_ctx}"]
    (output / "Modelfile").write_text("\n".join(lines) + "\n", encoding="utf-8")
    export = Export(template, stop, num_ctx, adapted)
    (output / "README.md").write_text(_readme(model, adapter, export), encoding="utf-8")
    return export


def stop_texts(file: GgufFile, after_answer: str) -> list[str]:
    """Where an answer ends: at the model's end tokens, and at what its template writes after an answer.

    Raises:
        ModelError: nothing marks the end.
    """
    found = [file.token("eos"), file.token("eot")]
    rest = after_answer.strip()
    special = max((token for token in file.special_tokens() if rest.startswith(token)), key=len, default="")
    found.append(special or rest)
    stop = list(dict.fromkeys(text for text in found if text))
    if not stop:
        raise ModelError("Nothing marks the end of an answer.", field="tokenizer.ggml.eos_token_id")
    if bad := [text for text in stop if not re.fullmatch(r'[^"]+', text) or not _printable(text)]:
        raise ModelError("A Modelfile cannot hold a text at which answers end.", field="stop", got=bad)
    return stop


def _check_system(system: str | None, template: Proved) -> None:
    if system is None:
        return
    if template.shape.system == "none":
        raise ConfigError(
            "The model's chat template takes no system message.", field="--system", got=system, expected="none"
        )
    if not system or '"""' in system or system.endswith('"') or not _printable(system):
        raise ConfigError(
            "A Modelfile cannot hold the system message.", field="--system", got=repr(system),
            expected='printable text without """, not ending in a quote',
        )  # fmt: skip


def _printable(text: str) -> bool:
    return all(char.isprintable() or char in "\n\t" for char in text)


def _quoted(text: str) -> str:
    return f'"{text}"'


def _readme(model: Model, adapter: Adapter | None, export: Export) -> str:
    checked = [
        f"TEMPLATE and the model's own chat template were rendered over {export.template.num_conversations} "
        "conversations (one to four questions, with and without a system message): equal, character by character.",
        f"Answers end at: {', '.join(f'`{text}`' for text in export.stop)}.",
    ]
    if adapter is not None:
        checked.append(
            f"The adapter {adapter.name} ({adapter.artifact}) changes {export.adapted} matrices, each of which fits "
            "the base; llama.cpp opened it and gave other log-probabilities than without it."
        )
    told = [*export.template.remarks, "tools and images are not part of the template"]
    return "\n".join([
        f"# {model.name} for Ollama", "", f"Made from the artifact {model.artifact}.", "",
        "    ollama create NAME -f Modelfile", "    ollama run NAME", "",
        "What was checked:", "", *(f"- {line}" for line in checked), "", "What differs, or is not there:", "",
        *(f"- {line}" for line in told), "",
        f"`num_ctx` is {export.num_ctx}; Ollama reserves memory for so many tokens.", "",
    ])  # fmt: skip
