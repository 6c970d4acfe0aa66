"""An MLflow tracking server or database. Credentials come from MLflow's environment variables, never from the YAML."""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import field_validator, model_validator

from cluster.config import PluginConfig, leaf_items
from cluster.errors import ConfigError, ConfigValueError
from cluster.storage import write_atomically
from trainers.config import without_secret

if TYPE_CHECKING:
    from mlflow import MlflowClient

_RUN_ID = "run_id"
_PARAMS_A_REQUEST = 100
_MAX_PARAM_CHARS = 500


class Config(PluginConfig):
    """Keys of `train.trackers: [{kind: mlflow}]`."""

    kind: Literal["mlflow"] = "mlflow"
    uri: str | None = None
    """The tracking server (`https://…`) or database (`sqlite:///…`). Default: $MLFLOW_TRACKING_URI, else a SQLite file
    in the run directory."""
    experiment: str = "raysmith"
    """The experiment that the runs belong to; made if it is not there."""

    @field_validator("uri")
    @classmethod
    def _has_no_secret(cls, value: str | None) -> str | None:
        return without_secret(value)

    @model_validator(mode="after")
    def _is_installed(self) -> Config:
        if importlib.util.find_spec("mlflow") is None:
            raise ConfigValueError(
                "MLflow is not installed.", got="train.trackers: mlflow", expected="the package `mlflow`",
                fix="pip install mlflow, on every node of the cluster",
            )  # fmt: skip
        return self


class Tracker:
    """One MLflow run a training; a resumed training goes on in its run.

    MLflow cannot take a value back: steps that an earlier attempt recorded stay as they are when they are trained
    again. Values are sent from a thread, so that a slow server does not slow the training.
    """

    def __init__(self, config: Config, run: str, folder: Path, resolved: dict[str, Any], first_step: int) -> None:
        """Open the run.

        Raises:
            ConfigError: the tracking server does not answer or refuses.
        """
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        folder.mkdir(parents=True, exist_ok=True)
        uri = config.uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{folder}/mlflow.db"
        try:
            self._client = MlflowClient(uri)
            self._run_id, self._recorded = self._open(config, run, folder / _RUN_ID, resolved, first_step)
        except MlflowException as error:
            raise ConfigError(
                "The MLflow server does not take the training's metrics.", field="train.trackers",
                got=f"{uri}: {str(error).splitlines()[0][:200]}",
                expected="a tracking server or database that MLflow can open",
                fix="check its address, and MLFLOW_TRACKING_TOKEN or _USERNAME and _PASSWORD on the workers' nodes",
            ) from None  # fmt: skip
        self._sent: list[Any] = []

    def _open(
        self, config: Config, run: str, id_file: Path, resolved: dict[str, Any], first_step: int
    ) -> tuple[str, int]:
        """The run's id, and its last recorded step."""
        if first_step and id_file.is_file():
            run_id = id_file.read_text(encoding="utf-8")
            self._client.update_run(run_id, status="RUNNING")
            return run_id, max((one.step for one in self._client.get_metric_history(run_id, "loss")), default=0)
        found = self._client.get_experiment_by_name(config.experiment)
        experiment = found.experiment_id if found else self._client.create_experiment(config.experiment)
        run_id = self._client.create_run(experiment, run_name=run).info.run_id
        _log_params(self._client, run_id, resolved)
        write_atomically(id_file, run_id)
        return run_id, 0

    def step(self, step: int, figures: dict[str, float]) -> None:
        """Send the figures, unless this step was recorded before."""
        from mlflow.entities import Metric

        if step <= self._recorded:
            return
        now = int(1000 * time.time())
        metrics = [Metric(key, value, now, step) for key, value in figures.items()]
        self._sent.append(self._client.log_batch(self._run_id, metrics, synchronous=False))

    def close(self) -> None:
        """Wait until all is sent; what could not be sent is counted, and does not fail the training."""
        from mlflow.exceptions import MlflowException

        lost = 0
        try:
            for sent in self._sent:
                try:
                    sent.wait()
                except MlflowException:
                    lost += 1
            self._client.set_terminated(self._run_id)
        except MlflowException as error:
            sys.stderr.write(f"MLflow: the run could not be marked as finished: {error}\n")
        if lost:
            sys.stderr.write(f"MLflow: {lost} of {len(self._sent)} steps could not be recorded.\n")


def _log_params(client: MlflowClient, run_id: str, resolved: dict[str, Any]) -> None:
    from mlflow.entities import Param

    params = [Param(key, str(value)[:_MAX_PARAM_CHARS]) for key, value in leaf_items(resolved)]
    for start in range(0, len(params), _PARAMS_A_REQUEST):
        client.log_batch(run_id, params=params[start : start + _PARAMS_A_REQUEST])
