"""The driver: a job from its base model to its endpoint."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from cluster.artifacts import Manifest
from cluster.connect import connected
from cluster.monitoring import targets
from cluster.rundir import RunDirectory
from jobs.admission import place_for, wanted_by
from jobs.config import JobConfig
from jobs.console import fact, title
from jobs.context import Context
from jobs.endpoints.served import Served
from jobs.endpoints.supervise import follow
from jobs.inputs import require_inputs
from jobs.placing import placed_in_time, until_placed
from jobs.plan import make_plan, require_free_port, require_job_fits, require_room, stages
from jobs.stages import dataset, escalate, evaluate, merge, model, quantize, serve, tokenizer, tokens, train
from jobs.summary import complete, recorded, waits
from serving.preflight import require_no_endpoint
from trainers.config import TrainConfig


def run(job: JobConfig, *, keep_serving: bool = False, fresh: bool = False) -> None:
    """Run every section of a job. What an earlier run finished is reused; what a kill cut off is resumed.

    Args:
        keep_serving: leave the endpoint up until Ctrl-C.
        fresh: do every stage again.

    Raises:
        RaysmithError: with the field, what was got, what was expected and the fix.
    """
    rounds = itertools.count()

    def pause(text: str) -> None:
        fact("queue", text)
        waits(RunDirectory(job.storage.path(), job.name))

    until_placed(lambda: _run(job, keep_serving=keep_serving, fresh=fresh and not next(rounds)), pause)


def _run(job: JobConfig, *, keep_serving: bool, fresh: bool) -> None:
    require_inputs(job)
    plan = make_plan(job)
    require_room(job, plan)
    require_free_port(job)
    root = job.storage.path()
    directory = RunDirectory(root, job.name)
    with directory.attempt(job.resolved()) as attempt:
        title(f"{job.name}: {' → '.join(stages(job))}")
        fact("run directory", str(directory.path))
        context = Context(job, root, directory, attempt, fresh=fresh, report=plan.report())
        told = targets.recorded(directory.path)
        with recorded(context), connected(job.cluster, keep_logs=attempt / "logs") as capacity, told:
            require_job_fits(job, capacity)
            if job.serve is not None:
                require_no_endpoint(job.name)
            wanted = wanted_by(job, plan.disk_bytes)
            with place_for(wanted, capacity) as given:
                context.capacity = given.capacity
                with placed_in_time(wanted.need) if job.cluster.address != "local" else nullcontext():
                    tuned, data = run_stages(context)
                with _endpoint(context, tuned, data) as served:
                    complete(context, served)
                    if keep_serving and served is not None:
                        follow(served)


def run_stages(context: Context) -> tuple[Manifest, Manifest | None]:
    """The tuned model (or the base model, when nothing is trained) and the tokenized data."""
    job = context.job
    base, data = base_and_data(context)
    if job.train is None or data is None:
        return base, data
    if job.evaluate is not None:
        evaluate.named_adapters(context.store, base, job.evaluate.adapters)  # a wrong name is told before training
    objective = job.train.objective
    measured = job.evaluate if not job.measures_itself else None
    if measured is not None:
        evaluate.measure(context, "before", base, data, objective, measured)
    trained = train_model(context, base, data, job.train)
    adapter = job.train.adapter
    tuned = merge.merge(context, base, trained, data, adapter.base) if adapter is not None else trained
    if measured is not None:
        evaluate.measure(context, "after", tuned, data, objective, measured)
        if measured.adapters and adapter is not None:
            evaluate.compare_adapters(context, base, trained, data, objective, measured)
    return tuned, data


def train_model(context: Context, base: Manifest, data: Manifest, config: TrainConfig) -> Manifest:
    """The adapter's artifact, or the tuned model's."""
    escalates = config.adapter is not None and config.adapter.lora.escalates
    return (escalate.escalate if escalates else train.train)(context, base, data, config)


def base_and_data(context: Context) -> tuple[Manifest, Manifest | None]:
    """The model to train, with the head that is wanted, and the tokenized data.

    A ready model brings its tokenizer to the data; a new one gets both from it.
    """
    job = context.job
    if job.data is None:
        return model.obtain(context), None
    if job.model.scratch is None or job.tokenizer is None or job.train is None:
        base = model.obtain(context)
        data = tokens.tokenize(context, base, dataset.collect(context, job.data), job.data)
        return (base if job.train is None else model.with_head(context, base, job.train)), data
    text = dataset.collect(context, job.data)
    vocabulary = tokenizer.train(context, text, job.tokenizer)
    base = model.create(context, vocabulary, job.model.scratch, job.train)
    return base, tokens.tokenize(context, vocabulary, text, job.data)


@contextmanager
def _endpoint(context: Context, tuned: Manifest, data: Manifest | None) -> Iterator[Served | None]:
    """The endpoint that serves the quantized model; None when the job has no such sections."""
    job = context.job
    if job.quantize is None or data is None:
        yield None
        return
    quantized = quantize.quantize(context, tuned, data, job.quantize)
    if job.serve is None:
        yield None
        return
    with serve.serving(context, quantized, job.serve) as served:
        if job.evaluate is not None:
            serve.ask(context, served, job.evaluate)
        yield served
