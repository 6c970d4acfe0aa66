"""Hosted TRL trainers: the same numbers as TRL run plainly, kills and resumes, results, and what is refused."""

from __future__ import annotations

import json
import os
import random
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from cluster.config import Config as BaseConfig
from cluster.connect import Capacity, ClusterConfig
from cluster.errors import ConfigError, RaysmithError
from cluster.progress import ProgressFile
from cluster.rundir import read_metrics
from cluster.storage import read_json
from tests.tiny import make_tiny_model, sentence
from tests.workers import run_workers
from trainers.adapter_config import AdapterConfig, LoraConfig
from trainers.config import (
    BatchConfig,
    CheckpointConfig,
    DeepSpeedConfig,
    ParameterGroup,
    ScheduleConfig,
    TrainConfig,
)
from trainers.formats import chat, labelled, pairs
from trainers.gate import Gate
from trainers.loop import Job
from trainers.objectives import trl

STEPS = 5
RATE = 1e-3


def answer(rng: random.Random) -> str:
    return f"it {sentence(rng, rng.randrange(2, 9))}"


def lines(kind: str, count: int, seed: int) -> list[dict[str, Any]]:
    rng = random.Random(seed)
    questions = [sentence(rng) for _ in range(count)]
    if kind == "pairs":
        return [{"prompt": asked, "chosen": answer(rng), "rejected": answer(rng)} for asked in questions]
    if kind == "labelled":
        return [
            {"prompt": asked, "completion": answer(rng), "label": index % 2 == 0}
            for index, asked in enumerate(questions)
        ]
    return [
        {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": answer(rng)}]}
        for asked in questions
    ]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    """Folders KIND/dataset and KIND/tokens of 12 training and 8 held-out examples; a 13th of training is too long."""
    root = tmp_path_factory.mktemp("data")
    formats: dict[str, Any] = {"pairs": pairs, "labelled": labelled, "chat": chat}
    for kind, module in formats.items():
        folder = root / kind
        (folder / "dataset").mkdir(parents=True)
        paths = {}
        for seed, (part, count) in enumerate((("train", 13), ("heldout", 8))):
            examples = lines(kind, count, seed)
            if part == "train":
                examples[4] = json.loads(json.dumps(examples[4]).replace("it ", "it sees " * 100))
            paths[part] = folder / f"{part}.jsonl"
            paths[part].write_text("".join(json.dumps(one) + "\n" for one in examples))
        config = module.Config(**paths, max_length=96)
        progress = ProgressFile(folder / "progress.json")
        module.collect(progress, config, folder / "dataset")
        report = module.tokenize(progress, config, model, folder / "dataset", folder / "tokens")
        assert report["train"]["too_long_lines"] == [5]
    return root


def config(method: str, arguments: dict[str, Any] | None = None, **keys: Any) -> TrainConfig:
    values: dict[str, Any] = {
        "objective": {"kind": "trl", "method": method, "arguments": arguments or {}},
        "steps": STEPS,
        "batch": BatchConfig(sequences=4, micro=2),
        "learning_rate": RATE,
        "schedule": "constant",
        "weight_decay": 0.1,
        "dtype": "float32",
        "trackers": [],
        "checkpoint": CheckpointConfig(every_steps=2),
    }
    teacher = {"teacher": keys.pop("teacher")} if "teacher" in keys else {}
    return TrainConfig(**values | keys | {"objective": values["objective"] | teacher})


def make_job(folder: Path, settings: TrainConfig, model: Path, data: Path, kind: str, attempt: str = "001") -> Job:
    (folder / "out").mkdir(parents=True, exist_ok=True)
    return Job(
        name="run", run="test", config=settings, base=model, base_name="tiny@1",
        tokens=data / kind / "tokens", dataset=data / kind / "dataset", output=folder / "out",
        metrics_file=folder / "metrics.jsonl", folder=folder,
        progress=ProgressFile(folder / "progress.json"), attempt=attempt, threads=1,
    )  # fmt: skip


class Cut(ProgressFile):
    """Ends the training when its third step is recorded: as an error, or as a kill of the process, the first time."""

    def __init__(self, path: Path, kill: bool) -> None:
        super().__init__(path)
        self._kill = kill

    def write(self, done: int, total: int, text: str = "") -> None:
        cut = self.path.with_name("cut")
        if done == 3 and not cut.exists():
            cut.touch()
            if self._kill:
                os._exit(1)
            raise InterruptedError
        super().write(done, total, text)


def host(rank: int, count: int, jobs: list[Job]) -> list[str]:
    """Train jobs one after the other, those that are cut off twice; gives the errors."""
    from trainers.trl_host import train

    errors = []
    for job in jobs:
        try:
            train(job, rank, count)
        except InterruptedError:
            train(job._replace(attempt="002"), rank, count)
        except RaysmithError as error:
            errors.append(str(error))
    return errors


def series(job: Job, key: str) -> list[float]:
    return [record[key] for record in read_metrics(job.metrics_file)]


LORA = AdapterConfig(lora=LoraConfig(rank=4, alpha=64))
HOSTED: dict[str, tuple[str, TrainConfig]] = {
    "dpo": ("pairs", config("dpo", {"beta": 0.5}, adapter=LORA)),
    "dpo-whole": ("pairs", config("dpo", {"loss_type": ["ipo"]})),
    "orpo": ("pairs", config("orpo", adapter=LORA, deepspeed=DeepSpeedConfig(stage=0))),
    "kto": ("labelled", config("kto", {"desirable_weight": 1.5}, adapter=LORA)),
    "cpo": ("pairs", config("cpo", {"loss_type": "simpo", "cpo_alpha": 0.0}, deepspeed=DeepSpeedConfig(stage=3))),
}


@pytest.fixture(scope="module")
def hosted(tmp_path_factory: pytest.TempPathFactory, model: Path, data: Path) -> dict[str, Job]:
    """Jobs that one worker trained: `HOSTED`, `cut` (dpo that was cut off and resumed), and both distillations."""
    root = tmp_path_factory.mktemp("runs")
    teacher = root / "teacher"
    make_tiny_model(teacher, hidden=64, seed=5)
    jobs = {name: make_job(root / name, settings, model, data, kind) for name, (kind, settings) in HOSTED.items()}
    jobs["cut"] = make_job(root / "cut", HOSTED["dpo"][1], model, data, "pairs")
    jobs["cut"] = jobs["cut"]._replace(progress=Cut(root / "cut" / "progress.json", kill=False))
    for method, length in (("distillation", "max_completion_length"), ("gkd", "max_new_tokens")):
        settings = config(method, {length: 8}, teacher=teacher, steps=2, dtype="bfloat16")
        jobs[method] = make_job(root / method, settings, model, data, "chat")
    quantized = AdapterConfig(lora=LORA.lora, base="nf4")
    jobs["nf4"] = make_job(root / "nf4", config("dpo", adapter=quantized, dtype="bfloat16"), model, data, "pairs")
    diverging = make_job(root / "diverging", config("dpo", learning_rate=1e30), model, data, "pairs")
    unknown = make_job(root / "unknown", config("dpo", {"loss_type": ["sigmoidal"]}), model, data, "pairs")
    ((first, second),) = run_workers(1, root / "rendezvous", host, [*jobs.values(), diverging, unknown])
    assert "Training diverged at step 2" in first
    assert "TRL refuses to train like that" in second
    assert "sigmoidal" in second
    return jobs


def plain(folder: Path, job: Job) -> list[dict[str, Any]]:
    """The log of TRL's trainer run by itself on the same examples, without DeepSpeed."""
    import peft
    import torch
    from transformers import PrinterCallback

    from trainers.models import load_model, load_tokenizer
    from trainers.trl_data import dataset

    objective: Any = job.config.objective
    arguments = trl.trl_class(objective.method, "Config")(
        output_dir=str(folder), max_steps=STEPS, per_device_train_batch_size=2, gradient_accumulation_steps=2,
        learning_rate=RATE, lr_scheduler_type="constant", weight_decay=0.1, optim="adamw_torch", seed=0, use_cpu=True,
        bf16=False, gradient_checkpointing=False, logging_steps=1, report_to="none", disable_tqdm=True,
        save_strategy="no", dataloader_pin_memory=False, **objective.arguments,
    )  # fmt: skip
    adapter = job.config.adapter
    lora = adapter and peft.LoraConfig(r=4, lora_alpha=64, target_modules="all-linear", task_type="CAUSAL_LM")
    trainer = trl.trl_class(objective.method, "Trainer")(
        model=load_model(job.base, torch.float32), args=arguments, processing_class=load_tokenizer(job.base),
        train_dataset=dataset(job, "train", objective.method), peft_config=lora,
    )  # fmt: skip
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return [record for record in trainer.state.log_history if "loss" in record]


@pytest.mark.parametrize("name", HOSTED)
def test_the_numbers_are_those_of_trl_run_plainly(
    hosted: dict[str, Job], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", "true")  # TRL reports the use of its trainers over the network unless this is set
    job = hosted[name]
    log = plain(tmp_path, job)
    for key in ("loss", "grad_norm", "learning_rate", *(("rewards/margins", "logps/chosen") if name != "kto" else ())):
        assert series(job, key) == pytest.approx([record[key] for record in log], rel=1e-4, abs=1e-6), key
    assert series(job, "loss")[0] == pytest.approx(log[0]["loss"], rel=1e-6)
    assert len(set(series(job, "loss"))) == STEPS


def test_every_step_is_recorded_with_its_speed(hosted: dict[str, Job]) -> None:
    for name in HOSTED:
        job = hosted[name]
        assert series(job, "step") == [*range(1, STEPS + 1)]
        assert {(record["training"], record["attempt"]) for record in read_metrics(job.metrics_file)} == {
            ("run", "001")
        }
        assert min(series(job, "tokens")) > 50
        assert min(series(job, "seconds")) > 0
        position = job.progress.read()
        assert position is not None
        assert (position["done"], position["total"]) == (STEPS, STEPS)
        assert read_json(job.folder / "outcome.json")["workers"] == 1
        assert read_json(job.folder / "memory-0.json")["peak_bytes"] > 0


def test_held_out_figures_are_measured_before_and_after(hosted: dict[str, Job]) -> None:
    import math

    found = {name: read_json(hosted[name].folder / "heldout.json") for name in (*HOSTED, "cut", "gkd", "distillation")}
    for name, figures in found.items():
        assert figures["before"]["heldout_loss"] != figures["after"]["heldout_loss"], name
    assert found["dpo"]["before"]["heldout_loss"] == pytest.approx(math.log(2), rel=1e-4)
    assert 0 <= found["orpo"]["after"]["accuracy"] <= 1
    assert found["cut"] == found["dpo"]
    assert "runtime" not in found["dpo"]["after"]


def test_a_training_that_was_cut_off_goes_on_where_it_was(hosted: dict[str, Job]) -> None:
    cut, whole = hosted["cut"], hosted["dpo"]
    assert series(cut, "attempt") == ["001", "001", "002", "002", "002"]
    assert series(cut, "step") == [1, 2, 3, 4, 5]
    assert series(cut, "loss") == pytest.approx(series(whole, "loss"), rel=1e-6)
    for name, tensor in weights(cut).items():
        assert tensor.equal(weights(whole)[name])


def test_only_complete_checkpoints_are_kept(hosted: dict[str, Job]) -> None:
    folder = hosted["dpo"].folder / "trl"
    assert sorted(path.name for path in folder.iterdir()) == ["checkpoint-2", "checkpoint-4"]
    assert all((path / "complete.json").is_file() for path in folder.iterdir())


def weights(job: Job) -> dict[str, Any]:
    from safetensors.torch import load_file

    (file,) = job.output.glob("*.safetensors")
    return dict(load_file(file))


def test_the_result_is_an_adapter_or_a_model_without_pickles(hosted: dict[str, Job], model: Path) -> None:
    import torch

    from trainers.adapters import load_adapted
    from trainers.models import load_model, load_tokenizer

    files = {name: {path.name for path in hosted[name].output.iterdir()} for name in HOSTED}
    assert files["dpo"] == {"adapter_config.json", "adapter_model.safetensors"}
    assert read_json(hosted["dpo"].output / "adapter_config.json")["base_model_name_or_path"] == "tiny@1"
    ids = torch.arange(3, 40)[None]
    with torch.no_grad():
        base = load_model(model, torch.float32)(ids).logits
        for name in ("dpo", "kto", "orpo"):
            assert (load_adapted(model, {"a": hosted[name].output})(ids).logits - base).abs().max() > 1e-3
        for name in ("dpo-whole", "cpo", "gkd", "distillation"):
            whole = hosted[name].output
            assert {"config.json", "model.safetensors", "tokenizer.json"} <= {path.name for path in whole.iterdir()}
            assert not [path for path in whole.iterdir() if path.suffix in (".bin", ".pt", ".pth")]
            assert (load_model(whole, torch.float32)(ids).logits - base).abs().max() > 1e-3
            assert load_tokenizer(whole).chat_template


def test_a_quantized_base_learns_what_the_full_one_does(hosted: dict[str, Job]) -> None:
    losses, full = series(hosted["nf4"], "loss"), series(hosted["dpo"], "loss")
    assert losses[-1] < losses[0]
    assert losses == pytest.approx(full, abs=0.1)
    assert losses != full
    assert "adapter_model.safetensors" in {path.name for path in hosted["nf4"].output.iterdir()}


def test_held_out_figures_stand_beside_their_steps_and_the_gate_ends_it(
    model: Path, data: Path, tmp_path: Path
) -> None:
    settings = config("dpo", {"beta": 0.5}, adapter=LORA, evaluation=ScheduleConfig(every_steps=2, sequences=4))
    job = make_job(tmp_path / "gated", settings, model, data, "pairs")
    gate = Gate(tmp_path / "gate.json")
    gate.allow(2)

    def end_it() -> None:
        while len([one for one in read_metrics(job.metrics_file) if "heldout_loss" in one]) < 2:
            time.sleep(0.02)
        gate.stop("enough")

    stop = threading.Thread(target=end_it)
    stop.start()
    run_workers(1, tmp_path / "rendezvous", host, [job._replace(gate=gate)])
    stop.join()
    records = read_metrics(job.metrics_file)
    assert [one["step"] for one in records] == [1, 2, 3, 4]
    assert [one["step"] for one in records if "heldout_loss" in one][:2] == [2, 4]
    assert all("heldout_rewards/margins" in one for one in records if "heldout_loss" in one)
    outcome = read_json(job.folder / "outcome.json")
    assert outcome["best"]["step"] in (2, 4)
    assert outcome["stopped"] == "enough"


def test_two_workers_train_like_one(hosted: dict[str, Job], model: Path, data: Path, tmp_path: Path) -> None:
    jobs = []
    for stage in (2, 3):
        settings = HOSTED["dpo"][1].model_copy(update={"deepspeed": DeepSpeedConfig(stage=stage)})
        jobs.append(make_job(tmp_path / str(stage), settings, model, data, "pairs"))
    bad = config("dpo", batch=BatchConfig(sequences=3, micro=2))
    wrong = make_job(tmp_path / "wrong", config("kto"), model, data, "chat")
    elastic = jobs[0]._replace(config=jobs[1].config)  # another stage than its checkpoints'
    refused = [make_job(tmp_path / "bad", bad, model, data, "pairs"), wrong, elastic]
    first, second = run_workers(2, tmp_path / "rendezvous", host, [*jobs, *refused])
    assert first == second
    for error, words in zip(first, ("shared out evenly", "kind of data", "as they were written"), strict=True):
        assert words in error
    for job in jobs:
        assert series(job, "loss") == pytest.approx(series(hosted["dpo"], "loss"), rel=1e-4)
        assert series(job, "tokens") == series(hosted["dpo"], "tokens")
        heldout, alone = (read_json(one.folder / "heldout.json")["after"] for one in (job, hosted["dpo"]))
        for key in ("heldout_loss", "accuracy", "rewards/margins"):
            assert heldout[key] == pytest.approx(alone[key], rel=1e-4), key
        for name, tensor in weights(job).items():
            assert tensor.abs().max() > 1e-4
            assert (tensor - weights(hosted["dpo"])[name]).abs().max() < 1e-4


@pytest.mark.parametrize("kill", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_ray_train_runs_it_and_restarts_a_killed_worker(
    ray_cluster: Capacity, hosted: dict[str, Job], model: Path, data: Path, tmp_path: Path, kill: bool
) -> None:
    from trainers.launch import train

    job = make_job(tmp_path / "run", HOSTED["dpo"][1], model, data, "pairs")
    progress = Cut(tmp_path / "run" / "progress.json", kill=True) if kill else job.progress
    result = train(job._replace(progress=progress), ClusterConfig(workers=1))
    assert (tmp_path / "run" / "cut").exists() == kill
    assert result["workers"] == 1
    assert result["memory"][0]["peak_bytes"] > 0
    assert series(job, "step") == [1, 2, 3, 4, 5]
    assert series(job, "loss") == pytest.approx(series(hosted["dpo"], "loss"), rel=1e-5)
    assert weights(job).keys() == weights(hosted["dpo"]).keys()


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"method": "dpo", "arguments": {"betta": 0.1}}, ("betta", "did you mean `beta`?")),
        ({"method": "dpo", "arguments": {"beta": "0.1"}}, ("does not take that value", "beta: float")),
        ({"method": "dpo", "arguments": {"loss_type": "ipo"}}, ("does not take that value", "list[str]")),
        ({"method": "orpo", "arguments": {"beta": True}}, ("does not take that value", "beta: float")),
        ({"method": "kto", "arguments": {"learning_rate": 0.1}}, ("set train.learning_rate",)),
        ({"method": "dpo", "arguments": {"per_device_train_batch_size": 2}}, ("set train.batch",)),
        ({"method": "dpo", "arguments": {"deepspeed": "x.json"}}, ("set train.deepspeed",)),
        ({"method": "cpo", "arguments": {"max_length": 9}}, ("set data.max_length",)),
        ({"method": "dpo", "arguments": {"output_dir": "/tmp"}}, ("not an argument of TRL's dpo",)),
        ({"method": "dpo", "arguments": {"trust_remote_code": True}}, ("not an argument of TRL's dpo",)),
        ({"method": "os.system"}, ("not hosted",)), ({"method": "ppo"}, ("not hosted",)),
        ({"method": "gkd"}, ("distillation needs one",)), ({"method": "dpo", "teacher": "/m"}, ("needs one",)),
    ],
    ids=range(14),
)  # fmt: skip
def test_what_trl_would_not_do_is_refused_when_the_job_is_read(keys: dict[str, Any], words: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError) as caught:
        trl.Config(**keys)
    error = str(caught.value.errors()[0]["ctx"]["error"])
    for word in words:
        assert word in error


def test_the_arguments_are_those_of_trl_s_classes() -> None:
    import ast
    from dataclasses import MISSING, fields

    from transformers import TrainingArguments

    from trainers.objectives._trl_arguments import argument_types, fits

    inherited = {field.name for field in fields(TrainingArguments)}
    for method in trl.METHODS:
        known = argument_types(method)
        own = {field.name: field for field in fields(trl.trl_class(method, "Config")) if field.name not in inherited}
        assert own.keys() == known.keys() - inherited
        for name, field in own.items():
            if field.default is not MISSING:
                assert fits(field.default, known[name]), f"{method}.{name}: {ast.unparse(known[name])}"
                assert not fits(object(), known[name])


def test_settings_that_trl_does_not_carry_out_are_refused() -> None:
    changes: list[dict[str, BaseConfig | bool | list[Any]]] = [
        {"evaluation": ScheduleConfig(every_steps=2, patience=1)},
        {"evaluation": ScheduleConfig(every_steps=2, publish="best")},
        {"paged_optimizer": True},
        {"adapter": AdapterConfig(start="other")},
        {"parameter_groups": [ParameterGroup(match="x")]},
        {"compile": True},
        {"checkpoint": CheckpointConfig(keep_best=True)},
        {"checkpoint": CheckpointConfig(folder="/tmp")},
    ]
    for change in changes:
        with pytest.raises(ConfigError, match="do not carry that out"):
            trl.refuse_unsupported(config("dpo", **change), 1)
    assert trl.share(config("dpo", batch=BatchConfig(sequences=12, micro=4)), 2) == (3, 2)
    with pytest.raises(ConfigError, match="shared out evenly"):
        trl.refuse_unsupported(config("dpo", batch=BatchConfig(sequences=7, micro=4)), 2)
