"""Alert rules, dashboards and scrape settings: checked by the real promtool, and by a real Prometheus that reads a
live exporter of every metric in the table."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest

from cluster.errors import ConfigError
from cluster.monitoring.metrics import LEARNING, NODES, RUNS, SERVING, TRAINING, make
from cluster.monitoring.prometheus import runs_job
from cluster.monitoring.write import alert_groups, dashboards, write, write_jobs
from tests import alert_cases, alert_cases_runs
from tests.alert_cases import EVALUATED_AT, Series
from tests.conftest import REPOSITORY
from tests.prometheus_server import PROMTOOL, alerts, needs_prometheus, prometheus_of, query, until

KEY = "rs-live-key"
PANELS = [panel for board in dashboards().values() for _, panels in board.rows for panel in panels]
IN_RULES = [alert.expression for group in alert_groups().values() for alert in group]
# Grafana's variables as they are when everything is chosen.
IN_PANELS = [
    re.sub(r"\$(model|adapter|run|sweep|instance)", ".*", query.expression.replace("$__rate_interval", "5m"))
    for panel in PANELS
    for query in panel.queries
]
OURS = (*SERVING, *RUNS)
SERIES = {name: metric for metric in (*OURS, *TRAINING, *LEARNING, *NODES) for name in metric.series}
CASES = alert_cases.CASES | alert_cases_runs.CASES
GROUPS = {"run": ["training", "rl", "nodes"], "rl": ["training", "rl"], "node": ["nodes"]}
OFFERED = {"instance", "job", "le", "cluster"}  # by Prometheus, of every series


def promtool(*arguments: str | Path) -> str:
    done = subprocess.run([str(PROMTOOL), *map(str, arguments)], capture_output=True, text=True)
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    return output


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.write_text(f"{KEY}\n")
    return path


def used(expression: str) -> set[tuple[str, frozenset[str]]]:
    """Each series that an expression reads, with the labels it is selected by."""
    bare = re.sub(r"\b(by|on|ignoring|group_left|group_right|without)\s*\([^)]*\)", " ", expression)
    found = re.findall(
        r"(?<![\w.])([a-zA-Z_:][\w:]*)\s*(?:\{([^}]*)\})?(?!\w|\s*\()", re.sub(r"\[[\w:]+\]|offset \w+", " ", bare)
    )
    keywords = {"and", "or", "unless", "bool", *re.findall(r"(\w+)\s*\(", bare)}
    return {
        (name, frozenset(re.findall(r"(\w+)\s*[=!]~?", where)))
        for name, where in found
        if name not in keywords and name not in {"Inf", "NaN"}
    }


def test_used_names_are_read_as_promql_reads_them() -> None:
    expression = '(sum by (a, b) (rate(x_total{c=~"5..",d!=""}[5m])) > 1e3 unless y offset 10m) and on (a) 2 * z{} == 1'
    assert used(expression) == {("x_total", frozenset("cd")), ("y", frozenset()), ("z", frozenset())}


@pytest.mark.parametrize("expression", [*IN_RULES, *IN_PANELS])
def test_every_name_and_label_is_in_the_table(expression: str) -> None:
    names = used(expression)
    assert names
    for name, labels in names - {("up", frozenset()), ("up", frozenset({"job"}))}:
        assert name in SERIES, expression
        assert labels <= {*SERIES[name].labels, *OFFERED}, expression
    grouped = {label for group in re.findall(r"(?:by|on) \(([^)]*)\)", expression) for label in group.split(", ")}
    assert grouped <= OFFERED | {label for name, _ in names if name in SERIES for label in SERIES[name].labels}


def test_every_metric_is_on_a_dashboard_or_watched() -> None:
    shown = {name for expression in [*IN_RULES, *IN_PANELS] for name, _ in used(expression)}
    assert [metric.name for metric in SERIES.values() if not shown & set(metric.series)] == []


@pytest.mark.parametrize("metric", OURS, ids=lambda metric: metric.name)
def test_the_table_makes_what_it_says(metric: Any) -> None:
    registry = CollectorRegistry()
    made = make(registry, [metric])[metric.name]
    made = made.labels(*metric.labels) if metric.labels else made
    made.observe(1) if metric.kind == "histogram" else made.inc()
    text = generate_latest(registry).decode()
    assert f"# TYPE {metric.name} {metric.kind}" in text
    for name in metric.series:
        line = next(line for line in text.splitlines() if re.match(rf"{name}[{{ ]", line))
        assert all(f'{label}="{label}"' in line for label in metric.labels)
    if metric.kind == "histogram":
        assert list(metric.buckets) == sorted(set(metric.buckets))
        assert re.findall(r'le="([^"]+)"', text) == [*map(str, metric.buckets), "+Inf"]


@needs_prometheus
def test_metrics_keep_to_prometheus_naming() -> None:
    registry = CollectorRegistry()
    make(registry, OURS)
    done = subprocess.run(
        [str(PROMTOOL), "check", "metrics"], input=generate_latest(registry), capture_output=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")


@needs_prometheus
def test_promtool_accepts_what_is_written(tmp_path: Path, key_file: Path) -> None:
    paths = write(tmp_path / "out", ["127.0.0.1:8000", "[::1]:8001", "https://models.example"], key_file)
    assert "SUCCESS" in promtool("check", "config", paths.prometheus)
    for path in paths.rules:
        assert f"{len(alert_groups()[path.stem])} rules found" in promtool("check", "rules", "--lint-fatal", path)


@needs_prometheus
def test_every_expression_of_a_dashboard_parses(tmp_path: Path) -> None:
    rules = [{"record": f"panel:{number}", "expr": text} for number, text in enumerate(IN_PANELS)]
    path = tmp_path / "panels.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    assert f"{len(rules)} rules found" in promtool("check", "rules", path)


def unit_test(series: Series, firing: set[str]) -> dict[str, Any]:
    return {
        "interval": "30s",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {
                "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                "eval_time": EVALUATED_AT,
                "exp_samples": [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in sorted(firing)],
            }
        ],
    }


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The rule file of each group."""
    folder = tmp_path_factory.mktemp("rules")
    return {path.stem: path for path in write_jobs(folder, [runs_job("127.0.0.1:1")], 10).rules}


@needs_prometheus
@pytest.mark.parametrize("case", CASES)
def test_alerts_fire_when_they_should_and_only_then(tmp_path: Path, rules: dict[str, Path], case: str) -> None:
    series, firing = CASES[case]
    # Groups that read none of the series would only take time.
    groups = GROUPS.get(case.partition(":")[0], ["serving"])
    test_file = tmp_path / "test.yml"
    test_file.write_text(
        yaml.safe_dump(
            {
                "rule_files": [str(rules[group]) for group in groups],
                "evaluation_interval": "30s" if groups == ["serving"] else "1m",
                "tests": [unit_test(series, firing)],
            }
        )
    )
    assert "SUCCESS" in promtool("test", "rules", test_file)


def test_every_alert_has_a_case_that_fires_it() -> None:
    alerts = {alert.name for group in alert_groups().values() for alert in group}
    assert alerts == {name for _, firing in CASES.values() for name in firing}


def test_every_alert_says_what_to_do() -> None:
    for alert in [alert for group in alert_groups().values() for alert in group]:
        rule = alert.as_rule()
        assert alert.summary and alert.fix
        assert f"Fix: {alert.fix}" in rule["annotations"]["description"]
    names = [alert.name for group in alert_groups().values() for alert in group]
    assert len(names) == len(set(names))


def test_the_guide_lists_every_metric_and_alert_and_no_other() -> None:
    guide = (REPOSITORY / "docs/monitoring.md").read_text()
    rows = re.findall(r"^\| `((?:ray_)?raysmith_\w+)` \| (.*) \|$", guide, re.MULTILINE)
    wanted = {one.name: f"{one.kind} | {', '.join(one.labels)}" for one in SERVING}
    wanted |= {one.name: f"{one.kind} | {', '.join(one.labels)} | {one.help}" for one in RUNS}
    wanted |= {one.name: one.help for one in (*TRAINING, *LEARNING)}
    assert dict(rows) == wanted and len(rows) == len(wanted)
    alerts = [(alert.name, alert.severity) for group in alert_groups().values() for alert in group]
    assert sorted(re.findall(r"^\| (\w+) \| (critical|warning|info) \|", guide, re.MULTILINE)) == sorted(alerts)


def test_every_metric_of_endpoints_is_set_by_the_front() -> None:
    text = "".join(path.read_text() for path in (REPOSITORY / "serving").rglob("*.py"))
    figures = {one.name for one in SERVING if one.name.startswith("raysmith_replica_") and one.kind == "gauge"}
    for metric in SERVING:
        # A replica tells its figures by the end of their names.
        name = metric.name.removeprefix("raysmith_replica_") if metric.name in figures else metric.name
        assert f'"{name}"' in text, metric.name


def test_a_group_of_alerts_is_one_file(tmp_path: Path, key_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "brand_new.py").write_text(
        "from cluster.monitoring.rules import Alert\n"
        "ALERTS = (Alert('New', 'up == 0', 'info', '1m', 'summary', 'description.', 'fix'),)\n"
    )
    monkeypatch.setattr("cluster.monitoring.alerts.__path__", [str(tmp_path)])
    (path,) = write(tmp_path / "out", ["127.0.0.1:8000"], key_file).rules
    assert path.name == "brand_new.yml"
    assert yaml.safe_load(path.read_text())["groups"][0]["rules"][0]["alert"] == "New"
    monkeypatch.delitem(sys.modules, "cluster.monitoring.alerts.brand_new")


def test_dashboards_are_importable(tmp_path: Path, key_file: Path) -> None:
    for path in write(tmp_path, ["127.0.0.1:8000"], key_file).dashboards:
        board = json.loads(path.read_text())
        assert board["id"] is None
        offered = {variable["name"] for variable in board["templating"]["list"]}
        assert "datasource" in offered
        asked = {target["expr"] for panel in board["panels"] for target in panel.get("targets", [])}
        assert {name for text in asked for name in re.findall(r"\$(\w+)", text)} <= offered | {"__rate_interval"}
        panels = board["panels"]
        assert len({panel["id"] for panel in panels}) == len(panels)
        taken: set[tuple[int, int]] = set()
        for panel in panels:
            grid = panel["gridPos"]
            cells = {
                (x, y) for x in range(grid["x"], grid["x"] + grid["w"]) for y in range(grid["y"], grid["y"] + grid["h"])
            }
            assert not cells & taken and grid["x"] + grid["w"] <= 24, panel["title"]
            taken |= cells
            letters = [target["refId"] for target in panel.get("targets", [])]
            assert len(set(letters)) == len(letters)
            assert panel["type"] == "row" or letters


def test_the_key_is_in_no_file_and_never_follows_a_redirect(tmp_path: Path, key_file: Path) -> None:
    paths = write(tmp_path / "out", ["localhost:1", "10.0.0.5:8000", "http://10.0.0.6:8000"], key_file)
    for path in (paths.prometheus, *paths.rules, *paths.dashboards):
        assert KEY not in path.read_text()
    (job,) = yaml.safe_load(paths.prometheus.read_text())["scrape_configs"]
    assert job["authorization"] == {"type": "Bearer", "credentials_file": str(key_file)}
    assert job["follow_redirects"] is False
    schemes = {host: group["labels"]["__scheme__"] for group in job["static_configs"] for host in group["targets"]}
    # In clear over a network only where http:// says so.
    assert schemes == {"localhost:1": "http", "10.0.0.5:8000": "https", "10.0.0.6:8000": "http"}


@pytest.mark.parametrize(
    "target", ["", "http://", "ftp://h:1", "h:port", "h:99999", "http://h:1/metrics", "http://user:pass@h:1", "h:1?a=b"]
)
def test_what_is_no_address_is_refused(tmp_path: Path, key_file: Path, target: str) -> None:
    with pytest.raises(ConfigError) as caught:
        write(tmp_path / "out", [target], key_file)
    assert (caught.value.field, caught.value.got) == ("targets", target)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", [None, "", " \n", "two keys"])
def test_a_key_file_without_a_key_is_refused(tmp_path: Path, text: str | None) -> None:
    key_file = tmp_path / "key"
    if text is not None:
        key_file.write_text(text)
    with pytest.raises(ConfigError, match="no key"):
        write(tmp_path / "out", ["127.0.0.1:8000"], key_file)


def test_nothing_to_read_is_refused(tmp_path: Path, key_file: Path) -> None:
    with pytest.raises(ConfigError, match="nothing to read"):
        write(tmp_path / "out", [], key_file)


@contextmanager
def exporter(registry: CollectorRegistry) -> Iterator[str]:
    """An HTTP server on loopback that shows the metrics to who has the key; yields HOST:PORT."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            allowed = self.path == "/metrics" and self.headers.get("Authorization") == f"Bearer {KEY}"
            self.send_response(200 if allowed else 401)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.end_headers()
            if allowed:
                self.wfile.write(generate_latest(registry))

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@needs_prometheus
def test_a_real_prometheus_reads_a_live_exporter_and_raises_alerts(tmp_path: Path, key_file: Path) -> None:
    registry = CollectorRegistry()
    made: dict[str, Any] = {}
    for metric in SERVING:
        values = {"model": "support", "adapter": "", "version": "2", "code": "200"}
        made |= make(registry, [metric])
        made[metric.name] = made[metric.name].labels(**{label: values.get(label, "x") for label in metric.labels})
    made["raysmith_time_to_first_token_seconds"].observe(0.2)
    made["raysmith_requests_total"].inc(7)
    with exporter(registry) as gone:
        pass
    with exporter(registry) as live:
        paths = write(tmp_path / "out", [live, gone], key_file, interval_s=1)
        with prometheus_of(paths.prometheus.parent) as url:
            until(lambda: [one for one in query(url, "up == 1") if one["metric"]["instance"] == live])
            stored = {one["metric"]["__name__"] for one in query(url, '{job="raysmith-serving", model="support"}')}
            assert {name for metric in SERVING for name in metric.series} <= stored
            (answered,) = query(url, "sum by (model, version) (raysmith_requests_total)")
            assert (answered["metric"], answered["value"][1]) == ({"model": "support", "version": "2"}, "7")
            for expression in IN_PANELS:
                query(url, expression)  # each is answered, not only parsed

            down = until(lambda: alerts(url).get("EndpointDown"))
            assert down["labels"]["instance"] == gone
            assert "ReplicaFailed" not in alerts(url)
            made["raysmith_replica_failures_total"].inc()
            failed = until(lambda: alerts(url).get("ReplicaFailed"))
            assert failed["state"] == "firing"
            assert failed["labels"]["severity"] == "warning"
            assert failed["annotations"]["summary"] == f"A replica of support version 2 ({live}) failed"


@needs_prometheus
def test_a_wrong_key_reads_nothing(tmp_path: Path, key_file: Path) -> None:
    registry = CollectorRegistry()
    make(registry, SERVING)
    key_file.write_text("another")
    with exporter(registry) as live:
        paths = write(tmp_path / "out", [live], key_file, interval_s=1)
        with prometheus_of(paths.prometheus.parent) as url:
            assert until(lambda: query(url, "up"))[0]["value"][1] == "0"
