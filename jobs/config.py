"""The configuration of a job: one YAML file. Each section is optional, and runs if it is there."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, cast

from pydantic import Field, model_validator

from cluster.config import Config, FromFolder
from cluster.config_file import apply_overrides, apply_values, load_config, read_tree, validate
from cluster.connect import ClusterConfig
from cluster.errors import ConfigError, ConfigValueError
from cluster.storage import StorageConfig, read_json
from jobs.quantize.config import QuantizeConfig
from serving.config import ServeConfig
from trainers.architectures import require_head
from trainers.config import DataConfig, EvaluateConfig, HandoffConfig, ModelConfig, TrainConfig
from trainers.objectives import module_of
from trainers.tokenizer import TokenizerConfig

SWEEP_RECORD = "sweep.json"
"""In a run directory: what is known of a sweep's trials."""
_NEEDS = (
    ("train", "data"), ("evaluate", "train"), ("quantize", "data"), ("serve", "quantize"), ("tokenizer", "data"),
)  # fmt: skip
_OBJECTIVES = FromFolder("trainers.objectives")
_FORMATS = FromFolder("trainers.formats")
_TOKENIZERS = {"causal_lm": "causal", "reward": "causal", "masked_lm": "masked"}


class JobConfig(Config):
    """A job: model → data → evaluate → train → merge → evaluate → quantize → serve.

    A new model is made from its data: data → tokenizer → model → …
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,49}$")
    """Names the run directory and what it publishes."""
    cluster: ClusterConfig = ClusterConfig()
    """Where it runs."""
    storage: StorageConfig = StorageConfig()
    """Where runs and artifacts are kept."""
    model: ModelConfig
    """The base model."""
    tokenizer: TokenizerConfig | None = None
    """The tokenizer of a new model (`model.scratch`), trained on the data."""
    data: Annotated[DataConfig, FromFolder("trainers.formats", default="chat")] | None = None
    """What is trained and measured on: a file of trainers/formats, with its keys; `chat` if no `kind` is given."""
    evaluate: EvaluateConfig | None = None
    """What is measured before and after training."""
    train: TrainConfig | None = None
    """Training."""
    handoff: HandoffConfig = HandoffConfig()
    """Bars of the proof that merging keeps the tune."""
    quantize: QuantizeConfig | None = None
    """Quantization of the result."""
    serve: ServeConfig | None = None
    """The endpoint."""

    @property
    def head(self) -> str:
        """Which kind of model the job trains: a key of `trainers.models.HEADS`."""
        return "causal_lm" if self.train is None else cast(str, module_of(self.train.objective).HEAD)

    @property
    def trains_itself(self) -> bool:
        """Whether the objective brings its own training loop, and with it its own measurements."""
        return self.train is not None and hasattr(module_of(self.train.objective), "train")

    @property
    def measures_itself(self) -> bool:
        """Whether the objective measures held-out data in a way of its own, in the middle of training."""
        return self.trains_itself or (
            self.train is not None and getattr(module_of(self.train.objective), "MEASURES_ITSELF", False)
        )

    @model_validator(mode="after")
    def _sections_fit(self) -> JobConfig:
        for section, needs in _NEEDS:
            if getattr(self, section) is not None and getattr(self, needs) is None:
                raise ConfigValueError(
                    f"`{section}` needs a `{needs}` section.", got=f"{section} without {needs}",
                    expected="both, or neither", fix=f"add `{needs}:` or remove `{section}:`",
                )  # fmt: skip
        _require_new_model_whole(self)
        _require_fitting_data(self)
        _require_adapter_to_compare(self)
        _require_fitting_head(self)
        _require_enough_sequences(self)
        _require_room_for_text(self)
        _require_served(self)
        return self

    def resolved(self) -> dict[str, Any]:
        """The whole configuration with all defaults, as plain data that loads again."""
        return self.model_dump(mode="json")


def _require_new_model_whole(job: JobConfig) -> None:
    """A new model is made of text, by way of a tokenizer, and is nothing before it is trained."""
    if job.model.scratch is None:
        if job.tokenizer is not None:
            raise ConfigValueError(
                "`tokenizer` is for a new model.", got="tokenizer with a ready model, which brings its own",
                expected="model.scratch", fix="remove `tokenizer:`",
            )  # fmt: skip
        return
    for section in ("tokenizer", "train"):
        if getattr(job, section) is None:
            raise ConfigValueError(
                f"A new model needs a `{section}` section.", got=f"model.scratch without {section}",
                expected=f"`{section}:`", fix="a model that is ready to use comes from model.path, package or artifact",
            )  # fmt: skip
    require_head(job.model.scratch, job.head)
    if job.tokenizer is not None and (wanted := _TOKENIZERS.get(job.head)) != job.tokenizer.model:
        raise ConfigValueError(
            "The tokenizer is not one for what is trained.", got=f"tokenizer.model: {job.tokenizer.model}",
            expected=f"tokenizer.model: {wanted}, for a {job.head} model",
        )  # fmt: skip
    if job.data is not None and job.data.kind != "text":
        raise ConfigValueError(
            "A new model and its tokenizer are made from raw text.", got=f"data.kind: {job.data.kind}",
            expected="data.kind: text", fix="train a model on text first; a second job tunes it, by model.artifact",
        )  # fmt: skip


def _require_adapter_to_compare(job: JobConfig) -> None:
    if job.evaluate is not None and job.evaluate.adapters and (job.train is None or job.train.adapter is None):
        raise ConfigValueError(
            "`evaluate.adapters` are measured beside one that is trained.", got="no train.adapter",
            expected="train.adapter, or no evaluate.adapters",
        )  # fmt: skip


def _require_fitting_data(job: JobConfig) -> None:
    if job.train is None or job.data is None:
        return
    objective, formats = job.train.objective.kind, _formats(job.train)
    kind = getattr(import_module(f"{_FORMATS.package}.{job.data.kind}"), "LIKE", job.data.kind)
    if kind not in formats:
        names = _OBJECTIVES.names()
        fitting = [name for name in names if job.data.kind in import_module(f"{_OBJECTIVES.package}.{name}").FORMATS]
        raise ConfigValueError(
            "The objective does not train on that kind of data.",
            got=f"train.objective: {objective}, data.kind: {job.data.kind}",
            expected=f"for {objective}, data of kind {' or '.join(formats)}",
            fix=f"or an objective for {job.data.kind}: {', '.join(fitting) or 'there is none'}",
        )  # fmt: skip


def _formats(config: TrainConfig) -> tuple[str, ...]:
    """Kinds of data that the objective trains on; a method of it may take fewer."""
    module, method = module_of(config.objective), getattr(config.objective, "method", None)
    methods: dict[str, str] = getattr(module, "METHODS", {})
    return (methods[method],) if method in methods else cast(tuple[str, ...], module.FORMATS)


def _require_fitting_head(job: JobConfig) -> None:
    """What writes text needs a model that does."""
    if job.head == "causal_lm":
        if job.measures_itself and job.evaluate is not None and job.serve is None:
            raise ConfigValueError(
                "The objective measures itself, before and after.", got="evaluate without serve",
                expected="no `evaluate` section, or an endpoint to ask its questions", fix="remove `evaluate:`",
            )  # fmt: skip
        return
    kind = job.train.objective.kind if job.train else ""
    sections = [section for section in ("quantize", "serve") if getattr(job, section) is not None]
    sections += ["evaluate.questions"] if job.evaluate is not None and job.evaluate.questions else []
    if sections:
        raise ConfigValueError(
            "Only a model that writes text can be asked, quantized and served.",
            got=f"{', '.join(sections)} with train.objective: {kind}, which trains a {job.head} model",
            expected="an objective for a causal_lm model", fix=f"remove {' and '.join(sections)}",
        )  # fmt: skip


def _require_enough_sequences(job: JobConfig) -> None:
    """Every worker takes part in every micro-batch."""
    if job.train is None:
        return
    batch, refuse_unsupported = job.train.batch, getattr(module_of(job.train.objective), "refuse_unsupported", None)
    if job.train.paged_optimizer and not job.cluster.gpus_per_worker:
        raise ConfigValueError(
            "A paged optimizer moves states between a GPU's memory and the node's.",
            got="train.paged_optimizer with cluster.gpus_per_worker: 0", expected="gpus_per_worker: 1",
            fix="remove train.paged_optimizer",
        )  # fmt: skip
    for workers in range(job.cluster.min_workers, job.cluster.max_workers + 1):
        if refuse_unsupported is not None:
            refuse_unsupported(job.train, workers)
        if (needed := workers * job.train.accumulation(workers)) > batch.sequences:
            raise ConfigValueError(
                "A step has too few sequences for the workers.",
                got=f"train.batch.sequences={batch.sequences}, micro={batch.micro}, {workers} workers",
                expected=f"at least {needed} sequences",
                fix="raise train.batch.sequences or train.batch.micro, or lower cluster.workers",
            )  # fmt: skip


def _require_room_for_text(job: JobConfig) -> None:
    if job.evaluate is not None and job.serve is not None:
        _require_at_most(
            "evaluate.max_new_tokens", job.evaluate.max_new_tokens,
            "serve.limits.max_new_tokens", job.serve.limits.max_new_tokens,
        )  # fmt: skip
    if job.data is not None and (context := getattr(job.model.scratch, "context", None)) is not None:
        _require_at_most("data.max_length", job.data.max_length, "model.scratch.context", context)
        if job.quantize is not None and any(method.calibrated for method in job.quantize.quantizers):
            length = job.quantize.calibration.length
            _require_at_most("quantize.calibration.length", length, "model.scratch.context", context)


def _require_served(job: JobConfig) -> None:
    """The endpoint's engine can run whatever method is chosen."""
    if job.quantize is None or job.serve is None:
        return
    engine = job.serve.engine
    for method in job.quantize.quantizers:
        if method.MAKES not in engine.OPENS:
            raise ConfigValueError(
                "The endpoint's engine cannot run what a method makes.",
                got=f"quantize.methods: {method.kind} makes a {method.MAKES}, serve.engine: {engine.kind}",
                expected=f"methods that make a {' or '.join(sorted(engine.OPENS))}, such as [kquants] for llama_cpp",
                fix="quantize in one job, and serve in another",
            )  # fmt: skip


def _require_at_most(key: str, value: int, limit_key: str, limit: int) -> None:
    if value > limit:
        raise ConfigValueError(
            f"`{key}` is more than `{limit_key}` allows.", got=f"{key}={value}", expected=f"at most {limit}",
            fix=f"lower {key} or raise {limit_key}",
        )  # fmt: skip


def load_job(path: Path, overrides: list[str], winner: str | None = None) -> JobConfig:
    """Read a job file with overrides; see `cluster.config_file.load_config`.

    Args:
        winner: a finished sweep, whose best trial's values are laid over the file's; overrides win over both.
    """
    if winner is None:
        return load_config(JobConfig, path, overrides)
    root = load_config(JobConfig, path, overrides).storage.location()
    loaded = apply_values(read_tree(path), winners_values(root, winner), f"winner of {winner}")
    return validate(JobConfig, apply_overrides(loaded, overrides))


def winners_values(root: Path, sweep: str) -> dict[str, Any]:
    """Dotted key → value of a finished sweep's best trial.

    Raises:
        ConfigError: there is no such sweep, or it has no winner yet.
    """
    found = read_json(root / "runs" / sweep / SWEEP_RECORD)
    if found is None or found.get("winner") is None:
        known = sorted(path.parent.name for path in (root / "runs").glob(f"*/{SWEEP_RECORD}"))
        raise ConfigError(
            "There is no sweep of that name." if found is None else "The sweep has no winner yet.",
            field="--winner", got=sweep, expected=", ".join(known) or "none yet", fix="raysmith sweep CONFIG",
        )  # fmt: skip
    values: dict[str, Any] = found["winner"]["values"]
    return values
