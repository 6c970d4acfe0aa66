"""`raysmith monitor up` over a real run: a real Prometheus finds its figures, and a run that stands still is told."""

from __future__ import annotations

import configparser
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
import yaml
from rich.console import Console

from cluster.errors import ConfigError, ResourceError
from cluster.monitoring.alerts.training import ALERTS
from cluster.monitoring.grafana import ENVIRONMENT_VARIABLE, Grafana, find_grafana, write_grafana
from cluster.monitoring.metrics import NODES, TRAINING
from cluster.monitoring.prometheus import cluster_job
from cluster.monitoring.targets import FILE
from cluster.monitoring.write import write_jobs
from cluster.providers import provider_of
from cluster.records import ClusterRecord
from cluster.storage import read_json
from jobs.endpoints.folder import EndpointFolder, this_process
from jobs.monitor import up
from jobs.monitor.processes import bcrypt_of, split_address
from jobs.monitor.sources import Look, Sources
from jobs.top.snapshot import Gatherer
from jobs.top.view import view
from serving.keys import digest_of, read_keys
from tests.conftest import REPOSITORY
from tests.prometheus_server import alerts, needs_prometheus, prometheus_of, query, until
from tests.test_monitoring import IN_PANELS
from tests.test_top import make_run
from tests.two_nodes import GROUP, TwoNodes, describe
from tests.watched import RUN, SILENT_S, Watched, job_file, lines_of, watched

STALLED = next(alert for alert in ALERTS if alert.name == "RunStalled").expression
NEED_A_GPU = {one.name for one in NODES if "gpu" in one.name or "gram" in one.name}


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Iterator[Watched]:
    """A run that trains, and the monitor over it."""
    with watched(tmp_path_factory.mktemp("watched"), model, STALLED) as found:
        yield found


@needs_prometheus
def test_prometheus_finds_the_figures_of_a_live_run(live: Watched) -> None:
    selected = f'{{run="{RUN}"}}'
    (loss,) = until(lambda: query(live.url, f"ray_raysmith_train_loss{selected}"))
    steps = lines_of(live.run / "metrics.jsonl")
    assert float(loss["value"][1]) in [pytest.approx(one["loss"], rel=1e-6) for one in steps]
    (speed,) = query(live.url, f"ray_raysmith_train_tokens_per_s{selected}")
    assert float(speed["value"][1]) in [pytest.approx(one["tokens_per_s"], rel=1e-6) for one in steps]
    (step,) = until(lambda: query(live.url, f"raysmith_run_step{selected} > 0"))
    assert 0 < float(step["value"][1]) <= steps[-1]["step"] + 1
    (goodput,) = until(lambda: query(live.url, f"raysmith_run_goodput_ratio{selected} > 0"))
    assert float(goodput["value"][1]) < 1
    (status,) = query(live.url, f'raysmith_run_status{{run="{RUN}"}}')
    assert status["metric"]["status"] == "running"
    assert [float(one["value"][1]) for one in query(live.url, f"raysmith_run_training{selected}")] == [1.0]


@needs_prometheus
def test_what_rules_and_dashboards_read_is_really_there(live: Watched) -> None:
    until(lambda: query(live.url, "ray_raysmith_train_loss") and query(live.url, "ray_node_cpu_count"))
    wanted = {one.name for one in (*TRAINING, *NODES)} - NEED_A_GPU
    until(lambda: wanted <= {one["metric"].get("__name__") for one in query(live.url, '{__name__=~"ray_.+"}')}, 60)
    for metric in (*TRAINING, *NODES):
        for series in query(live.url, metric.name):
            assert set(metric.labels) <= set(series["metric"]), metric.name
    for expression in IN_PANELS:
        query(live.url, expression)  # each is answered, not only parsed
    rules = httpx.get(f"{live.url}/api/v1/rules").json()["data"]["groups"]
    assert {group["name"] for group in rules} == {
        "fast", "raysmith-nodes", "raysmith-rl", "raysmith-serving", "raysmith-training",
    }  # fmt: skip
    assert [one["name"] for group in rules for one in group["rules"] if one["health"] not in ("ok", "unknown")] == []


def test_gpu_metrics_are_named_as_ray_names_them() -> None:
    from ray.dashboard.consts import GPU_TAG_KEYS
    from ray.dashboard.modules.reporter.reporter_agent import METRICS_GAUGES

    for metric in NODES:
        if metric.name in NEED_A_GPU:
            assert metric.name.removeprefix("ray_") in METRICS_GAUGES
            assert set(metric.labels) <= set(GPU_TAG_KEYS)


@needs_prometheus
def test_top_shows_the_run(live: Watched) -> None:
    command = [sys.executable, "-m", "jobs", "top", "--json", "--storage", str(live.root)]
    shown = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    (run,) = shown["runs"]
    assert (run["name"], run["status"], run["doing"], run["total"]) == (RUN, "running", "train", 1_000_000)
    losses = [one["loss"] for one in lines_of(live.run / "metrics.jsonl")]
    assert set(run["curve"]) <= set(losses) and len(run["curve"]) > 1
    assert run["eta_s"] > 0 and run["tokens_per_s"] > 0 and run["mfu"] > 0
    assert shown["machine"]["cores"] == psutil.cpu_count()
    console = Console(width=160, height=40, record=True, file=open(os.devnull, "w"))  # noqa: SIM115, PTH123
    console.print(view(Gatherer(live.root, None).gather(), 40, 160))
    text = console.export_text()
    assert re.search(rf"{RUN} +running +train +[\d,]+/1,000,000 .* loss \d", text), text
    assert any(bar in text for bar in "▁▂▃▄▅▆▇█")


@needs_prometheus
def test_a_run_that_stands_still_is_told_and_no_longer_when_it_goes_on(live: Watched) -> None:
    until(lambda: "Fast" not in alerts(live.url))
    worker = live.worker()
    os.kill(worker, signal.SIGSTOP)
    try:
        told = until(lambda: alerts(live.url).get("Fast"))
    finally:
        os.kill(worker, signal.SIGCONT)
    assert (told["state"], told["labels"]["run"]) == ("firing", RUN)
    assert float(told["value"]) > SILENT_S
    assert alerts(live.url).get("RunStalled", {"state": "pending"})["state"] == "pending", "that takes a minute"
    until(lambda: "Fast" not in alerts(live.url))


@pytest.mark.slow
@needs_prometheus
def test_a_real_divergence_is_told(live: Watched, tmp_path: Path, model: Path) -> None:
    path = job_file(tmp_path, model, "diverges", learning_rate=1e20, clip=1e20)
    command = [sys.executable, "-m", "jobs", "run", str(path), f"storage.root={live.root}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1 and "diverged at step" in done.stderr
    told = until(lambda: alerts(live.url).get("LossNotFinite"))
    assert (told["state"], told["labels"]["run"]) == ("firing", "diverges")
    assert [one["metric"]["run"] for one in query(live.url, 'ALERTS{alertname="LossNotFinite"}')] == ["diverges"]


@pytest.mark.slow
def test_nodes_that_come_and_go_are_kept_true(tmp_path: Path, two_nodes: TwoNodes) -> None:
    script = (
        "import sys\nfrom pathlib import Path\nfrom cluster.connect import ClusterConfig, connected\n"
        "from cluster.monitoring.targets import recorded\n"
        f"config, folder = ClusterConfig(address={two_nodes.record.address!r}), Path({str(tmp_path)!r})\n"
        "with connected(config), recorded(folder, 0.2):\n"
        "    print('up', flush=True); sys.stdin.read()\n"
    )
    file = tmp_path / FILE

    def nodes() -> int:
        return len(read_json(file)["nodes"])

    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=two_nodes.driver_environment,
        cwd=REPOSITORY,
    ) as driver:  # fmt: skip
        try:
            assert driver.stdout is not None and driver.stdin is not None
            assert driver.stdout.readline() == b"up\n"
            assert nodes() == 3
            name = two_nodes.record.name
            provider_of(describe(name, nodes={"workers": GROUP | {"min_nodes": 3}})).up()
            until(lambda: nodes() == 4)
            two_nodes.provider.up()
            until(lambda: nodes() == 3)
        finally:
            two_nodes.provider.up()
            driver.stdin.close()
    assert driver.returncode == 0


@needs_prometheus
def test_nothing_but_loopback_listens_and_no_page_of_elsewhere_reads(live: Watched) -> None:
    answer = httpx.get(f"{live.url}/api/v1/query?query=up", headers={"Origin": "https://elsewhere.example"})
    assert "access-control-allow-origin" not in answer.headers
    (prometheus,) = [
        one for one in psutil.process_iter(["cmdline"])
        if f"--config.file={live.monitor / 'prometheus.yml'}" in (one.info["cmdline"] or [])
    ]  # fmt: skip
    watcher = prometheus.parent()
    assert watcher is not None
    listening = [
        one.laddr.ip for process in (prometheus, watcher) for one in process.net_connections("inet")
        if one.status == psutil.CONN_LISTEN
    ]  # fmt: skip
    assert len(listening) == 2 and set(listening) == {"127.0.0.1"}
    again = [sys.executable, "-m", "jobs", "monitor", "up", "--to", str(live.monitor), "--listen", "127.0.0.1:0"]
    done = subprocess.run([*again, "--storage", str(live.root)], capture_output=True, text=True)
    assert done.returncode == 1
    assert "Another monitor uses this folder" in done.stderr


@needs_prometheus
def test_nodes_of_a_cluster_are_found_through_its_dashboard(tmp_path: Path, two_nodes: TwoNodes) -> None:
    token = two_nodes.home / "clusters" / two_nodes.record.name / "token"
    wrong = tmp_path / "wrong"
    wrong.write_text("x" * 64)
    jobs = [
        cluster_job(name, two_nodes.record.dashboard, file)
        for name, file in (("two", token), ("none", None), ("wrong", wrong))
    ]
    with prometheus_of(write_jobs(tmp_path / "out", jobs, 1).prometheus.parent) as url:
        nodes = until(lambda: len(found := query(url, "ray_node_cpu_count")) >= 3 and found)
        assert {(one["metric"]["job"], one["metric"]["cluster"]) for one in nodes} == {("raysmith-ray", "two")}
        assert len({one["metric"]["instance"] for one in nodes}) == 3
        assert {one["metric"]["cluster"] for one in query(url, "up")} == {"two"}, "no list without the token"
    assert token.read_text() not in (tmp_path / "out" / "prometheus.yml").read_text()


def test_top_asks_a_cluster_for_its_jobs(tmp_path: Path, two_nodes: TwoNodes) -> None:
    command = [sys.executable, "-m", "jobs", "top", "--json", "--storage", str(tmp_path), "--cluster"]
    name = two_nodes.record.name
    done = subprocess.run([*command, name], env=two_nodes.environment, capture_output=True, text=True, check=True)
    shown = json.loads(done.stdout)
    assert (shown["cluster"], shown["notes"]) == (name, [])
    done = subprocess.run([*command, "unknown"], env=two_nodes.environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert "No cluster of that name is up" in done.stderr


def endpoint(root: Path, url: str) -> EndpointFolder:
    """The folder of an endpoint that this process is said to serve."""
    folder = EndpointFolder(root, "support")
    folder.admit()
    folder.announce(this_process("support", url).model_copy(update={"status": "serving"}))
    return folder


def test_nodes_are_read_once(tmp_path: Path) -> None:
    make_run(tmp_path, "here", nodes=["127.0.0.1:1"], address="127.0.0.1:5001")
    make_run(tmp_path, "there", nodes=["10.0.0.4:8080", "10.0.0.5:8080"], address="10.0.0.4:6379")
    make_run(tmp_path, "too", nodes=["10.0.0.5:8080"], address="10.0.0.4:6379")
    make_run(tmp_path, "over", status="done", nodes=["127.0.0.1:2"])
    record = ClusterRecord(name="c", provider="ssh", dashboard="http://10.0.0.4:8265", address="10.0.0.4:6379")
    for cluster, wanted in ((None, ["10.0.0.4:8080", "10.0.0.5:8080", "127.0.0.1:1"]), (record, ["127.0.0.1:1"])):
        sources = Sources(tmp_path, tmp_path / "to", "127.0.0.1:1", cluster, Look(tmp_path))
        jobs = sources.jobs()
        (file,) = jobs[1]["file_sd_configs"][0]["files"]
        assert json.loads(Path(file).read_text()) == [{"targets": wanted, "labels": {}}]
        assert [one["job_name"] for one in jobs[2:]] == ([] if cluster is None else ["raysmith-ray-c"])


def test_an_endpoint_is_read_with_a_key_of_its_own(tmp_path: Path) -> None:
    folder = endpoint(tmp_path, "http://127.0.0.1:8123/v1")
    sources = Sources(tmp_path, tmp_path / "to", "127.0.0.1:1", None, Look(tmp_path))
    *_, job = sources.jobs()
    assert job["static_configs"] == [
        {"targets": ["127.0.0.1:8123"], "labels": {"__scheme__": "http", "job": "raysmith-serving"}}
    ]
    file = Path(job["authorization"]["credentials_file"])
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert read_keys(folder.keys_file)[digest_of(file.read_text())].scope == "metrics"
    before = file.read_text()
    assert sources.jobs()[-1] == job and file.read_text() == before, "the same key as long as the endpoint knows it"
    other = Sources(tmp_path, tmp_path / "another", "127.0.0.1:1", None, Look(tmp_path))
    other.jobs()
    assert digest_of(before) in read_keys(folder.keys_file), "two monitors do not take each other's keys away"
    folder.announce(this_process("support", "http://127.0.0.1:8123/v1"))
    assert len(sources.jobs()) == 2, "it is starting"
    (folder.path / "state.json").write_text("{")
    assert len(sources.jobs()) == 2 and len(sources.notes) == 1


@needs_prometheus
def test_beyond_loopback_a_password_is_asked_for_and_new_endpoints_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # An address of this machine that is not taken for loopback.
    monkeypatch.setattr(up, "is_loopback", lambda _: False)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    ended = threading.Event()
    (tmp_path / "store").mkdir()
    thread = threading.Thread(
        target=up.up, args=(tmp_path / "store", None, f"127.0.0.1:{port}", tmp_path / "to", ended)
    )
    thread.start()
    try:
        until(lambda: (tmp_path / "to/password").is_file() and _answers(port))
        password = (tmp_path / "to/password").read_text()
        codes = [
            httpx.get(f"http://127.0.0.1:{port}/api/v1/query?query=up", auth=auth).status_code
            for auth in (None, ("raysmith", "guess"), ("raysmith", password))
        ]
        assert codes == [401, 401, 200]
        endpoint(tmp_path / "store", "http://127.0.0.1:9/v1")

        def targets() -> dict[str, str]:
            answer = httpx.get(f"http://127.0.0.1:{port}/api/v1/targets", auth=("raysmith", password)).json()
            return {one["labels"]["job"]: one["labels"]["instance"] for one in answer["data"]["activeTargets"]}

        until(lambda: targets().get("raysmith-serving") == "127.0.0.1:9")
    finally:
        ended.set()
        thread.join(60)
    assert not _answers(port)
    assert password not in (tmp_path / "to/web.yml").read_text()
    for name in ("password", "web.yml"):
        assert stat.S_IMODE((tmp_path / "to" / name).stat().st_mode) == 0o600


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/-/ready").status_code in (200, 401)
    except httpx.TransportError:
        return False


def test_a_hash_is_bcrypts_and_another_each_time() -> None:
    one, two = bcrypt_of("secret"), bcrypt_of("secret")
    assert re.fullmatch(r"\$2[aby]\$10\$[./A-Za-z0-9]{53}", one)
    assert one != two


@pytest.mark.parametrize("listen", ["9090", ":9090", "127.0.0.1", "127.0.0.1:http", "127.0.0.1:99999", ""])
def test_what_is_no_address_is_refused(listen: str) -> None:
    with pytest.raises(ConfigError, match="no address to listen on"):
        split_address(listen)


def test_addresses_are_read() -> None:
    assert split_address("127.0.0.1:9090") == ("127.0.0.1", 9090)
    assert split_address("[::1]:0") == ("::1", 0)


def test_without_prometheus_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ResourceError, match="not installed") as caught:
        up.up(tmp_path, None, "127.0.0.1:0", tmp_path / "to")
    assert "apt-get install prometheus" in str(caught.value.fix)
    assert not (tmp_path / "to").exists()


@needs_prometheus
def test_a_port_that_is_taken_is_told_before_anything_is_written(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(ResourceError, match="cannot be taken"):
        up.up(tmp_path, None, f"127.0.0.1:{taken.getsockname()[1]}", tmp_path / "to")
    assert not (tmp_path / "to").exists()


@needs_prometheus
def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ResourceError, match="cannot be written"):
        up.up(tmp_path, None, "127.0.0.1:0", tmp_path / "file")


def test_grafana_is_given_its_files(tmp_path: Path) -> None:
    """Their form alone: Grafana itself was not run."""
    path = write_grafana(tmp_path, tmp_path / "dashboards", "http://127.0.0.1:9090", "127.0.0.1", 3000, "raysmith")
    read = configparser.ConfigParser(interpolation=None)
    read.read(path)
    assert (read["server"]["http_addr"], read["server"]["http_port"]) == ("127.0.0.1", "3000")
    assert read["security"]["admin_password"] == f"$__file{{{tmp_path / 'password'}}}"
    assert read["auth.anonymous"]["org_role"] == "Viewer"
    assert stat.S_IMODE((tmp_path / "password").stat().st_mode) == 0o600
    folder = Path(read["paths"]["provisioning"])
    (source,) = yaml.safe_load((folder / "datasources/raysmith.yml").read_text())["datasources"]
    assert (source["type"], source["url"], source["isDefault"]) == ("prometheus", "http://127.0.0.1:9090", True)
    assert source["secureJsonData"] == {"basicAuthPassword": f"${ENVIRONMENT_VARIABLE}"}
    (provider,) = yaml.safe_load((folder / "dashboards/raysmith.yml").read_text())["providers"]
    assert provider["options"]["path"] == str(tmp_path / "dashboards")
    first = (tmp_path / "password").read_text()
    write_grafana(tmp_path, tmp_path / "dashboards", "http://127.0.0.1:9090", "127.0.0.1", 3000, None)
    assert (tmp_path / "password").read_text() == first, "who knows the password still does"
    assert first not in path.read_text()


def test_grafana_is_found_with_its_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    binary = tmp_path / "share/bin/grafana"
    for file in (binary, tmp_path / "share/conf/defaults.ini"):
        file.parent.mkdir(parents=True)
        file.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("GF_PATHS_HOME", raising=False)
    assert find_grafana() is None
    (tmp_path / "grafana").symlink_to(binary)
    found = find_grafana()
    assert found == Grafana(tmp_path / "grafana", tmp_path / "share")
    assert found.command(Path("x.ini"))[1:] == ["server", "--homepath", str(tmp_path / "share"), "--config", "x.ini"]
