"""Configuration files: inheritance, overrides, and the shipped files."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel, ValidationError

from cluster.config_file import apply_overrides, load_config, read_tree
from cluster.description import ClusterFile
from cluster.errors import ConfigError
from jobs.chain import is_chain, load_chain
from jobs.config import JobConfig, load_job
from jobs.endpoints.config import EndpointConfig, load_endpoint
from jobs.sweep.config import SweepConfig
from jobs.sweep.space import load_sweep
from tests.conftest import REPOSITORY
from tests.job_file import JOB, load, refusal

SWEEPS = sorted((REPOSITORY / "configs" / "sweep").glob("*.yaml"))
ENDPOINTS = sorted((REPOSITORY / "configs" / "serve").glob("*.yaml"))
CLUSTERS = sorted((REPOSITORY / "configs" / "cluster").glob("*.yaml"))
CHAINS = [path for path in sorted((REPOSITORY / "configs" / "recipes").glob("*.yaml")) if is_chain(path)]
SHIPPED = sorted({*(REPOSITORY / "configs").rglob("*.yaml")} - {*SWEEPS, *CHAINS, *ENDPOINTS, *CLUSTERS})
HEAVY = {"torch", "ray", "transformers", "deepspeed", "peft", "vllm", "xllamacpp", "datasets"}


@pytest.fixture(autouse=True)
def _inside_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # files are named relative to it in messages


def test_defaults_are_deltas_merged_key_by_key() -> None:
    Path("base.yaml").write_text(JOB)
    Path("long.yaml").write_text("train: {steps: 1000, warmup_steps: 10}\n")
    job = load("defaults: [base.yaml, long.yaml]\ntrain: {warmup_steps: 20}\n")
    assert job.train is not None
    assert (job.train.learning_rate, job.train.steps, job.train.warmup_steps) == (1e-3, 1000, 20)
    assert load("defaults: base.yaml\ntrain: null\n").train is None


def test_an_inherited_key_is_reported_where_it_was_written() -> None:
    Path("base.yaml").write_text(JOB + "  learnig_rate: 1\n")
    assert refusal("defaults: base.yaml\nname: child\n").field == "train.learnig_rate (base.yaml:10)"


def test_a_circle_of_defaults_is_refused() -> None:
    Path("other.yaml").write_text("defaults: job.yaml\n")
    assert "inherits from itself" in refusal("defaults: other.yaml\n").message
    error = refusal("defaults: nowhere.yaml\n")
    assert (error.field, "nowhere.yaml" in str(error.got)) == ("defaults", True)
    assert refusal("defaults: {a: 1}\n").field == "defaults"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3e-4", 3e-4), ("1e5", 1e5), ("+.5E-2", 5e-3), ("'3e-4'", "3e-4"), ('"1e5"', "1e5"), ("007x", "007x"),
        ("a=b", "a=b"), ("true", True), ("", None), ("null", None), ("[1e-1, x]", [0.1, "x"]), ("{b: 2e0}", {"b": 2.0}),
    ],
)  # fmt: skip
def test_an_override_is_read_as_yaml_with_scientific_numbers(text: str, value: Any) -> None:
    Path("job.yaml").write_text(f"in_file: {text}\n")
    tree = apply_overrides(read_tree(Path("job.yaml")), [f"on.line={text}"]).tree
    assert tree == {"in_file": value, "on": {"line": value}}
    assert type(tree["on"]["line"]) is type(value)


@pytest.mark.parametrize("assignment", ["=3", "train.steps", "train..steps=3", ".=3", "train.=3"])
def test_an_override_that_is_no_assignment_is_refused(assignment: str) -> None:
    error = refusal(JOB, assignment)
    assert (error.field, error.got) == ("command line", assignment)
    assert refusal(JOB, "train.steps=[1").got == "[1"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_every_shipped_file_loads_and_its_resolved_form_loads_to_the_same(path: Path) -> None:
    job = load_job(path, [])
    assert load(yaml.safe_dump(job.resolved(), sort_keys=False)) == job


@pytest.mark.parametrize("path", CHAINS, ids=lambda path: path.stem)
def test_every_shipped_chain_makes_what_its_links_begin_with(path: Path) -> None:
    links = load_chain(path, [f"storage.root={Path('store').absolute()}"])
    assert [link.job.name for link in links if link.planned is not link.job], "one begins with another's model"


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_every_shipped_sweep_loads_and_its_job_s_trials_differ(path: Path) -> None:
    sweep = load_sweep(path, [])
    owner = import_module(f"jobs.sweep.searchers.{sweep.config.search.kind}")
    points = [owner.propose(sweep.config.search, sweep.config.space, 0, number, []) for number in range(2)]
    trials = [sweep.trial(number, sweep.values(point)) for number, point in enumerate(points)]
    assert trials[0].train != trials[1].train
    assert [job.name for job in trials] == [f"{sweep.config.name}-000", f"{sweep.config.name}-001"]
    assert load(yaml.safe_dump(trials[0].resolved(), sort_keys=False)) == trials[0]


@pytest.mark.parametrize("path", ENDPOINTS, ids=lambda path: path.stem)
def test_every_shipped_endpoint_loads_and_says_what_it_starts(path: Path) -> None:
    config = load_endpoint(path, [])
    assert EndpointConfig.model_validate(config.resolved()) == config
    parts = config.parts()
    assert sum(part.weight for part in parts) == pytest.approx(1.0)
    for part in parts:
        options = part.serve.engine.resources(part.serve.replicas.num_cpus, part.serve.replicas.num_gpus)
        assert bool(part.serve.replicas.num_gpus) or not part.serve.engine.ON_GPU
        assert options["ray_actor_options"]["num_cpus"] == part.serve.replicas.num_cpus


@pytest.mark.parametrize("path", CLUSTERS, ids=lambda path: path.stem)
def test_every_shipped_cluster_loads_and_its_resolved_form_loads_to_the_same(path: Path) -> None:
    file = load_config(ClusterFile, path)
    assert ClusterFile.model_validate(file.model_dump(mode="json")) == file
    assert any(group.gpu for group in file.nodes.values()) or file.provider.kind == "local"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["adapters.a=b"], "adds no adapters"),
        (["engine={kind: vllm, max_adapters: 1}", "adapters={a: x, b: y}"], "no room for that many"),
        (["canary={model: x, weight: 1}"], "less than 1"),
        (["canary={model: x, weight: 0.1}", "canary.adapters.a=b"], "adds no adapters"),
        (["adapters.A=b"], "pattern"),
        (["name=Big"], "pattern"),
        (["engine=vlm"], "vllm"),
        (["replicas.min=3"], "below min"),
    ],
)
def test_an_endpoint_that_cannot_be_is_refused_before_anything_starts(changes: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load_endpoint(REPOSITORY / "configs" / "serve" / "quickstart.yaml", changes)


def test_files_are_shipped() -> None:
    assert len(ENDPOINTS) == 7
    assert REPOSITORY / "configs" / "quickstart.yaml" in SHIPPED


def test_a_configuration_cannot_be_changed_after_loading() -> None:
    job = load(JOB)
    with pytest.raises(ValidationError, match="frozen"):
        job.name = "other"  # type: ignore[misc]


@pytest.mark.parametrize("config", [JobConfig, SweepConfig, EndpointConfig])
def test_schema_documents_every_field_and_has_no_dangling_reference(config: type[BaseModel]) -> None:
    schema = config.model_json_schema()
    definitions = schema["$defs"]
    undocumented, dangling, seen = [], [], 0

    def walk(node: Any, path: str) -> None:
        nonlocal seen
        for key, value in node.get("properties", {}).items():
            seen += 1
            target = definitions.get(value.get("$ref", "").rsplit("/", 1)[-1], {})
            if not (value.get("description") or target.get("description")):
                undocumented.append(f"{path}.{key}")
        if node.get("$ref", "").rsplit("/", 1)[-1] not in {"", *definitions}:
            dangling.append(f"{path}: {node['$ref']}")
        for key, value in node.items():
            for item in value if isinstance(value, list) else [value]:
                if isinstance(item, dict):
                    walk(item, f"{path}.{key}")

    walk(schema, "")
    assert (undocumented, dangling) == ([], [])
    assert seen > 20


def test_loading_every_shipped_file_and_the_schema_imports_no_heavy_library() -> None:
    code = (
        "import json, sys; from pathlib import Path; from jobs.config import JobConfig, load_job\n"
        "for path in sys.argv[1:]: load_job(Path(path), [])\n"
        "JobConfig.model_json_schema(); print(json.dumps(sorted(sys.modules)))"
    )
    light = [str(path) for path in SHIPPED if path.parent.name != "trl"]  # TRL's arguments are checked by TRL's classes
    done = subprocess.run([sys.executable, "-c", code, *light], capture_output=True, text=True, check=True)
    modules = set(json.loads(done.stdout))
    assert "jobs.config" in modules
    assert not HEAVY & modules
