"""Quantize the model and prove, in the engine that will serve it, that it still is the same model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cluster.artifacts import Manifest
from cluster.handoff import Agreement, Bar, compare, describe, require_same
from cluster.progress import ProgressFile
from jobs.console import fact, title
from jobs.context import Context, Made
from jobs.words import size
from serving.protocol import EngineConfig, open_engine
from serving.quantize import QuantizeConfig, quantizer_of
from trainers.formats import HELDOUT
from trainers.proof import TOP_K, scored_sequences
from trainers.scoring import TransformersHolder

VERSION = 1
FILE_NAME = "model.gguf"


def quantize(
    context: Context, model: Manifest, tokens: Manifest, config: QuantizeConfig, engine: EngineConfig
) -> Manifest:
    """The quantized file's artifact; it is published only when the proof holds."""
    title("Quantize")

    def work(folder: Path) -> Made:
        source = context.files(model)
        report = context.remote("quantize", _quantize, source, folder / FILE_NAME, config)
        heldout = context.files(tokens) / HELDOUT
        agreement = context.remote("prove quantized", _prove, source, folder / FILE_NAME, heldout, config, engine)
        metrics = {"kl": agreement.kl, "bits_per_weight": report["bits_per_weight"]}
        return Made({**report, "handoff": {"merged_to_quantized": agreement._asdict()}}, metrics=metrics)

    settings = {"quantize": config.model_dump(mode="json"), "engine": engine.model_dump(mode="json")}
    outcome = context.make(
        "quantize", VERSION, settings, {"model": model, "tokens": tokens}, work,
        publish_as=f"{context.job.name}-quantized", kind="gguf",
    )  # fmt: skip
    report = outcome.report
    bits = f"{report['bits_per_weight']:.2f} bits a weight"
    fact("size", f"{size(model.size_bytes)} → {size(report['size_bytes'])}, {bits}")
    fact("merged to quantized", describe(Agreement(**report["handoff"]["merged_to_quantized"])))
    return outcome.artifact


def _quantize(progress: ProgressFile, model: Path, out_file: Path, config: QuantizeConfig) -> dict[str, Any]:
    result = quantizer_of(config.method).quantize(model, out_file, config.method, progress.write)
    return {
        "size_bytes": result.size_bytes,
        "bits_per_weight": result.bits_per_weight,
        "tensor_types": result.tensor_types,
    }


def _prove(
    progress: ProgressFile, model: Path, file: Path, heldout: Path, config: QuantizeConfig, engine: EngineConfig
) -> Agreement:
    import ray
    import torch

    from trainers.models import load_model

    sequences = scored_sequences(heldout, config.sequences)
    progress.write(0, 2, "unquantized model")
    reference = TransformersHolder(load_model(model, torch.float32)).score(sequences, TOP_K)
    progress.write(1, 2, f"quantized, in {engine.kind}")
    cpus = max(1, int(ray.get_runtime_context().get_assigned_resources().get("CPU", 1)))
    opened = open_engine(engine, file, "proof", cpus)
    try:
        agreement = compare(reference, opened.score(sequences, TOP_K))
    finally:
        opened.close()
    require_same("merged_to_quantized", agreement, Bar(config.max_kl, config.min_agreement))
    return agreement
