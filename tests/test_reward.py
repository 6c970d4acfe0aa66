"""The reward objective against TRL's RewardTrainer, and the head that a base model is given."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cluster.errors import ModelError
from tests.tiny import sentence
from trainers.adapter_config import LoraConfig
from trainers.adapters import add_lora
from trainers.models import load_model, load_tokenizer
from trainers.objectives import Batch, Example, reward

PAD = 2


def examples(count: int, margins: bool = False, seed: int = 0) -> list[Example]:
    """Pairs of random tokens of many lengths; some conversations end with the padding id."""
    rng = np.random.default_rng(seed)
    found = []
    for index in range(count):
        prompt = rng.integers(3, 512, rng.integers(1, 40))
        row = {
            f"{name}_ids": np.r_[prompt, rng.integers(3, 512, rng.integers(1, 60)), np.full(index % 2, PAD)]
            for name in ("chosen", "rejected")
        }
        row["margin"] = rng.random(1, dtype=np.float32) * 3 if margins and index % 3 else np.zeros(0, np.float32)
        found.append(Example(row, (index,)))
    return found


@pytest.fixture
def model(tiny_model: Path) -> Any:
    loaded = load_model(tiny_model, torch.float32, "reward")
    reward.initialise_head(loaded, seed=3, pad_id=PAD)
    with torch.no_grad():
        loaded.score.weight *= 10  # type: ignore[operator]  # rewards of several nats
    return loaded


def objective(folder: Path, **keys: Any) -> reward.Objective:
    return reward.Objective(reward.Config(**keys), load_tokenizer(folder))


def mean_loss(of: reward.Objective, model: Any, batch: Batch) -> torch.Tensor:
    return of.loss(model, batch.tensors).total / batch.terms


@pytest.fixture
def trl_trainer(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    from datasets import Dataset
    from trl import RewardConfig, RewardTrainer

    monkeypatch.setenv("CI", "true")  # TRL reports the use of its trainers over the network unless this is set

    def make(model: Any, **arguments: Any) -> Any:
        config = RewardConfig(
            str(tmp_path), use_cpu=True, bf16=False, gradient_checkpointing=False, report_to="none", **arguments
        )
        rng = random.Random(0)
        columns = {name: [sentence(rng)] for name in ("chosen", "rejected")}
        return RewardTrainer(
            model, config, train_dataset=Dataset.from_dict(columns), processing_class=load_tokenizer(tiny_model)
        )

    return make


@pytest.mark.parametrize(("margins", "center"), [(False, 0.0), (True, 0.0), (True, 0.01)])
def test_loss_and_gradients_are_those_of_trl(
    model: Any, tiny_model: Path, trl_trainer: Any, margins: bool, center: float
) -> None:
    pairs = examples(7, margins)
    trainer = trl_trainer(model, center_rewards_coefficient=center or None)
    records: list[dict[str, Any]] = [
        {
            "chosen_ids": pair.row["chosen_ids"].tolist(),
            "rejected_ids": pair.row["rejected_ids"].tolist(),
            **({"margin": float(pair.row["margin"].sum())} if margins else {}),
        }
        for pair in pairs
    ]
    model.train()
    theirs = trainer.compute_loss(model, trainer.data_collator(records))
    theirs.backward()
    wanted = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    model.zero_grad()

    of = objective(tiny_model, center=center)
    ours = mean_loss(of, model, of.collate(pairs))
    ours.backward()
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    assert ours > 0.1
    for name, parameter in model.named_parameters():
        assert wanted[name].abs().max() > 0
        torch.testing.assert_close(parameter.grad, wanted[name], rtol=1e-4, atol=1e-6, msg=name)


def test_a_batch_is_packed_and_counts_its_pairs(model: Any, tiny_model: Path) -> None:
    pairs, of = examples(6), objective(tiny_model)
    batch = of.collate(pairs)
    assert batch.terms == 6
    assert batch.tokens == sum(len(ids) for pair in pairs for ids in (pair.row["chosen_ids"], pair.row["rejected_ids"]))
    assert batch.tensors["input_ids"].shape[0] < 12
    alone = sum(of.loss(model, of.collate([pair]).tensors).total for pair in pairs)
    torch.testing.assert_close(of.loss(model, batch.tensors).total, alone, rtol=1e-5, atol=1e-5)


def test_accuracy_is_that_of_the_rewards_transformers_gives(model: Any, tiny_model: Path) -> None:
    pairs, of = examples(9, seed=4), objective(tiny_model)
    assert of.loss(model.train(), of.collate(pairs).tensors).figures == {}
    with torch.no_grad():
        figures = of.loss(model.eval(), of.collate(pairs).tensors).figures
        rewards = [
            [
                model(input_ids=torch.from_numpy(pair.row[name])[None]).logits.item()
                for name in ("chosen_ids", "rejected_ids")
            ]
            for pair in pairs
        ]
    right = sum(chosen > rejected for chosen, rejected in rewards)
    assert 0 < right < 9
    assert figures["accuracy"] == right


def test_margins_can_be_left_out(model: Any, tiny_model: Path) -> None:
    pairs = examples(5, margins=True)
    with_margin, without = (objective(tiny_model, margin=margin) for margin in (True, False))
    assert without.collate(pairs).tensors["margins"].tolist() == [0.0] * 5
    assert mean_loss(with_margin, model, with_margin.collate(pairs)) > mean_loss(without, model, without.collate(pairs))


def test_a_new_head_depends_on_the_seed_alone(tiny_model: Path, tmp_path: Path) -> None:
    def head(seed: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        torch.rand(int(torch.randint(1, 9, ())))  # the global random state does not matter
        loaded = load_model(tiny_model, dtype, "reward")
        reward.initialise_head(loaded, seed, PAD)
        loaded.save_pretrained(tmp_path)
        return loaded.get_submodule("score").weight.detach()  # type: ignore[union-attr,return-value]

    first = head(1)
    assert first.shape == (1, 256)
    assert 0.01 < first.std() < 0.03
    assert not torch.equal(head(2), first)
    assert torch.equal(head(1), first)
    again = load_model(tmp_path, torch.float32, "reward")
    assert torch.equal(again.get_submodule("score").weight, first)  # type: ignore[arg-type]
    assert again.config.pad_token_id == PAD
    torch.testing.assert_close(head(1, torch.bfloat16).float(), first, rtol=1e-2, atol=1e-4)


def test_training_with_an_adapter_learns_a_preference(tiny_model: Path) -> None:
    model: Any = load_model(tiny_model, torch.float32, "reward")
    reward.initialise_head(model, 0, PAD)
    adapted = add_lora(model, LoraConfig(rank=4), torch.float32, "reward")
    trained = [parameter for parameter in adapted.parameters() if parameter.requires_grad]
    assert {name.split(".")[-1] for name, p in adapted.named_parameters() if p.requires_grad} == {"weight"}
    assert any(parameter.shape == (1, 256) for parameter in trained)
    rng = np.random.default_rng(0)
    pairs = [
        Example({"chosen_ids": np.r_[ids, 7], "rejected_ids": np.r_[ids, 9], "margin": np.zeros(0)}, (0,))
        for ids in rng.integers(3, 512, (8, 12))
    ]
    of, optimizer = objective(tiny_model), torch.optim.AdamW(trained, lr=3e-3)
    losses = []
    for _ in range(12):
        loss = mean_loss(of, model.train(), of.collate(pairs))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.3 < losses[0]


def test_a_model_without_such_a_head_is_refused(tiny_model: Path) -> None:
    with pytest.raises(ModelError, match="no linear head"):
        reward.initialise_head(load_model(tiny_model, torch.float32), 0, PAD)
