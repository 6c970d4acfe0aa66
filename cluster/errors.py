"""The one tree of exceptions that Raysmith raises for its users (docs/errors.md lists it).

    RaysmithError
    ├── ConfigError        a key, value or file of the job's YAML
    ├── DataError          a training or evaluation file
    ├── ModelError         a base model, adapter or tokenizer
    ├── ResourceError      memory, disk, ports, CPUs or GPUs that are not there
    ├── ClusterError       connecting to Ray, or a Ray worker that died
    ├── ArtifactError      an artifact that is missing or was altered
    ├── TrainingError      a training that diverged
    ├── HandoffError       two holders of a model disagree, or an adapter changes nothing
    └── EndpointError      an endpoint that does not come up or does not answer

Each message says which field, what was got, what was expected and how to fix it.
"""

from __future__ import annotations


class RaysmithError(Exception):
    """Base of every error that Raysmith raises on purpose.

    Args:
        message: what went wrong, one sentence.
        field: the config key, file (with line) or resource concerned.
        got: the offending value.
        expected: what would have been accepted.
        fix: what the user can do next.
    """

    exit_code = 1

    def __init__(
        self,
        message: str,
        *,
        field: str | None = None,
        got: object = None,
        expected: object = None,
        fix: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.got = got
        self.expected = expected
        self.fix = fix

    def __str__(self) -> str:
        parts = (("field", self.field), ("got", self.got), ("expected", self.expected), ("fix", self.fix))
        return "\n".join([self.message, *(f"  {name + ':':<9} {value}" for name, value in parts if value is not None)])

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword-only arguments do not survive pickling by default, and these errors cross Ray processes.
        return _rebuild, (type(self), self.message, self.field, self.got, self.expected, self.fix)


def _rebuild(
    kind: type[RaysmithError], message: str, field: str | None, got: object, expected: object, fix: str | None
) -> RaysmithError:
    return kind(message, field=field, got=got, expected=expected, fix=fix)


class ConfigError(RaysmithError):
    """A key, value or file of the job's YAML is wrong. Raised before any resource is taken."""

    exit_code = 2


class ConfigValueError(ConfigError, ValueError):
    """A ConfigError that a pydantic validator may raise: pydantic keeps a ValueError in the context of its own."""


class DataError(RaysmithError):
    """A data file is missing, malformed, or would train on nothing."""


class ModelError(RaysmithError):
    """A base model, adapter or tokenizer cannot be found or used."""


class ResourceError(RaysmithError):
    """The machine or cluster lacks memory, disk, a port, CPUs or GPUs."""


class ClusterError(RaysmithError):
    """Ray cannot be reached, refuses the token, or lost a worker for good."""


class ArtifactError(RaysmithError):
    """An artifact is missing, or its files no longer match its hash."""


class TrainingError(RaysmithError):
    """A training diverged: its loss or gradient is not a finite number, or has stayed far above what it was."""


class HandoffError(RaysmithError):
    """A model did not survive a hand-off: two holders disagree, or an adapter changes nothing."""


class EndpointError(RaysmithError):
    """An endpoint does not come up, or does not answer as it should."""
