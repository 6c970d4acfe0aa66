"""Quantization as a job: methods side by side, the gate, rescue, reuse, and what is refused beforehand."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import ray

from cluster.artifacts import Manifest
from cluster.connect import Capacity, result_of
from cluster.errors import ArtifactError, ConfigError, DataError, HandoffError, ModelError, ResourceError
from cluster.rundir import RunDirectory
from jobs.config import JobConfig, load_job
from jobs.context import Context
from jobs.plan import make_plan
from jobs.quantize.measure import Figures
from jobs.report import write_html
from jobs.run import run, run_stages
from jobs.stages.quantize import _Stage, quantize
from tests.conftest import REPOSITORY
from tests.job_file import load, refusal
from tests.test_quantizers import make_sharp_model
from tests.tiny import conversations, sentence

JOB = """\
name: quantized
cluster: {{workers: 1}}
storage: {{root: {root}/store}}
model: {{path: {model}, name: small-base}}
data: {{train: {root}/train.jsonl, heldout: {root}/heldout.jsonl, max_length: 128}}
quantize:
  methods: {methods}
  calibration: {{sequences: 4, length: 64}}
  measure: {{sequences: 3, engines: {engines}, speed_tokens: 4, task: {{
    prompts: {root}/prompts.jsonl, reward: {{kind: pattern, pattern: "[^x]", whole: false}}, count: 4,
    max_new_tokens: 6, shots: {root}/train.jsonl, num_shots: 1}}}}
  gate: {{max_kl: {max_kl}, min_agreement: 0.05, min_task_ratio: 0.01}}
"""
ALL = "[{kind: kquants, recipe: Q8_0}, {kind: kquants, importance: true}, rtn, gptq, awq, hqq, int8, nf4]"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    make_sharp_model(folder)
    return folder


@pytest.fixture(autouse=True)
def _with_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import random

    monkeypatch.chdir(tmp_path)
    rng = random.Random(3)
    for name, count, seed in (("train", 32, 0), ("heldout", 8, 1)):
        Path(f"{name}.jsonl").write_text("\n".join(map(json.dumps, conversations(count, seed))) + "\n")
    lines = [{"prompt": sentence(rng), "answer": "1"} for _ in range(6)]
    Path("prompts.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")


def job_text(
    root: Path, model: Path, methods: str = ALL, *, max_kl: float = 5.0, engines: str = "first", more: str = ""
) -> str:
    return JOB.format(root=root, model=model, methods=methods, max_kl=max_kl, engines=engines) + more


def run_job(job: JobConfig, capacity: Capacity) -> Context:
    """All stages on a cluster that is up already, and the report."""
    root = job.storage.path()
    directory = RunDirectory(root, job.name)
    with directory.attempt(job.resolved()) as attempt:
        context = Context(job, root, directory, attempt, capacity=capacity, report=make_plan(job).report())
        model, data = run_stages(context)
        assert job.quantize is not None
        assert data is not None
        quantize(context, model, data, job.quantize)
        write_html(directory.path, context.store)
    return context


def board_of(context: Context) -> dict[str, dict[str, Any]]:
    return {row["label"]: row for row in context.report["stages"]["quantize"]["board"]}


def test_every_method_is_measured_and_the_smallest_that_passes_is_published(
    ray_cluster: Capacity, model: Path, tmp_path: Path
) -> None:
    context = run_job(load(job_text(tmp_path, model)), ray_cluster)
    stage, board = context.report["stages"]["quantize"], board_of(context)
    assert list(board) == ["q8_0", "q4_k_m-imatrix", "rtn-4g32", "gptq-4g32", "awq-4g32", "hqq-4g32", "int8", "nf4"]
    for label, row in board.items():
        [(engine, figures)] = row["figures"].items()
        assert engine == ("llama_cpp" if label.startswith("q") else "transformers")
        assert 0 <= figures["kl"] < 1
        assert figures["tokens"] == stage["unquantized"]["tokens"] > 20
        assert figures["perplexity"] == pytest.approx(stage["unquantized"]["perplexity"], rel=0.5)
        assert 0 <= figures["task"] <= 1
        assert figures["tokens_per_s"] > 0
        assert row["misses"] == []
        assert row["bits_per_weight"] < 16
    assert board["q8_0"]["figures"]["llama_cpp"]["kl"] < 0.01
    smallest = min(board.values(), key=lambda row: row["size_bytes"])
    assert stage["chosen"] == smallest["label"]
    published = context.store.get("quantized-quantized")
    assert published.id == smallest["artifact"]
    assert set(published.parents) == {"model", "tokens"}
    assert "quantized-rtn-4g32" not in context.store.names(), "only what is chosen has a name"
    assert (context.run.path / "report.html").read_text().count("hqq-4g32") >= 2
    again = run_job(load(job_text(tmp_path, model)), ray_cluster)
    assert all(
        one["reused"] for name, one in again.report["stages"].items() if name.startswith(("quantize_", "measure_"))
    )


def test_nothing_is_published_when_nothing_passes(ray_cluster: Capacity, model: Path, tmp_path: Path) -> None:
    text = job_text(tmp_path, model, "[rtn, nf4]", max_kl=1e-7)
    with pytest.raises(HandoffError, match="No quantized model passes the gate") as caught:
        run_job(load(text), ray_cluster)
    assert "rtn-4g32: KL" in str(caught.value.got)
    assert not list((tmp_path / "store/artifacts/names").glob("*-quantized.json"))


def test_the_worst_layers_are_spared_until_the_gate_passes(ray_cluster: Capacity, model: Path, tmp_path: Path) -> None:
    first = run_job(load(job_text(tmp_path, model, "[rtn]")), ray_cluster)
    kl = board_of(first)["rtn-4g32"]["figures"]["transformers"]["kl"]
    worst = board_of(first)["rtn-4g32"]["worst"]
    more = "  rescue: {layers: 4, rounds: 3}\n"
    context = run_job(load(job_text(tmp_path, model, "[rtn]", max_kl=0.6 * kl, more=more)), ray_cluster)
    labels = list(board_of(context))
    assert labels[0] == "rtn-4g32"
    assert len(labels) > 1
    assert context.report["stages"]["quantize"]["chosen"] == labels[-1]
    config = json.loads((context.files(context.store.get("quantized-quantized")) / "config.json").read_text())
    spared = config["quantization_config"]["config_groups"]["group_0"]["targets"]
    assert any(next(iter(worst)) in name.replace("\\", "") for name in spared)


def test_vllm_runs_what_transformers_runs(ray_cluster: Capacity, model: Path, tmp_path: Path) -> None:
    # Without zero points, and with.
    methods = "[{kind: gptq, symmetric: true}, {kind: awq, keep: ['layers.0.mlp.down']}]"
    context = run_job(load(job_text(tmp_path, model, methods, engines="all")), ray_cluster)
    for label in ("gptq-4g32s", "awq-4g32"):
        figures = board_of(context)[label]["figures"]
        assert list(figures) == ["transformers", "vllm"]
        assert figures["vllm"]["kl"] == pytest.approx(figures["transformers"]["kl"], abs=0.005)
        assert figures["vllm"]["perplexity"] == pytest.approx(figures["transformers"]["perplexity"], rel=0.02)
        assert figures["vllm"]["tokens_per_s"] > 0


def test_a_method_that_an_engine_breaks_on_leaves_the_others_alone(
    ray_cluster: Capacity, model: Path, tmp_path: Path
) -> None:
    job = load(job_text(tmp_path, model, "[rtn]"))
    with RunDirectory(job.storage.path(), job.name).attempt(job.resolved()) as attempt:
        context = Context(job, job.storage.path(), RunDirectory(job.storage.path(), "x"), attempt, capacity=ray_cluster)
        assert job.quantize is not None
        nothing = Manifest(id="model-0", name="none", kind="model", content="", files={})
        stage: Any = _Stage(context, nothing, nothing, job.quantize)

        def fail(error: Exception) -> None:
            raise error

        [method], reference = job.quantize.quantizers, Figures(1.0, 0.0, 1.0, 0.0, 0.0, 1, None, None)
        told = ValueError("Failed to find a kernel\nfor this grid")
        stage._entry = lambda *_: result_of(ray.remote(fail).remote(told))
        assert stage.entries(method, reference) == []
        assert stage.failed == {"rtn-4g32": "ValueError: Failed to find a kernel"}
        stage._entry = lambda *_: result_of(ray.remote(fail).remote(ResourceError("The disk is full.")))
        with pytest.raises(ResourceError, match="full"):
            stage.entries(method, reference)


def test_too_little_calibration_text_is_told(ray_cluster: Capacity, model: Path, tmp_path: Path) -> None:
    job = load(job_text(tmp_path, model, "[gptq]"), "quantize.calibration.length=100000")
    with pytest.raises(DataError, match="too little calibration text") as caught:
        run_job(job, ray_cluster)
    assert "400,000" in str(caught.value.expected)


def test_what_cannot_be_is_refused_before_anything_is_taken(model: Path, tmp_path: Path) -> None:
    text = job_text(tmp_path, model, "[rtn, {kind: rtn}]")
    assert "same name" in str(refusal(text))
    no_task = text.replace("[rtn, {kind: rtn}]", "[rtn]")
    assert "task that is not measured" in str(refusal(no_task, "quantize.measure.task=null"))
    one, more = (make_plan(load(no_task, *changes)).disk_bytes for changes in ((), ["quantize.rescue={rounds: 2}"]))
    assert more > one
    with pytest.raises(ModelError, match="does not divide") as unfit:
        make_plan(load(no_task, "quantize.methods=[{kind: gptq, group: 96}]"))
    assert unfit.value.fix == "group: 128"
    with pytest.raises(ConfigError, match=r"quantize\.calibration\.length") as too_long:
        load_job(REPOSITORY / "configs/pretrain/stdlib_causal.yaml", ["quantize.methods=[gptq]"])
    assert too_long.value.got == "quantize.calibration.length=512"
    words = str(refusal(no_task + "serve: {}\n"))
    assert "engine cannot run" in words
    assert "[kquants]" in words
    Path("prompts.jsonl").unlink()
    with pytest.raises(DataError, match="missing") as caught:
        run(load(no_task))
    assert caught.value.field == "quantize.measure.task"
    assert not (tmp_path / "store/artifacts").exists()


def test_only_what_is_new_is_done_again(ray_cluster: Capacity, model: Path, tmp_path: Path) -> None:
    first = run_job(load(job_text(tmp_path, model, "[rtn]")), ray_cluster)
    again = run_job(load(job_text(tmp_path, model, "[rtn, {kind: rtn, bits: 8}]")), ray_cluster)
    done = {name: one["reused"] for name, one in again.report["stages"].items() if name.startswith(("quant", "meas"))}
    assert done == {
        "measure_unquantized_transformers": True, "quantize_rtn-4g32": True, "measure_rtn-4g32_transformers": True,
        "quantize_rtn-8g32": False, "measure_rtn-8g32_transformers": False, "quantize": False,
    }  # fmt: skip
    Path("prompts.jsonl").write_text('{"prompt": "the cat", "answer": "1"}\n')
    shutil.rmtree(next((tmp_path / "store/stages").glob("scores-*")))
    other = run_job(load(job_text(tmp_path, model, "[rtn]"), "quantize.gate.min_task_ratio=null"), ray_cluster)
    stages = other.report["stages"]
    assert stages["quantize_rtn-4g32"]["reused"]
    assert not stages["measure_rtn-4g32_transformers"]["reused"], "other prompts: another score"
    figures = [board_of(one)["rtn-4g32"]["figures"]["transformers"] for one in (first, other)]
    assert figures[0]["kl"] == pytest.approx(figures[1]["kl"], rel=1e-4)


def test_calibration_text_of_published_tokens(ray_cluster: Capacity, model: Path, tmp_path: Path) -> None:
    first = run_job(load(job_text(tmp_path, model, "[rtn]")), ray_cluster)
    [name] = [one for one in first.store.names() if one.endswith("-tokens")]
    tokens = first.store.get(name)
    Path("train.jsonl").write_text("\n".join(map(json.dumps, conversations(2, 7))) + "\n")
    text = job_text(tmp_path, model, "[gptq]")
    with pytest.raises(DataError, match="too little calibration text"):
        run_job(load(text), ray_cluster)
    context = run_job(load(text, f"quantize.calibration.artifact={tokens.id}"), ray_cluster)
    assert context.store.get("quantized-quantized").parents["tokens"] == tokens.id
    with pytest.raises(ArtifactError, match="taken from tokens") as caught:
        run_job(load(text, "quantize.calibration.artifact=small-base"), ray_cluster)
    assert caught.value.field == "quantize.calibration.artifact"
    with pytest.raises(ArtifactError, match="neither published nor made") as caught:
        run(load(text, "quantize.calibration.artifact=nothing"))
    assert caught.value.field == "quantize.calibration.artifact"
