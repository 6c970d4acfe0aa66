"""The reference of a replica's proof: what the artifact's weights give a fixed text, in transformers and float32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cluster.artifacts import Manifest
from cluster.connect import result_of
from cluster.errors import RaysmithError
from jobs.console import fact
from serving.probe import TEXTS, TOP_K, Probe

_TOKENS_OF_A_TEXT = 24
_THREADS = 2


def probe_file(root: Path, model: Manifest, path: Path) -> Path | None:
    """The file with the reference, made now if it is not there yet.

    Args:
        path: the model's GGUF file or folder.

    Returns:
        None where transformers cannot open the model: its replicas then start without a proof.
    """
    file = root / "probes" / f"{model.id}.npz"
    if file.is_file():
        return file
    import ray

    fact("reference", "log-probabilities of the artifact's weights, once")
    file.parent.mkdir(parents=True, exist_ok=True)
    # No cores of its own: replicas may hold them all.
    task = ray.remote(max_calls=1)(make_probe).options(num_cpus=0, max_retries=1)
    try:
        problem = result_of(task.remote(path, file))
    except RaysmithError as error:
        problem = error.message
    if problem:
        fact("not proved", f"transformers does not open it: {problem}")
        return None
    return file


def make_probe(path: Path, file: Path) -> str:
    """Compute the reference for a GGUF file or a folder; gives what went wrong, empty if nothing did."""
    import torch
    from transformers import AutoModelForCausalLM, GgufConfig

    from trainers.models import load_tokenizer
    from trainers.scoring import TransformersHolder

    torch.set_num_threads(_THREADS)
    factory: type[AutoModelForCausalLM] = AutoModelForCausalLM
    try:
        if path.suffix == ".gguf":
            from transformers import AutoTokenizer

            tokenizer: Any = AutoTokenizer.from_pretrained(
                path.parent, gguf_file=path.name, local_files_only=True, trust_remote_code=False
            )
            loaded = factory.from_pretrained(
                path.parent, gguf_file=path.name, quantization_config=GgufConfig(dequantize=True), dtype=torch.float32,
                local_files_only=True, trust_remote_code=False,
            )  # fmt: skip
        else:
            tokenizer = load_tokenizer(path)
            loaded = factory.from_pretrained(
                path, dtype=torch.float32, local_files_only=True, trust_remote_code=False, use_safetensors=True,
            )  # fmt: skip
    except (ValueError, OSError, KeyError, RuntimeError) as error:
        return f"{type(error).__name__}: {error}"[:300]
    sequences = [tokenizer(text, add_special_tokens=False)["input_ids"][:_TOKENS_OF_A_TEXT] for text in TEXTS]
    scores = TransformersHolder(loaded.eval()).score(sequences, TOP_K)
    Probe(sequences, scores).write(file)
    return ""
