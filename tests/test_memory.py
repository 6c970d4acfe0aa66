"""The memory plan against what is there: parameters, activations that autograd keeps, states of each ZeRO stage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from cluster.errors import ModelError
from jobs.config import load_job
from jobs.plan import show_plan
from tests.conftest import REPOSITORY
from tests.test_leakage import CONFIGS, VOCABULARY, Documents, new_model, objective_of
from tests.tiny import make_tiny_model
from tests.tiny_tokens import make_tokens
from tests.workers import held_before_the_step, run_workers, training_job
from trainers.adapter_config import AdapterConfig, LoraConfig
from trainers.architectures import family_of
from trainers.config import BatchConfig, CheckpointConfig, DeepSpeedConfig, TrainConfig
from trainers.memory import WorkerMemory, host_memory, layer_bytes, worker_memory
from trainers.models import HEADS, load_model
from trainers.shape import Shape

FAMILIES = [pytest.param(config, id=config.kind) for config in CONFIGS]
WORKERS = 2
TRAIN, HELDOUT = (REPOSITORY / "data" / "support" / f"{part}.jsonl" for part in ("train", "heldout"))


def shape_of(values: dict[str, Any]) -> Shape:
    return Shape.from_config(transformers.AutoConfig.for_model(**values).to_dict())


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("config", FAMILIES)
def test_parameters_are_counted_to_the_last_one(config: Any, tied: bool) -> None:
    family = family_of(config)
    values = family.transformers_config(config.model_copy(update={"tie_embeddings": tied}), VOCABULARY, {})
    with torch.device("meta"):
        model = getattr(transformers, HEADS[family.HEADS[0]]).from_config(transformers.AutoConfig.for_model(**values))
    assert shape_of(values).num_parameters == sum(parameter.numel() for parameter in model.parameters())


def test_other_families_are_refused() -> None:
    with pytest.raises(ModelError, match="mixture of experts"):
        Shape.from_config({"model_type": "mixtral", "num_local_experts": 8})
    with pytest.raises(ModelError, match="no hidden_size"):
        Shape.from_config({"model_type": "t5", "d_model": 512})


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("config", FAMILIES)
def test_a_layer_keeps_what_the_plan_says(config: Any, dtype: torch.dtype) -> None:
    """Two more layers, and the difference of what autograd keeps: heads, embeddings and batch cancel out."""
    large = config.model_copy(update={"hidden": 128, "heads": 4})
    few, many = (kept_bytes(large.model_copy(update={"layers": layers}), dtype) for layers in (3, 5))
    shape = shape_of(family_of(large).transformers_config(large, VOCABULARY, {}))
    batch = objective_of(large).collate([Documents.draw().example()])
    rows, length = batch.tensors["input_ids"].shape
    planned = rows * length * layer_bytes(shape, dtype.itemsize, length, gpu=False)
    assert (many - few) / 2 == pytest.approx(planned, rel=0.1)


def kept_bytes(config: Any, dtype: torch.dtype) -> int:
    """Bytes that autograd keeps of one forward pass, weights left out."""
    model = new_model(config).to(dtype)
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage
        return tensor

    objective = objective_of(config)
    batch = objective.collate([Documents.draw().example()])
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = objective.loss(model, batch.tensors).total
    size = sum(storage.nbytes() for storage in kept.values())
    del loss
    return size


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, WorkerMemory]]:
    """Bytes of the tensors a worker holds when the optimizer is about to step, and the plan."""
    folder = tmp_path_factory.mktemp("memory")
    make_tiny_model(folder / "base", hidden=512, layers=4)
    make_tokens(folder / "tokens", folder / "base")
    shape = shape_of(transformers.AutoConfig.from_pretrained(folder / "base").to_dict())
    configs = {
        f"{dtype} ZeRO-{stage}": TrainConfig(
            steps=2, learning_rate=1e-3, batch=BatchConfig(sequences=4, micro=2), dtype=dtype, trackers=[],
            deepspeed=DeepSpeedConfig(stage=stage), checkpoint=CheckpointConfig(every_steps=100),
        )
        for dtype in ("float32", "bfloat16")
        for stage in (0, 1, 2, 3)
    }  # fmt: skip
    found = {}
    for name, config in configs.items():
        job = training_job(folder / name.replace(" ", ""), config, folder / "base", folder / "tokens")
        # Processes of their own: DeepSpeed keeps an engine alive that nothing else holds.
        held = max(run_workers(WORKERS, folder / f"rendezvous-{job.folder.name}", held_before_the_step, job))
        found[name] = held, worker_memory(shape, config, WORKERS, 64, 0.5)
    return found


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_states_are_sharded_as_planned(measured: dict[str, tuple[int, WorkerMemory]], dtype: str, stage: int) -> None:
    held, plan = measured[f"{dtype} ZeRO-{stage}"]
    # ZeRO-3 never gives its bucket for gradients back, which here holds those of all weights.
    bucket = WORKERS * plan.gradients if stage == 3 else 0
    assert held == pytest.approx(plan.states + bucket, rel=0.03)


def test_what_lowers_the_peak_lowers_the_plan() -> None:
    shape = shape_of(family_of(CONFIGS[0]).transformers_config(CONFIGS[0], 50_000, {}))
    base = TrainConfig(steps=2, learning_rate=1e-3, objective="causal_lm", deepspeed=DeepSpeedConfig(stage=3))

    def planned(**changes: Any) -> WorkerMemory:
        return worker_memory(shape, base.model_copy(update=changes), 8, 512, 1.0, gpu=True)

    plain = planned()
    assert planned(activation_checkpointing=True).activations < plain.activations
    assert planned(batch=BatchConfig(sequences=8, micro=1)).activations == plain.activations // 4
    assert planned(adapter=AdapterConfig(lora=LoraConfig(rank=4))).optimizer < plain.optimizer / 4
    assert planned(objective=base.objective.model_copy(update={"head_chunk": None})).logits > 2 * plain.logits
    offloaded = DeepSpeedConfig(stage=3, offload_optimizer="cpu", offload_parameters="cpu")
    assert (planned(deepspeed=offloaded).weights, planned(deepspeed=offloaded).optimizer) == (0, 0)
    on_the_node = host_memory(shape, base.model_copy(update={"deepspeed": offloaded}), 8) - host_memory(shape, base, 8)
    assert on_the_node == pytest.approx(shape.num_parameters / 8 * (16 + 2), rel=1e-3)


@pytest.mark.parametrize("base", ["nf4", "int8"])
def test_a_quantized_base_takes_what_the_plan_says(base: Any, tmp_path: Path) -> None:
    make_tiny_model(tmp_path, hidden=512)
    model = load_model(tmp_path, torch.bfloat16, held=base)
    held = sum(parameter.nbytes for parameter in model.parameters())
    for parameter in model.parameters():
        if (state := getattr(parameter, "quant_state", None)) is not None:
            held += state.absmax.nbytes + state.state2.absmax.nbytes  # the code tables are the same for all
        elif (scales := getattr(parameter, "SCB", None)) is not None:
            held += scales.nbytes
    shape = Shape.from_config(json.loads((tmp_path / "config.json").read_text()))
    lora = LoraConfig(rank=4)
    config = TrainConfig(
        steps=2, learning_rate=1e-3, deepspeed=DeepSpeedConfig(stage=1), adapter=AdapterConfig(lora=lora, base=base)
    )
    planned = worker_memory(shape, config, 1, 64, 1.0).weights - 2 * shape.num_adapter_parameters(lora)
    assert planned == pytest.approx(held, rel=0.02)
    full = config.model_copy(update={"adapter": AdapterConfig(lora=lora)})
    assert planned < 0.75 * worker_memory(shape, full, 1, 64, 1.0).weights


def test_a_model_of_65_billion_parameters_is_tuned_on_48_gigabytes(capsys: pytest.CaptureFixture[str]) -> None:
    show_plan(
        load_job(
            REPOSITORY / "configs/sft/llama_65b_qlora_48gb.yaml", [f"data.train={TRAIN}", f"data.heldout={HELDOUT}"]
        )
    )
    said = capsys.readouterr().out
    assert "the smallest that holds it: 48 GB" in said
    assert "65,285.7M parameters" in said
    assert "0.31% of" in said
