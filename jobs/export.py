"""Take a checkpoint of a run out as a model (or adapter) folder that transformers (or peft) loads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cluster.artifacts import ArtifactStore, Manifest
from cluster.errors import ArtifactError, ClusterError, ConfigError
from cluster.storage import read_json
from jobs.config import JobConfig, load_job
from jobs.console import fact
from jobs.stages.train import training_name
from trainers.checkpoint import Folder, Marker, checkpoint_folder, damage, is_intact, list_checkpoints
from trainers.config import TrainConfig

if TYPE_CHECKING:
    from collections.abc import Sequence


def export(root: Path, run: str, output: Path, step: int | None) -> None:
    """Write a checkpoint's weights, rounded once to the type of training, into a new folder.

    Args:
        root: the storage root.
        step: which checkpoint; default: the newest.

    Raises:
        ConfigError: there is no such run, it trains nothing here, or the folder is not empty.
        ArtifactError: its base model is no longer there.
        ClusterError: it has no such checkpoint, or that one is damaged.
    """
    require_empty(output)
    job, train = _training(root, run)
    store = ArtifactStore(root)
    base, tokens = made_from(store, root / "runs" / run, job)
    start = store.get(train.adapter.start).id if train.adapter is not None and train.adapter.start else None
    name = training_name(train, base.id, tokens.id, start)
    folder = checkpoint_folder(train, root / "runs" / run / "train" / name, run, name)
    marker = _choose(folder, list_checkpoints(folder), step)
    output.mkdir(parents=True, exist_ok=True)
    from trainers.export import export as write

    write(folder, marker, store.files(base), train, base.id, output)
    measured = "" if marker.heldout_loss is None else f", held-out loss {marker.heldout_loss:.3f}"
    fact("step", f"{marker.step} of {train.steps}{measured}")
    fact("an adapter of" if train.adapter else "trained from", f"{base.name}  ({base.id})")
    fact("written to", str(output))


def require_empty(output: Path) -> None:
    """Refuse to write among other files.

    Raises:
        ConfigError: the folder is not empty.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ConfigError("The folder is not empty.", field="--to", got=output, expected="a new or empty folder")


def _training(root: Path, run: str) -> tuple[JobConfig, TrainConfig]:
    path = root / "runs" / run / "config.yaml"
    if not path.is_file():
        known = sorted(folder.name for folder in (root / "runs").glob("*") if (folder / "config.yaml").is_file())
        raise ConfigError(
            "There is no run of that name.", field="RUN", got=run, expected=", ".join(known) or "none yet",
            fix="--storage tells where to look",
        )  # fmt: skip
    job = load_job(path, [])
    escalates = job.train is not None and job.train.adapter is not None and job.train.adapter.lora.escalates
    if job.train is None or job.trains_itself or escalates:
        raise ConfigError(
            "The run has no checkpoints that can be exported.", field="RUN", got=run,
            expected="a run with a `train` section, whose objective does not bring its own training loop",
            fix="each rank of `rank: escalate` is published when it is done: `raysmith ls`" if escalates else None,
        )  # fmt: skip
    return job, job.train


def made_from(store: ArtifactStore, run_folder: Path, job: JobConfig) -> tuple[Manifest, Manifest]:
    """Base model and tokens of the run's training."""
    stages = (read_json(run_folder / "report.json") or {}).get("stages", {})
    made = {name: stage["artifact"] for name, stage in stages.items() if stage.get("artifact")}
    base = made.get("head") or made.get("model") or job.model.artifact
    if base is None or "tokens" not in made:
        raise ArtifactError(
            "The run has not come to its training yet.", field=str(run_folder / "report.json"),
            got=f"finished: {', '.join(stages) or 'nothing'}", expected="at least its model and tokens",
        )  # fmt: skip
    return store.get(base), store.get(made["tokens"])


def _choose(folder: Folder, markers: Sequence[Marker], step: int | None) -> Marker:
    there = ", ".join(str(marker.step) for marker in markers)
    chosen = markers[-1:] if step is None else [marker for marker in markers if marker.step == step]
    if not chosen:
        raise ClusterError(
            "The run has no such checkpoint.", field="--step", got=step, expected=f"one of {there}" if there else None,
            fix=None if there else "after the last step they are removed, but for those that "
            "train.checkpoint.keep_every_steps or keep_best keep; the result itself is in `raysmith ls`",
        )  # fmt: skip
    [marker] = chosen
    if problem := damage(folder, marker) or _altered(folder, marker):
        raise ClusterError(
            "The checkpoint is damaged.", field=folder.location, got=problem, expected=f"another of {there}",
        )  # fmt: skip
    return marker


def _altered(folder: Folder, marker: Marker) -> str | None:
    altered = [name for name in marker.files if not is_intact(folder, marker, name)]
    return f"{altered[0]} does not have its hash" if altered else None
