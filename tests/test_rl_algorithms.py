"""Advantages and losses against numbers worked out by hand, and against TRL's own trainers on the same batch."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trainers.algorithms import Round, Tokens, grpo, ppo, reinforce_pp, rloo
from trainers.losses import selected_logprobs
from trainers.models import load_model, load_tokenizer
from trainers.objectives import rl
from trainers.rl.credit import generalized_advantages
from trainers.rl.rollouts import Rollout
from trainers.rl.scoring import example_of


def round_of(rewards: list[float], groups: list[int], lengths: list[int] | None = None, **more: Any) -> Round:
    lengths = lengths or [1] * len(rewards)
    fields = {"old": None, "reference": None, "values": None, "kl": 0.0} | more
    return Round(np.array(groups), np.array(rewards, np.float32), np.array(lengths), **fields)


# --- advantages by hand


def test_grpo_compares_within_the_group() -> None:
    data = round_of([1.0, 3.0, 5.0, 5.0], [0, 0, 1, 1], [2, 1, 1, 1])
    found = grpo.credit(grpo.Config(scale="none"), data).advantages
    assert found.tolist() == [-1.0, -1.0, 1.0, 0.0, 0.0]
    scaled = grpo.credit(grpo.Config(), data).advantages
    assert scaled[2] == pytest.approx(1.0 / (math.sqrt(2.0) + 1e-4), rel=1e-5)  # deviation of 1 and 3 with n - 1
    of_round = grpo.credit(grpo.Config(scale="batch"), data).advantages
    assert of_round[2] == pytest.approx(1.0 / (np.std([1, 3, 5, 5], ddof=1) + 1e-4), rel=1e-5)


def test_rloo_leaves_the_completion_itself_out() -> None:
    found = rloo.credit(rloo.Config(), round_of([1.0, 2.0, 6.0], [0, 0, 0])).advantages
    assert found.tolist() == [1 - 4.0, 2 - 3.5, 6 - 1.5]
    old = np.array([-1.0, -1.0, -2.0], np.float32)
    reference = np.array([-1.5, -1.0, -1.0], np.float32)
    penalized = rloo.credit(
        rloo.Config(kl=0.1), round_of([1.0, 2.0, 6.0], [0, 0, 0], old=old, reference=reference, kl=0.1)
    ).advantages  # rewards 0.95, 2.0, 6.1
    assert penalized.tolist() == pytest.approx([0.95 - 4.05, 2.0 - 3.525, 6.1 - 1.475], rel=1e-5)


def test_generalized_advantages() -> None:
    rewards, values = np.array([0.0, 0.0, 1.0], np.float32), np.array([0.5, 0.6, 0.8], np.float32)
    # δ = 0.9·0.6 - 0.5, 0.9·0.8 - 0.6, 1 - 0.8 = 0.04, 0.12, 0.2; γλ = 0.45
    expected = [0.04 + 0.45 * (0.12 + 0.45 * 0.2), 0.12 + 0.45 * 0.2, 0.2]
    assert generalized_advantages(rewards, values, np.array([3]), 0.9, 0.5).tolist() == pytest.approx(expected)
    twice = generalized_advantages(np.tile(rewards, 2), np.tile(values, 2), np.array([3, 3]), 0.9, 0.5)
    assert twice.tolist() == pytest.approx(expected * 2), "nothing flows from one completion into another"


def test_ppo_pays_for_its_distance_token_by_token() -> None:
    old = np.array([-1.0, -2.0, -1.0], np.float32)
    reference = np.array([-1.5, -2.0, -3.0], np.float32)
    values = np.zeros(3, np.float32)
    data = round_of([1.0, 2.0], [0, 1], [2, 1], old=old, reference=reference, values=values, kl=0.1)
    found = ppo.credit(ppo.Config(decay=1.0), data)
    assert found.returns is not None
    # rewards of the tokens: -0.05, 1.0 and 2 - 0.2
    assert found.returns.tolist() == pytest.approx([0.95, 1.0, 1.8])
    assert found.advantages.mean() == pytest.approx(0.0, abs=1e-6)
    assert found.advantages.std(ddof=1) == pytest.approx(1.0, rel=1e-3)


def test_the_kl_coefficient_follows_its_target() -> None:
    config = ppo.Config(adaptive_kl=ppo.AdaptiveKl(target=2.0, horizon=100))
    assert ppo.next_kl(config, 0.1, 8.0, 10) == pytest.approx(0.1 * 1.02)  # the error is cut off at 0.2
    assert ppo.next_kl(config, 0.1, 1.9, 10) == pytest.approx(0.1 * (1 - 0.05 * 0.1))
    assert ppo.next_kl(ppo.Config(), 0.1, 8.0, 10) == 0.1


def test_reinforce_pp_is_whitened_over_the_round() -> None:
    data = round_of([1.0, 3.0, 5.0, 5.0], [0, 0, 1, 1], [2, 1, 1, 1])
    found = reinforce_pp.credit(reinforce_pp.Config(), data).advantages
    values = np.array([1.0, 1.0, 3.0, 5.0, 5.0])
    assert found.tolist() == pytest.approx(((values - 3.0) / (values.std(ddof=1) + 1e-4)).tolist(), rel=1e-5)
    grouped = reinforce_pp.credit(reinforce_pp.Config(baseline="group"), data).advantages
    assert grouped[3] > grouped[0]
    values = np.array([-1.0, -1.0, 1.0, 0.0, 0.0])
    expected = (values - values.mean()) / (values.std(ddof=1) + 1e-4)
    assert grouped.tolist() == pytest.approx(expected.tolist(), rel=1e-4)


@pytest.mark.parametrize("module", [grpo, rloo, reinforce_pp, ppo])
def test_a_failed_reward_teaches_nothing_and_spoils_nothing(module: Any) -> None:
    nothing = np.zeros(5, np.float32)
    rewards = [1.0, float("nan"), 2.0, 5.0]
    data = round_of(rewards, [0, 0, 0, 1], [1, 2, 1, 1], values=nothing, old=nothing, reference=nothing)
    found = module.credit(module.Config(), data).advantages
    assert np.isfinite(found).all()
    assert found[1] == found[2] == 0.0
    if module is grpo:
        without = grpo.credit(grpo.Config(), round_of([1.0, 2.0, 5.0], [0, 0, 1])).advantages
        assert found[[0, 3, 4]].tolist() == without.tolist()


# --- losses by hand


def tokens_of(new: list[float], **more: Any) -> Tokens:
    count = len(new)
    zeros = [0.0] * count
    fields = {
        "old": new, "reference": new, "advantages": zeros, "returns": zeros, "values": zeros, "old_values": zeros,
        "correction": [1.0] * count,
    } | more  # fmt: skip
    sequence = torch.tensor(fields.pop("sequence", [0] * count))
    made = {name: torch.tensor(values) for name, values in fields.items()}
    return Tokens(
        new=torch.tensor(new, requires_grad=True), sequence=sequence, num_sequences=int(sequence.max()) + 1, **made
    )


def test_the_surrogate_is_clipped_where_it_would_gain() -> None:
    ratios = [1.5, 1.5, 0.5, 0.5]
    tokens = tokens_of([math.log(ratio) for ratio in ratios], old=[0.0] * 4, advantages=[1.0, -1.0, 1.0, -1.0])
    found = grpo.loss(grpo.Config(clip_low=0.2, clip_high=0.28), tokens)
    assert found.loss.tolist() == pytest.approx([-1.28, 1.5, -0.5, 0.8])
    assert found.figures["clip_share"].tolist() == [1.0, 0.0, 0.0, 1.0]
    found.loss.sum().backward()
    assert tokens.new.grad is not None
    assert tokens.new.grad.tolist() == pytest.approx([0.0, 1.5, -0.5, 0.0])


def test_the_reference_pulls_with_the_third_estimator() -> None:
    tokens = tokens_of([-1.0], reference=[-1.5])
    found = grpo.loss(grpo.Config(kl=0.1, unbiased_kl=False), tokens)
    assert found.loss.tolist() == pytest.approx([0.1 * (math.exp(-0.5) + 0.5 - 1)])


def test_gspo_clips_whole_sequences_and_pulls_at_every_token() -> None:
    # Geometric means of the ratios: e^0.3 (clipped, with a positive advantage) and e^-0.05.
    tokens = tokens_of(
        [0.2, 0.4, -0.05], old=[0.0, 0.0, 0.0], advantages=[1.0, 1.0, 2.0], sequence=[0, 0, 1]
    )  # fmt: skip
    found = grpo.loss(grpo.Config(ratio="sequence"), tokens)
    assert found.loss.tolist() == pytest.approx([-1.2, -1.2, -2 * math.exp(-0.05)])
    found.loss.sum().backward()
    assert tokens.new.grad is not None
    assert tokens.new.grad.tolist() == pytest.approx([0.0, 0.0, -2 * math.exp(-0.05)])


def test_the_value_loss_is_the_larger_of_clipped_and_not() -> None:
    tokens = tokens_of([0.0, 0.0], values=[1.0, 0.1], old_values=[0.0, 0.0], returns=[1.0, 1.0])
    found = ppo.loss(ppo.Config(value_weight=1.0, clip_value=0.2), tokens)
    assert found.loss.tolist() == pytest.approx([0.5 * 0.8**2, 0.5 * 0.9**2])


def test_completions_that_share_their_prompt_are_computed_as_alone(model: Path) -> None:
    policy, tokenizer = load_model(model, torch.float32), load_tokenizer(model)
    objective = rl.Objective(rl.Config(rewards=[{"kind": "pattern", "pattern": "a"}]), tokenizer)  # type: ignore[list-item]
    rollouts = [Rollout("", "", prompt, done, [], 0, 0, 0, 0, 0, True) for prompt, done in [*COMPLETIONS, ([9], [4])]]
    batch = objective.collate([example_of(rollout) for rollout in rollouts])
    assert batch.tokens == 3 + 4 + 2 + 2 + 3 + 4 + 2
    with torch.no_grad():
        together = objective.loss(policy, batch.tensors).figures["logprobs"]
        alone = [
            policy(torch.tensor([one.ids])).logits[0, len(one.prompt_ids) - 1 : -1].log_softmax(-1) for one in rollouts
        ]
    expected = [
        scores.gather(-1, torch.tensor(one.completion_ids)[:, None])[:, 0]
        for scores, one in zip(alone, rollouts, strict=True)
    ]
    assert torch.allclose(together, torch.cat(expected), atol=1e-5)


# --- the objective, and TRL on the same batch

COMPLETIONS = [([5, 9, 20], [30, 31, 32, 2]), ([5, 9, 20], [40, 2]), ([7, 8], [50, 51, 52]), ([7, 8], [60, 61, 62, 2])]
ADVANTAGES = [0.7, -0.7, 1.2, -0.4]


def our_loss(model: Any, tokenizer: Any, config: rl.Config, old: list[list[float]], weights: list[float]) -> Any:
    objective = rl.Objective(config, tokenizer)
    examples = []
    for index, (prompt, completion) in enumerate(COMPLETIONS):
        rollout = Rollout("", "", prompt, completion, old[index], 0, 0, 0, index // 2, 0, True)
        examples.append(
            example_of(
                rollout,
                old=old[index],
                sampled=old[index],
                reference=[value - 0.2 for value in old[index]],
                advantages=ADVANTAGES[index],
                weights=weights[index],
            )
        )
    batch = objective.collate(examples)
    return objective.loss(model, batch.tensors).total / batch.terms


def gradient_of(model: Any, loss: torch.Tensor) -> torch.Tensor:
    model.zero_grad()
    loss.backward()
    return torch.cat([parameter.grad.flatten() for parameter in model.parameters() if parameter.grad is not None])


def padded(rows: list[list[float]], value: float, left: bool = False) -> torch.Tensor:
    longest = max(len(row) for row in rows)
    filled = [[value] * (longest - len(row)) + row if left else row + [value] * (longest - len(row)) for row in rows]
    return torch.tensor(filled)


def old_scores(model: Any) -> list[list[float]]:
    """What another version of the model might have said."""
    found = []
    for prompt, completion in COMPLETIONS:
        with torch.no_grad():
            logits = model(torch.tensor([prompt + completion])).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
        scores = logits.gather(-1, torch.tensor(completion)[:, None])[:, 0]
        found.append([value + 0.15 * math.sin(3.0 * place) for place, value in enumerate(scores.tolist())])
    return found


@pytest.mark.parametrize(
    ("kind", "settings", "trl_settings"),
    [
        ("grpo", {"normalize": "sequences"}, {"loss_type": "grpo"}),
        ("grpo", {"normalize": "tokens", "clip_high": 0.28}, {"loss_type": "bnpo", "epsilon_high": 0.28}),
        ("grpo", {"normalize": "length", "kl": 0.05}, {"loss_type": "dr_grpo", "beta": 0.05}),
        ("grpo", {"normalize": "sequences", "kl": 0.05, "unbiased_kl": False},
         {"loss_type": "grpo", "beta": 0.05, "use_bias_correction_kl": False}),
        ("grpo", {"normalize": "sequences", "ratio": "sequence", "clip_low": 0.05, "clip_high": 0.05},
         {"loss_type": "grpo", "importance_sampling_level": "sequence", "epsilon": 0.05}),
        ("rloo", {}, {}),
    ],
)  # fmt: skip
def test_losses_and_gradients_are_trl_s(
    kind: str, settings: dict[str, Any], trl_settings: dict[str, Any], model: Path, tmp_path: Path
) -> None:
    import trl
    from datasets import Dataset

    policy, tokenizer = load_model(model, torch.float32), load_tokenizer(model)
    old = old_scores(policy)
    config = rl.Config(
        algorithm={"kind": kind, **settings}, rewards=[{"kind": "pattern", "pattern": "a"}],
        rollouts={"prompts": 2, "group": 2, "max_new_tokens": 6},
    )  # type: ignore[arg-type]  # fmt: skip
    lengths = [len(completion) for _, completion in COMPLETIONS]
    of_each = {"tokens": [1.0] * 4, "sequences": [1 / length for length in lengths], "length": [1 / 6] * 4}
    ours = our_loss(policy, tokenizer, config, old, of_each[config.settings.normalize])
    our_gradient = gradient_of(policy, ours)

    name = "GRPO" if kind == "grpo" else "RLOO"
    arguments = getattr(trl, f"{name}Config")(
        output_dir=str(tmp_path), use_cpu=True, per_device_train_batch_size=4, num_generations=2, report_to=[],
        max_completion_length=6, bf16=False, gradient_checkpointing=False, **({"beta": 0.0} | trl_settings),
    )  # fmt: skip
    trainer: Any = getattr(trl, f"{name}Trainer")(
        model=policy, reward_funcs=[lambda completions, **_: [0.0] * len(completions)], args=arguments,
        processing_class=tokenizer, train_dataset=Dataset.from_list([{"prompt": "a cat"}] * 4),
    )  # fmt: skip
    trainer.current_gradient_accumulation_steps = 1
    sums = [sum(row) for row in old]
    inputs = {
        "prompt_ids": padded([prompt for prompt, _ in COMPLETIONS], 2, left=True),
        "prompt_mask": padded([[1] * len(prompt) for prompt, _ in COMPLETIONS], 0, left=True),
        "completion_ids": padded([completion for _, completion in COMPLETIONS], 2),
        "completion_mask": padded([[1] * length for length in lengths], 0),
        "advantages": torch.tensor(ADVANTAGES), "old_per_token_logps": padded(old, 0.0),
        "ref_per_token_logps": padded([[value - 0.2 for value in row] for row in old], 0.0),
        "old_logps": torch.tensor(sums), "num_items_in_batch": torch.tensor(sum(lengths)),
    }  # fmt: skip
    policy.train()
    theirs = trainer._compute_loss(policy, inputs)
    assert float(ours.detach()) == pytest.approx(float(theirs.detach()), rel=1e-4)
    their_gradient = gradient_of(policy, theirs)
    assert torch.allclose(our_gradient, their_gradient, rtol=1e-3, atol=1e-6)


def test_chunked_log_probabilities_have_the_plain_ones_gradients() -> None:
    torch.manual_seed(0)
    head = torch.nn.Linear(8, 20)
    hidden = torch.randn(7, 8, requires_grad=True)
    targets, upstream = torch.randint(20, (7,)), torch.randn(7)
    found = []
    for chunk in (None, 3):
        head.zero_grad()
        hidden.grad = None
        chosen, entropy = selected_logprobs(head, hidden, targets, 0.7, chunk)
        (chosen * upstream).sum().backward()
        assert hidden.grad is not None
        found.append([chosen.detach(), entropy.detach(), hidden.grad.clone(), head.weight.grad, head.bias.grad])
    for plain, chunked in zip(*found, strict=True):
        assert torch.allclose(plain, chunked, atol=1e-5)
    expected = torch.distributions.Categorical(logits=head(hidden).detach() / 0.7)
    assert torch.allclose(found[1][0], expected.log_prob(targets), atol=1e-5)
    assert torch.allclose(found[1][1], expected.entropy(), atol=1e-5)
