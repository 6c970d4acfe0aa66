"""The job, endpoint or cluster file that was named: what would be refused when it starts."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from cluster.artifacts import ArtifactStore
from cluster.errors import RaysmithError
from jobs.config import JobConfig
from jobs.doctor.finding import Finding, Subject
from jobs.endpoints.config import EndpointConfig

AREA = "the file"


def check(subject: Subject) -> Iterator[Finding]:
    """See `AREA`."""
    config = subject.config
    if isinstance(config, JobConfig):
        yield from _job(config)
    elif isinstance(config, EndpointConfig):
        yield from _endpoint(config)
    if subject.description is not None:
        from cluster.providers import provider_of

        description = subject.description
        yield _asked("platform", lambda: provider_of(description), f"{description.name}, {description.provider.kind}")


def _job(job: JobConfig) -> Iterator[Finding]:
    from jobs.inputs import require_inputs
    from jobs.plan import make_plan, require_free_port, require_room

    yield _asked("inputs", lambda: require_inputs(job), "all that it names is published")
    yield _asked("memory and disk", lambda: require_room(job, make_plan(job)), "enough, as `raysmith plan` reckons")
    if job.cluster.address == "local":
        yield _asked("port", lambda: require_free_port(job), "free, or none is wanted")


def _endpoint(config: EndpointConfig) -> Iterator[Finding]:
    from jobs.endpoints.folder import EndpointFolder
    from jobs.endpoints.served import find_parts
    from serving.preflight import free_port

    root = config.storage.location()
    yield _asked(
        "models", lambda: find_parts(ArtifactStore(root), config), "published, intact, and the engine opens them"
    )
    if EndpointFolder(root, config.name).state() is not None:
        yield Finding("port", "ok", "the endpoint is up")
    elif config.cluster.address == "local":
        yield _asked("port", lambda: free_port(config), f"{config.host}:{config.port} is free")


def _asked(name: str, question: Callable[[], object], fine: str) -> Finding:
    """What starting it would ask."""
    try:
        question()
    except RaysmithError as error:
        got = f": {error.got}" if error.got is not None else ""
        return Finding(name, "problem", f"{error.message} {error.field or ''}{got}", error.fix or str(error.expected))
    return Finding(name, "ok", fine)
