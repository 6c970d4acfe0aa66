"""The application that a RayService names: deployed as KubeRay deploys it, on a real Ray Serve."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from cluster.artifacts import ArtifactStore
from cluster.config_file import load_config
from cluster.connect import Capacity
from cluster.description import ClusterFile
from cluster.providers import provider_of
from jobs.endpoints.folder import EndpointFolder
from serving.preflight import free_port
from serving.quantizers.kquants import FILE_NAME
from tests.conftest import REPOSITORY
from tests.serve_model import smol_path

APP = "raysmith-supervisor-bot"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rayservice")
    store = ArtifactStore(folder)
    for name in ("one", "two"):
        with store.draft() as files:
            shutil.copyfile(smol_path(), files / FILE_NAME)
            store.publish(files, name=name, kind="quantized", source={"made": name})
    return folder


class Deployed:
    """What the dashboard does with `serveConfigV2`: it gives the whole of it to Serve's controller."""

    def __init__(self, root: Path, port: int) -> None:
        file = load_config(ClusterFile, REPOSITORY / "configs" / "cluster" / "kuberay.yaml", [f"storage={root}"])
        endpoint = root / "bot.yaml"
        endpoint.write_text(yaml.safe_dump({
            "name": "bot", "model": "one", "prove": False, "replicas": {"max": 1},
            "engine": {"kind": "llama_cpp", "context_tokens": 256, "num_parallel": 4},
        }))  # fmt: skip
        provider: Any = provider_of(file)
        paths = {path.name: path for path in provider.render(root / "manifests", endpoint=endpoint)}
        manifest = yaml.safe_load(paths["endpoint.yaml"].read_text())
        self.serve_config = yaml.safe_load(manifest["spec"]["serveConfigV2"])
        self.wanted = self.serve_config["applications"][0]["deployments"][0]["user_config"]
        assert (self.wanted["host"], self.wanted["port"]) == ("0.0.0.0", 8000)
        self.wanted |= {"host": "127.0.0.1", "port": port}
        self.url = f"http://127.0.0.1:{port}"

    def deploy(self) -> None:
        from ray.serve._private.api import serve_start
        from ray.serve.schema import ServeDeploySchema

        schema = ServeDeploySchema.model_validate(self.serve_config)
        serve_start(http_options={"location": "Disabled"}).deploy_apps(schema, _blocking=False)

    def status(self) -> str:
        from ray import serve

        app = serve.status().applications.get(APP)
        return "" if app is None else f"{app.status.value} {app.message}"

    def wait(self, wanted: str, within_s: float = 90) -> str:
        deadline = time.monotonic() + within_s
        while not (status := self.status()).startswith(wanted) and time.monotonic() < deadline:
            time.sleep(0.2)
        return status


@pytest.fixture(scope="module")
def deployed(ray_cluster: Capacity, root: Path) -> Iterator[Deployed]:
    from ray import serve

    from serving.config import ServeConfig

    found = Deployed(root, free_port(ServeConfig(port=0)))
    found.deploy()
    yield found
    serve.delete(APP)
    serve.shutdown()


def ask(deployed: Deployed, root: Path) -> httpx.Response:
    key = EndpointFolder(root, "bot").operator_key()
    body = {"model": "bot", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4}
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.post(f"{deployed.url}/v1/chat/completions", json=body, headers=headers, timeout=60)


def test_the_application_is_up_when_the_endpoint_answers_and_only_with_a_key(deployed: Deployed, root: Path) -> None:
    assert deployed.wait("RUNNING").startswith("RUNNING")
    answered = ask(deployed, root)
    assert answered.status_code == 200, answered.text
    assert answered.json()["usage"]["completion_tokens"] > 0
    assert httpx.post(f"{deployed.url}/v1/chat/completions", json={}).status_code == 401
    health = httpx.get(f"{deployed.url}/-/healthz")
    assert (health.status_code, health.text) == (200, "success")


def test_a_changed_configuration_changes_the_endpoint_that_is_up(deployed: Deployed, root: Path) -> None:
    assert deployed.wait("RUNNING").startswith("RUNNING")
    folder = EndpointFolder(root, "bot")
    before = folder.require_up()
    deployed.wanted["model"] = "two"
    deployed.deploy()
    deadline = time.monotonic() + 90
    while folder.require_up().config["model"] != "two" and time.monotonic() < deadline:
        assert ask(deployed, root).status_code == 200  # it serves on meanwhile
    after = folder.require_up()
    assert (after.config["model"], after.pid) == ("two", before.pid), "the same process holds it"
    # What cannot be is told, and what is served goes on.
    deployed.wanted["model"] = "nothing"
    deployed.deploy()
    assert deployed.wait("RUNNING").startswith("RUNNING")
    deadline = time.monotonic() + 90
    while not folder.require_up().error and time.monotonic() < deadline:
        time.sleep(0.2)
    assert "nothing" in folder.require_up().error
    assert ask(deployed, root).status_code == 200
    deployed.wanted["model"] = "two"
    deployed.deploy()
    assert deployed.wait("RUNNING").startswith("RUNNING")


def test_an_endpoint_whose_front_is_lost_for_good_is_made_anew(deployed: Deployed, root: Path) -> None:
    import ray

    from serving.front.actor import NAMESPACE, actor_name

    assert deployed.wait("RUNNING").startswith("RUNNING")
    before = EndpointFolder(root, "bot").require_up()
    ray.kill(ray.get_actor(actor_name("bot"), NAMESPACE), no_restart=True)
    deadline = time.monotonic() + 120
    folder = EndpointFolder(root, "bot")
    while time.monotonic() < deadline:
        state = folder.state()
        if state is not None and state.pid != before.pid and state.status == "serving":
            break
        time.sleep(0.3)
    assert deployed.wait("RUNNING").startswith("RUNNING")
    assert folder.require_up().pid != before.pid
    assert ask(deployed, root).status_code == 200
