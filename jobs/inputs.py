"""What must have been published before a job begins: its model, and those that rewards, judges and data name."""

from __future__ import annotations

from collections.abc import Collection

from cluster.artifacts import ArtifactStore
from cluster.errors import ArtifactError, DataError
from jobs.config import JobConfig


def require_inputs(job: JobConfig, made: Collection[str] = (), link: str | None = None) -> None:
    """Refuse a job before anything is allocated, if something that it names is not there.

    Args:
        made: names that will be there when it begins.
        link: which job of a chain it is.

    Raises:
        ArtifactError, DataError: naming the key.
    """
    if job.quantize is not None and job.quantize.measure.task is not None:
        for path in job.quantize.measure.task.files:
            if not path.is_file():
                raise DataError("A data file is missing.", field="quantize.measure.task", got=str(path))
    store = ArtifactStore(job.storage.location())
    own = [job.model.name] if job.model.artifact is None else []  # published before the data is made
    for field, names in _named(job).items():
        for name in names:
            if name in made or name in own:
                continue
            try:
                store.get(name)
            except ArtifactError as error:
                raise ArtifactError(
                    "The job begins with something that is neither published nor made before it.",
                    field=field if link is None else f"{link}.{field}", got=name,
                    expected=", ".join(made) or error.expected, fix="run the job that publishes it; see `raysmith ls`",
                ) from None  # fmt: skip


def _named(job: JobConfig) -> dict[str, list[str]]:
    """Key → names of published things."""
    found = {"model.artifact": [job.model.artifact] if job.model.artifact else []}
    if job.data is not None:
        found["data"] = list(getattr(job.data, "artifacts", []))
    if job.quantize is not None and job.quantize.calibration.artifact is not None:
        found["quantize.calibration.artifact"] = [job.quantize.calibration.artifact]
    if job.train is not None:
        found["train.objective"] = list(getattr(job.train.objective, "artifacts", []))
        start = job.train.adapter.start if job.train.adapter is not None else None
        found["train.adapter.start"] = [start] if start is not None else []
    return found
