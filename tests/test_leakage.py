"""Packed rows compute what the documents alone would: nothing of one reaches another, for every family."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import transformers
from transformers import BertConfig, LlamaConfig, LlamaForCausalLM

from cluster.errors import ModelError
from trainers.architectures import family_of
from trainers.architectures.bert import Config as Bert
from trainers.architectures.gpt2 import Config as Gpt2
from trainers.architectures.llama import Config as Llama
from trainers.architectures.modernbert import Config as ModernBert
from trainers.architectures.qwen3 import Config as Qwen3
from trainers.models import HEADS
from trainers.objectives import Example, causal_lm, masked_lm, sft
from trainers.objectives._next_token import decoder_states

VOCABULARY, MASK_ID = 97, 4
SIZES: dict[str, Any] = {"hidden": 64, "layers": 3, "heads": 2, "context": 128}
CONFIGS = [
    Llama(**SIZES), Qwen3(**SIZES), Gpt2(**SIZES, dropout=0.0), Bert(**SIZES, dropout=0.0),
    ModernBert(**SIZES, local_attention=16),
]  # fmt: skip
PARAMETERS = [pytest.param(config, id=config.kind) for config in CONFIGS]
LENGTHS = (37, 23, 1, 30)


class Tokenizer:
    """The little that the objectives ask of one."""

    pad_token_id, mask_token_id, all_special_ids = 0, MASK_ID, (0, 1, 2, 3, MASK_ID)

    def __len__(self) -> int:
        return VOCABULARY


class Documents(NamedTuple):
    """Four documents, the second of which may be another."""

    parts: list[np.ndarray]

    @classmethod
    def draw(cls, seed: int = 0, other: int | None = None) -> Documents:
        random = np.random.default_rng(seed)
        parts = [random.integers(5, VOCABULARY, size=size).astype(np.uint16) for size in LENGTHS]
        if other is not None:
            parts[other] = (
                np.random.default_rng(seed + 1).integers(5, VOCABULARY, size=LENGTHS[other]).astype(np.uint16)
            )
        return cls(parts)

    def example(self) -> Example:
        """All of them in one row."""
        row = {"input_ids": np.concatenate(self.parts), "documents": np.array(LENGTHS, np.uint32)}
        return Example(row, (0,))

    def examples(self) -> list[Example]:
        """Each for itself."""
        return [Example({"input_ids": one, "documents": np.array([len(one)])}, (0,)) for one in self.parts]


def new_model(config: Any, attention: str = "sdpa") -> Any:
    family = family_of(config)
    torch.manual_seed(0)
    settings = transformers.AutoConfig.for_model(**family.transformers_config(config, VOCABULARY, {}))
    model = getattr(transformers, HEADS[family.HEADS[0]]).from_config(settings, attn_implementation=attention)
    with torch.no_grad():  # as drawn, attention is nearly uniform and its outputs are small
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(4)
    return model.train()


def objective_of(config: Any) -> Any:
    if family_of(config).HEADS[0] == "masked_lm":
        return masked_lm.Objective(masked_lm.Config(), Tokenizer())  # type: ignore[arg-type]
    return causal_lm.Objective(causal_lm.Config(), Tokenizer())  # type: ignore[arg-type]


def states(config: Any, model: Any, tensors: dict[str, torch.Tensor]) -> torch.Tensor:
    """[tokens, hidden] of all rows."""
    function = masked_lm.encoder_states if "segments" in tensors else decoder_states
    with torch.no_grad():
        return function(model, tensors).flatten(0, 1)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("config", PARAMETERS)
def test_changing_one_document_changes_no_bit_of_the_others(config: Any, attention: str) -> None:
    model, objective = new_model(config, attention), objective_of(config)
    bounds = np.cumsum([0, *LENGTHS])
    base = objective.collate([Documents.draw().example()]).tensors
    for changed in (0, 1, 3):
        other = objective.collate([Documents.draw(other=changed).example()]).tensors
        if "segments" in base:  # the same places hidden in both, so that the documents alone differ
            other["input_ids"] = torch.where(base["input_ids"] == MASK_ID, base["input_ids"], other["input_ids"])
        one, two = (states(config, model, tensors) for tensors in (base, other))
        for index in range(len(LENGTHS)):
            part = slice(bounds[index], bounds[index + 1])
            same = torch.equal(base["input_ids"].flatten()[part], other["input_ids"].flatten()[part])
            assert torch.equal(one[part], two[part]) == same, (changed, index)
        assert not torch.equal(base["input_ids"], other["input_ids"])


@pytest.mark.parametrize("config", PARAMETERS)
def test_without_the_block_mask_a_change_is_seen(config: Any) -> None:
    model, objective = new_model(config), objective_of(config)
    found = []
    for other in (None, 0):
        tensors = dict(objective.collate([Documents.draw(other=other).example()]).tensors)
        if "segments" in tensors:
            tensors["segments"] = torch.ones_like(tensors["segments"])
        else:
            tensors["position_ids"] = torch.arange(tensors["input_ids"].shape[1]).expand_as(tensors["input_ids"])
        found.append(states(config, model, tensors))
    assert (found[0] != found[1])[LENGTHS[0] : LENGTHS[0] + LENGTHS[1]].any(-1).float().mean() > 0.5


@pytest.mark.parametrize("config", PARAMETERS)
def test_a_packed_row_has_the_hidden_states_and_gradients_of_its_documents_alone(config: Any) -> None:
    model, objective = new_model(config), objective_of(config)
    packed = objective.collate([Documents.draw().example()])
    alone = [objective.collate([example]) for example in Documents.draw().examples()]
    if "segments" in packed.tensors:
        alone = [hidden_alike(packed, batch, index) for index, batch in enumerate(alone)]
    found = states(config, model, packed.tensors)
    bounds = np.cumsum([0, *LENGTHS])
    for index, batch in enumerate(alone):
        expected = states(config, model, batch.tensors)[: LENGTHS[index]]
        torch.testing.assert_close(found[bounds[index] : bounds[index + 1]], expected, rtol=1e-5, atol=1e-5)
    assert packed.terms == sum(batch.terms for batch in alone)
    one, two = (gradients(model, objective, batches) for batches in ([packed], alone))
    largest = max(float(gradient.abs().max()) for gradient in one.values())
    for name, gradient in one.items():
        torch.testing.assert_close(gradient, two[name], rtol=1e-4, atol=1e-5 * largest, msg=name)


def hidden_alike(packed: Any, batch: Any, index: int) -> Any:
    """The document alone, with the tokens hidden that are hidden in the packed row."""
    start, size = sum(LENGTHS[:index]), LENGTHS[index]
    places, targets = packed.tensors["places"], packed.tensors["targets"]
    mine = (places >= start) & (places < start + size) & (targets >= 0)
    tensors = dict(batch.tensors)
    tensors["input_ids"] = batch.tensors["input_ids"].clone()
    tensors["input_ids"][0, :size] = packed.tensors["input_ids"].flatten()[start : start + size]
    tensors["places"], tensors["targets"] = places[mine] - start, targets[mine]
    return batch._replace(tensors=tensors, terms=int(mine.sum()))


def gradients(model: Any, objective: Any, batches: list[Any]) -> dict[str, torch.Tensor]:
    model.zero_grad()
    for batch in batches:
        objective.loss(model, batch.tensors).total.backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}


def test_conversations_in_one_row_do_not_see_one_another() -> None:
    model = new_model(Llama(**SIZES))
    objective = sft.Objective(sft.Config(), Tokenizer())  # type: ignore[arg-type]

    def batch(documents: Documents) -> dict[str, torch.Tensor]:
        rows = [{"input_ids": one, "trained": np.ones(len(one), np.uint16)} for one in documents.parts]
        return objective.collate([Example(row, ()) for row in rows]).tensors

    base, other = batch(Documents.draw()), batch(Documents.draw(other=1))
    assert len(base["input_ids"]) < len(LENGTHS)  # rows are shared
    one, two = (states(None, model, tensors) for tensors in (base, other))
    changed = (one != two).any(-1)
    differing = (base["input_ids"] != other["input_ids"]).flatten()
    assert 0 < int(changed.sum()) <= LENGTHS[1]
    assert int(differing.sum()) > 0


@pytest.mark.parametrize("config", [pytest.param(one, id=one.kind) for one in CONFIGS[3:]])
def test_an_encoder_is_not_trained_to_predict_the_next_token(config: Any) -> None:
    batch = causal_lm.Objective(causal_lm.Config(), Tokenizer()).collate([Documents.draw().example()])  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="bidirectional"):
        decoder_states(new_model(config), batch.tensors)
    with pytest.raises(ModelError, match="bidirectional"):
        settings = BertConfig(vocab_size=VOCABULARY, hidden_size=64, num_hidden_layers=1, num_attention_heads=2)
        decoder_states(transformers.AutoModelForCausalLM.from_config(settings), batch.tensors)


def test_a_decoder_is_no_masked_model() -> None:
    model = LlamaForCausalLM(
        LlamaConfig(vocab_size=VOCABULARY, hidden_size=64, num_hidden_layers=1, num_attention_heads=2)
    )
    batch = masked_lm.Objective(masked_lm.Config(), Tokenizer()).collate([Documents.draw().example()])  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="head for masked tokens"):
        masked_lm.Objective(masked_lm.Config(), Tokenizer()).loss(model, batch.tensors)  # type: ignore[arg-type]
