"""Quantize the model by each method, measure the results side by side, and publish one that passes the gate."""

from __future__ import annotations

import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from cluster.artifacts import Manifest
from cluster.config import digest, file_digest
from cluster.errors import ArtifactError, HandoffError, RaysmithError, ResourceError
from cluster.progress import ProgressFile
from jobs.console import errors, fact, title
from jobs.context import Context, Made
from jobs.quantize import board
from jobs.quantize.board import Entry
from jobs.quantize.config import CalibrationConfig, QuantizeConfig
from jobs.quantize.measure import Figures, calibration_text, is_kept, measure
from jobs.quantize.peak import PeakMemory
from serving.quantize import QuantizerConfig, quantizer_of
from serving.quantizers._source import open_source
from trainers.formats import HELDOUT, TRAIN

VERSION = 2
_REFERENCE_ENGINE = "transformers"


def quantize(context: Context, model: Manifest, tokens: Manifest, config: QuantizeConfig) -> Manifest:
    """The chosen artifact; nothing is published when none passes the gate.

    Raises:
        HandoffError: none does, with what each misses.
        DataError: there is too little calibration text.
    """
    title("Quantize")
    began = time.monotonic()
    stage = _Stage(context, model, tokens, config)
    stage.require_calibration()
    reference = stage.reference()
    entries = [entry for method in config.quantizers for entry in stage.entries(method, reference)]
    chosen = board.choose(entries, config.choose)
    parts = [one for name, one in context.report["stages"].items() if name.startswith(("quantize_", "measure_"))]
    context.report["stages"]["quantize"] = {
        "reused": all(one["reused"] for one in parts), "seconds": round(time.monotonic() - began, 2),
        **board.report(entries, stage.failed, reference, chosen, config.gate, model.size_bytes),
    }  # fmt: skip
    context.save_report()
    board.show(entries, stage.failed, reference, chosen, model.size_bytes)
    if chosen is None:
        missed = [f"{one.label}: {', '.join(one.misses)}" for one in entries]
        raise HandoffError(
            "No quantized model passes the gate; nothing is published.", field="quantize.gate",
            got="; ".join([*missed, *(f"{label}: {reason}" for label, reason in stage.failed.items())]),
            expected="one that reaches all of its bars",
            fix="more bits, a calibrated method (gptq, awq), `quantize.rescue`, or a wider gate",
        )  # fmt: skip
    name = f"{context.job.name}-quantized"
    context.store.point(name, chosen.artifact.id)
    fact("published", f"{name}  ({chosen.artifact.id}): {chosen.label}, the {config.choose} that passes")
    return chosen.artifact


class _Stage:
    """The methods of one job."""

    def __init__(self, context: Context, model: Manifest, tokens: Manifest, config: QuantizeConfig) -> None:
        self._context, self._model, self._tokens, self._config = context, model, tokens, config
        self._calibration = _calibration_tokens(context, tokens, config.calibration)
        task = config.measure.task
        self._asked: dict[str, Any] = {
            "measure": config.measure.model_dump(mode="json"),
            "task": [] if task is None else [file_digest(path) for path in task.files],
        }
        cluster = context.job.cluster
        # Figures of another kind of machine are not compared with these, nor shown beside them.
        self._asked["machine"] = {"gpu": bool(cluster.gpus_per_worker), "cpus": cluster.cpus_per_worker}
        key = digest([VERSION, self._asked, model.id, tokens.id])[:16]
        self._scores = context.root / "stages" / f"scores-{key}"
        self.failed: dict[str, str] = {}
        """Method → why there is no result of it."""

    def require_calibration(self) -> None:
        """Tell at once if there is too little text for the methods that need it."""
        if any(method.calibrated for method in self._config.quantizers):
            calibration_text(self._context.files(self._calibration) / TRAIN, self._config.calibration)

    def reference(self) -> Figures:
        """The unquantized model's figures; its scores are kept for the comparison."""
        self._scores.mkdir(parents=True, exist_ok=True)
        figures = self._measured("unquantized", _REFERENCE_ENGINE, self._model)
        if not is_kept(self._scores):  # the figures are remembered, and the scores were removed
            self._run("unquantized", _REFERENCE_ENGINE, self._model)
        return figures

    def entries(self, method: QuantizerConfig, reference: Figures) -> list[Entry]:
        """The method's result; and those with more bits for its worst layers, while it misses the gate. A method that
        fails is told of and leaves the others alone.
        """
        from ray.exceptions import RayTaskError  # after `connect` has prepared the environment

        found: list[Entry] = []
        rescue = self._config.rescue
        wanted: QuantizerConfig | None = method
        try:
            while wanted is not None:
                found.append(self._entry(wanted, reference))
                again = rescue is not None and found[-1].misses and len(found) <= rescue.rounds
                wanted = board.rescued(method, found[0].losses, rescue, len(found)) if again and rescue else None
        except ResourceError:
            raise  # a full disk is every method's
        except RaysmithError as error:
            self._tell_failure(method, f"{error.message} {error.got or ''}".strip())
        except RayTaskError as error:  # what an engine or a library raises; the traceback is for its maintainers
            errors.print(str(error), markup=False)
            self._tell_failure(method, f"{type(error.cause).__name__}: {error.cause}".splitlines()[0])
        return found

    def _tell_failure(self, method: QuantizerConfig, reason: str) -> None:
        self.failed[method.label] = reason
        fact("failed", f"{method.label}: {reason}")

    def _entry(self, method: QuantizerConfig, reference: Figures) -> Entry:
        context, config, label = self._context, self._config, method.label
        calibration = config.calibration if method.calibrated else None
        model, train = context.files(self._model), context.files(self._calibration) / TRAIN

        def work(folder: Path) -> Made:
            report = context.remote(f"quantize {label}", _quantize, model, folder, method, calibration, train)
            metrics = {"bits_per_weight": report["bits_per_weight"], "layer_bits": report["layer_bits"]}
            return Made(report, metrics=metrics, source={"method": label, "calibration": report["calibration"]})

        settings = {
            "method": method.model_dump(mode="json"),
            "calibration": None if calibration is None else calibration.model_dump(mode="json"),
        }
        parents = {"model": self._model} | ({} if calibration is None else {"tokens": self._calibration})
        outcome = context.make(
            f"quantize_{label}", VERSION, settings, parents, work, publish_as=f"{context.job.name}-{label}",
            kind="quantized", pointed=False,
        )  # fmt: skip
        engines = [one for one in method.engines(gpu=bool(context.job.cluster.gpus_per_worker)) if _is_installed(one)]
        wanted = engines if config.measure.engines == "all" else engines[:1]
        figures = {engine: self._measured(label, engine, outcome.artifact) for engine in wanted}
        report = outcome.report
        entry = Entry(
            label, method.kind, outcome.artifact, outcome.artifact.size_bytes, report["bits_per_weight"],
            report["layer_bits"], report["tensor_types"], report["seconds"], report["peak_bytes"], report["losses"],
            figures, board.misses(config.gate, reference, figures),
        )  # fmt: skip
        board.tell(entry, reference)
        return entry

    def _measured(self, label: str, engine: str, artifact: Manifest) -> Figures:
        report = self._context.measure(
            f"measure_{label}_{engine}", VERSION, {"engine": engine, **self._asked},
            {"model": self._model, "tokens": self._tokens, "measured": artifact},
            lambda: self._run(label, engine, artifact)._asdict(),
        )  # fmt: skip
        return Figures(**report)

    def _run(self, label: str, engine: str, artifact: Manifest) -> Figures:
        context = self._context
        return context.remote(
            f"measure {label}", measure, engine, context.files(artifact), context.files(self._model),
            context.files(self._tokens) / HELDOUT, self._config.measure, self._scores, artifact.id == self._model.id,
            alone=engine == "vllm",
        )  # fmt: skip


def _calibration_tokens(context: Context, tokens: Manifest, config: CalibrationConfig) -> Manifest:
    """The tokens that calibration text is taken from.

    Raises:
        ArtifactError: those that are named are something else, or another tokenizer's.
    """
    if config.artifact is None:
        return tokens
    store, field = context.store, "quantize.calibration.artifact"
    found = store.get(config.artifact, field)
    if found.kind != "tokens":
        raise ArtifactError(
            "Calibration text is taken from tokens.", field=field, got=f"{found.name}, which is a {found.kind}",
            expected="what a job's Tokens stage published, such as NAME-tokens",
        )  # fmt: skip
    made_by, ours = (store.get(one.parents["tokenizer"]).files.get("tokenizer.json") for one in (found, tokens))
    if made_by != ours:
        raise ArtifactError(
            "The calibration text was made by another tokenizer than the model's.", field=field, got=found.name,
            expected="tokens of the same tokenizer.json",
        )  # fmt: skip
    return found


def _is_installed(engine: str) -> bool:
    return find_spec({"llama_cpp": "xllamacpp"}.get(engine, engine)) is not None


def _quantize(
    progress: ProgressFile,
    model: Path,
    out: Path,
    method: QuantizerConfig,
    calibration: CalibrationConfig | None,
    train: Path,
) -> dict[str, Any]:
    text = None if calibration is None else calibration_text(train, calibration)
    quantizer = quantizer_of(method)
    open_source(model).skeleton()  # torch, transformers and the model's code are not what a method takes
    with PeakMemory() as memory:
        result = quantizer.quantize(model, out, method, text, progress.write)
    return {
        "bits_per_weight": result.bits_per_weight, "layer_bits": result.layer_bits,
        "tensor_types": result.tensor_types, "losses": result.losses, "seconds": memory.seconds,
        "peak_bytes": memory.peak_bytes,
        "calibration": "none" if text is None else digest(text.tolist()),
    }  # fmt: skip
