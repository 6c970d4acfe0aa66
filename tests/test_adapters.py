"""Adapters: their arithmetic, padding to a higher rank, quantized bases, merging, several on one base."""

from __future__ import annotations

import json
import math
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
from safetensors.torch import load_file

from cluster.errors import ConfigError, ModelError
from cluster.progress import ProgressFile
from cluster.rundir import read_metrics
from tests.workers import run_workers, train_all, training_job
from trainers.adapter_config import AdapterConfig, LoraConfig
from trainers.adapters import add_lora, load_adapted, merge
from trainers.build import count_parameters
from trainers.config import BatchConfig, CheckpointConfig, DeepSpeedConfig, EvaluateConfig, ScheduleConfig, TrainConfig
from trainers.evaluate import evaluate_adapters
from trainers.export import export
from trainers.models import HEADS, Held, load_model
from trainers.objectives import sft
from trainers.shape import Shape

LAYER = "model.layers.1.mlp.up_proj"
VARIANTS = ("lora", "rslora", "dora")


def token_ids(seed: int = 0) -> torch.Tensor:
    return torch.randint(3, 512, (2, 24), generator=torch.Generator().manual_seed(seed))


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(input_ids=token_ids().to(model.device)).logits.float().cpu()


def tuned(base: Path, config: LoraConfig, held: Held = "full") -> Any:
    """A model whose adapter does something."""
    torch.manual_seed(1)
    adapted = add_lora(load_model(base, torch.float32, held=held), config, torch.float32)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
            elif "magnitude" in name:
                parameter.mul_(1.1)
    return adapted


def saved(base: Path, config: LoraConfig, folder: Path) -> Path:
    tuned(base, config).save_pretrained(str(folder), save_embedding_layers=False)
    return folder


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_layer_computes_what_the_papers_say(model: Path, variant: Any) -> None:
    config = LoraConfig(rank=4, alpha=12, variant=variant)
    adapted = tuned(model, config)
    layer = adapted.get_submodule(f"base_model.model.{LAYER}")
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    weight, x = layer.base_layer.weight, torch.randn(5, layer.in_features)
    update = {"lora": 12 / 4, "rslora": 12 / math.sqrt(4), "dora": 12 / 4}[variant] * (b @ a)
    whole = weight + update
    if variant == "dora":  # arXiv 2402.09353, equation 5
        magnitude = layer.lora_magnitude_vector["default"].weight
        whole = magnitude[:, None] * whole / whole.norm(dim=1, keepdim=True)
    torch.testing.assert_close(layer(x), x @ whole.T, rtol=1e-4, atol=1e-5)
    assert config.scale(4, 12) == layer.scaling["default"]


@pytest.mark.parametrize("variant", VARIANTS)
def test_our_adapter_is_peft_s(model: Path, tmp_path: Path, variant: Any) -> None:
    """The saved folder, read by peft alone, computes the same; so does peft's own adapter with the same weights."""
    config = LoraConfig(
        rank=4, alpha=12, variant=variant, targets=["q_proj", "v_proj", "up_proj"],
        rank_pattern={"layers.1.mlp.up_proj": 2}, alpha_pattern={"q_proj": 3},
    )  # fmt: skip
    adapted = tuned(model, config)
    adapted.save_pretrained(str(tmp_path))
    expected = logits(adapted)
    again = peft.PeftModel.from_pretrained(load_model(model, torch.float32), str(tmp_path))
    assert torch.equal(logits(again), expected)
    own = peft.get_peft_model(
        load_model(model, torch.float32),
        peft.LoraConfig(
            r=4, lora_alpha=12, use_rslora=variant == "rslora", use_dora=variant == "dora",
            target_modules=["q_proj", "v_proj", "up_proj"], rank_pattern={"layers.1.mlp.up_proj": 2},
            alpha_pattern={"q_proj": 3}, task_type="CAUSAL_LM",
        ),
    )  # fmt: skip
    peft.set_peft_model_state_dict(own, load_file(tmp_path / "adapter_model.safetensors"))
    assert torch.equal(logits(own), expected)
    settings = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (settings["peft_type"], settings["r"], settings["lora_alpha"]) == ("LORA", 4, 12)
    assert adapted.get_submodule(f"base_model.model.{LAYER}").lora_A["default"].weight.shape[0] == 2
    assert not hasattr(adapted.get_submodule("base_model.model.model.layers.0.mlp.down_proj"), "lora_A")


@pytest.mark.parametrize(
    ("variant", "held"),
    [
        (variant, held)
        for variant in VARIANTS
        for held in ("full", "nf4", "int8")
        if (variant, held) != ("dora", "int8")
    ],
)
def test_a_padded_adapter_computes_the_same_function_and_learns(
    model: Path, tmp_path: Path, variant: Any, held: Held
) -> None:
    low = LoraConfig(rank=4, alpha=8, variant=variant)
    saved(model, low, tmp_path)
    before = logits(load_adapted(model, {"low": tmp_path}, held))
    near = 5e-3 if held == "int8" else 2e-6  # what enters an INT8 layer is quantized: a rounding may turn over
    for config in (
        low.model_copy(update={"rank": 8}),
        low.model_copy(update={"rank": "escalate", "ranks": [4, 16]}).at(16),
        low,
    ):
        padded = add_lora(load_model(model, torch.float32, held=held), config, torch.float32, start=tmp_path)
        torch.testing.assert_close(logits(padded), before, rtol=1e-5, atol=near)
        assert list(padded.peft_config) == ["default"]
        layer = padded.get_submodule(f"base_model.model.{LAYER}")
        rank = layer.r["default"]
        assert layer.lora_A["default"].weight.shape[0] == rank == config.top_rank
        loss = padded.train()(input_ids=token_ids(), labels=token_ids()).loss
        loss.backward()
        new = layer.lora_B["default"].weight.grad[:, 4:]
        assert rank == 4 or float(new.abs().min(dim=0).values.max()) > 0  # the new directions learn from the first step


def test_escalation_keeps_the_scale() -> None:
    for variant in VARIANTS:
        config = LoraConfig(rank="escalate", ranks=[4, 8, 32], alpha=10, variant=variant)  # type: ignore[arg-type]
        scales = [at.scale(at.top_rank, at.alpha) for at in map(config.at, config.ranks)]
        assert scales == pytest.approx([scales[0]] * 3)
    assert LoraConfig(stop_when="gain < 1%").too_small_a_gain(2.0, 1.981)
    assert not LoraConfig(stop_when="gain < 1%").too_small_a_gain(2.0, 1.979)
    assert LoraConfig(stop_when="gain < 0.05 nats").too_small_a_gain(2.0, 1.96)
    assert LoraConfig().too_small_a_gain(2.0, 2.1)


def test_what_an_adapter_cannot_begin_with_is_refused(model: Path, tmp_path: Path) -> None:
    saved(model, LoraConfig(rank=8), tmp_path)

    def begin(config: LoraConfig) -> None:
        add_lora(load_model(model, torch.float32), config, torch.float32, start=tmp_path)

    with pytest.raises(ModelError, match="has a higher rank"):
        begin(LoraConfig(rank=4))
    with pytest.raises(ModelError, match="another variant"):
        begin(LoraConfig(rank=8, variant="dora"))
    with pytest.raises(ModelError, match="has a layer more"):
        begin(LoraConfig(rank=8, targets=["q_proj"]))


@pytest.mark.parametrize("held", ["nf4", "int8"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_quantized_base_computes_with_its_dequantized_weights(
    tiny_model: Path, held: Held, dtype: torch.dtype
) -> None:
    import bitsandbytes.functional as bnb

    torch.manual_seed(0)
    quantized = add_lora(load_model(tiny_model, dtype, held=held), LoraConfig(rank=4), dtype)
    plain = add_lora(load_model(tiny_model, dtype), LoraConfig(rank=4), dtype)
    changed = 0
    with torch.no_grad():
        for name, parameter in quantized.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.05)
        for name, module in plain.named_modules():
            twin: Any = quantized.get_submodule(name)
            if hasattr(module, "lora_A"):
                weight = twin.base_layer.weight
                if held == "nf4":
                    assert weight.quant_state.nested  # the scales are quantized too
                    dequantized = bnb.dequantize_4bit(weight.data, weight.quant_state)
                else:
                    dequantized = weight.CB.float() * weight.SCB[:, None] / 127
                error = (dequantized.float() - module.base_layer.weight.float()).abs().max()
                assert 0 < error < 0.05
                module.base_layer.weight.copy_(dequantized)  # type: ignore[union-attr,operator]
                module.lora_A["default"].weight.copy_(twin.lora_A["default"].weight)  # type: ignore[index,union-attr]
                module.lora_B["default"].weight.copy_(twin.lora_B["default"].weight)  # type: ignore[index,union-attr]
                changed += 1
    assert changed == 14
    # INT8 quantizes what enters a layer too (arXiv 2208.07339), so that it is near, not equal.
    near = {"nf4": 1e-5 if dtype == torch.float32 else 0.05, "int8": 0.1}[held]
    torch.testing.assert_close(logits(quantized), logits(plain), rtol=near, atol=near)
    before = logits(quantized)
    quantized.train()(input_ids=token_ids(), labels=token_ids()).loss.backward()
    assert torch.equal(logits(quantized), before)  # evaluating in between did not repack the base
    assert count_parameters(quantized) == count_parameters(plain)


def config(base: Held, stage: int = 2, **more: Any) -> TrainConfig:
    return TrainConfig(
        steps=6, batch=BatchConfig(sequences=8, micro=2), learning_rate=1e-2, schedule="constant", trackers=[],
        adapter=AdapterConfig(lora=LoraConfig(rank=4, dropout=0.1), base=base),
        deepspeed=DeepSpeedConfig(stage=stage), checkpoint=CheckpointConfig(every_steps=3, keep=9),  # type: ignore[arg-type]
        **{"dtype": "bfloat16", **more},
    )  # fmt: skip


def losses(job: Any) -> list[float]:
    return [record["loss"] for record in read_metrics(job.metrics_file)]


def test_training_on_a_quantized_base_is_resumed_to_the_bit_with_measurements_in_between(
    tmp_path: Path, tiny_model: Path, tokens: Path
) -> None:
    jobs, pairs = [], []
    for name, settings in {
        "nf4": config("nf4", evaluation=ScheduleConfig(every_steps=2), activation_checkpointing=True),
        "int8": config("int8", 1, dtype="float32"),
        "paged": config("full", paged_optimizer=True),
        "plain": config("full"),
    }.items():
        whole, parts = (
            training_job(tmp_path / f"{name}-{part}", settings, tiny_model, tokens) for part in ("whole", "parts")
        )
        cut = parts._replace(config=parts.config.model_copy(update={"steps": 3}))
        jobs += [whole, cut, parts]
        pairs.append((whole, parts))
    run_workers(2, tmp_path / "r", train_all, jobs)
    for whole, parts in pairs:
        assert losses(whole) == losses(parts)
        assert losses(whole)[-1] < losses(whole)[0]
    nf4, _, paged, plain = (whole for whole, _ in pairs)
    assert losses(paged) == pytest.approx(losses(plain), rel=1e-3)  # bitsandbytes' AdamW is AdamW
    assert losses(nf4)[0] != losses(plain)[0]
    outcome = json.loads((nf4.folder / "outcome.json").read_text())
    shape = Shape.from_config(json.loads((tiny_model / "config.json").read_text()))
    assert outcome["parameters"] == {
        "trained": shape.num_adapter_parameters(LoraConfig(rank=4)), "model": shape.num_parameters,
    }  # fmt: skip
    from trainers.checkpoint import checkpoint_folder, list_checkpoints

    folder = checkpoint_folder(nf4.config, nf4.folder, nf4.run, nf4.name)
    export(folder, list_checkpoints(folder)[-1], tiny_model, nf4.config, "base-1", nf4.output)
    merge(ProgressFile(tmp_path / "progress"), tiny_model, nf4.output, tmp_path / "merged")
    assert json.loads((tmp_path / "merged" / "config.json").read_text()).get("quantization_config") is None
    merged = load_model(tmp_path / "merged", torch.float32)
    apart = logits(merged) - logits(load_adapted(tiny_model, {"a": nf4.output}))
    assert float(apart.abs().max()) < 0.05  # into the full base, rounded once to bfloat16
    assert float((logits(merged) - logits(load_adapted(tiny_model, {"a": nf4.output}, "nf4"))).abs().max()) > 0.05


@pytest.mark.parametrize("targets", ["all-linear", ["q_proj", "lm_head"]])
@pytest.mark.parametrize("variant", VARIANTS)
def test_merging_keeps_the_function_with_tied_embeddings(
    model: Path, tmp_path: Path, variant: Any, targets: Any
) -> None:
    adapter = saved(model, LoraConfig(rank=4, variant=variant, targets=targets), tmp_path / "adapter")
    assert json.loads((model / "config.json").read_text())["tie_word_embeddings"]
    merge(ProgressFile(tmp_path / "progress"), model, adapter, tmp_path / "merged")
    expected = logits(load_adapted(model, {"a": adapter}))
    found = logits(load_model(tmp_path / "merged", torch.float32))
    assert float((found - expected).abs().max()) < 0.05 * float(expected.abs().max())  # bfloat16's rounding
    untied = not json.loads((tmp_path / "merged" / "config.json").read_text())["tie_word_embeddings"]
    assert untied == ("lm_head" in targets)


def test_an_adapter_is_not_merged_into_a_quantized_base(tiny_model: Path, model: Path, tmp_path: Path) -> None:
    adapter = saved(tiny_model, LoraConfig(rank=4), tmp_path / "adapter")
    load_model(tiny_model, torch.bfloat16, held="nf4").save_pretrained(tmp_path / "quantized")
    with pytest.raises(ModelError, match="not merged into a quantized base"):
        merge(ProgressFile(tmp_path / "progress"), tmp_path / "quantized", adapter, tmp_path / "merged")
    settings = json.loads((adapter / "adapter_config.json").read_text())
    assert settings["target_modules"]
    named = load_file(adapter / "adapter_model.safetensors")
    from safetensors.torch import save_file

    renamed = {name.replace("layers.1", "layers.7"): tensor for name, tensor in named.items()}
    save_file(renamed, adapter / "adapter_model.safetensors", metadata={"format": "pt"})
    with pytest.warns(UserWarning, match="missing adapter keys"), pytest.raises(ModelError, match="no place"):
        load_adapted(tiny_model, {"a": adapter})


def test_several_adapters_on_one_base_measure_as_each_alone(model: Path, tokens: Path, tmp_path: Path) -> None:
    folders = {
        "one": saved(model, LoraConfig(rank=2), tmp_path / "one"),
        "two": saved(model, LoraConfig(rank=4, variant="rslora"), tmp_path / "two"),
    }
    arguments = tokens / "heldout", sft.Config(), EvaluateConfig()
    progress = ProgressFile(tmp_path / "progress.json")
    together = evaluate_adapters(progress, model, folders, *arguments)
    alone = {name: evaluate_adapters(progress, model, {name: folders[name]}, *arguments)[name] for name in folders}
    assert together == alone
    assert len({figures["heldout_loss"] for figures in together.values()}) == 2


@pytest.mark.parametrize("family", ["llama", "qwen3", "gpt2", "bert", "modernbert"])
def test_the_plan_counts_what_peft_trains(family: str, tmp_path: Path) -> None:
    import transformers

    head, owner = "masked_lm" if "bert" in family else "causal_lm", import_module(f"trainers.architectures.{family}")
    ids = dict.fromkeys(("bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id", "pad_token_id"))
    settings = transformers.AutoConfig.for_model(
        **owner.transformers_config(owner.Config(hidden=64, layers=2), 512, ids)
    )
    getattr(transformers, HEADS[head]).from_config(settings).save_pretrained(tmp_path)
    folder = tmp_path
    shape = Shape.from_config(json.loads((folder / "config.json").read_text()))
    names = sorted({name.rpartition(".")[2] for name, _ in shape.linear_layers()})
    for lora in (
        LoraConfig(rank=4),
        LoraConfig(rank=4, variant="dora"),
        LoraConfig(rank=4, targets=names[:1], rank_pattern={f".*1.*{names[0]}": 2}),
        LoraConfig(rank=4, targets=rf".*\.{names[-1]}"),
    ):
        counted = count_parameters(add_lora(load_model(folder, torch.float32, head), lora, torch.float32, head))
        assert counted == {"trained": shape.num_adapter_parameters(lora), "model": shape.num_parameters}
    with pytest.raises(ConfigError, match="no layer of this model") as caught:
        shape.num_adapter_parameters(LoraConfig(targets=[names[0], "q_prj"]))
    assert caught.value.got == "q_prj"
    assert names[0] in str(caught.value.expected)


def test_what_cannot_be_trained_is_refused_by_the_configuration() -> None:
    def refused(match: str, **settings: Any) -> None:
        with pytest.raises(ValueError, match=match):
            TrainConfig(steps=4, learning_rate=1e-3, **settings)

    refused("ZeRO-3 cannot share out", adapter=AdapterConfig(base="nf4"), deepspeed=DeepSpeedConfig(stage=3))
    with pytest.raises(ValueError, match="loses the scales"):
        AdapterConfig(lora=LoraConfig(variant="dora"), base="int8")
    refused("compares held-out losses", adapter=AdapterConfig(lora=LoraConfig(rank="escalate")))
    for match, settings in {
        "The ranks must rise": {"ranks": [8, 4]},
        "Not a gain": {"stop_when": "gain > 1%"},
        "Not a regular expression": {"targets": "(q"},
        "needs layers": {"targets": []},
        "same rank": {"rank": "escalate", "rank_pattern": {"q_proj": 2}},
    }.items():
        with pytest.raises(ValueError, match=match):
            LoraConfig(**settings)  # type: ignore[arg-type]
    assert np.isclose(LoraConfig(rank=9, alpha=6, variant="rslora").scale(9, 6), 2.0)
