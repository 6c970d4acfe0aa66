"""Quantize the model by each method, measure the results side by side, and publish one that passes the gate."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from cluster.artifacts import Manifest
from cluster.config import digest
from cluster.errors import HandoffError
from cluster.progress import ProgressFile
from jobs.console import fact, title
from jobs.context import Context, Made
from jobs.quantize import board
from jobs.quantize.board import Entry
from jobs.quantize.config import CalibrationConfig, QuantizeConfig
from jobs.quantize.measure import Figures, calibration_text, measure
from jobs.quantize.peak import PeakMemory
from serving.quantize import QuantizerConfig, quantizer_of
from trainers.formats import HELDOUT, TRAIN

VERSION = 2
_REFERENCE_ENGINE = "transformers"


def quantize(context: Context, model: Manifest, tokens: Manifest, config: QuantizeConfig) -> Manifest:
    """The chosen artifact; nothing is published when none passes the gate.

    Raises:
        HandoffError: none does, with what each misses.
    """
    title("Quantize")
    began = time.monotonic()
    inputs = {"model": model, "tokens": tokens}
    stage = _Stage(context, inputs, config)
    reference = stage.reference()
    entries = []
    for method in config.quantizers:
        entries += stage.entries(method, reference)
    chosen = board.choose(entries, config.choose)
    parts = [one for name, one in context.report["stages"].items() if name.startswith(("quantize_", "measure_"))]
    context.report["stages"]["quantize"] = {
        "reused": all(one["reused"] for one in parts), "seconds": round(time.monotonic() - began, 2),
        **board.report(entries, reference, chosen, config.gate),
    }  # fmt: skip
    context.save_report()
    board.show(entries, reference, chosen)
    if chosen is None:
        raise HandoffError(
            "No quantized model passes the gate; nothing is published.", field="quantize.gate",
            got="; ".join(f"{one.label}: {', '.join(one.misses)}" for one in entries),
            expected="one that reaches all of its bars",
            fix="more bits, a calibrated method (gptq, awq), `quantize.rescue`, or a wider gate",
        )  # fmt: skip
    name = f"{context.job.name}-quantized"
    context.store.point(name, chosen.artifact.id)
    fact("published", f"{name}  ({chosen.artifact.id}): {chosen.label}, the {config.choose} that passes")
    return chosen.artifact


class _Stage:
    """The methods of one job."""

    def __init__(self, context: Context, inputs: dict[str, Manifest], config: QuantizeConfig) -> None:
        self._context, self._inputs, self._config = context, inputs, config
        self._model = context.files(inputs["model"])
        self._tokens = context.files(inputs["tokens"])
        settings = [config.measure.model_dump(mode="json"), inputs["model"].id, inputs["tokens"].id]
        self._scores = context.root / "stages" / f"scores-{digest(settings)[:16]}"

    def reference(self) -> Figures:
        """The unquantized model's figures; its scores are kept for the comparison."""
        self._scores.mkdir(parents=True, exist_ok=True)
        figures = self._measured("unquantized", _REFERENCE_ENGINE, self._inputs["model"], reference=True)
        if not any(self._scores.iterdir()):  # the figures are remembered, and the scores were removed
            self._run("unquantized", _REFERENCE_ENGINE, self._inputs["model"], reference=True)
        return figures

    def entries(self, method: QuantizerConfig, reference: Figures) -> list[Entry]:
        """The method's result; and those with more bits for its worst layers, if it misses the gate."""
        entry = self._entry(method, reference)
        found, rescue = [entry], self._config.rescue
        for number in range(rescue.rounds if rescue is not None else 0):
            wider = board.rescued(method, entry.losses, rescue, number + 1) if rescue is not None else None
            if not found[-1].misses or wider is None:
                break
            found.append(self._entry(wider, reference))
        return found

    def _entry(self, method: QuantizerConfig, reference: Figures) -> Entry:
        context, config, label = self._context, self._config, method.label
        calibration = config.calibration if method.calibrated else None

        def work(folder: Path) -> Made:
            report = context.remote(
                f"quantize {label}", _quantize, self._model, folder, method, calibration, self._tokens / TRAIN
            )
            return Made(report, metrics={"bits_per_weight": report["bits_per_weight"]})

        settings = {
            "method": method.model_dump(mode="json"),
            "calibration": None if calibration is None else calibration.model_dump(mode="json"),
        }
        outcome = context.make(
            f"quantize_{label}", VERSION, settings, self._inputs, work, publish_as=f"{context.job.name}-{label}",
            kind="quantized", pointed=False,
        )  # fmt: skip
        wanted = method.ENGINES if config.measure.engines == "all" else method.ENGINES[:1]
        figures = {engine: self._measured(label, engine, outcome.artifact) for engine in wanted}
        report = outcome.report
        entry = Entry(
            label, method.kind, outcome.artifact, report["size_bytes"], report["bits_per_weight"],
            report["layer_bits"],
            report["tensor_types"], report["seconds"], report["peak_bytes"], report["losses"], figures,
            board.misses(config.gate, reference, figures),
        )  # fmt: skip
        board.tell(entry, reference)
        return entry

    def _measured(self, label: str, engine: str, artifact: Manifest, *, reference: bool = False) -> Figures:
        settings = {"engine": engine, "measure": self._config.measure.model_dump(mode="json")}
        report = self._context.measure(
            f"measure_{label}_{engine}", VERSION, settings, {**self._inputs, "measured": artifact},
            lambda: self._run(label, engine, artifact, reference=reference)._asdict(),
        )  # fmt: skip
        return Figures(**report)

    def _run(self, label: str, engine: str, artifact: Manifest, *, reference: bool) -> Figures:
        scores = (None, self._scores) if reference else (self._scores, None)
        return self._context.remote(
            f"measure {label}", measure, engine, self._context.files(artifact), self._model, self._tokens / HELDOUT,
            self._config.measure, *scores,
        )  # fmt: skip


def _quantize(
    progress: ProgressFile, model: Path, out: Path, method: QuantizerConfig, calibration: CalibrationConfig | None,
    train: Path,
) -> dict[str, Any]:  # fmt: skip
    text = None if calibration is None else calibration_text(train, calibration)
    with PeakMemory() as memory:
        result = quantizer_of(method).quantize(model, out, method, text, progress.write)
    return {
        "size_bytes": result.size_bytes, "bits_per_weight": result.bits_per_weight, "layer_bits": result.layer_bits,
        "tensor_types": result.tensor_types, "losses": result.losses, "seconds": memory.seconds,
        "peak_bytes": memory.peak_bytes,
    }  # fmt: skip
