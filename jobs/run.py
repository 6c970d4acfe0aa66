"""The driver: a job from its base model to its endpoint."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from cluster.artifacts import Manifest
from cluster.connect import connected, require_fits
from cluster.rundir import RunDirectory
from jobs.config import JobConfig
from jobs.console import fact, title
from jobs.context import Context
from jobs.plan import make_plan, require_free_port, require_room, stages
from jobs.stages import data, evaluate, merge, model, quantize, serve, train
from jobs.summary import complete, recorded, wait_for_interrupt
from serving.config import ServeConfig
from serving.deploy import require_no_endpoint


def run(job: JobConfig, *, keep_serving: bool = False, fresh: bool = False) -> None:
    """Run every section of a job. What an earlier run finished is reused; what a kill cut off is resumed.

    Args:
        keep_serving: leave the endpoint up until Ctrl-C.
        fresh: do every stage again.

    Raises:
        RaysmithError: with the field, what was got, what was expected and the fix.
    """
    plan = make_plan(job)
    require_room(job, plan)
    require_free_port(job)
    root = job.storage.path()
    directory = RunDirectory(root, job.name)
    with directory.attempt(job.resolved()) as attempt:
        title(f"{job.name}: {' → '.join(stages(job))}")
        fact("run directory", str(directory.path))
        context = Context(job, root, directory, attempt, fresh=fresh, report=plan.report())
        with recorded(context), connected(job.cluster, keep_logs=attempt / "logs") as context.capacity:
            require_fits(job.cluster, context.capacity)
            if job.serve is not None:
                require_no_endpoint()
            tuned, tokens = _make(context)
            with _endpoint(context, tuned, tokens) as served:
                complete(context, served)
                if keep_serving and served is not None:
                    wait_for_interrupt(served)


def _make(context: Context) -> tuple[Manifest, Manifest | None]:
    """The tuned model (or the base model, when nothing is trained) and the tokenized data."""
    job = context.job
    base = model.obtain(context)
    if job.data is None:
        return base, None
    tokens = data.prepare(context, base, job.data)
    if job.train is None:
        return base, tokens
    objective = job.train.objective
    if job.evaluate is not None:
        evaluate.measure(context, "before", base, tokens, objective, job.evaluate)
    trained = train.train(context, base, tokens, job.train)
    tuned = merge.merge(context, base, trained, tokens) if job.train.adapter is not None else trained
    if job.evaluate is not None:
        evaluate.measure(context, "after", tuned, tokens, objective, job.evaluate)
    return tuned, tokens


@contextmanager
def _endpoint(context: Context, tuned: Manifest, tokens: Manifest | None) -> Iterator[serve.Served | None]:
    """The endpoint that serves the quantized model; None when the job has no such sections."""
    job = context.job
    if job.quantize is None or tokens is None:
        yield None
        return
    quantized = quantize.quantize(context, tuned, tokens, job.quantize, (job.serve or ServeConfig()).engine)
    if job.serve is None:
        yield None
        return
    with serve.serving(context, quantized, job.serve) as served:
        if job.evaluate is not None:
            serve.ask(context, served, job.evaluate)
        yield served
