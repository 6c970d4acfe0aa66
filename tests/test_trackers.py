"""Trackers against what reads them: TensorBoard, Ray's metrics port, and MLflow and W&B where they are installed."""

from __future__ import annotations

import importlib.util
import math
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cluster.connect import Capacity
from cluster.errors import ConfigError
from tests.conftest import REPOSITORY
from tests.job_file import JOB, load, refusal
from trainers.trackers import mlflow, prometheus, tensorboard, tracker_of, wandb

SCRAPED_S = 60  # Ray collects every ten seconds
FORGOTTEN_S = 35  # and forgets what was not set for twenty
RESOLVED = {"train": {"steps": 10, "betas": [0.9, 0.95]}, "name": None, "long": "x" * 900}


def loss_of(step: int, attempt: int = 1) -> float:
    return 3.0 / step + attempt / 1024


def train_twice(config: Any, folder: Path) -> None:
    """Seven steps, killed; resumed from the checkpoint of step five, and on to step ten."""
    first = tracker_of(config, "job", folder, RESOLVED, 0)
    for step in range(1, 8):
        first.step(step, {"loss": loss_of(step), "learning_rate": 1e-3, "rewards/margins": math.nan})
    time.sleep(2.5)  # they write beside the training, and a kill gives no time to close
    second = tracker_of(config, "job", folder, RESOLVED, 5)
    for step in range(6, 11):
        second.step(step, {"loss": loss_of(step, 2), "heldout_loss": 2.0})
    second.close()


def test_tensorboard_shows_each_step_once_after_a_resume(tmp_path: Path) -> None:
    train_twice(tensorboard.Config(), tmp_path)
    seen = EventAccumulator(str(tmp_path))
    seen.Reload()
    assert set(seen.Tags()["scalars"]) == {
        "train/loss",
        "train/learning_rate",
        "train/rewards/margins",
        "train/heldout_loss",
    }
    values = {event.step: event.value for event in seen.Scalars("train/loss")}
    assert len(seen.Scalars("train/loss")) == 10
    assert values == pytest.approx({step: loss_of(step, 1 + (step > 5)) for step in range(1, 11)})


def test_a_killed_training_leaves_its_steps_to_tensorboard(tmp_path: Path) -> None:
    code = (
        "import os, time; from pathlib import Path; from trainers.trackers import tensorboard\n"
        f"opened = tensorboard.Tracker(tensorboard.Config(), 'job', Path({str(tmp_path)!r}), {{}}, 0)\n"
        "for step in (1, 2): opened.step(step, {'loss': 5.0 / step})\n"
        "time.sleep(2.5); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY).returncode == -signal.SIGKILL
    seen = EventAccumulator(str(tmp_path))
    seen.Reload()
    assert [event.value for event in seen.Scalars("train/loss")] == [5.0, 2.5]


@pytest.mark.parametrize("with_a_long_step", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_prometheus_finds_the_figures_on_rays_metrics_port(
    ray_cluster: Capacity, tmp_path: Path, with_a_long_step: bool
) -> None:
    import ray

    @ray.remote(num_cpus=0)
    class Worker:
        def train(self) -> None:
            self.tracker = tracker_of(prometheus.Config(), "tracked", tmp_path, RESOLVED, 40)
            self.tracker.step(41, {"loss": 3.25, "rewards/margins": 0.5})
            self.tracker.step(42, {"loss": 3.125})

    worker = Worker.remote()
    ray.get(worker.train.remote())
    [node] = ray.nodes()
    address = f"http://127.0.0.1:{node['MetricsExportPort']}/metrics"
    wanted = {"loss": 3.125, "rewards_margins": 0.5, "step": 42.0, "steps": 0.0, "open": 1.0}
    deadline = time.monotonic() + SCRAPED_S
    while (found := gauges(address)) != wanted and time.monotonic() < deadline:
        time.sleep(0.5)
    assert found == wanted
    if with_a_long_step:
        time.sleep(FORGOTTEN_S)
        assert gauges(address) == wanted
    ray.kill(worker)


def gauges(address: str) -> dict[str, float]:
    """Our gauges of the run `tracked`, as a Prometheus server reads them."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    text = opener.open(address, timeout=10).read().decode()
    found = re.findall(r'^ray_raysmith_train_(\w+)\{.*run="tracked".*\} (\S+)$', text, re.MULTILINE)
    return {name: float(value) for name, value in found}


@pytest.mark.parametrize("kind", ["mlflow", "wandb"])
def test_a_tracker_that_is_not_installed_is_refused_before_anything_starts(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if importlib.util.find_spec(kind) is not None:
        pytest.skip(f"{kind} is installed")
    monkeypatch.chdir(tmp_path)
    for written in (kind, f"{{kind: {kind}}}"):
        error = refusal(JOB, f"train.trackers=[tensorboard, {written}]")
        assert isinstance(error, ConfigError)
        assert error.field is not None
        assert error.field.startswith("train.trackers.1")
        assert f"pip install {kind}" in str(error.fix)


def test_trackers_are_chosen_by_name_and_may_be_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    chosen = [load(JOB, *more).train for more in ((), ("train.trackers=[]",), ("train.trackers=[prometheus]",))]
    kinds = [[one.kind for one in train.trackers] for train in chosen if train is not None]
    assert kinds == [["tensorboard", "prometheus"], [], ["prometheus"]]
    assert "one of mlflow, prometheus, tensorboard, wandb" in str(refusal(JOB, "train.trackers=[tensorbord]"))


def test_mlflow_goes_on_in_its_run_after_a_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client_class = pytest.importorskip("mlflow").MlflowClient
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    train_twice(mlflow.Config(), tmp_path)
    client = client_class(f"sqlite:///{tmp_path}/mlflow.db")
    run = client.get_run((tmp_path / "run_id").read_text())
    assert (run.info.status, run.info.run_name) == ("FINISHED", "job")
    assert run.data.params["train.steps"] == "10"
    history = client.get_metric_history(run.info.run_id, "loss")
    assert {one.step: one.value for one in history} == {step: loss_of(step, 1 + (step > 7)) for step in range(1, 11)}
    assert len(history) == 10
    again = tracker_of(mlflow.Config(), "job", tmp_path, RESOLVED, 0)
    again.close()
    assert (tmp_path / "run_id").read_text() != run.info.run_id, "a training from its beginning is another run"


def test_mlflow_that_does_not_answer_is_an_error_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(ConfigError, match="does not take the training's metrics"):
        tracker_of(mlflow.Config(uri="http://127.0.0.1:9"), "job", tmp_path, RESOLVED, 0)


def test_wandb_writes_offline_and_keeps_its_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("HOME", str(tmp_path))
    train_twice(wandb.Config(mode="offline"), tmp_path)
    run_id = (tmp_path / "run_id").read_text()
    assert {path.stem for path in tmp_path.rglob("*.wandb")} == {f"run-{run_id}"}


def test_wandb_without_a_key_is_an_error_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    with pytest.raises(ConfigError, match="does not take the training's metrics"):
        tracker_of(wandb.Config(), "job", tmp_path, RESOLVED, 0)
