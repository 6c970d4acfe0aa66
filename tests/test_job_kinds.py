"""Kinds of jobs: which sections go together, what a plan says of each, what may change before a resume; and whole ones.

The whole jobs run in this process, on the session's cluster: tiny models, a few steps.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM

from cluster.artifacts import ArtifactStore
from cluster.connect import Capacity
from cluster.errors import ArtifactError, ConfigError, RaysmithError
from cluster.rundir import RunDirectory, read_metrics
from cluster.storage import write_json
from jobs.config import JobConfig
from jobs.context import Context
from jobs.export import export
from jobs.lineage import refuse_unmerge
from jobs.parcel import load_parcel
from jobs.plan import make_plan, read_data, show_plan, stages
from jobs.run import run_stages
from jobs.stages.model import with_head
from jobs.stages.train import identity, summary, training_name
from jobs.submit_package import package
from jobs.words import batch_words, duration
from tests.job_file import JOB, load, refusal
from tests.tiny import conversations, sentence
from trainers.checkpoint import Folder, Marker, Piece, write_marker, write_pieces
from trainers.config import TrainConfig
from trainers.models import head_of, load_model

SCRATCH = """\
name: new
model: {scratch: {kind: llama, hidden: 64, layers: 2, context: 64}}
tokenizer: {vocabulary: 300}
data: {kind: text, sources: [{path: corpus}], max_length: 64, heldout: 0.1}
train:
  objective: causal_lm
  steps: 10
  learning_rate: 1e-2
"""
DIMENSIONS = "hidden: 64, layers: 2, context: 64"
MASKED = (f"model.scratch={{kind: bert, {DIMENSIONS}}}", "tokenizer.model=masked", "train.objective=masked_lm")


@pytest.fixture(autouse=True)
def _inside_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write_corpus(folder: Path, files: int = 40) -> None:
    """Texts in which the next word depends on the last: something a tiny model can learn."""
    import random

    rng = random.Random(3)
    folder.mkdir()
    for number in range(files):
        lines = [sentence(rng, 12) for _ in range(20)]
        (folder / f"{number}.txt").write_text("\n".join(lines))


def write_conversations(folder: Path, count: int = 16) -> None:
    for part, seed in (("train", 0), ("heldout", 1)):
        lines = [json.dumps(item) for item in conversations(count, seed)]
        (folder / f"{part}.jsonl").write_text("\n".join(lines) + "\n")


# --- which sections go together


@pytest.mark.parametrize(
    ("text", "overrides", "words"),
    [
        (SCRATCH, ["tokenizer=null"], ("needs a `tokenizer` section", "model.scratch without tokenizer")),
        (SCRATCH, ["train=null"], ("needs a `train` section",)),
        (SCRATCH, ["data={kind: chat, train: a, heldout: b}", "train.objective=sft"], ("raw text", "data.kind: chat")),
        (JOB, ["tokenizer={}"], ("`tokenizer` is for a new model",)),
        (SCRATCH, ["train.objective=sft"], ("train.objective: sft, data.kind: text", "for sft, data of kind chat")),
        (JOB, ["train.objective=causal_lm"], ("data.kind: chat", "of kind text", "an objective for chat: sft, trl")),
        (JOB, ["train.objective=reward"], ("train.objective: reward, data.kind: chat", "of kind pairs")),
        (JOB, ["train.objective={kind: trl, method: dpo}"], ("train.objective: trl, data.kind: chat", "kind pairs")),
        (SCRATCH, MASKED[:2], ("cannot be trained with this objective", "bert as causal_lm")),
        (SCRATCH, ["tokenizer.model=masked"], ("tokenizer.model: causal, for a causal_lm model",)),
        (SCRATCH, [*MASKED, "quantize={}", "serve={}"], ("quantize, serve with", "a masked_lm model")),
        (SCRATCH, [*MASKED, "evaluate.questions=[Who]"], ("evaluate.questions with train.objective: masked_lm",)),
        (SCRATCH, ["data.max_length=128"], ("data.max_length=128", "at most 64", "model.scratch.context")),
        (JOB, ["cluster.workers=4", "train.batch={sequences: 3}"], ("at least 4 sequences", "micro=4, 4 workers")),
        (JOB, ["cluster.workers={min: 1, max: 3}", "train.batch={sequences: 4, micro: 1}"], ("at least 6",)),
    ],
)  # fmt: skip
def test_sections_that_do_not_go_together_are_refused(text: str, overrides: list[str], words: tuple[str, ...]) -> None:
    error = refusal(text, *overrides)
    for part in words:
        assert part in str(error)


def test_an_objective_that_measures_itself_leaves_nothing_to_evaluate() -> None:
    pairs = ["data.kind=pairs", "data.train=a", "data.heldout=b", "train.objective={kind: trl, method: dpo}"]
    assert "measures itself" in refusal(JOB, *pairs, "evaluate={}").message
    job = load(JOB, *pairs, "evaluate={}", "quantize={}", "serve={}")
    assert stages(job) == ["model", "data", "train", "quantize", "serve"]
    with pytest.raises(ConfigError, match=r"train\.checkpoint\.keep_best"):
        load(JOB, *pairs, "train.checkpoint.keep_best=true")


@pytest.mark.parametrize(
    ("overrides", "head"),
    [((), "causal_lm"), (MASKED, "masked_lm"), ((f"model.scratch={{kind: qwen3, {DIMENSIONS}}}",), "causal_lm")],
)
def test_a_new_model_loads_with_its_stages_in_the_order_of_its_making(overrides: tuple[str, ...], head: str) -> None:
    job = load(SCRATCH, *overrides, "evaluate={}")
    assert job.head == head
    assert stages(job) == ["data", "tokenizer", "model", "tokens", "evaluate before", "train", "evaluate after"]
    assert load(yaml.safe_dump(job.resolved())) == job


# --- what a plan says


def test_the_plan_of_a_new_model_knows_its_size_without_making_it(capsys: pytest.CaptureFixture[str]) -> None:
    write_corpus(Path("corpus"))
    show_plan(load(SCRATCH, "storage.root=store", "train.batch={sequences: 6, micro: 2}", "tokenizer.vocabulary=512"))
    words = " ".join(capsys.readouterr().out.split())
    size = sum(path.stat().st_size for path in Path("corpus").iterdir())
    tokens = int(size * 0.9 / 3.5)
    assert "data → tokenizer → model → tokens → train" in words
    assert f"sequences (text), about {tokens:,} tokens, longest about 64" in words
    assert "6 sequences a step, shared by 1 worker × 3 accumulation × 2 sequences" in words
    assert "vocabulary 512" in words
    assert "floating-point operations in 10 steps" in words
    assert "Not checked" not in words
    assert not Path("store").exists()


def test_a_plan_works_where_the_data_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    where = ("storage.root=store", "cluster.address=127.0.0.1:9")
    job = load(SCRATCH, *where, "train.batch={sequences: 4, micro: 2}")
    show_plan(job)
    words = " ".join(capsys.readouterr().out.split())
    assert "data not read:" in words
    assert "corpus" in words
    # Rows are full in packed text, so the arithmetic holds without the data; how often it is seen is not known.
    assert "= 256 tokens a step, 10 steps = 0.00256M tokens" in words
    assert "epochs" not in words
    assert "memory of a worker" in words
    assert "Not checked from here: the data, the cluster, the cluster's disk." in words
    with pytest.raises(RaysmithError, match="missing"):  # a job of this machine would fail
        show_plan(load(SCRATCH, "storage.root=store"))
    with pytest.raises(RaysmithError):
        make_plan(job)
    Path("train.jsonl").write_text("no JSON\n")
    Path("heldout.jsonl").write_text("no JSON\n")
    chat = load(JOB)
    with pytest.raises(RaysmithError, match="not JSON"):  # what is there must be well
        read_data(chat)


def test_a_plan_of_gpus_names_the_time_that_it_assumes(capsys: pytest.CaptureFixture[str]) -> None:
    gpus = ("cluster.gpus_per_worker=1", "cluster.workers=8", "cluster.address=127.0.0.1:9", "storage.root=store")
    job = load(SCRATCH, *gpus, "train.steps=200000000", "train.batch={sequences: 512, micro: 8}")
    show_plan(job)
    words = " ".join(capsys.readouterr().out.split())
    flops = make_plan(job, without_data=True).flops
    assert flops is not None
    assert f"time about {duration(flops / (8 * 989e12 * 0.4))} on 8 × H100, " in words
    assert "on 8 × A100 (assumed: 40% of the bfloat16 peak)" in words
    assert "Not checked from here: the data, the cluster, the cluster's disk." in words


def test_the_operations_of_a_plan_are_six_a_weight_and_token_and_fewer_with_an_adapter() -> None:
    write_corpus(Path("corpus"))
    job = load(SCRATCH, "train.batch={sequences: 4, micro: 2}")
    plan = make_plan(job)
    assert plan.data is not None
    assert plan.flops is not None
    tokens = plan.data.tokens / plan.data.samples * 4 * 10
    embeddings = 300 * 64
    weights = plan.shape.num_parameters - embeddings * (not plan.shape.tied)
    assert plan.flops == pytest.approx(6 * weights * tokens, rel=0.25), "attention comes on top"
    assert plan.flops > 6 * (weights - 1000) * tokens
    adapted = make_plan(load(SCRATCH, "train.batch={sequences: 4, micro: 2}", "train.adapter.lora.rank=4")).flops
    assert adapted == pytest.approx(plan.flops * 2 / 3)


@pytest.mark.parametrize(
    ("batch", "workers", "words"),
    [
        ("{sequences: 8, micro: 4}", "2", "8 sequences a step, shared by 2 workers × 1 accumulation × 4 sequences"),
        ("{sequences: 8, micro: 2}", "1", "8 sequences a step, shared by 1 worker × 4 accumulation × 2 sequences"),
        ("{sequences: 1, micro: 4}", "1", "1 sequence a step, shared by 1 worker × 1 accumulation × 1 sequence"),
        ("{sequences: 8, micro: 2}", "{min: 1, max: 4}", "shared by 1 to 4 workers in micro-batches of up to 2"),
    ],
)
def test_the_batch_in_words(batch: str, workers: str, words: str) -> None:
    job = load(JOB, f"train.batch={batch}", f"cluster.workers={workers}")
    assert job.train is not None
    told = batch_words(job.train, job.cluster, 100.0, 40)
    assert words in told
    sequences = job.train.batch.sequences
    assert f"= {100 * sequences} tokens a step, 10 steps = {sequences / 1000:.3g}M tokens" in told
    assert f"{sequences * 10 / 40:.2g} epochs" in told


# --- what may change before a resume


@pytest.mark.parametrize(
    ("override", "same"),
    [
        ("checkpoint={every_steps: 7, keep: 5, asynchronous: false}", True), ("trackers=[]", True),
        ("batch.micro=2", True), ("deepspeed={stage: 3}", True), ("compile=true", True),
        ("activation_checkpointing=true", True), ("evaluation.batch=2", True),
        ("objective={kind: sft, head_chunk: null}", True),
        ("divergence={steps: 3}", True), ("batch.sequences=16", False), ("steps=11", False), ("seed=1", False),
        ("learning_rate=2e-3", False), ("objective={kind: sft, loss_on: all}", False), ("dtype=float32", False),
        ("adapter.lora.rank=4", False), ("evaluation.patience=3", False), ("evaluation.every_steps=4", False),
        ("schedule=wsd", False), ("parameter_groups=[{match: norm, weight_decay: 0.0}]", False),
    ],
)  # fmt: skip
def test_how_a_training_is_computed_may_change_before_a_resume_but_not_what(override: str, same: bool) -> None:
    evaluation = "train.evaluation={every_steps: 5}"
    one, other = load(JOB, evaluation).train, load(JOB, evaluation, f"train.{override}").train
    assert one is not None
    assert other is not None
    assert one != other
    assert (training_name(one, "model-1", "tokens-1") == training_name(other, "model-1", "tokens-1")) is same
    assert training_name(one, "model-1", "tokens-1") != training_name(one, "model-2", "tokens-1")


def test_every_key_of_a_training_but_those_is_part_of_its_identity() -> None:
    job = load(JOB)
    assert job.train is not None
    free = {"checkpoint", "trackers", "deepspeed", "compile", "activation_checkpointing", "divergence"}
    free |= {"paged_optimizer", "watchdog"}
    assert set(TrainConfig.model_fields) - set(identity(job.train)) == free


def test_the_summary_of_a_training_takes_what_it_has_measured() -> None:
    records: list[dict[str, Any]] = [
        {"step": step, "loss": 4.0 / step, "attempt": "001" if step < 3 else "002", "tokens": 100, "mfu": step / 10}
        for step in range(1, 7)
    ]
    records[1] |= {"heldout_loss": 3.0, "heldout_accuracy": 0.5}
    records[5] |= {"heldout_loss": 2.5, "heldout_accuracy": 0.75}
    found = summary(records)
    assert (found["steps"], found["attempts"], found["tokens"]) == (6, ["001", "002"], 600)
    assert found["final_loss"] == pytest.approx(sum(4.0 / step for step in range(2, 7)) / 5)
    assert found["mfu"] == pytest.approx(0.35)
    assert found["heldout_curves"] == {"loss": [[2, 3.0], [6, 2.5]], "accuracy": [[2, 0.5], [6, 0.75]]}
    bare = summary([{"step": 1, "loss": 1.0, "attempt": "001"}])
    assert set(bare) == {"steps", "attempts", "first_loss", "final_loss", "losses"}


# --- files that go along with a submitted job


def test_sources_of_text_are_sent_along_and_folders_of_the_nodes_are_not(tmp_path: Path) -> None:
    write_corpus(Path("corpus"), files=3)
    sources = "[{path: corpus, name: a}, {path: 'corpus/*.txt', name: b}, {path: 'python:stdlib'}]"
    offload = "train.deepspeed={stage: 3, offload_optimizer: nvme, nvme: /nvme}"
    Path("new.yaml").write_text(SCRATCH)
    parcel = load_parcel(Path("new.yaml"), [f"data.sources={sources}", offload, "storage.root=store"])
    (tmp_path / "sent").mkdir()
    sent = package(parcel, tmp_path / "sent")["job.yaml"]
    paths = [source["path"] for source in sent["data"]["sources"]]
    assert paths == ["files/data.sources.0.path/corpus", "files/data.sources.0.path/corpus/*.txt", "python:stdlib"]
    assert len(list((tmp_path / "sent" / "files/data.sources.0.path/corpus").glob("*.txt"))) == 3
    assert sent["train"]["deepspeed"]["nvme"] == "/nvme"


# --- exporting a checkpoint


@pytest.fixture
def cut_off(tmp_path: Path, tiny_model: Path) -> tuple[Path, TrainConfig]:
    """A storage root with a run that was cut off after two checkpoints; the second has all weights at 0.5."""
    write_conversations(tmp_path)
    job = load(JOB, "model.package=null", f"model.path={tiny_model}", "train.dtype=float32", "storage.root=store")
    assert job.train is not None
    root = tmp_path / "store"
    store, made = ArtifactStore(root), {}
    for name, kind in (("model", "model"), ("tokens", "tokens")):
        with store.draft() as files:
            for file in tiny_model.iterdir():
                (files / file.name).write_bytes(file.read_bytes())
            made[name] = store.publish(files, name=name, kind=kind)
    run = RunDirectory(root, "small")
    with run.attempt(job.resolved()):
        record = {name: {"artifact": artifact.id} for name, artifact in made.items()}
        write_json(run.report_file, {"stages": record})
    name = training_name(job.train, made["model"].id, made["tokens"].id)
    folder = Folder(str(run.path / "train" / name / "checkpoints"))
    model = load_model(tiny_model, torch.float32)
    for step, value in ((4, 0.25), (8, 0.5)):
        pieces = [
            Piece(key, 0, {role: torch.full((weight.numel(),), value) for role in ("weights", "mean", "square")})
            for key, weight in model.named_parameters()
        ]
        shapes = {key: list(weight.shape) for key, weight in model.named_parameters()}
        write_pieces(folder, step, 0, pieces)
        marker = Marker(step=step, optimizer_steps=step, shapes=shapes, files={}, heldout_loss=2.0 / step)
        write_marker(folder, marker, 1)
    return root, job.train


def test_a_checkpoint_is_exported_as_a_model_that_transformers_loads(
    cut_off: tuple[Path, TrainConfig], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, _ = cut_off
    for step, value in ((None, 0.5), (4, 0.25)):
        output = tmp_path / f"out-{step}"
        export(root, "small", output, step)
        model = AutoModelForCausalLM.from_pretrained(output, local_files_only=True)
        assert all(bool((weight == value).all()) for weight in model.parameters())
        assert (output / "tokenizer.json").is_file()
        assert f"{step or 8} of 10, held-out loss {2.0 / (step or 8):.3f}" in capsys.readouterr().out


def test_what_cannot_be_exported_is_named(cut_off: tuple[Path, TrainConfig], tmp_path: Path) -> None:
    root, _ = cut_off
    with pytest.raises(RaysmithError, match=r"no such checkpoint[\s\S]*got: +5[\s\S]*one of 4, 8"):
        export(root, "small", tmp_path / "out", 5)
    with pytest.raises(ConfigError, match=r"no run of that name[\s\S]*small"):
        export(root, "big", tmp_path / "out", None)
    with pytest.raises(ConfigError, match="not empty"):
        export(root, "small", root, None)
    [file] = root.glob("runs/small/train/*/checkpoints/step-00000008/*.safetensors")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(RaysmithError, match=r"checkpoint is damaged[\s\S]*does not have its hash"):
        export(root, "small", tmp_path / "out", None)
    write_json(root / "runs/small/report.json", {"stages": {}})
    with pytest.raises(RaysmithError, match="not come to its training"):
        export(root, "small", tmp_path / "out", None)
    assert not (tmp_path / "out").exists()


# --- whole jobs


def run_job(job: JobConfig, capacity: Capacity) -> Context:
    """All stages of a job on a cluster that is up already."""
    root = job.storage.path()
    directory = RunDirectory(root, job.name)
    with directory.attempt(job.resolved()) as attempt:
        context = Context(job, root, directory, attempt, capacity=capacity, report=make_plan(job).report())
        run_stages(context)
    return context


@pytest.mark.parametrize("kind", ["causal_lm", "masked_lm"])
def test_a_new_model_is_made_from_text_and_learns(kind: str, ray_cluster: Capacity, tmp_path: Path) -> None:
    write_corpus(Path("corpus"))
    overrides = MASKED if kind == "masked_lm" else ()
    more = ("train.evaluation={every_steps: 10}", "train.steps=20", "train.trackers=[tensorboard]", "evaluate={}")
    job = load(SCRATCH, *overrides, *more, f"storage.root={tmp_path / 'store'}", "train.dtype=float32")
    context = run_job(job, ray_cluster)
    found = context.report["stages"]
    assert list(found) == ["dataset", "tokenizer", "model", "tokens", "evaluate_before", "train", "evaluate_after"]
    assert found["tokenizer"]["vocabulary"] == 300
    before, after = (found[f"evaluate_{when}"] for when in ("before", "after"))
    assert before["heldout_loss"] == pytest.approx(math.log(300), abs=0.5), "a new model knows nothing"
    assert after["heldout_loss"] < before["heldout_loss"] - 0.5
    curve = found["train"]["heldout_curves"]["loss"]
    assert [step for step, _ in curve] == [10, 20]
    assert curve[-1][1] == pytest.approx(after["heldout_loss"], abs=0.02)
    assert found["tokens"]["unigram_loss"] < math.log(300)
    store = context.store
    model, tokens = store.get("new-model"), store.get("dataset-tokens")
    assert model.parents == {"base": found["model"]["artifact"], "tokens": tokens.id}
    assert store.get(model.parents["base"]).parents == {"tokenizer": tokens.parents["tokenizer"]}
    assert store.get(tokens.parents["tokenizer"]).parents == {"dataset": tokens.parents["dataset"]}
    records = read_metrics(context.run.metrics_file)
    assert all({"mfu", "data_wait_share", "memory_bytes"} <= set(record) for record in records)
    again = run_job(job, ray_cluster).report["stages"]
    assert all(stage["reused"] for stage in again.values())


def write_pairs(folder: Path, count: int = 16) -> list[str]:
    """Preferences; gives the overrides that name them."""
    for part, seed in (("train", 0), ("heldout", 1)):
        lines = []
        for number, item in enumerate(conversations(count, seed)):
            prompt, answer = (turn["content"] for turn in item["messages"])  # type: ignore[attr-defined]
            lines.append(json.dumps({"prompt": prompt, "chosen": answer, "rejected": f"no {number} {seed}"}))
        (folder / f"{part}.jsonl").write_text("\n".join(lines))
    return ["data.kind=pairs", "data.train=train.jsonl", "data.heldout=heldout.jsonl"]


def test_a_reward_model_gets_its_head_once(ray_cluster: Capacity, tiny_model: Path, tmp_path: Path) -> None:
    job = load(
        JOB, "model.package=null", f"model.path={tiny_model}", *write_pairs(tmp_path), "train.objective=reward",
        "train.dtype=float32", "train.steps=12", "train.trackers=[]", "evaluate={}", f"storage.root={tmp_path}/store",
    )  # fmt: skip
    context = run_job(job, ray_cluster)
    found = context.report["stages"]
    assert list(found) == ["model", "dataset", "tokens", "head", "evaluate_before", "train", "evaluate_after"]
    assert found["evaluate_before"]["perplexity"] is None
    assert found["evaluate_after"]["accuracy"] == 1.0
    assert found["evaluate_after"]["heldout_loss"] < found["evaluate_before"]["heldout_loss"]
    assert job.train is not None
    tuned = context.store.get("small-model")
    assert with_head(context, tuned, job.train) == tuned, "a model that has the head keeps it"


@pytest.mark.parametrize("objective", ["reward", "{kind: trl, method: dpo}"])
def test_an_adapter_trained_on_pairs_is_merged_with_proof(
    objective: str, ray_cluster: Capacity, tiny_model: Path, tmp_path: Path
) -> None:
    job = load(
        JOB, "model.package=null", f"model.path={tiny_model}", *write_pairs(tmp_path), f"train.objective={objective}",
        "train.adapter={lora: {rank: 4, alpha: 16}}", "train.learning_rate=0.02", "train.dtype=float32",
        "train.steps=6", "train.trackers=[]", f"storage.root={tmp_path}/store",
    )  # fmt: skip
    context = run_job(job, ray_cluster)
    proof = context.report["stages"]["merge"]["handoff"]
    assert proof["base_to_adapter"]["mean_abs_logprob_diff"] > 0.01
    assert proof["adapter_to_merged"]["kl"] < 1e-4
    merged = context.files(context.store.get("small-merged"))
    assert head_of(merged) == ("reward" if objective == "reward" else "causal_lm")


def test_a_training_by_trl_brings_its_own_measurements(ray_cluster: Capacity, tiny_model: Path, tmp_path: Path) -> None:
    job = load(
        JOB, "model.package=null", f"model.path={tiny_model}", *write_pairs(tmp_path), "train.trackers=[]",
        "train.objective={kind: trl, method: dpo}", "train.dtype=float32", "train.steps=4",
        f"storage.root={tmp_path}/store",
    )  # fmt: skip
    context = run_job(job, ray_cluster)
    found = context.report["stages"]
    assert list(found) == ["model", "dataset", "tokens", "train"]
    heldout = found["train"]["heldout"]
    assert heldout["before"]["heldout_loss"] == pytest.approx(math.log(2), abs=1e-3), "the policy is the reference"
    assert heldout["after"]["heldout_loss"] < heldout["before"]["heldout_loss"]
    assert [step for step, _ in found["train"]["losses"]] == [1, 2, 3, 4]
    assert context.store.get("small-model").parents["base"] == found["model"]["artifact"]


ESCALATING = (
    "train.adapter={lora: {rank: escalate, ranks: [2, 4, 8], alpha: 8, stop_when: gain < 90%}}",
    "train.evaluation={every_steps: 3}", "train.steps=6", "train.learning_rate=0.01", "train.dtype=float32",
    "train.trackers=[]",
)  # fmt: skip


def write_chats(folder: Path, count: int = 12) -> None:
    for part, seed in (("train", 0), ("heldout", 1)):
        (folder / f"{part}.jsonl").write_text("\n".join(json.dumps(item) for item in conversations(count, seed)))


@pytest.mark.slow
def test_ranks_escalate_while_that_pays_each_from_the_one_before(
    ray_cluster: Capacity, tiny_model: Path, tmp_path: Path
) -> None:
    write_chats(tmp_path)
    where = ("model.package=null", f"model.path={tiny_model}", f"storage.root={tmp_path}/store")
    context = run_job(load(JOB, *where, *ESCALATING), ray_cluster)
    found, store = context.report["stages"], context.store
    assert list(found)[-4:] == ["train_rank_2", "train_rank_4", "train", "merge"]
    escalation = found["train"]["escalation"]
    assert [rung["rank"] for rung in escalation["rungs"]] == [2, 4], "the second gained less than 90%"
    assert "rank 4 gained" in escalation["stopped"]
    low, high = escalation["rungs"]
    assert (low["steps"], high["steps"]) == (6, 3)
    assert high["heldout_loss"] < low["heldout_loss"]
    assert high["heldout_curves"]["loss"][0][1] < low["heldout_curves"]["loss"][0][1], "it began where the first ended"
    assert high["parameters"]["trained"] == 2 * low["parameters"]["trained"]
    adapter = store.get("small-adapter")
    assert (adapter.id, escalation["chosen"]) == (high["artifact"], 4)
    assert adapter.parents["start"] == low["artifact"]
    assert store.get("small-merged").parents["adapter"] == adapter.id
    again = run_job(load(JOB, *where, *ESCALATING), ray_cluster).report["stages"]
    assert all(again[name]["reused"] for name in ("train_rank_2", "train_rank_4", "merge"))
    # A third job begins with that adapter, and is measured beside the others on one base.
    more = (
        "name=other", "train.adapter={lora: {rank: 8, alpha: 32}, start: small-adapter}", "evaluate={}",
        "evaluate.adapters=[small-adapter, small-adapter-rank-2]", *ESCALATING[1:], "train.steps=3",
    )  # fmt: skip
    context = run_job(load(JOB, *where, *more), ray_cluster)
    found = context.report["stages"]
    assert store.get("other-adapter").parents["start"] == adapter.id
    measured = {name: figures["heldout_loss"] for name, figures in found["evaluate_adapters"]["adapters"].items()}
    assert list(measured) == ["other-adapter", "small-adapter", "small-adapter-rank-2"]
    assert measured["other-adapter"] == pytest.approx(found["train"]["heldout_curves"]["loss"][-1][1], rel=1e-3)
    assert measured["small-adapter"] == pytest.approx(high["heldout_loss"], rel=1e-3)
    assert measured["small-adapter"] < measured["small-adapter-rank-2"]
    with pytest.raises(ArtifactError, match="no adapter of this base"):
        run_job(load(JOB, *where, "name=wrong", "train.adapter={start: base-model}", *ESCALATING[2:]), ray_cluster)
    with pytest.raises(ArtifactError, match="is no model"):
        make_plan(load(JOB, "model={artifact: small-adapter, package: null}", f"storage.root={tmp_path}/store"))
    with pytest.raises(ArtifactError, match="No artifact of that name") as caught:
        make_plan(load(JOB, "model={artifact: nothing, package: null}", f"storage.root={tmp_path}/store"))
    assert caught.value.field == "model.artifact"
    with pytest.raises(ArtifactError, match="cannot be taken apart") as caught:
        refuse_unmerge(store, store.get("small-merged"))
    assert "small-adapter-rank-4" in str(caught.value.fix)
    with pytest.raises(ArtifactError, match="No adapter was merged"):
        refuse_unmerge(store, adapter)


def test_a_quantized_base_is_trained_merged_into_the_full_one_and_proved(
    ray_cluster: Capacity, tiny_model: Path, tmp_path: Path
) -> None:
    write_chats(tmp_path)
    job = load(
        JOB, "model.package=null", f"model.path={tiny_model}", f"storage.root={tmp_path}/store", *ESCALATING[2:],
        "train.adapter={base: nf4, lora: {rank: 4, alpha: 16}}", "train.activation_checkpointing=true",
    )  # fmt: skip
    context = run_job(job, ray_cluster)
    proof = context.report["stages"]["merge"]["handoff"]
    assert proof["adapter_to_merged"]["kl"] < 1e-4
    assert proof["trained_to_merged"]["kl"] > proof["adapter_to_merged"]["kl"]
    assert context.report["stages"]["train"]["parameters"]["trained"] > 0
