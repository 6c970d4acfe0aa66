"""Chains, sweeps and endpoints are submitted as jobs are: what travels, and that it runs."""

from __future__ import annotations

import json
import os
import shutil
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster import records
from cluster.artifacts import ArtifactStore
from cluster.errors import ConfigError
from jobs import submit
from jobs.chain import load_chain
from jobs.endpoints.config import load_endpoint
from jobs.endpoints.folder import EndpointFolder
from jobs.parcel import load_parcel
from jobs.submit_package import package
from jobs.sweep.space import load_sweep
from jobs.targets import Target, target_of
from serving.quantizers.kquants import FILE_NAME
from tests.serve_model import smol_path
from tests.test_submit import JOB_S, job_file
from tests.test_submitted import Cluster, cluster, wait_until
from tests.two_nodes import TwoNodes

__all__ = ["JOB_S", "cluster", "job_file"]  # fixtures


@pytest.fixture
def chain_file(job_file: Path) -> Path:
    """Two jobs, the second of which takes up what the first published."""
    second = yaml.safe_load(job_file.read_text()) | {"name": "then", "model": {"artifact": "sent-model"}}
    (job_file.parent / "second.yaml").write_text(yaml.safe_dump(second))
    path = job_file.parent / "chain.yaml"
    path.write_text("name: both\nchain: {one: job.yaml, two: second.yaml}\n")
    return path


@pytest.fixture
def sweep_file(job_file: Path) -> Path:
    path = job_file.parent / "sweep.yaml"
    sweep = {
        "name": "tried", "job": "job.yaml", "set": {"train": {"evaluation": {"every_steps": 1}}},
        "space": {"train.learning_rate": {"grid": [1e-3, 1e-2]}}, "search": "grid",
    }  # fmt: skip
    path.write_text(yaml.safe_dump(sweep))
    return path


@pytest.fixture
def endpoint_file(job_file: Path) -> Path:
    path = job_file.parent / "endpoint.yaml"
    endpoint = {
        "name": "bot", "storage": {"root": "storage"}, "model": "one", "port": 0, "prove": False,
        "engine": {"kind": "llama_cpp", "context_tokens": 256, "num_parallel": 1}, "replicas": {"max": 1},
    }  # fmt: skip
    path.write_text(yaml.safe_dump(endpoint))
    return path


def sent(path: Path, to: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> str:
    """Pack, go to where it is unpacked; the command that would run there."""
    monkeypatch.chdir(path.parent)
    parcel = load_parcel(path, **options)
    package(parcel, to)
    monkeypatch.chdir(to)
    return parcel.entrypoint()


def test_what_is_sent_of_a_chain(chain_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = sent(chain_file, tmp_path / "sent", monkeypatch, options=["--keep-serving"], priority=3)
    assert command == "exec python -m jobs run job.yaml --keep-serving"
    links = load_chain(Path("job.yaml"), [])
    assert [(link.name, link.job.name, link.job.cluster.address) for link in links] == [
        ("one", "sent", "auto"), ("two", "then", "auto"),
    ]  # fmt: skip
    assert {link.job.cluster.priority for link in links} == {3}
    assert {link.job.storage.root for link in links} == {tmp_path / "storage"}
    files = {str(getattr(link.job.data, "train", "")) for link in links}
    assert files == {"files/one.data.train/train.jsonl"}  # both links' file, sent once


def test_what_is_sent_of_a_sweep(sweep_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = sent(sweep_file, tmp_path / "sent", monkeypatch, priority=3)
    record = tmp_path / "storage/runs/tried/sweep.json"
    assert command == f"exec python -m jobs sweep job.yaml $([ -f {record} ] && echo --resume)"
    sweep = load_sweep(Path("job.yaml"), [])
    assert sweep.sample.data is not None
    assert str(getattr(sweep.sample.data, "train", "")) == "files/data.train/train.jsonl"
    assert sweep.sample.train is not None
    assert sweep.sample.train.evaluation is not None
    assert (sweep.sample.cluster.address, sweep.sample.cluster.priority) == ("auto", 3)
    assert sweep.sample.storage.root == tmp_path / "storage"


def test_what_is_sent_of_an_endpoint(endpoint_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = sent(endpoint_file, tmp_path / "sent", monkeypatch, storage=Path("/elsewhere"))
    assert command == "exec python -m jobs serve job.yaml"
    endpoint = load_endpoint(Path("job.yaml"), [])
    assert endpoint.storage.root == tmp_path / "storage"  # the file's own wins over the cluster's


def test_the_clusters_storage_is_taken_where_the_file_has_none(
    job_file: Path, sweep_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = yaml.safe_load(job_file.read_text())
    del job["storage"]
    job_file.write_text(yaml.safe_dump(job))
    monkeypatch.chdir(job_file.parent)
    for path in (job_file, sweep_file):
        assert load_parcel(path, storage=Path("/mnt/all")).root == Path("/mnt/all")
    assert load_parcel(job_file, ["storage.root=/own"], storage=Path("/mnt/all")).root == Path("/own")


def test_options_of_another_kind_are_refused(
    job_file: Path, chain_file: Path, endpoint_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(job_file.parent)
    for path, options, winner in (
        (job_file, ["--resume"], None), (endpoint_file, ["--fresh"], None), (chain_file, [], "tried"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match="That option is none of what is submitted"):
            load_parcel(path, options=options, winner=winner)
    with pytest.raises(ConfigError, match="no `quantize` section"):
        load_parcel(job_file, verb="quantize")


def test_what_was_sent_is_kept_and_comes_back_the_same(
    sweep_file: Path, chain_file: Path, endpoint_file: Path, job_file: Path, monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:  # fmt: skip
    monkeypatch.chdir(job_file.parent)
    monkeypatch.setenv(records.ENVIRONMENT_VARIABLE, str(tmp_path / "home"))
    monkeypatch.setattr(submit, "_KEPT", 4)
    target = Target("http://host:8265", None)
    for path in (sweep_file, chain_file, endpoint_file, job_file):
        parcel = load_parcel(path)
        submit._remember(parcel, target, submit.Way(cpus=0.5))
        again, way = submit.submitted(parcel.name, target)
        assert again.content() == parcel.content()
        assert again.entrypoint() == parcel.entrypoint()
        assert way.cpus == 0.5
    kept = list((tmp_path / "home/submitted").glob("*/*.json"))
    assert len(kept) == 4
    assert {file.stat().st_mode & 0o777 for file in kept} == {0o600}
    fresh = load_parcel(job_file, ["name=another"], options=["--fresh"])
    submit._remember(fresh, target, submit.Way())
    assert len(list((tmp_path / "home/submitted").glob("*/*.json"))) == 4
    again, _ = submit.submitted("another", target)
    assert again.options == ()
    assert again.content() == fresh.content()  # what goes on with it follows the one that began it anew
    with pytest.raises(ConfigError, match="Nothing of that name was submitted"):
        submit.submitted("unknown", target)


def test_the_lock_as_an_environment_is_one_that_ray_takes() -> None:
    from ray.runtime_env import RuntimeEnv

    found = RuntimeEnv(working_dir="gcs://package.zip", **submit._packages("lock"))
    packages = found["pip"]["packages"]
    assert any(line.startswith("transformers==") for line in packages)
    assert not [line for line in packages if line.startswith(("torch==", "nvidia-", "#"))]
    assert "--no-deps" in found["pip"]["pip_install_options"]


def test_which_cluster_is_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(records.ENVIRONMENT_VARIABLE, str(tmp_path))
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.setenv(name, "other")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "another cluster's")
    assert target_of(None, None) == Target("http://127.0.0.1:8265", None)
    assert os.environ["RAY_AUTH_TOKEN"] == "another cluster's"
    record = records.ClusterRecord(name="one", provider="local", dashboard="http://h:1", address="h:2")
    records.keep(record)
    token = records.make_token("one")
    assert target_of(None, None).record == record
    assert os.environ["RAY_AUTH_TOKEN_PATH"] == str(token)
    assert "RAY_AUTH_TOKEN" not in os.environ
    records.keep(record.model_copy(update={"name": "two"}))
    with pytest.raises(ConfigError, match="Several clusters are up"):
        target_of(None, None)
    with pytest.raises(ConfigError, match="named in one way"):
        target_of("one", "http://h:1")


@pytest.mark.slow
def test_a_submitted_sweep(cluster: Cluster, sweep_file: Path) -> None:
    done = cluster("submit", sweep_file.name)
    assert done.returncode == 0, done.stdout + done.stderr
    record = json.loads((cluster.folder / "storage/runs/tried/sweep.json").read_text())
    assert [trial["status"] for trial in record["trials"]] == ["finished", "finished"]
    assert record["winner"]["values"]
    again = cluster("submit", sweep_file.name)  # --resume is added where the sweep is seen to have begun
    assert again.returncode == 0, again.stdout + again.stderr


@pytest.mark.slow
def test_a_submitted_chain(cluster: Cluster, chain_file: Path) -> None:
    done = cluster("submit", chain_file.name, "cluster.workers=2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Link 2 of 2: two" in done.stdout
    assert {"sent-model", "then-model"} <= set(ArtifactStore(cluster.folder / "storage").names())


@pytest.mark.slow
def test_a_submitted_endpoint(cluster: Cluster, endpoint_file: Path, two_nodes: TwoNodes) -> None:
    root = cluster.folder / "storage"
    root.mkdir()
    store = ArtifactStore(root)
    with store.draft() as files:
        shutil.copyfile(smol_path(), files / FILE_NAME)
        store.publish(files, name="one", kind="quantized", source={})
    folder = EndpointFolder(root, "bot")
    with cluster.start("submit", endpoint_file.name) as following:
        state = wait_until(
            lambda: (now := folder.state()) is not None and now.status == "serving" and now, following
        )  # fmt: skip
        headers = {"Authorization": f"Bearer {folder.operator_key()}"}
        with urllib.request.urlopen(urllib.request.Request(f"{state.url}/models", headers=headers)) as answer:
            assert json.load(answer)["data"][0]["id"] == "bot"
        assert "stopped" in cluster("stop", "bot").stdout
        said, errors = following.communicate(timeout=JOB_S)
    assert following.returncode == 143, said + errors
    assert folder.state() is None
    assert not [row for row in two_nodes.nodes().values() if row["state"] != "alive"]
